"""A time as text: ISO 8601 in UTC with `Z`, in every sentence, log line and command."""

from datetime import UTC, datetime


def time_text(at: datetime) -> str:
    """A time to the second, such as `2026-01-31T12:00:00Z`; a datetime without an offset is UTC."""
    return f"{_in_utc(at):%Y-%m-%dT%H:%M:%SZ}"


def exact_time_text(at: datetime, timespec: str = "auto") -> str:
    """A time with all its digits, or with those of `timespec` (as `datetime.isoformat` has it)."""
    return _in_utc(at).isoformat(timespec=timespec).replace("+00:00", "Z")


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
