"""Laws of `[exposure]`: a host name is what a Host header can hold without its port, and nothing else."""

from typing import Any

import pytest
from pydantic import ValidationError

from stillsafe.settings_exposure import Exposure


def test_nothing_written_is_the_default() -> None:
    """A settings file of an earlier release has no such section."""
    assert Exposure().allowed_hosts == ()


def test_every_setting_is_documented() -> None:
    """The reference page and the comments of a new settings file need a description of each."""
    assert Exposure.__doc__
    assert all(field.description for field in Exposure.model_fields.values())


@pytest.mark.parametrize("name", ["models.example.com", "10.0.0.7", "fd00::7", "::1", "a_b", "models", "*"])
def test_names_and_addresses_are_accepted(name: str) -> None:
    """In lower case, because names are compared so."""
    assert Exposure(allowed_hosts=[name.upper()]).allowed_hosts == (name,)  # type: ignore[arg-type] # as TOML has it


@pytest.mark.parametrize(
    "value",
    ["https://models.example.com", "models.example.com:8000", "[::1]", "a/b", "me@a", "", " a", "*.a", "a..b", "a.", 7],
)
def test_what_no_host_name_is_is_refused(value: Any) -> None:
    """A scheme, a port or brackets would never match, so that the owner's own clients would be refused."""
    with pytest.raises(ValidationError):
        Exposure(allowed_hosts=[value])  # type: ignore[arg-type] # as TOML has it


def test_an_unknown_key_is_refused() -> None:
    """A mistyped key is no silent default."""
    with pytest.raises(ValidationError):
        Exposure(allowed_host=["a"])  # type: ignore[call-arg] # the mistake
