"""The source of a request as the log holds it: a salted hash of its client, so that the log has no names."""

from functools import lru_cache

from stillsafe.core.schema import salted_hash

CACHE_SIZE = 4_096
"""Most clients whose hash is kept."""
_PURPOSE = "source\x00"
"""Before the client's text, so that the hash of a feature with the same text is another one."""


@lru_cache(maxsize=CACHE_SIZE)
def source_of(client: str, salt: str) -> str | None:
    """The hash of a client, 16 hexadecimal digits (64 bits); None for an unknown client, whose text is empty.

    Without a salt the addresses could be found by trial, so the log then holds no sources either.
    """
    return salted_hash(f"{_PURPOSE}{client}", salt) if client and salt else None
