"""What a request may contain: one specification per feature, and the validation of a request against all of them.

Two kinds of bad input exist. Input that violates the *hard limits* of the schema is refused and never reaches the
model. Input that the limits allow but the healthy period did not contain is served, logged, and judged by the monitor.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

from stillsafe.core.text import display_name, join_names

Value = float | int | bool | str | None
Row = dict[str, Value]

MOST_VIOLATIONS_SHOWN = 50
MOST_CATEGORIES_SHOWN = 10
LARGEST_INTEGER = 2**53  # the model gets floats, which skip whole numbers beyond it


class FeatureType(StrEnum):
    """The kinds of feature. Values may be missing where `FeatureSpec.required` is false."""

    NUMERIC = "numeric"  #: A finite number.
    INTEGER = "integer"  #: A whole number.
    BOOLEAN = "boolean"  #: True or false.
    CATEGORY = "category"  #: A string of a set that hardly grows.
    TEXT = "text"  #: Words that hardly ever repeat, such as a title.
    IDENTIFIER = "identifier"  #: A string that hardly ever repeats, such as a number of an order.
    DATE = "date"  #: A date or a time as an ISO 8601 string.


OPEN_TYPES = frozenset((FeatureType.TEXT, FeatureType.IDENTIFIER, FeatureType.DATE))
"""Strings that are new all the time: they are watched by their form, see `monitoring.text_form`."""
TEXT_TYPES = OPEN_TYPES | {FeatureType.CATEGORY}
"""The kinds whose values are strings."""
_JSON_TYPES = (
    *((type(None), "null"), (bool, "a boolean"), (int | float, "a number"), (str, "a string"), (Mapping, "an object")),
)


class LogMode(StrEnum):
    """How a feature appears in the audit log: as it is, as a salted hash, or not at all."""

    KEEP = "keep"  #: The value itself.
    HASH = "hash"  #: A salted hash of it.
    DROP = "drop"  #: Nothing.


class ViolationKind(StrEnum):
    """What can be wrong with one feature of a request."""

    MISSING = "missing"  #: A required value is absent or null.
    UNKNOWN_FEATURE = "unknown_feature"  #: The schema has no such feature.
    WRONG_TYPE = "wrong_type"  #: The value is of another type, or the features are no object.
    NOT_FINITE = "not_finite"  #: NaN or infinity.
    BELOW_MINIMUM = "below_minimum"  #: Less than the feature's minimum.
    ABOVE_MAXIMUM = "above_maximum"  #: More than the feature's maximum, or than a float represents exactly.
    NOT_ALLOWED = "not_allowed"  #: Not one of the allowed categories, or not valid Unicode.
    TOO_LONG = "too_long"  #: More characters than allowed.
    TOO_MANY = "too_many"  #: Further violations that are not listed.


@dataclass(frozen=True, slots=True)
class Violation:
    """One defect of a request. Names the place and the rule, never the client's value.

    Attributes:
        feature: the feature, or the part of the request, at fault.
        kind: for a program: a `ViolationKind`, or the kind of a defect outside the features.
        problem: what is wrong, for a person.
        allowed: what would be right.
    """

    feature: str
    kind: str
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
        max_length: longest accepted string, in characters.
        log: how the value appears in the audit log.
        omittable: whether a request may leave out the feature where it may be null; see `check_instance`.
        date_format: of a date in texts a format of `strptime`, None for ISO 8601; of a number that is a time since 1970
            `seconds` or `milliseconds`.
    """

    name: str
    type: FeatureType
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    max_length: int = 200
    log: LogMode = LogMode.KEEP
    omittable: bool = True
    date_format: str | None = None

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        words = {
            FeatureType.NUMERIC: "a number",
            FeatureType.INTEGER: "a whole number",
            FeatureType.BOOLEAN: "true or false",
            FeatureType.DATE: f"a date in {self.date_format or 'ISO 8601, such as 2026-01-31'}",
        }.get(self.type, f"a string of at most {self.max_length} characters")
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum:g} to {self.maximum:g}"
        elif self.minimum is not None:
            words += f" of at least {self.minimum:g}"
        elif self.maximum is not None:
            words += f" of at most {self.maximum:g}"
        if self.categories is not None:
            is_hidden = self.log is not LogMode.KEEP
            names = join_names(self.categories, MOST_CATEGORIES_SHOWN)
            words = f"one of {len(self.categories)} strings that are not shown" if is_hidden else f"one of: {names}"
        return words if self.required else f"{words}, or null"

    def check(self, value: object) -> Value | Violation:
        """The clean value, or what is wrong with it. A number that is NaN or infinite is always wrong."""
        if value is None:
            return self._wrong(ViolationKind.MISSING, "a value is required") if self.required else None
        if self.type is FeatureType.BOOLEAN:
            return value if isinstance(value, bool) else self._wrong_type(value)
        return self._check_text(value) if self.type in TEXT_TYPES else self._check_number(value)

    def _check_text(self, value: object) -> Value | Violation:
        if not isinstance(value, str):
            return self._wrong_type(value)
        if len(value) > self.max_length:
            return self._wrong(ViolationKind.TOO_LONG, f"{len(value)} characters are too many")
        if self.categories is not None and value not in self.categories:
            return self._wrong(ViolationKind.NOT_ALLOWED, "not a known category")
        if not value.isprintable() and not _storable(value):
            return self._wrong(ViolationKind.NOT_ALLOWED, "not valid Unicode text")
        if self.type is FeatureType.DATE and self.date_format is None and not is_date(value):
            return self._wrong(ViolationKind.NOT_ALLOWED, "not a date in ISO 8601")
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
        """Whether the audit log has all inputs of the model, so that a shadow score is possible."""
        return all(spec.log is LogMode.KEEP for spec in self.features)

    def validate(self, features: object, most: int = MOST_VIOLATIONS_SHOWN) -> Row | tuple[Violation, ...]:
        """A clean row with every feature present (None where missing), or the violations, in schema order.

        Of more than `most` violations, the last one counts the others. Its cost does not grow with them.
        """
        if not isinstance(features, Mapping):
            problem = f"{_json_type(features)} is the wrong type"
            return (Violation("features", ViolationKind.WRONG_TYPE, problem, "an object"),)
        row: Row = {}
        violations: list[Violation] = []
        for spec in self.features:
            value = spec.check(features.get(spec.name))
            if isinstance(value, Violation):
                violations.append(value)
            else:
                row[spec.name] = value
        count = len(violations) + len(features) - sum(spec.name in features for spec in self.features)
        violations.extend(islice(self._unknown_features(features), max(most - len(violations), 0)))
        return summary(violations, count, most) if violations else row

    def _unknown_features(self, features: Mapping[str, object]) -> Iterable[Violation]:
        names = set(self.names)
        for name in features:
            if name not in names:
                allowed = "only the features of /v1/schema"
                yield Violation(display_name(name), ViolationKind.UNKNOWN_FEATURE, "no such feature", allowed)


