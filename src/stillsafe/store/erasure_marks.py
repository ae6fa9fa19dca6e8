"""What an erasure keeps of the rows that it removes: salted hashes, by which a row that arrives again is recognised.

The salt is random and of one erasure. A hash is of an identifier or a feature's value, with its kind, by BLAKE2b.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from stillsafe.store.codec import storable

_HASH_BYTES = 16


class MarkKind(StrEnum):
    """What a hash is of."""

    PREDICTION = "prediction_id"
    """The service's identifier of a prediction."""
    REQUEST = "id"
    """The id that a client gave a request."""
    FEATURE = "feature"
    """A value of one feature, as the log has it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What rows to erase have in common; in clear, and never stored.

    Attributes:
        kind: the kind of value.
        value: the value; of a feature as the log has it.
        feature: the feature's name, else None.
    """

    kind: MarkKind
    value: Any
    feature: str | None = None

    def hash(self, salt: str) -> str:
        """The salted hash, 32 hexadecimal digits."""
        text = f"{self.kind.value}\0{self.feature or ''}\0{value_text(self.value)}"
        return blake2b(text.encode(), key=bytes.fromhex(salt), digest_size=_HASH_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class RowTraces:
    """That by which a row is recognised, wherever it is stored.

    Attributes:
        prediction_id: the service's identifier, or None in rows of the first releases.
        request_id: the client's id, or None.
        timestamp: of the request, aware UTC.
        features: the sanitised row.
    """

    prediction_id: str | None
    request_id: str | None
    timestamp: datetime
    features: Mapping[str, Any]


def value_text(value: object) -> str:
    """A value as text; equal numbers have one text, and no number has the text of a string."""
    if isinstance(value, bool) or value is None:
        return f"={value}"
    return f"={float(value)!r}" if isinstance(value, int | float) else f"'{storable(str(value))}"


class RowMatcher:
    """Recognises the rows of one erasure.

    Args:
        salt: of the erasure.
        at: its time, aware UTC: the same id or value in a later request is another matter.
        marks: kind, feature and hash of each mark.
    """

    def __init__(self, salt: str, at: datetime, marks: Iterable[tuple[str, str | None, str]]) -> None:
        self._salt, self._at = salt, at
        self._hashes: set[str] = set()
        self._features: set[str] = set()
        for kind, feature, digest in marks:
            self._hashes.add(digest)
            if kind == MarkKind.FEATURE and feature is not None:
                self._features.add(feature)

    @classmethod
    def of(cls, subjects: Collection[Subject], at: datetime, salt: str) -> "RowMatcher":
        """The matcher of an erasure that is not stored."""
        return cls(salt, at, [(each.kind, each.feature, each.hash(salt)) for each in subjects])

    def matches(self, row: RowTraces) -> bool:
        """Whether the erasure is of this row."""
        if row.prediction_id is not None and self._has(MarkKind.PREDICTION, row.prediction_id):
            return True
        if row.timestamp.astimezone(UTC) > self._at:
            return False
        if row.request_id is not None and self._has(MarkKind.REQUEST, row.request_id):
            return True
        return any(
            name in row.features and self._has(MarkKind.FEATURE, row.features[name], name) for name in self._features
        )

    def _has(self, kind: MarkKind, value: object, feature: str | None = None) -> bool:
        return Subject(kind, value, feature).hash(self._salt) in self._hashes
