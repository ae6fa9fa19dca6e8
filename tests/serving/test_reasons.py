"""Why the model or the fallback answers: one sentence for each cause."""

from dataclasses import replace

import pytest

from stillsafe.core.state import State
from stillsafe.serving.failover import ServingState
from stillsafe.serving.reasons import caveats_of, public_reason, why_bypassed
from stillsafe.store.records import PredictionRecord
from tests.serving.services import NOW, Service

FINE = ServingState(State.NORMAL, "because", (), stale=False, watched=True, judged=True, judged_at=NOW)
DEGRADED = replace(FINE, state=State.DEGRADED)


@pytest.mark.parametrize(
    ("state", "problem", "sections", "cause"),
    [
        (FINE, None, {}, None),
        (replace(FINE, state=State.WARNING), None, {}, None),
        (DEGRADED, None, {}, "DEGRADED: because"),
        (DEGRADED, None, {"service": {"mode": "observe"}}, None),
        (FINE, "It differs", {}, "It differs."),
        (FINE, "It differs", {"service": {"mode": "observe"}}, None),
        (replace(FINE, stale=True), None, {}, None),
        (replace(FINE, stale=True), None, {"serving": {"on_stale_monitor": "fallback"}}, "The monitor is stale"),
        (replace(FINE, judged=False), None, {}, None),
        (replace(FINE, judged=False), None, {"serving": {"on_not_judged": "fallback"}}, "Not judged"),
    ],
)
def test_the_model_is_bypassed_for_a_cause(
    service: Service, state: ServingState, problem: str | None, sections: dict[str, dict[str, str]], cause: str | None
) -> None:
    """Or for none."""
    reason = why_bypassed(service.with_settings(**sections).context.settings, state, problem)
    assert (reason is None) is (cause is None)
    assert (reason or "").startswith(cause or "")


def test_an_answer_of_the_model_has_its_caveats(service: Service) -> None:
    """One sentence for each."""
    settings = service.context.settings
    assert caveats_of(settings, FINE) == "The state is NORMAL."
    careless = replace(FINE, stale=True, watched=False, judged=False, judged_at=None)
    assert caveats_of(settings, careless).count(".") == 4
    observing = service.with_settings(service={"mode": "observe"}).context.settings
    assert "in mode observe the model answers" in caveats_of(observing, DEGRADED)


def test_a_public_reason_shows_nothing_of_the_inside() -> None:
    """Who answered, and the state."""
    record = PredictionRecord("p", NOW, "v1", State.DEGRADED, {}, "yes", None, True, "rule 1: age > 60.0")
    for each, words in (
        (record, "bypassed. The state is DEGRADED."),
        (replace(record, model_error="raised ValueError"), "the model failed"),
        (replace(record, fallback_used=False), "The state is DEGRADED."),
    ):
        reason = public_reason(each)
        assert words in reason
        assert "age" not in reason
