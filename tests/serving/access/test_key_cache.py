"""Keys are read twice a second at most, and the last ones hold while the store cannot be read."""

import asyncio
import hmac
from collections.abc import Sequence
from threading import Event
from time import monotonic

import pytest

from stillsafe.errors import StoreError
from stillsafe.serving.access import key_cache
from stillsafe.serving.access.key_cache import KeyCache, KeyTable
from stillsafe.serving.access.keys import key_digest
from stillsafe.store.read.keys import KeyRecord
from tests.serving.services import NOW


def record(number: int, key: bytes) -> KeyRecord:
    """A key as it is stored."""
    return KeyRecord(number, f"key {number}", key_digest(key), ("read",), None, NOW)


class Store:
    """The keys, and how they are read."""

    def __init__(self) -> None:
        self.records: Sequence[KeyRecord] = [record(1, b"one")]
        self.error: StoreError | None = None
        self.count = 0
        self.is_open = Event()
        self.is_open.set()

    def __call__(self) -> Sequence[KeyRecord]:
        """The keys; waits while the store does not answer."""
        self.count += 1
        self.is_open.wait(30)
        if self.error is not None:
            raise self.error
        return list(self.records)


def test_a_key_is_found_by_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its digest, and the digests are compared in constant time."""
    comparisons = []

    def compare(left: str, right: str) -> bool:
        comparisons.append((left, right))
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    table = KeyTable.of([record(1, b"one"), record(2, b"two")])
    assert table.key(b"two") == table.by_id[2]
    assert [table.key(each) for each in (b"", b"tw", b"two ", b"TWO", b"three")] == [None] * 5
    assert comparisons == [(key_digest(b"two"),) * 2]


def test_many_requests_read_the_keys_once() -> None:
    """Those that come while they are read wait for the same ones."""
    store = Store()

    async def story() -> None:
        cache = KeyCache(store)
        tables = await asyncio.gather(*(cache.table() for _ in range(100)))
        assert len({id(table) for table in tables}) == 1
        for _ in range(100):
            await cache.table()

    asyncio.run(story())
    assert store.count == 1


def test_an_old_list_is_not_used_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause of any length a request waits for the keys of now; in between it does not wait."""
    now = [0.0]
    monkeypatch.setattr(key_cache, "monotonic", lambda: now[0])
    store = Store()

    async def story() -> None:
        cache = KeyCache(store)
        assert (await cache.table()).key(b"one")
        store.records = []
        now[0] = key_cache.RENEWAL_SECONDS - 0.01
        assert (await cache.table()).key(b"one")
        assert store.count == 1
        now[0] = key_cache.RENEWAL_SECONDS
        await cache.table()
        await asyncio.sleep(0.2)
        assert not (await cache.table()).by_id
        store.records = [record(2, b"two")]
        now[0] = 1e6
        assert (await cache.table()).key(b"two")

    asyncio.run(story())
    assert store.count == 3
    assert key_cache.LONGEST_SECONDS + key_cache.PATIENCE_SECONDS < 2


def test_an_outage_delays_requests_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they wait for a store that does not answer, and for one that fails: once, and again after a pause."""
    now, waits = [0.0], []
    monkeypatch.setattr(key_cache, "monotonic", lambda: now[0])

    async def wait(_tasks: object, timeout: float) -> None:
        waits.append(timeout)
        await asyncio.sleep(0.05)
        now[0] += 0.5

    store = Store()

    async def story() -> None:
        cache = KeyCache(store)
        await cache.table()
        monkeypatch.setattr(asyncio, "wait", wait)
        store.is_open.clear()
        store.error, now[0] = StoreError("out"), 10.0
        for _ in range(20):
            assert (await cache.table()).key(b"one")
        assert waits == pytest.approx([key_cache.PATIENCE_SECONDS, key_cache.PATIENCE_SECONDS - 0.5])
        store.is_open.set()
        await asyncio.sleep(0.2)
        for _ in range(20):
            now[0] += key_cache.LONGEST_SECONDS + 0.1
            assert (await cache.table()).key(b"one")
            await asyncio.sleep(0.02)
        assert len(waits) == 2
        store.error, store.records, now[0] = None, [], now[0] + 3600
        assert not (await cache.table()).by_id
        assert len(waits) == 3

    asyncio.run(story())


def test_the_last_list_holds_during_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the store does not answer at all, after a short wait; without any list there is an error."""
    now = [0.0]
    monkeypatch.setattr(key_cache, "monotonic", lambda: now[0])
    monkeypatch.setattr(key_cache, "PATIENCE_SECONDS", 0.05)
    store = Store()

    async def story() -> None:
        store.error = StoreError("out")
        cache = KeyCache(store)
        for _ in range(2):
            with pytest.raises(StoreError, match="nobody is let in"):
                await cache.table()
        store.error = None
        assert (await cache.table()).key(b"one")
        store.error, store.records, now[0] = StoreError("out"), [], 10.0
        assert (await cache.table()).key(b"one")
        store.is_open.clear()
        now[0] = 20.0
        begin = monotonic()
        assert (await cache.table()).key(b"one")
        assert monotonic() > begin
        store.error = None
        store.is_open.set()
        await asyncio.sleep(0.2)
        assert not (await cache.table()).by_id

    asyncio.run(story())
