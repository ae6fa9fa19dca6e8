"""The valid keys, read from the store twice a second and kept in between.

A new key and a revocation are in force within two seconds in every process. While the store cannot be read, the keys
that were read last stay valid, because predictions go on as well.
"""

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from stillsafe.errors import StoreError
from stillsafe.logs import LogEvent
from stillsafe.serving.access.keys import key_digest
from stillsafe.serving.recording_log import RecordingLog
from stillsafe.store.read.keys import KeyRecord

RENEWAL_SECONDS = 0.5
"""Age after which the keys are read again, while requests go on with the known ones."""
LONGEST_SECONDS = 1.0
"""Age after which a request waits for the new ones."""
PATIENCE_SECONDS = 0.8
"""How long it waits for a store that does not answer before it goes on with the known ones."""
OUTAGE_SECONDS = 10.0
"""For so long after a failure no request waits: in an outage each of them would."""
LONGEST_FIRST_SECONDS = 10.0
"""How long it waits where no keys are known yet."""


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The valid keys, by digest and by id."""

    by_digest: Mapping[str, KeyRecord]
    by_id: Mapping[int, KeyRecord]

    @classmethod
    def of(cls, records: Sequence[KeyRecord]) -> "KeyTable":
        """The table of some keys."""
        return cls({each.digest: each for each in records}, {each.id: each for each in records})

    def key(self, presented_key: bytes) -> KeyRecord | None:
        """The record of a key that a client presents, or None if it is not valid.

        The time depends on the digest alone, of which a client knows nothing that helps to guess a key.
        """
        digest = key_digest(presented_key)
        record = self.by_digest.get(digest)
        return record if record is not None and hmac.compare_digest(record.digest, digest) else None


class KeyCache:
    """Keeps the valid keys of one process.

    Args:
        read: reads them from the store, in a thread.
    """

    def __init__(self, read: Callable[[], Sequence[KeyRecord]]) -> None:
        self._read = read
        self._records: Sequence[KeyRecord] = ()
        self._table: KeyTable | None = None
        self._checked_at = self._renewal_at = self._failed_at = float("-inf")
        self._renewal: asyncio.Task[None] | None = None
        self._log = RecordingLog(LogEvent.KEYS_UNREADABLE, LogEvent.KEYS_READABLE)

    def fresh_table(self) -> KeyTable | None:
        """The valid keys if they were read so recently that nothing has to be done, else None."""
        return self._table if monotonic() - self._checked_at < RENEWAL_SECONDS else None

    async def table(self) -> KeyTable:
        """The valid keys, at most a second old unless the store cannot be read.

        Raises:
            StoreError: they could never be read.
        """
        age = monotonic() - self._checked_at
        if age >= RENEWAL_SECONDS or self._table is None:
            renewal = self._renew()
            if age >= LONGEST_SECONDS or self._table is None:
                timeout = LONGEST_FIRST_SECONDS if self._table is None else self._patience()
                if timeout > 0:
                    await asyncio.wait({renewal}, timeout=timeout)
        if self._table is None:
            raise StoreError("The keys cannot be read, so nobody is let in.")
        return self._table

    def _patience(self) -> float:
        """How many seconds a request waits for the keys of now. A store that does not answer delays once."""
        now = monotonic()
        is_out = now - self._failed_at < OUTAGE_SECONDS
        return 0.0 if is_out else self._renewal_at + PATIENCE_SECONDS - now

    def _renew(self) -> asyncio.Task[None]:
        """The one task that reads the keys now."""
        if self._renewal is None or self._renewal.done() or self._renewal.get_loop() is not asyncio.get_running_loop():
            self._renewal = asyncio.create_task(self._read_keys())
            self._renewal_at = monotonic()
        return self._renewal

    async def _read_keys(self) -> None:
        begin = monotonic()
        try:
            records = await asyncio.to_thread(self._read)
        except StoreError as error:
            self._log.note_failure(error)
            self._failed_at = monotonic()
        else:
            self._log.note_success()
            if self._table is None or records != self._records:
                self._records, self._table = records, KeyTable.of(records)
        self._checked_at = begin
