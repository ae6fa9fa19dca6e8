"""Requests against the schema, and what of them may be written down."""

import math

import pytest

from stillsafe.core.schema import (
    FeatureSpec,
    FeatureType,
    LogMode,
    Row,
    Schema,
    Value,
    Violation,
    ViolationKind,
    sanitise,
)

TEMP = FeatureSpec("temp", FeatureType.NUMERIC, minimum=-50, maximum=60)
STOPS = FeatureSpec("stops", FeatureType.INTEGER, required=False, minimum=0)
HOLIDAY = FeatureSpec("holiday", FeatureType.BOOLEAN)
CARRIER = FeatureSpec("carrier", FeatureType.CATEGORY, max_length=5)
TITLE = FeatureSpec("title", FeatureType.TEXT, required=False, max_length=12)
DAY = FeatureSpec("day", FeatureType.DATE)
ORIGIN = FeatureSpec("origin", FeatureType.CATEGORY, categories=("EWR", "JFK", "LGA"))
SCHEMA = Schema((TEMP, STOPS, HOLIDAY, CARRIER, ORIGIN))
GOOD: Row = {"temp": 21.5, "stops": 1, "holiday": False, "carrier": "UA", "origin": "JFK"}


def kind(spec: FeatureSpec, value: object) -> str | None:
    """What is wrong with a value, or None."""
    result = spec.check(value)
    return result.kind if isinstance(result, Violation) else None


def violations(features: object, schema: Schema = SCHEMA) -> tuple[Violation, ...]:
    """What is wrong with a request that must be refused."""
    result = schema.validate(features)
    assert isinstance(result, tuple)
    return result


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        (TITLE, 3, ViolationKind.WRONG_TYPE),
        (TITLE, "x" * 13, ViolationKind.TOO_LONG),
        (TITLE, "a\0b", ViolationKind.NOT_ALLOWED),
        (TITLE, "Neues Boot", None),
        (TITLE, None, None),
        (DAY, 20260131, ViolationKind.WRONG_TYPE),
        (DAY, "31/01/2026", ViolationKind.NOT_ALLOWED),
        (DAY, "2026-02-29", ViolationKind.NOT_ALLOWED),
        (DAY, "2024-02-29", None),
        (DAY, "2026-01-31T12:00:00.5Z", None),
        (DAY, "2026-01-31 12:00+01:00", None),
        (TEMP, None, ViolationKind.MISSING),
        (TEMP, "21", ViolationKind.WRONG_TYPE),
        (TEMP, True, ViolationKind.WRONG_TYPE),
        (TEMP, [1.0], ViolationKind.WRONG_TYPE),
        (TEMP, {"value": 1.0}, ViolationKind.WRONG_TYPE),
        (TEMP, math.nan, ViolationKind.NOT_FINITE),
        (TEMP, math.inf, ViolationKind.NOT_FINITE),
        (TEMP, float("1e999"), ViolationKind.NOT_FINITE),
        (TEMP, 10**400, ViolationKind.NOT_FINITE),
        (TEMP, -(10**400), ViolationKind.NOT_FINITE),
        (TEMP, -50.1, ViolationKind.BELOW_MINIMUM),
        (TEMP, 61, ViolationKind.ABOVE_MAXIMUM),
        (STOPS, 1.5, ViolationKind.WRONG_TYPE),
        (STOPS, False, ViolationKind.WRONG_TYPE),
        (STOPS, math.nan, ViolationKind.NOT_FINITE),
        (STOPS, -1, ViolationKind.BELOW_MINIMUM),
        (HOLIDAY, 0, ViolationKind.WRONG_TYPE),
        (HOLIDAY, "true", ViolationKind.WRONG_TYPE),
        (CARRIER, 7, ViolationKind.WRONG_TYPE),
        (CARRIER, "United", ViolationKind.TOO_LONG),
        (CARRIER, "\ud800", ViolationKind.NOT_ALLOWED),
        (ORIGIN, "BOS", ViolationKind.NOT_ALLOWED),
    ],
)
def test_what_breaks_a_hard_limit_is_refused(spec: FeatureSpec, value: object, expected: ViolationKind) -> None:
    """A value that the schema does not allow never becomes a clean one."""
    assert kind(spec, value) is expected


@pytest.mark.parametrize(
    ("spec", "value", "clean"),
    [
        (TEMP, 21, 21.0),
        (TEMP, -50, -50.0),
        (TEMP, 60.0, 60.0),
        (STOPS, 3.0, 3),
        (STOPS, None, None),
        (HOLIDAY, True, True),
        (CARRIER, "", ""),
        (CARRIER, "é\n漢", "é\n漢"),
        (ORIGIN, "EWR", "EWR"),
    ],
)
def test_what_the_limits_allow_comes_out_clean(spec: FeatureSpec, value: object, clean: Value) -> None:
    """A good value keeps its meaning and gets the feature's own type."""
    result = spec.check(value)
    assert result == clean
    assert type(result) is type(clean)


def test_a_clean_row_has_every_feature_in_schema_order() -> None:
    """The model always sees the same columns in the same order, whatever the client's."""
    shuffled_row = {name: GOOD[name] for name in reversed(SCHEMA.names) if name != "stops"}
    row = SCHEMA.validate(shuffled_row)
    assert isinstance(row, dict)
    assert list(row) == ["temp", "stops", "holiday", "carrier", "origin"]
    assert row["stops"] is None


