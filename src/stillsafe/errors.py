"""Everything that Stillsafe raises on purpose, drawn as one tree.

    StillsafeError
    ├── ConfigurationError      the service folder is wrong: a person must mend it (exit 2)
    │   ├── ModelError          the model file cannot be trusted, loaded or served
    │   └── RuleError           a fallback rule does not compile or does not fit the schema
    ├── RefusedError            the command is right, its premises are not (exit 1)
    │   ├── BaselineRefused     the period contradicts itself or is too small
    │   └── RunRefused          a monitoring run cannot take place now
    ├── ObserverFailed          nobody explained an incident: nothing depends on it
    ├── InvalidInput            a prediction request breaks the schema (HTTP 422)
    └── StoreError              the database cannot be read or written (HTTP 503, exit 1)
        ├── StoreUnavailable    it cannot be reached, or cannot serve now: another time it may
        └── SchemaMismatch      the database belongs to another version of Stillsafe (exit 2)

Each error carries its evidence as attributes and reads as one sentence that says what to do. Nothing here
knows HTTP or SQL: one table in `serving/app` and one in `cli` translate.
"""

from collections.abc import Sequence
from enum import StrEnum


class StillsafeError(Exception):
    """Base of every error that Stillsafe raises on purpose."""


class ConfigurationError(StillsafeError):
    """The configuration is wrong.

    Args:
        problem: what is wrong, one sentence.
        remedy: what to do about it, one sentence, or empty.
        file: the file at fault, or None.
        line: the line in that file, counted from 1, or None.
    """

    def __init__(self, problem: str, remedy: str = "", *, file: str | None = None, line: int | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = file
        self.line = line
        place = "" if file is None else f"{file}: " if line is None else f"{file}, line {line}: "
        super().__init__(f"{place}{problem}" + (f" {remedy}" if remedy else ""))


class ModelError(ConfigurationError):
    """The model file cannot be trusted, loaded or served."""


class RuleError(ConfigurationError):
    """A fallback rule does not compile, or does not fit the schema."""


class RefusedError(StillsafeError):
    """The command was understood and declined; the message says why."""


class BaselineRefused(RefusedError):
    """A period that cannot stand for healthy behaviour.

    Args:
        problem: one sentence.
        evidence: the readings' sentences that show it.
    """

    def __init__(self, problem: str, evidence: Sequence[str] = ()) -> None:
        self.problem = problem
        self.evidence = tuple(evidence)
        super().__init__("\n  - ".join([problem, *evidence]))


class RunRefused(RefusedError):
    """A monitoring run cannot take place now."""


class Failure(StrEnum):
    """How an observer failed."""

    NOT_INSTALLED = "not installed"
    NO_KEY = "no key"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    LIMITED = "limited"
    SLOW = "slow"
    BROKEN = "broken"
    TOO_LONG = "too long"
    UNUSABLE = "unusable"


class ObserverFailed(StillsafeError):
    """An observer gave no explanation.

    Args:
        kind: how it failed, for programs.
        told: the same in words of ours: never the server's.
    """

    def __init__(self, kind: Failure, told: str) -> None:
        self.kind = kind
        super().__init__(f"The language model gave no explanation: {told}.")


class InvalidInput(StillsafeError):
    """A request that breaks the schema; the violations name each feature."""

    def __init__(self, violations: Sequence[object]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(str(violation) for violation in violations))


class StoreError(StillsafeError):
    """The database cannot be read or written.

    Args:
        told: what happened, one sentence, for whoever runs the service.
        reason: the same in words that any client may read, or empty: a driver may name hosts and users.
    """

    def __init__(self, told: str, *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(told)


class StoreUnavailable(StoreError):
    """The database cannot be reached, or cannot serve now; what it holds may be in order."""


class SchemaMismatch(StoreError):
    """The database belongs to another version of Stillsafe."""
