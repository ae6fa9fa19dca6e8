"""What `Guard` returns and raises: answers, the state, and the errors of single requests."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Violation
from stillsafe.errors import StillsafeError
from stillsafe.serving.problems import schema_problem
from stillsafe.serving.schemas import prediction_document
from stillsafe.store.records import PredictionRecord


class InvalidFeatures(StillsafeError):
    """A request that breaks the schema. It is recorded as a refusal, which is evidence, and has no answer.

    Args:
        violations: what is wrong: `feature`, `kind`, `problem` and `allowed` of each.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(schema_problem(self.violations).detail)


class IdInUse(StillsafeError):
    """The id belongs to an earlier request with other content."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer, which was recorded before it was returned. The fields are those of `POST /v1/predict`.

    Attributes:
        prediction_id: unique; labels can name it.
        id: your id of the request, or None.
        timestamp: aware UTC.
        prediction: the answer; None where the fallback abstains.
        confidence: in [0, 1]; None in an answer of the fallback.
        model_version: the served version.
        system_state: NORMAL, WARNING or DEGRADED: the state that applied.
        fallback_used: whether the fallback answered.
        decided_by: `model` or `fallback`.
        fallback_kind: `rules`, `model` or `abstain` of an answer of the fallback, or None.
        reason: why, for a person.
        monitor_stale: whether the monitor has not run for two intervals, or never.
        watched: whether the model version has an active baseline.
        judged: whether runs still reach conclusions about the version's requests.
        judged_at: end of the window of the last run that did, or None.
        probabilities: class -> probability, or None.
    """

    prediction_id: str
    id: str | None
    timestamp: datetime
    prediction: Answer | None
    confidence: float | None
    model_version: str
    system_state: str
    fallback_used: bool
    decided_by: str
    fallback_kind: str | None
    reason: str
    monitor_stale: bool
    watched: bool
    judged: bool
    judged_at: datetime | None
    probabilities: dict[str, float] | None

    @classmethod
    def of(cls, record: PredictionRecord) -> "Prediction":
        """The answer of a record."""
        return cls(**prediction_document(record) | {"timestamp": record.timestamp, "judged_at": record.judged_at})

    def document(self) -> dict[str, Any]:
        """The answer as JSON types, as `POST /v1/predict` has it."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        times = {name: value.isoformat() for name in ("timestamp", "judged_at") if (value := document[name])}
        return document | times


@dataclass(frozen=True, slots=True)
class GuardState:
    """The state that applies at a moment, and what follows from it.

    Attributes:
        state: NORMAL, WARNING or DEGRADED.
        reason: why the state is what it is.
        is_bypassed: whether the model must not answer. `Guard.predict` heeds it; a caller with a model elsewhere uses
            `Guard.fallback` instead of its model.
        bypass_reason: why, or None.
        damaged_features: features that the fallback does not read.
        monitor_stale, watched, judged, judged_at: as in `Prediction`.
        mode: `enforce` or `observe`.
        model_version: the served version.
    """

    state: str
    reason: str
    is_bypassed: bool
    bypass_reason: str | None
    damaged_features: tuple[str, ...]
    monitor_stale: bool
    watched: bool
    judged: bool
    judged_at: datetime | None
    mode: str
    model_version: str
