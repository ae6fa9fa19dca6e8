"""Values of features that a person writes on a command line or in a file, as the log has them."""

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema, Value, salted_hash
from stillsafe.errors import ConfigurationError

TRUTHS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


def logged_feature(schema: Schema, name: str) -> FeatureSpec:
    """The feature of a name.

    Raises:
        ConfigurationError: there is none, or the log does not have it.
    """
    spec = next((each for each in schema.features if each.name == name), None)
    if spec is None:
        names = ", ".join(schema.names)
        raise ConfigurationError(f"{name!r} names no feature.", f"There are: {names}.")
    if spec.log is LogMode.DROP:
        raise ConfigurationError(f"The log does not have {name!r}.", "Name the rows by their ids.")
    return spec


def logged_value(spec: FeatureSpec, text: str, salt: str) -> Value:
    """What the log has of a feature's value that is given as text.

    Raises:
        ConfigurationError: the text is no value of the feature.
    """
    value = _value(spec, text)
    return salted_hash(value, salt) if spec.log is LogMode.HASH else value


def _value(spec: FeatureSpec, text: str) -> Value:
    try:
        if spec.type is FeatureType.BOOLEAN:
            return TRUTHS[text.lower()]
        if spec.type is FeatureType.INTEGER:
            return int(text) if text.lstrip("+-").isdigit() else int(float(text))
        return float(text) if spec.type is FeatureType.NUMERIC else text
    except (ValueError, KeyError, OverflowError):
        raise ConfigurationError(f"{text!r} is no value of {spec.name!r}.", f"Allowed is {spec.allowed}.") from None
