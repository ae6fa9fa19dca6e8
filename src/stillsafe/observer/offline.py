"""The observer that needs no network: an incident explained from templates, always alike for the same incident.

A language model may take its place behind the same signature, `explain(payload) -> Explanation`, in a module
beside this one; this one stays what is shown where that fails.
"""

from stillsafe.core.signals import Reading, Signal
from stillsafe.observer.payload import Explanation, IncidentPayload

MODEL = "offline"


def explain(payload: IncidentPayload) -> Explanation:
    """Summary and recommendations. Deterministic and total; every number in them is in the payload."""
    return Explanation(_summary(payload), "\n".join(_recommendations(payload)), MODEL)


def _summary(payload: IncidentPayload) -> str:
    return " ".join([_opening(payload), payload.reason, _traffic(payload), _consequence(payload)])


def _opening(payload: IncidentPayload) -> str:
    who = f"{payload.service} (model version {payload.model_version})"
    when = f"{payload.at:%Y-%m-%d %H:%M:%S} UTC"
    match payload.status:
        case "resolved":
            return f"{who} is back to NORMAL since {when}."
        case "escalated":
            return f"The deviation of {who} has become {payload.severity} at {when}."
        case _:
            return f"{who} deviates from its healthy baseline: {payload.severity} since {when}."


def _traffic(payload: IncidentPayload) -> str:
    counts = payload.traffic
    told = [f"{_count(counts.prediction_count, 'prediction')}, {counts.fallback_count} of them by the fallback"]
    if counts.refusal_count:
        told.append(_count(counts.refusal_count, "refused request"))
    if counts.model_error_count:
        told.append(_count(counts.model_error_count, "model error"))
    span = f"{payload.window_start:%H:%M:%S} to {payload.window_end:%H:%M:%S} UTC"
    return f"The window from {span} holds {'; '.join(told)}."


def _consequence(payload: IncidentPayload) -> str:
    if payload.status == "resolved":
        return "The model answers."
    if payload.fallback_active:
        return f"The model is bypassed: the fallback answers (by default {payload.fallback})."
    if payload.severity == "CRITICAL":
        return "The mode is observe, so the model still answers although its answers are not to be trusted."
    return "The model still answers."


def _recommendations(payload: IncidentPayload) -> list[str]:
    if payload.status == "resolved":
        return _after_recovery()
    told = [_advice(payload, reading) for reading in payload.readings]
    return [*dict.fromkeys(told), *_in_general(payload)]


def _after_recovery() -> list[str]:
    return [
        "Find out what was mended and write it down; a relapse soon makes the next recovery slower.",
        "Look at what the fallback answered meanwhile: some of it may have to be done again.",
    ]


def _in_general(payload: IncidentPayload) -> list[str]:
    if payload.fallback_active:
        return [
            "Callers are protected: the fallback answers until the signals are calm for several runs.",
            "If the change is real and here to stay, retrain the model and deploy it with its own reference baseline.",
        ]
    if payload.severity == "CRITICAL":
        return [
            "Hold the model by hand (`stillsafe hold`) or set the mode to enforce if callers must be protected now."
        ]
    return ["Nothing is bypassed yet: mend the cause before the deviation lasts or grows."]


def _advice(payload: IncidentPayload, reading: Reading) -> str:
    name = reading.feature or ""
    if reading.signal is Signal.AVG_CONFIDENCE and _more_sure(reading):
        return "The model is surer than it ever was when healthy: suspect a unit error or a stuck input."
    # Replaced, not formatted: a name may hold braces, and so may a category.
    advice = _ADVICE[reading.signal].replace("{examples}", _examples(payload, name))
    return advice.replace("{name}", name)


def _more_sure(reading: Reading) -> bool:
    return reading.value is not None and reading.reference is not None and reading.value > reading.reference


def _examples(payload: IncidentPayload, name: str) -> str:
    examples = payload.unseen_categories.get(name, ())
    return f" never seen when healthy, such as {', '.join(examples)}" if examples else ""


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_UNSURE = "The model is unsure: compare today's inputs with the healthy period, the deviating features first."
_OTHER_ANSWERS = "The model answers otherwise than it did: compare today's inputs with the healthy period."
_ESTIMATED = (
    "The loss is an estimate, made without today's true answers: as soon as some are known, run `stillsafe backtest` "
    "on them to see what was really lost."
)
_ADVICE = {
    Signal.MISSING_RATE: (
        "Look at the source of {name}: its values no longer arrive. Suspect a failed feed or a renamed field."
    ),
    Signal.UNSEEN_CATEGORY_RATE: ("Look at the values of {name}{examples}: suspect a new spelling, code or product."),
    Signal.OUT_OF_RANGE_RATE: "Look at the values of {name}: suspect a change of unit, scale or source.",
    Signal.REPEATED_VALUE_RATE: (
        "Look at the source of {name}: it sends one number over and over. Suspect a default or a stuck feed."
    ),
    Signal.BROKEN_RELATION_RATE: (
        "Look at how {name} is joined: its values may look healthy, but they belong to other rows. Suspect a wrong "
        "key, a stale or shuffled column, or two columns that were swapped."
    ),
    Signal.DISTRIBUTION_CHANGE: "Ask whether {name} may have changed: other customers, a season, a campaign.",
    Signal.CONFIDENCE_CHANGE: _OTHER_ANSWERS,
    Signal.PREDICTION_CHANGE: _OTHER_ANSWERS,
    Signal.ESTIMATED_ACCURACY_LOSS: _ESTIMATED,
    Signal.ESTIMATED_ERROR_GROWTH: _ESTIMATED,
    Signal.AVG_CONFIDENCE: _UNSURE,
    Signal.LOW_CONFIDENCE_RATE: _UNSURE,
    Signal.REFUSAL_RATE: (
        "A caller breaks the schema: look at the refusals by feature and kind, and at what was deployed there."
    ),
    Signal.MODEL_ERROR_RATE: "The model itself fails: look at its errors in the log, then at the last deployment.",
    Signal.SILENCE_SECONDS: "Nobody asks any more: look at the callers, the network and the load balancer.",
}
