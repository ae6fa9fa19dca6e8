"""Every error that Stillsafe raises on purpose.

    StillsafeError
    ├── ConfigurationError      the service folder is wrong: correct it (exit 2)
    │   ├── ModelError          the model file cannot be trusted, loaded or served
    │   └── RuleError           a fallback rule does not compile or does not fit the schema
    ├── RefusedError            the command is valid, its preconditions are not met (exit 1)
    │   ├── BaselineRefused     the period is inconsistent or too small
    │   ├── NoModel             the service records a model elsewhere, and has none to ask (HTTP 409)
    │   └── RunRefused          a monitoring run cannot take place now
    │       └── RunAhead        its time is ahead of a clock (exit 2)
    ├── ObserverFailed          the language model gave no explanation; no decision depends on it
    └── StoreError              the database cannot be read or written (HTTP 503, exit 1)
        ├── StoreUnavailable    the database cannot be reached or cannot serve now: a retry may succeed
        └── SchemaMismatch      the database has the schema of another version of Stillsafe (exit 2)
            └── StoreMissing    there is no database, or an empty one, or one without the service (exit 2)

Each error carries its evidence as attributes, and its message is one sentence with the remedy. `serving/problems`
maps errors to HTTP, and `cli/app` to exit codes.
"""

from collections.abc import Sequence
from enum import StrEnum


class StillsafeError(Exception):
    """Base of every error that Stillsafe raises on purpose."""


class ConfigurationError(StillsafeError):
    """The configuration is wrong.

    Args:
        problem: what is wrong, one sentence.
        remedy: how to correct it, one sentence, or empty.
        file: the file with the mistake, or None.
        line: the line in that file, counted from 1, or None.
    """

    def __init__(self, problem: str, remedy: str = "", *, file: str | None = None, line: int | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = file
        self.line = line
        location = "" if file is None else f"{file}: " if line is None else f"{file}, line {line}: "
        super().__init__(f"{location}{problem}" + (f" {remedy}" if remedy else ""))


class ModelError(ConfigurationError):
    """The model file cannot be trusted, loaded or served."""


class RuleError(ConfigurationError):
    """A fallback rule does not compile, or does not fit the schema."""


class RefusedError(StillsafeError):
    """A valid command whose preconditions are not met. The message gives the reason."""


class BaselineRefused(RefusedError):
    """A period that cannot serve as the healthy baseline.

    Args:
        problem: one sentence.
        evidence: the sentences of the readings that show it.
    """

    def __init__(self, problem: str, evidence: Sequence[str] = ()) -> None:
        self.problem = problem
        self.evidence = tuple(evidence)
        super().__init__("\n  - ".join([problem, *evidence]))


class NoModel(RefusedError):
    """A service that records the answers of an external model was to give one, or to score rows.

    Args:
        message: what to do in its place, one or two sentences.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "This service has no model to ask: it records the answers of a model elsewhere. Ask that model while "
            "/v1/state is not DEGRADED and send its answer to POST /v1/record (`Guard.record`); in DEGRADED, POST "
            "/v1/fallback (`Guard.fallback`) answers."
        )


class RunRefused(RefusedError):
    """A monitoring run cannot take place now."""


class RunAhead(RunRefused):
    """A monitoring run whose time is ahead of the clock, or a machine whose clock differs from the database server's.

    Args:
        problem: what differs, one sentence.
        remedy: how to correct it, one sentence.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}")


class Failure(StrEnum):
    """How an observer failed."""

    NOT_INSTALLED = "not installed"
    """The client library is missing."""
    NO_KEY = "no key"
    """The environment variable holds no key."""
    UNREACHABLE = "unreachable"
    """No connection to the server, or a connection that broke."""
    ACCESS_REFUSED = "refused"
    """The server answered 401, 403 or 404."""
    RATE_LIMITED = "limited"
    """The server answered 429: too many requests."""
    SLOW = "slow"
    """No answer within the timeout or the budget."""
    SERVER_ERROR = "broken"
    """The server answered with another error status."""
    TOO_LONG = "too long"
    """The answer exceeds the size limit."""
    UNUSABLE = "unusable"
    """The answer is empty, truncated or in another format."""


class ObserverFailed(StillsafeError):
    """An observer gave no explanation.

    Args:
        kind: how it failed, for programs.
        cause: how it failed, as a clause. It never quotes the server, whose text may hold the key.
    """

    def __init__(self, kind: Failure, cause: str) -> None:
        self.kind = kind
        super().__init__(f"The language model gave no explanation: {cause}.")


class StoreError(StillsafeError):
    """The database cannot be read or written.

    Args:
        message: one sentence for the operator.
        reason: a clause that any client may read, or empty: a driver's message may name hosts and users.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class StoreUnavailable(StoreError):
    """The database cannot be reached, or cannot serve now. Its data may be intact."""


class SchemaMismatch(StoreError):
    """The database has the schema of another version of Stillsafe."""


class StoreMissing(SchemaMismatch):
    """There is no database where the settings name one, or an empty one, or one that has never had the service."""
