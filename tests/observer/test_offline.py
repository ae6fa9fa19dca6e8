"""The offline observer: deterministic, total, and with every client's text escaped."""

import json

import pytest
from hypothesis import given

from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.signals import Signal
from stillsafe.observer import facts, offline
from stillsafe.observer.payload import IncidentPayload
from tests.observer.incidents import HOSTILE, payload, payloads, reading


def test_an_incident_is_explained() -> None:
    """The summary has service, time, numbers, traffic and consequence; the advice names the feature."""
    explanation = offline.explain(payload(reading()))
    assert explanation.llm_model == "offline"
    assert "flights (model version 7)" in explanation.summary
    assert "first detected at 2026-03-01T12:30:00Z" in explanation.summary
    assert "CRITICAL at 2026-03-01T12:40:00Z" in explanation.summary
    assert "dep_delay is missing in 97.0% of 607" in explanation.summary
    assert "612 predictions, 12 of them by the fallback; 3 refused requests; 1 model error" in explanation.summary
    assert "by default 0.5; rules that read dep_delay are skipped" in explanation.summary
    assert explanation.likely_causes.startswith("The feed of dep_delay has failed")
    assert explanation.recommendations.startswith("Check the source of dep_delay")


@pytest.mark.parametrize(
    ("status", "is_enforced", "text"),
    [
        ("opened", True, "The model still answers."),
        ("escalated", True, "The model is bypassed"),
        ("escalated", False, "The model is not bypassed and still answers"),
        ("resolved", True, "The model answers."),
    ],
)
def test_the_consequence_is_correct(status: str, is_enforced: bool, text: str) -> None:
    """The explanation and the fact sheet report a bypass only if the model is bypassed.

    Without a bypass, in mode observe or because it would not pay, they state no cause that they do not know.
    """
    incident = payload(status=status, is_enforced=is_enforced)
    assert text in offline.explain(incident).summary
    assert text in facts.fact_sheet(incident)
    assert "mode is observe" not in offline.explain(incident).summary


def test_a_recovery_is_explained() -> None:
    """A resolved incident has the recovery, the earlier reason and what to do afterwards."""
    explanation = offline.explain(payload(reading(), status="resolved"))
    assert "back to NORMAL" in explanation.summary
    assert "Recovered after 3 consecutive calm runs." in explanation.summary
    assert f"It had been about this: {sentence(reading())}" in explanation.summary
    assert "relapse" in explanation.recommendations


def test_equal_incidents_have_equal_explanations() -> None:
    """The text depends on the payload only."""
    assert offline.explain(payload(reading())) == offline.explain(payload(reading()))


def test_a_clients_text_is_escaped() -> None:
    """Category names enter explanations and fact sheets quoted, truncated and without markup."""
    unseen_categories = reading(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.4)
    incident = payload(unseen_categories, new_values={"carrier": {HOSTILE: 99}})
    explanation = offline.explain(incident)
    texts = (explanation.summary, explanation.likely_causes, explanation.recommendations)
    for text in (*texts, facts.fact_sheet(incident)):
        assert "<" not in text
        assert "release the model" not in text
        assert text.replace("\n", "").isprintable()
    assert json.dumps(HOSTILE)[9:15] in explanation.likely_causes


@given(payloads)
def test_every_payload_is_explained(incident: IncidentPayload) -> None:
    """The observer is total: only a resolved incident has no likely cause."""
    explanation = offline.explain(incident)
    assert explanation.summary
    assert explanation.recommendations
    assert explanation.likely_causes or incident.status == "resolved"
