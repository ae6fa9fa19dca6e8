"""Grounding: the payload's numbers pass in every usual notation, and no other number passes."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.signals import Level, Signal
from stillsafe.observer import facts, offline
from stillsafe.observer.grounding import MARK, mark_unverified, unverified_numbers
from stillsafe.observer.payload import IncidentPayload
from tests.observer.incidents import payload, payloads, reading

PAYLOAD = payload(
    reading(),
    reading(Signal.AVG_CONFIDENCE, None, 0.614, Level.MODERATE, reference=0.861),
    reading(Signal.SILENCE_SECONDS, None, 5400.0, reference=600.0, moderate_limit=3600.0, severe_limit=None),
    reading(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.31, sample_count=12345),
    new_values={"carrier": {"set 99 percent": 7}},
    model_version="1.2.3",
)


def unverified(text: str, incident: IncidentPayload = PAYLOAD) -> list[str]:
    return [number.number for number in unverified_numbers(text, incident)]


@pytest.mark.parametrize(
    "text",
    [
        "0.97 of the values, or 97%, 97 %, 97.0 percent, 97 per cent",
        "Mean confidence fell from 0.861 to 0.614 (0.86 to 0.61, or 86.1% to 61.4%)",
        "It fell by 0.247, that is 24.7 percentage points or 28.7%",
        "missing went up by 95 points, the limit is +5.0 points",
        "612 predictions, 12,345 values, with a narrow space \u202f: 12\u202f345, 12'345, 12.345k",
        "at 12:40, 12:40:00 UTC, 12:40 PM, 2026-03-01T12:40:00Z, 2026-03-01 12:40, March 1, 2026, 1st March, in 2026",
        "silent for 5400 s, 90 minutes, 1.5 hours; more than 1 hour or 3600 seconds is unusual",
        "a 15-minute window, detected 10 min before",
        "3 runs in a row; 4 signals; 2 rules, then 0.5",
        "model version 1.2.3, incident inc-20260301T123000-000000",
        'such as "set 99 percent"',
        "1. Look at the feed.\n2. Look at the join.\n 3) Retrain.",
        "no number at all, two or three words",
    ],
)
def test_supported_numbers_are_grounded(text: str) -> None:
    """Rates and percentages, rounded, with separators, as distances, times and dates."""
    assert unverified(text) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("The baseline was 0.75 and is 0.49 now", ["0.75", "0.49"]),
        ("a 3-day delay", ["3"]),
        ("97 predictions", ["97"]),
        ("612% more", ["612%"]),
        ("0.614% of it", ["0.614%"]),
        ("about 5.5 of it; 100% of them", ["5.5", "100%"]),
        ("-0.97 of the values", ["-0.97"]),
        (
            "at 12:41, on 2026-03-02, March 2, 2026 or 1 March 2025",
            ["12:41", "2026-03-02", "March 2, 2026", "1 March 2025"],
        ),
        ("99 percent of them", ["99"]),
        ("v1.2.34 of GPT8", ["1.2", "34", "8"]),
        ("600 predictions, 12.4k values", ["600", "12.4"]),
        ("½ of them, ²", ["½", "²"]),
        ("٩٨٪ is no share of ours: ٩٨", ["٩٨", "٩٨"]),
        ("1e9 of 1e999", ["1e9", "1e999"]),
        ("97.4 %", ["97.4 %"]),
    ],
)
def test_unsupported_numbers_are_returned(text: str, numbers: list[str]) -> None:
    """Invented numbers, right numbers in the wrong unit, wrong signs, and a client's number without its quotes."""
    assert unverified(text) == numbers


@given(payloads)
def test_the_offline_texts_are_grounded(incident: IncidentPayload) -> None:
    """Every number of the fact sheet and of the offline explanation is grounded, for any incident."""
    explanation = offline.explain(incident)
    texts = (explanation.summary, explanation.likely_causes, explanation.recommendations)
    for text in (facts.fact_sheet(incident), *texts):
        assert unverified(text, incident) == []


@given(payloads, st.text(alphabet=st.sampled_from("0123456789.,:%- eEkm½\n[]abT٣"), max_size=60) | st.text())
def test_positions_are_exact_and_only_marks_are_added(incident: IncidentPayload, text: str) -> None:
    """For any text the positions are in order and do not overlap, and marking adds nothing but marks."""
    numbers = unverified_numbers(text, incident)
    assert all(text[number.start : number.end] == number.number for number in numbers)
    assert all(number.end <= next_number.start for number, next_number in pairwise(numbers))
    marked_text = mark_unverified(text, numbers)
    assert len(marked_text) == len(text) + len(numbers) * len(MARK)
    for count, number in enumerate(numbers):
        end = number.end + count * len(MARK)
        assert marked_text[:end].endswith(number.number)
        assert marked_text[end:].startswith(MARK)


@given(payloads, st.integers(10**9, 10**12))
def test_a_distant_number_is_never_grounded(incident: IncidentPayload, number: int) -> None:
    """A number far from every number of the payload is returned in every notation."""
    for text in (f"{number}", f"{number:,}", f"{number}%", f"around {number} hours", f"x{number}"):
        assert len(unverified_numbers(text, incident)) == 1
        assert re.sub(r"\D", "", unverified_numbers(text, incident)[0].number) == str(number)
