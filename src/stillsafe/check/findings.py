"""What `check` reports: a finding per subject, with a verdict."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How one check ended."""

    OK = "ok"  #: Nothing to do.
    WARNING = "warning"  #: The service works, but something weakens it.
    ERROR = "error"  #: The service, its monitor or its observer would fail.


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked.
        verdict: how the check ended.
        message: the facts, and the remedy unless the verdict is `OK`.
    """

    subject: str
    verdict: Verdict
    message: str


def ok(subject: str, message: str) -> Finding:
    """A finding without a problem."""
    return Finding(subject, Verdict.OK, message)


def warning(subject: str, message: str) -> Finding:
    """A finding about something that weakens the service."""
    return Finding(subject, Verdict.WARNING, message)


def error(subject: str, message: str) -> Finding:
    """A finding about something that would fail."""
    return Finding(subject, Verdict.ERROR, message)
