"""Laws of `[exposure]`: a host name is what a Host header can hold without its port, and nothing else."""

from typing import Any

import pytest
from pydantic import ValidationError

from stillsafe.settings_exposure import Exposure, is_loopback


def test_nothing_written_is_the_default() -> None:
    """A settings file of an earlier release has no such section."""
    assert (Exposure().allowed_hosts, Exposure().keys, Exposure().trusted_proxies) == ((), None, ())


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


@pytest.mark.parametrize(
    ("value", "network"),
    [("10.0.0.7", "10.0.0.7/32"), ("10.0.0.0/24", "10.0.0.0/24"), ("::1", "::1/128"), ("fd00::/64", "fd00::/64")],
)
def test_proxies_are_addresses_and_networks(value: str, network: str) -> None:
    """An address is a network of one."""
    assert Exposure(trusted_proxies=[value]).trusted_proxies == (network,)  # type: ignore[arg-type] # as TOML has it


@pytest.mark.parametrize("value", ["", "proxy.example.com", "10.0.0.7/24", "10.0.0.0/33", "0.0.0.0/0", "::/0", "*", 7])
def test_a_proxy_that_cannot_be_told_is_refused(value: Any) -> None:
    """A name may change its address; every address would let any client claim to be any other."""
    with pytest.raises(ValidationError):
        Exposure(trusted_proxies=[value])  # type: ignore[arg-type] # as TOML has it


@pytest.mark.parametrize("value", ["yes", 1, "true"])
def test_whether_keys_are_needed_is_true_or_false(value: Any) -> None:
    """Nothing that only looks like it."""
    with pytest.raises(ValidationError):
        Exposure(keys=value)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    """By address, or by its one name; any other name may be anywhere."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.7", "models.example.com", ""]))  # noqa: S104 - not listened on
