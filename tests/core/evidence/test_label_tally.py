"""Counts of labelled rows."""

from dataclasses import replace
from datetime import UTC, datetime

from stillsafe.core.evidence.label_tally import AnswerTally, LabelTally

AT = datetime(2026, 3, 2, tzinfo=UTC)


def test_coverage_is_a_share() -> None:
    """Of the predictions of the time; never more than all, and none without a prediction."""
    tally = LabelTally(AT, AT, 200, model=AnswerTally(40), unknown_count=10)
    assert tally.coverage == 0.25
    assert replace(tally, prediction_count=0).coverage == 0.0
    assert replace(tally, prediction_count=20).coverage == 1.0
