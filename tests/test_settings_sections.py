"""The sections: durations, addresses and secrets, and a documented meaning for every setting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stillsafe import settings_sections
from stillsafe.core.schema import FeatureType
from stillsafe.settings_sections import (
    LONGEST_SECONDS,
    Feature,
    Observer,
    Section,
    database_address,
    format_duration,
    parse_duration,
)

SECTIONS = [
    member
    for member in vars(settings_sections).values()
    if isinstance(member, type) and issubclass(member, Section) and member is not Section
]


@given(st.integers(min_value=1, max_value=int(LONGEST_SECONDS)) | st.floats(min_value=1e-9, max_value=LONGEST_SECONDS))
def test_durations_round_trip(length: float) -> None:
    """A formatted duration is parsed as exactly the same number of seconds."""
    assert parse_duration(format_duration(float(length))) == length


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """No text raises another error."""
    try:
        length = parse_duration(text)
    except ValueError as error:
        length = str(error)
    assert isinstance(length, float) or "is not a duration" in str(length)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_is_documented(section: type[Section]) -> None:
    """The reference page and the comments of a new settings file need a description of each."""
    assert section.__doc__
    assert all(field.description for field in section.model_fields.values())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_section_is_frozen_and_closed(section: type[Section]) -> None:
    """Settings never change after they are read, and an unknown key is an error."""
    assert section.model_config["frozen"] is True
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["strict"] is True


@pytest.mark.parametrize("address", ["mysql://me:s3cret@host/db", "sqlite://", "sqlite:///:memory:", "s3cret"])
def test_an_unsupported_database_is_never_quoted(address: str) -> None:
    """The address may contain a password."""
    with pytest.raises(ValueError, match=r"must (begin|name)") as error:
        database_address(address)
    assert "s3cret" not in str(error.value)


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every access; an empty variable is no key, and the key is no field of the section."""
    observer = Observer(key_variable="SHOP_KEY")
    for value, key in (("", None), ("sk-1", "sk-1")):
        monkeypatch.setenv("SHOP_KEY", value)
        assert observer.key == key
    assert "sk-1" not in repr(observer)


def test_limits_of_one_feature_name_its_signals() -> None:
    """Only signals of a feature have such limits, from 0 to 1, and only where the feature is watched."""
    feature = Feature(name="size", type=FeatureType.NUMERIC, limits={"missing_rate": 0.1, "out_of_range_rate": 1})
    assert feature.limits == {"missing_rate": 0.1, "out_of_range_rate": 1.0}
    assert feature.watch
    assert feature.spec().name == "size"
    with pytest.raises(ValidationError, match="is no signal of a feature; there are: missing_rate"):
        Feature(name="size", type=FeatureType.NUMERIC, limits={"refusal_rate": 0.1})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Feature(name="size", type=FeatureType.NUMERIC, limits={"missing_rate": 2})
    with pytest.raises(ValidationError, match="have no effect with `watch = false`"):
        Feature(name="size", type=FeatureType.NUMERIC, watch=False, limits={"missing_rate": 0.1})


def test_limits_must_fit_the_type_of_the_feature() -> None:
    """A category has no minimum, and a number no categories."""
    with pytest.raises(ValidationError, match="applies to numbers"):
        Feature(name="town", type=FeatureType.CATEGORY, minimum=1.0)
    with pytest.raises(ValidationError, match="applies to a category"):
        Feature(name="size", type=FeatureType.NUMERIC, categories=("a",))


@pytest.mark.parametrize(
    ("kind", "date_format", "problem"),
    [
        ("date", "%d.%m.%Y", ""),
        ("numeric", "seconds", ""),
        ("integer", "%Y%m%d", ""),
        ("date", "%d.%d.%Y", "repeats a part"),
        ("date", "%d.%q.%Y", "cannot be read back"),
        ("integer", "%Y%m%m", "repeats a part"),
        ("date", "day-first", "must be a format as %d.%m.%Y"),
        ("numeric", "hours", "must be seconds, milliseconds or a format as %Y%m%d"),
        ("category", "%d.%m.%Y", "applies to dates and numbers"),
    ],
)
def test_a_date_format_fits_its_type(kind: str, date_format: str, problem: str) -> None:
    """Texts have a format of `strptime`, numbers a unit or digits, and other types none."""
    document = {"name": "x", "type": kind, "date_format": date_format}
    if not problem:
        assert Feature.model_validate(document).spec().date_format == date_format
        return
    with pytest.raises(ValidationError, match=problem):
        Feature.model_validate(document)
