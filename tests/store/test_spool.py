"""Entries wait on disk, in order, and are forgotten only on purpose."""

import sqlite3
from pathlib import Path

import pytest

from stillsafe.errors import StoreError
from stillsafe.store.spool import Entry, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "stillsafe.spool.db")


def test_what_waits_comes_back_in_order_to_another_process(spool: Spool) -> None:
    """Entries are kept with their kinds and in the order of their arrival, whoever opens the file next."""
    entries = [Entry("prediction", {"number": number}) for number in range(5)]
    spool.append(entries[:3])
    spool.append(entries[3:])
    found = Spool(spool.path).first(10)
    assert [each.entry for each in found] == entries
    assert [each.entry for each in spool.first(2)] == entries[:2]
    spool.close()


def test_what_is_forgotten_is_gone_and_what_came_later_stays(spool: Spool) -> None:
    """A drainer forgets what it has moved and nothing that was added meanwhile, and ids are never given again."""
    spool.append([Entry("prediction", number) for number in range(3)])
    moved = spool.first(10)[-1].id
    spool.append([Entry("prediction", 3)])
    spool.forget(moved)
    assert [each.entry.document for each in spool.first(10)] == [3]
    spool.forget(moved + 1)
    spool.append([Entry("prediction", 4)])
    assert spool.first(1)[0].id > moved + 1
    spool.close()


def test_an_unused_spool_leaves_no_file(spool: Spool) -> None:
    """Asking whether anything waits makes nothing."""
    assert spool.count() == 0
    assert spool.first(10) == []
    assert not spool.path.exists()


def test_every_entry_is_synced(spool: Spool) -> None:
    """The file is in WAL mode with full sync: an entry outlives a power cut."""
    spool.append([Entry("prediction", 1)])
    assert spool._connection is not None
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_one_drainer_at_a_time(spool: Spool) -> None:
    """The second one is told so, and has its turn when the first has gone."""
    other = Spool(spool.path)
    with spool.alone() as first, other.alone() as second:
        assert (first, second) == (True, False)
    with other.alone() as again:
        assert again


def test_a_damaged_spool_is_told_and_not_taken_for_an_empty_one(spool: Spool) -> None:
    """Unknown is not empty."""
    spool.path.write_bytes(b"no database at all, but long enough to look like one" * 10)
    for ask in (spool.count, spool.require_writable, lambda: spool.append([Entry("prediction", 1)])):
        with pytest.raises(StoreError, match=r"stillsafe\.spool\.db cannot be"):
            ask()


def test_a_locked_spool_recovers_by_itself(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds it for too long costs the requests of that time, and no later ones."""
    monkeypatch.setattr("stillsafe.store.spool.BUSY_TIMEOUT_SECONDS", 0.05)
    spool.append([Entry("prediction", 1)])
    spool.close()
    holder = sqlite3.connect(spool.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        spool.append([Entry("prediction", 2)])
    holder.execute("ROLLBACK")
    holder.close()
    spool.append([Entry("prediction", 3)])
    assert [each.entry.document for each in spool.first(10)] == [1, 3]
    spool.close()
