"""What a request may contain: one specification per feature, and the check of a request against all of them.

Two kinds of bad input exist. What breaks the *hard limits* written here is refused and never reaches the model.
What the limits allow but the healthy period never showed is served, recorded, and judged by the monitor.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Value = float | int | bool | str | None
Row = dict[str, Value]

LONGEST_NAME_SHOWN = 80
MOST_VIOLATIONS_SHOWN = 50
LARGEST_INTEGER = 2**53  # beyond it a float, which is what a model gets, skips whole numbers


class FeatureType(StrEnum):
    """The four kinds of feature. A missing value is no kind of its own: see `FeatureSpec.required`."""

    NUMERIC = "numeric"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"


class Logged(StrEnum):
    """How a feature appears in the audit log: as it is, as a salted hash, or not at all."""

    KEEP = "keep"
    HASH = "hash"
    DROP = "drop"


class ViolationKind(StrEnum):
    """What can be wrong with one feature of a request."""

    MISSING = "missing"
    UNKNOWN_FEATURE = "unknown_feature"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    NOT_ALLOWED = "not_allowed"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken limit. Carries the feature and the rule, never the client's value."""

    feature: str
    kind: ViolationKind
    problem: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.problem}; allowed: {self.allowed}"


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The hard limits of one feature.

    Attributes:
        name: the key in a request.
        type: the kind of value.
        required: whether a request without it (or with null) is refused.
        minimum, maximum: inclusive limits of a number, or None for none.
        categories: the only categories accepted, or None for any: an unseen one is then measured, not refused.
        max_length: longest accepted category, in characters.
        log: how the value appears in the audit log.
    """

    name: str
    type: FeatureType
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    max_length: int = 200
    log: Logged = Logged.KEEP

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        words = {
            FeatureType.NUMERIC: "a number",
            FeatureType.INTEGER: "a whole number",
            FeatureType.BOOLEAN: "true or false",
            FeatureType.CATEGORY: f"a string of at most {self.max_length} characters",
        }[self.type]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum:g} to {self.maximum:g}"
        elif self.minimum is not None:
            words += f" of at least {self.minimum:g}"
        elif self.maximum is not None:
            words += f" of at most {self.maximum:g}"
        if self.categories is not None:
            shown = ", ".join(self.categories[:10]) + (", ..." if len(self.categories) > 10 else "")
            words = f"one of: {shown}"
        return words if self.required else f"{words}, or null"

    def check(self, value: object) -> Value | Violation:
        """The clean value, or what is wrong with it. A number that is NaN or infinite is always wrong."""
        if value is None:
            return self._wrong(ViolationKind.MISSING, "a value is required") if self.required else None
        match self.type:
            case FeatureType.BOOLEAN:
                return value if isinstance(value, bool) else self._wrong_type(value)
            case FeatureType.CATEGORY:
                return self._check_category(value)
            case FeatureType.NUMERIC | FeatureType.INTEGER:
                return self._check_number(value)

    def _check_category(self, value: object) -> Value | Violation:
        if not isinstance(value, str):
            return self._wrong_type(value)
        if len(value) > self.max_length:
            return self._wrong(ViolationKind.TOO_LONG, f"{len(value)} characters are too many")
        if self.categories is not None and value not in self.categories:
            return self._wrong(ViolationKind.NOT_ALLOWED, "not a known category")
        if not value.isprintable() and not _storable(value):
            return self._wrong(ViolationKind.NOT_ALLOWED, "not valid Unicode text")
        return value

    def _check_number(self, value: object) -> Value | Violation:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._wrong_type(value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            return self._wrong(ViolationKind.NOT_FINITE, "not a finite number")
        if self.type is FeatureType.INTEGER and not number.is_integer():
            return self._wrong(ViolationKind.WRONG_TYPE, "not a whole number")
        if self.type is FeatureType.INTEGER and abs(value) > LARGEST_INTEGER:
            return self._wrong(ViolationKind.ABOVE_MAXIMUM, "too large to be exact")
        if self.minimum is not None and number < self.minimum:
            return self._wrong(ViolationKind.BELOW_MINIMUM, "below the minimum")
        if self.maximum is not None and number > self.maximum:
            return self._wrong(ViolationKind.ABOVE_MAXIMUM, "above the maximum")
        return int(value) if self.type is FeatureType.INTEGER else number

    def _wrong_type(self, value: object) -> Violation:
        return self._wrong(ViolationKind.WRONG_TYPE, f"{_json_type(value)} is the wrong type")

    def _wrong(self, kind: ViolationKind, problem: str) -> Violation:
        return Violation(self.name, kind, problem, self.allowed)


@dataclass(frozen=True, slots=True)
class Schema:
    """All features of a service, in the order in which the model takes them."""

    features: tuple[FeatureSpec, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(spec.name for spec in self.features)

    @property
    def scorable_from_log(self) -> bool:
        """Whether the audit log holds all that the model needs, so that a shadow score is possible."""
        return all(spec.log is Logged.KEEP for spec in self.features)

    def validate(self, features: object) -> Row | tuple[Violation, ...]:
        """A clean row with every feature present (None where missing), or every violation, in schema order."""
        if not isinstance(features, Mapping):
            return (
                Violation(
                    "features", ViolationKind.WRONG_TYPE, f"{_json_type(features)} is the wrong type", "an object"
                ),
            )
        row: Row = {}
        wrong: list[Violation] = []
        for spec in self.features:
            checked = spec.check(features.get(spec.name))
            if isinstance(checked, Violation):
                wrong.append(checked)
            else:
                row[spec.name] = checked
        wrong.extend(self._unknown(features))
        if len(wrong) > MOST_VIOLATIONS_SHOWN:
            more = Violation(
                "...", ViolationKind.TOO_MANY, f"{len(wrong) - MOST_VIOLATIONS_SHOWN} more violations", "none"
            )
            wrong = [*wrong[:MOST_VIOLATIONS_SHOWN], more]
        return tuple(wrong) if wrong else row

    def _unknown(self, features: Mapping[str, object]) -> Iterable[Violation]:
        known = set(self.names)
        for name in features:
            if name not in known:
                allowed = "only the features of /v1/schema"
                yield Violation(_shown(name), ViolationKind.UNKNOWN_FEATURE, "no such feature", allowed)


def sanitise(schema: Schema, rows: Sequence[Row], salt: str) -> list[Row]:
    """The snapshots of clean rows that may be written down: kept, hashed or dropped feature by feature.

    A missing value stays visible as None when hashed, so that missing rates can still be watched.
    """
    if schema.scorable_from_log:
        return list(rows)
    kept = [spec for spec in schema.features if spec.log is not Logged.DROP]
    return [{spec.name: _told(spec, row[spec.name], salt) for spec in kept} for row in rows]


def _told(spec: FeatureSpec, value: Value, salt: str) -> Value:
    if spec.log is Logged.KEEP or value is None:
        return value
    return hashlib.sha256(f"{salt}\x00{value}".encode()).hexdigest()[:16]


def _storable(text: str) -> bool:
    """Whether every database takes it: a lone surrogate is no text, and PostgreSQL refuses the zero character."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: object) -> str:
    text = str(name).encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_NAME_SHOWN else text[:LONGEST_NAME_SHOWN] + "..."


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "an object"
    return "null" if value is None else "an array"
