"""The fact sheet: every fact of a payload as a sentence of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.signals import Level, Signal
from stillsafe.observer import facts
from stillsafe.observer.advice import likely_causes
from stillsafe.observer.payload import IncidentPayload, Traffic
from tests.observer.incidents import payload, payloads, reading


@pytest.mark.parametrize(
    ("status", "opening"),
    [
        (
            "opened",
            "flights (model version 7) deviates from its healthy baseline: WARNING since 2026-03-01T12:40:00Z.",
        ),
        (
            "escalated",
            "The deviation of flights (model version 7), first detected at 2026-03-01T12:30:00Z, has become "
            "CRITICAL at 2026-03-01T12:40:00Z.",
        ),
        (
            "resolved",
            "flights (model version 7) is back to NORMAL since 2026-03-01T12:40:00Z. The incident had been detected "
            "at 2026-03-01T12:30:00Z.",
        ),
    ],
)
def test_the_opening_names_service_severity_and_time(status: str, opening: str) -> None:
    """Each step of an incident has its own opening, which begins the sheet."""
    incident = payload(status=status)
    assert facts.opening(incident) == opening
    assert facts.fact_sheet(incident).startswith(opening)


@given(st.sampled_from(list(Signal)), st.sampled_from(list(Level)))
def test_the_sheet_has_the_streak(signal: Signal, level: Level) -> None:
    """For how many consecutive runs a signal has deviated, and severely."""
    incident = payload(reading(signal, "x", level=level))
    assert "It has deviated in 3 runs in a row, severely in 3 of them." in facts.fact_sheet(incident)


@pytest.mark.parametrize(
    ("traffic", "text"),
    [
        (Traffic(612, 12, 3, 1), "612 predictions, 12 of them by the fallback; 3 refused requests; 1 model error."),
        (Traffic(1), "1 prediction, 0 of them by the fallback."),
    ],
)
def test_traffic_has_its_counts(traffic: Traffic, text: str) -> None:
    """Refusals and errors are left out where there are none."""
    assert (
        facts.traffic(payload(traffic=traffic))
        == f"The window from 2026-03-01T12:25:00Z to 2026-03-01T12:40:00Z holds {text}"
    )


@given(payloads)
def test_every_fact_is_on_its_own_line(incident: IncidentPayload) -> None:
    """The sheet has the sentence of every deviation and every likely cause."""
    lines = facts.fact_sheet(incident).splitlines()
    for deviation in incident.deviations:
        assert any(line.startswith(deviation.sentence) for line in lines)
    assert [line for line in lines if line.startswith("A likely cause: ")] == [
        f"A likely cause: {cause}" for cause in likely_causes(incident)
    ]
