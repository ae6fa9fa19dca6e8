"""Values that a person writes have the form of the log."""

import pytest

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema, Value, salted_hash
from stillsafe.errors import ConfigurationError
from stillsafe.logged_value import logged_feature, logged_value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (FeatureType.NUMERIC, "41", 41.0),
        (FeatureType.INTEGER, "41", 41),
        (FeatureType.INTEGER, "41.0", 41),
        (FeatureType.BOOLEAN, "True", True),
        (FeatureType.BOOLEAN, "0", False),
        (FeatureType.IDENTIFIER, "007", "007"),
    ],
)
def test_a_text_becomes_the_features_value(kind: FeatureType, text: str, value: Value) -> None:
    """With its type; hashed where the log hashes it."""
    log_value = logged_value(FeatureSpec("x", kind), text, "salt")
    assert (log_value, type(log_value)) == (value, type(value))
    assert logged_value(FeatureSpec("x", kind, log=LogMode.HASH), text, "salt") == salted_hash(value, "salt")


def test_what_is_no_value_or_not_in_the_log_is_refused() -> None:
    """With a sentence that says what there is."""
    schema = Schema((FeatureSpec("x", FeatureType.NUMERIC), FeatureSpec("y", FeatureType.TEXT, log=LogMode.DROP)))
    assert logged_feature(schema, "x").name == "x"
    with pytest.raises(ConfigurationError, match="names no feature"):
        logged_feature(schema, "z")
    with pytest.raises(ConfigurationError, match="does not have 'y'"):
        logged_feature(schema, "y")
    for kind in (FeatureType.NUMERIC, FeatureType.INTEGER, FeatureType.BOOLEAN):
        with pytest.raises(ConfigurationError, match="is no value"):
            logged_value(FeatureSpec("x", kind), "many", "salt")
