"""One format of times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from stillsafe.core.evidence.time_text import exact_time_text, time_text

NOON = datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=UTC)


@pytest.mark.parametrize("at", [NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=5.5)))])
def test_every_time_is_utc_with_z(at: datetime) -> None:
    """Whatever the offset is, the text is UTC; what reads ISO 8601 gets the same moment back."""
    assert time_text(at) == "2026-01-31T12:00:00Z"
    assert exact_time_text(at) == "2026-01-31T12:00:00.000250Z"
    assert exact_time_text(at, "milliseconds") == "2026-01-31T12:00:00.000Z"
    assert datetime.fromisoformat(exact_time_text(at)) == NOON
