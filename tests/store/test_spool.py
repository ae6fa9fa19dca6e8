"""The spool: entries are on the disk, in order, until they are deleted."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from stillsafe.errors import StoreError
from stillsafe.store.spool import PREDICTION, Entry, Spool
from tests.store.conftest import START, identified_prediction, prediction


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


def waiting_entry(number: int, text: str | None) -> Entry:
    """A prediction of the minute `number` whose client gave it an id, or none."""
    time = START + timedelta(minutes=number)
    record = prediction(number, time) if text is None else identified_prediction(number, text, time)
    return Entry(PREDICTION, record.spool_document())


def test_an_id_has_one_waiting_prediction(spool: Spool) -> None:
    """Only the first prediction of an id waits, in one call and over several processes; without an id all wait."""
    first, second, *others = (waiting_entry(*pair) for pair in [(0, "a"), (1, "b\x00"), (2, None), (3, None)])
    assert spool.append_first([first, waiting_entry(4, "a"), *others], START) == [None, first.document, None, None]
    assert Spool(spool.path).append_first([second, waiting_entry(5, "a")], START) == [None, first.document]
    [again] = spool.append_first([waiting_entry(6, "b\x00")], START)
    assert again["prediction_id"] == second.document["prediction_id"]
    assert [each.entry.document["prediction_id"] for each in spool.oldest(10)] == [
        each.document["prediction_id"] for each in (first, *others, second)
    ]
    spool.close()


def test_an_id_is_free_once_it_is_old_or_its_prediction_left(spool: Spool) -> None:
    """An id that has expired, or whose prediction was drained or erased, is that of a new prediction."""
    spool.append_first([waiting_entry(0, "a"), waiting_entry(1, "b")], START)
    assert spool.append_first([waiting_entry(2, "a")], START + timedelta(minutes=1)) == [None]
    spool.delete([spool.oldest(2)[1].id])
    assert spool.append_first([waiting_entry(3, "b")], START) == [None]
    spool.close()


def test_a_spool_of_the_last_release_knows_its_ids(spool: Spool) -> None:
    """Rows that wait in a file without the index are found by their ids, beside entries of other kinds."""
    spool.append([Entry("refusals", [{"violations": []}]), waiting_entry(0, "a")])
    spool._execute(lambda connection: connection.execute("DROP INDEX waiting_request_id"), "written")
    spool.close()
    assert spool.append_first([waiting_entry(1, "a")], START)[0] is not None
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
