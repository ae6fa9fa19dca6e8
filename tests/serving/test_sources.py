"""The source of a request: the same hash for the same client, which names nobody."""

from stillsafe.core.schema import salted_hash
from stillsafe.serving.sources import source_of


def test_a_source_is_a_salted_hash() -> None:
    """Equal for the same client and salt, another one for another client, salt or purpose."""
    source = source_of("address:192.0.2.7", "salt")
    assert source is not None
    assert len(source) == 16
    assert int(source, 16) >= 0
    assert source == source_of("address:192.0.2.7", "salt")
    others = {source_of("address:192.0.2.8", "salt"), source_of("address:192.0.2.7", "other")}
    assert source not in others | {salted_hash("address:192.0.2.7", "salt")}


def test_without_a_client_or_a_salt_there_is_no_source() -> None:
    """An unsalted hash of an address can be found by trial, so nothing is kept."""
    assert source_of("", "salt") is None
    assert source_of("address:192.0.2.7", "") is None