def summary(violations: Sequence[Violation], count: int, most: int) -> tuple[Violation, ...]:
    """The first `most` of `count` violations, and one more that counts the others."""
    others = [Violation("...", ViolationKind.TOO_MANY, f"{count - most} more violations", "none")]
    return (*violations[:most], *(others if count > most else []))


def sanitise(schema: Schema, rows: Sequence[Row], salt: str) -> list[Row]:
    """The rows as the audit log may hold them: each feature as it is, hashed, or dropped.

    A missing value stays None where values are hashed, so that its rate can still be monitored.
    """
    if schema.scorable_from_log:
        return list(rows)
    specs = [spec for spec in schema.features if spec.log is not LogMode.DROP]
    return [{spec.name: _logged_value(spec, row[spec.name], salt) for spec in specs} for row in rows]


def _logged_value(spec: FeatureSpec, value: Value, salt: str) -> Value:
    if spec.log is LogMode.KEEP or value is None:
        return value
    return salted_hash(value, salt)


def salted_hash(value: Value, salt: str) -> str:
    """What the log holds of a hashed value: 16 hexadecimal digits."""
    return hashlib.sha256(f"{salt}\x00{value}".encode(errors="surrogatepass")).hexdigest()[:16]


def _storable(text: str) -> bool:
    """Whether every database accepts the text: none takes a lone surrogate, and PostgreSQL no zero character."""
    return "\0" not in text and text.encode(errors="ignore").decode() == text


def is_date(text: str) -> bool:
    """Whether a text is a date, or a date and a time, in ISO 8601."""
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _json_type(value: object) -> str:
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "an array")
