"""The offline observer: deterministic, total, and no client's text unspelt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.incident import sentence
from stillsafe.core.signals import Level, Signal
from stillsafe.observer import facts, offline
from stillsafe.observer.payload import IncidentPayload
from tests.observer.incidents import HOSTILE, payload, payloads, reading


def test_an_incident_is_explained() -> None:
    """The summary tells who, when, what with its numbers, the traffic and what follows; the advice names the input."""
    told = offline.explain(payload(reading()))
    assert told.llm_model == "offline"
    assert "flights (model version 7)" in told.summary
    assert "first detected at 2026-03-01 12:30:00 UTC" in told.summary
    assert "CRITICAL at 2026-03-01 12:40:00 UTC" in told.summary
    assert "dep_delay is missing in 97.0% of 607" in told.summary
    assert "612 predictions, 12 of them by the fallback; 3 refused requests; 1 model error" in told.summary
    assert "by default 0.5; rules that read dep_delay are skipped" in told.summary
    assert told.likely_causes.startswith("The feed of dep_delay has failed")
    assert told.recommendations.startswith("Look at the source of dep_delay")


@pytest.mark.parametrize(
    ("status", "enforced", "words"),
    [
        ("opened", True, "The model still answers."),
        ("escalated", True, "The model is bypassed"),
        ("escalated", False, "The mode is observe"),
        ("resolved", True, "The model answers."),
    ],
)
def test_who_answers_is_told_as_it_is(status: str, enforced: bool, words: str) -> None:
    """The explanation claims a bypass only where there is one, and so does the fact sheet."""
    made = payload(status=status, enforced=enforced)
    assert words in offline.explain(made).summary
    assert words in facts.sheet(made)


def test_a_recovery_is_explained() -> None:
    """A resolved incident tells the recovery, what it had been about, and what to do after it."""
    told = offline.explain(payload(reading(), status="resolved"))
    assert "back to NORMAL" in told.summary
    assert "Recovered after 3 consecutive calm runs." in told.summary
    assert f"It had been about this: {sentence(reading())}" in told.summary
    assert "relapse" in told.recommendations


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("value", [0.9, 0.001])
def test_every_signal_has_its_cause_and_its_advice(signal: Signal, value: float) -> None:
    """No signal is explained with silence, nor with a gap where a name should stand."""
    told = offline.explain(payload(reading(signal, "x" if signal.value.endswith("rate") else None, value)))
    assert told.likely_causes
    assert len(told.recommendations.splitlines()) >= 2
    assert "{" not in told.likely_causes + told.recommendations


def test_surer_than_healthy_is_told_apart() -> None:
    """A model that is too sure is another fault than one that is unsure."""
    sure = offline.explain(payload(reading(Signal.AVG_CONFIDENCE, None, 0.99))).likely_causes
    unsure = offline.explain(payload(reading(Signal.AVG_CONFIDENCE, None, 0.001))).likely_causes
    assert "surer" in sure
    assert "unsure" in unsure


def test_deviations_are_read_together() -> None:
    """Features that break at once have something in common, unless one excuses the others; harm goes with damage."""
    broken = [reading(Signal.MISSING_RATE, name) for name in ("dep_delay", "carrier", "distance")]
    told = offline.explain(payload(*broken)).likely_causes
    assert told.startswith("3 features broke together: suspect what they share")
    one, *two = (
        reading(Signal.BROKEN_RELATION_RATE, name, instead_of=instead)
        for name, instead in (
            ("dep_delay", ("carrier", "distance")),
            ("carrier", ("dep_delay",)),
            ("distance", ("dep_delay",)),
        )
    )
    either = offline.explain(payload(one, *two, reading(Signal.ESTIMATED_ACCURACY_LOSS, None))).likely_causes
    assert "broke together" not in either
    assert "that of the worse case: find out which of carrier, dep_delay, distance are damaged" in either
    assert "The values of dep_delay, or else carrier and distance, look healthy but belong to other rows" in either
    harmed = offline.explain(payload(reading(), reading(Signal.ESTIMATED_ACCURACY_LOSS, None))).likely_causes
    assert "goes with the damage to dep_delay" in harmed
    assert "no longer fits" not in harmed
    alone = offline.explain(payload(reading(Signal.CONFIDENCE_CHANGE, None))).likely_causes
    assert alone.startswith("No input deviates by itself")


def test_a_constant_is_named() -> None:
    """A number that stands in place of all others is told, which often is all that a person needs."""
    stuck = reading(Signal.REPEATED_VALUE_RATE)
    assert (
        "over and over, 999, as" in offline.explain(payload(stuck, repeated_values={"dep_delay": 999.0})).likely_causes
    )


def test_the_same_incident_is_explained_alike() -> None:
    """Nothing but the payload enters: twice the same text."""
    assert offline.explain(payload(reading())) == offline.explain(payload(reading()))


def test_a_clients_text_is_spelt_where_it_is_told() -> None:
    """Category names enter explanations and fact sheets quoted, cut and without markup."""
    found = reading(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.4)
    made = payload(found, new_values={"carrier": {HOSTILE: 99}})
    told = offline.explain(made)
    for text in (told.summary, told.likely_causes, told.recommendations, facts.sheet(made)):
        assert "<" not in text
        assert "release the model" not in text
        assert text.replace("\n", "").isprintable()
    assert json.dumps(HOSTILE)[9:15] in told.likely_causes


@given(payloads)
def test_every_payload_is_explained(made: IncidentPayload) -> None:
    """The observer is total: no incident goes without words."""
    told = offline.explain(made)
    assert told.summary
    assert told.recommendations
    assert told.likely_causes or made.status == "resolved"


@given(st.sampled_from(list(Signal)), st.sampled_from(list(Level)))
def test_the_sheet_tells_the_streak(signal: Signal, level: Level) -> None:
    """A language model is told for how many runs a signal has deviated."""
    made = payload(reading(signal, "x", level=level))
    assert "It has deviated in 3 runs in a row, severely in 3 of them." in facts.sheet(made)
