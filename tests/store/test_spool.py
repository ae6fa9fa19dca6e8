"""The spool: entries are on the disk, in order, until they are deleted."""

import sqlite3
from pathlib import Path

import pytest

from stillsafe.errors import StoreError
from stillsafe.store.spool import Entry, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "stillsafe.spool.db")


def test_another_process_reads_the_entries_in_order(spool: Spool) -> None:
    """Entries keep their kinds and their order of arrival, whichever process opens the file next."""
    entries = [Entry("prediction", {"number": number}) for number in range(5)]
    spool.append(entries[:3])
    spool.append(entries[3:])
    assert [each.entry for each in Spool(spool.path).oldest(10)] == entries
    assert [each.entry for each in spool.oldest(2)] == entries[:2]
    spool.close()


def test_only_entries_up_to_the_id_are_deleted(spool: Spool) -> None:
    """A drainer deletes what it has moved and no later entry, and no id is assigned twice."""
    spool.append([Entry("prediction", number) for number in range(3)])
    last_id = spool.oldest(10)[-1].id
    spool.append([Entry("prediction", 3)])
    spool.delete_up_to(last_id)
    assert [each.entry.document for each in spool.oldest(10)] == [3]
    spool.delete_up_to(last_id + 1)
    spool.append([Entry("prediction", 4)])
    assert spool.oldest(1)[0].id > last_id + 1
    spool.close()


def test_an_unused_spool_leaves_no_file(spool: Spool) -> None:
    """Counting and reading create no file."""
    assert spool.count() == 0
    assert spool.oldest(10) == []
    assert not spool.path.exists()


def test_every_entry_is_synced(spool: Spool) -> None:
    """The file is in WAL mode with full sync: an entry outlives a power cut."""
    spool.append([Entry("prediction", 1)])
    assert spool._connection is not None
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_one_drainer_at_a_time(spool: Spool) -> None:
    """The second one gets False, and True once the first has ended."""
    other = Spool(spool.path)
    with spool.try_lock() as first, other.try_lock() as second:
        assert (first, second) == (True, False)
    with other.try_lock() as again:
        assert again


def test_a_damaged_spool_is_a_store_error(spool: Spool) -> None:
    """A damaged spool never counts as empty."""
    spool.path.write_bytes(b"no database at all, but long enough to look like one" * 10)
    for operation in (spool.count, spool.require_writable, lambda: spool.append([Entry("prediction", 1)])):
        with pytest.raises(StoreError, match=r"stillsafe\.spool\.db cannot be"):
            operation()


def test_a_locked_spool_recovers(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that locks the spool for too long makes only the requests of that time fail."""
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
    assert [each.entry.document for each in spool.oldest(10)] == [1, 3]
    spool.close()
