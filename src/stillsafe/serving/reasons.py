"""Why the model or the fallback answers, in sentences for a client: the state, and what to know of it."""

from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.state import State
from stillsafe.core.text import truncate
from stillsafe.serving.failover import ServingState
from stillsafe.settings import Settings
from stillsafe.store.records import PredictionRecord

LONGEST_REASON = 300
"""Most characters of a reason that is quoted in another one."""


def whole_reason(record: PredictionRecord) -> str:
    """The reason as the log has it."""
    return record.reason


def public_reason(record: PredictionRecord) -> str:
    """A reason that shows nothing of rules, features and figures."""
    if not record.fallback_used:
        return f"The state is {record.system_state.value}."
    if record.model_error is not None:
        return "The fallback answered: the model failed on the request."
    return f"The fallback answered: the model is bypassed. The state is {record.system_state.value}."


def why_bypassed(settings: Settings, state: ServingState, model_problem: str | None = None) -> str | None:
    """Why the fallback answers instead of the model, or None if the model answers.

    Args:
        settings: of the service.
        state: that applies.
        model_problem: why the model must not answer whatever the state is, or None.
    """
    if settings.service.mode == "observe":
        return None
    if model_problem is not None:
        return f"{truncate(model_problem, LONGEST_REASON)}."
    if state.state is State.DEGRADED:
        return f"DEGRADED: {truncate(state.reason, LONGEST_REASON)}"
    if state.stale and settings.serving.on_stale_monitor == "fallback":
        return "The monitor is stale, so the model may have degraded unnoticed."
    if not state.judged and settings.serving.on_not_judged == "fallback":
        return f"Not judged: {_last_conclusion(state)}, so the model may have degraded unnoticed."
    return None


def caveats_of(settings: Settings, state: ServingState) -> str:
    """What a client should know about an answer of the model."""
    sentences = [f"The state is {state.state.value}."]
    if settings.service.mode == "observe" and state.state is State.DEGRADED:
        sentences = ["The state is DEGRADED, and in mode observe the model answers nevertheless."]
    if state.stale:
        sentences.append("The monitor is stale: the state may be out of date.")
    if not state.judged:
        sentences.append(f"Not judged: {_last_conclusion(state)}.")
    if not state.watched:
        sentences.append("This model version is unwatched: it has no active baseline.")
    return " ".join(sentences)


def _last_conclusion(state: ServingState) -> str:
    since = "ever" if state.judged_at is None else f"since {time_text(state.judged_at)}"
    return f"no run has reached a conclusion about its requests {since}"