def test_every_violation_is_told_at_once() -> None:
    """A client mends a request in one go: all that is wrong is named, in schema order, the unknown last."""
    problems = violations({"temp": "hot", "origin": "BOS", "carrier": "UA", "colour": 1})
    description = [(violation.feature, violation.kind) for violation in problems]
    assert description == [
        ("temp", ViolationKind.WRONG_TYPE),
        ("holiday", ViolationKind.MISSING),
        ("origin", ViolationKind.NOT_ALLOWED),
        ("colour", ViolationKind.UNKNOWN_FEATURE),
    ]


@pytest.mark.parametrize("features", [None, [], "x", 3, True])
def test_a_request_is_an_object(features: object) -> None:
    """Anything but an object is refused as a whole."""
    (violation,) = violations(features)
    assert (violation.feature, violation.kind) == ("features", ViolationKind.WRONG_TYPE)


def test_a_violation_names_the_rule_and_never_the_value() -> None:
    """What is written about a refusal holds nothing that the client sent as a value."""
    private = "a-very-private-one!"
    description = " ".join(
        map(str, violations({**GOOD, "carrier": private, "origin": private, "temp": private, "stops": 987.5}))
    )
    assert private not in description
    assert "987" not in description
    assert "carrier: 19 characters are too many; allowed: a string of at most 5 characters" in description
    assert "origin: not a known category; allowed: one of: EWR, JFK, LGA" in description


def test_an_unknown_name_is_cut_and_made_printable() -> None:
    """A hostile name can neither flood a log nor break its encoding."""
    (long, invalid) = violations({**GOOD, "x" * 10_000: 1, "\ud800": 1})
    assert long.feature == "x" * 80 + "..."
    assert invalid.feature.encode()


def test_many_violations_are_cut_and_counted() -> None:
    """A request with ten thousand wrong names gets a short answer."""
    problems = violations({**GOOD, **{f"x{number}": 1 for number in range(10_000)}})
    assert len(problems) == 51
    assert problems[-1].kind is ViolationKind.TOO_MANY
    assert problems[-1].problem == "9950 more violations"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (TEMP, "a number from -50 to 60"),
        (STOPS, "a whole number of at least 0, or null"),
        (FeatureSpec("x", FeatureType.NUMERIC, maximum=1e6), "a number of at most 1e+06"),
        (FeatureSpec("x", FeatureType.TEXT, max_length=9), "a string of at most 9 characters"),
        (FeatureSpec("x", FeatureType.DATE, required=False), "a date in ISO 8601, such as 2026-01-31, or null"),
        (FeatureSpec("x", FeatureType.DATE, date_format="%d.%m.%Y"), "a date in %d.%m.%Y"),
        (HOLIDAY, "true or false"),
        (CARRIER, "a string of at most 5 characters"),
        (
            FeatureSpec("x", FeatureType.CATEGORY, categories=tuple("abcdefghijkl")),
            "one of: a, b, c, d, e, f, g, h, i, j, ...",
        ),
    ],
)
def test_the_allowed_values_are_told_in_words(spec: FeatureSpec, words: str) -> None:
    """A refusal says what would have been accepted."""
    assert spec.allowed == words


def log_schema(**features: LogMode) -> Schema:
    """A schema of categories, each logged as told."""
    return Schema(
        tuple(FeatureSpec(name, FeatureType.CATEGORY, required=False, log=log) for name, log in features.items())
    )


def test_a_snapshot_keeps_hashes_and_drops() -> None:
    """Only what may be written down is in the snapshot."""
    schema = log_schema(kept=LogMode.KEEP, hashed=LogMode.HASH, dropped=LogMode.DROP)
    (snapshot,) = sanitise(schema, [{"kept": "a", "hashed": "b", "dropped": "c"}], "salt")
    assert snapshot["kept"] == "a"
    assert set(snapshot) == {"kept", "hashed"}
    assert snapshot["hashed"] != "b"


def test_a_hash_is_stable_and_salted() -> None:
    """The same value hashes alike within a service, and unlike under another salt."""
    schema = log_schema(x=LogMode.HASH)
    one, again, other = (sanitise(schema, [{"x": "b"}], salt)[0]["x"] for salt in ("s", "s", "t"))
    assert one == again != other
    assert isinstance(one, str)
    assert len(one) == 16


def test_a_missing_value_stays_visible_when_hashed_and_not_when_dropped() -> None:
    """Missing rates can be watched without seeing a value; what is dropped leaves no trace."""
    schema = log_schema(hashed=LogMode.HASH, dropped=LogMode.DROP)
    assert sanitise(schema, [{"hashed": None, "dropped": None}], "salt") == [{"hashed": None}]


def test_a_shadow_score_needs_every_feature_kept() -> None:
    """What is hashed or dropped cannot be scored again."""
    assert log_schema(a=LogMode.KEEP).scorable_from_log
    assert not log_schema(a=LogMode.KEEP, b=LogMode.HASH).scorable_from_log
    assert not log_schema(a=LogMode.DROP).scorable_from_log


@pytest.mark.parametrize("value", [2**53 + 1, 10**300, 1e300, -(2**60)])
def test_an_integer_that_no_float_holds_exactly_is_refused(value: float) -> None:
    """A whole number beyond 2**53 would reach the model as another number."""
    result = FeatureSpec("n", FeatureType.INTEGER).check(value)
    assert isinstance(result, Violation)
    assert result.kind is ViolationKind.ABOVE_MAXIMUM


def test_the_zero_character_is_refused() -> None:
    """A category that one of the databases could not store is refused before anything is served."""
    result = FeatureSpec("town", FeatureType.CATEGORY).check("a\0b")
    assert isinstance(result, Violation)
    assert result.kind is ViolationKind.NOT_ALLOWED
