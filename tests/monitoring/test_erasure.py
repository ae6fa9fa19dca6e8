"""An erasure removes every trace of a row, and leaves a tombstone; one that is killed can be resumed."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.errors import RefusedError
from stillsafe.monitoring import erasure, retention
from stillsafe.monitoring.archive import Archive, archived_ids
from stillsafe.monitoring.erasure import ErasureResult, Places
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.recount import ROWS_ERASED
from stillsafe.monitoring.replay import ReplayResult, replay
from stillsafe.serving.predict import write_spooled
from stillsafe.store import database
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.erasures import all_erasures
from stillsafe.store.read.labels import label_history
from stillsafe.store.read.request_id import prediction_by_id, predictions_of_request
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.records import PredictionRecord, RequestId
from stillsafe.store.spool import PREDICTION, Entry, Spool
from stillsafe.store.tables import erasures, prediction_logs
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_first_predictions
from tests.monitoring.conftest import START, Service

DAY = timedelta(days=1)
CAROL = "Carol-4711-of-Hamlet"
SCRIPT = """
import sys, time
from datetime import datetime
from pathlib import Path
from stillsafe.monitoring import erasure
from stillsafe.store import database
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.spool import Spool
erasure.BATCH_ROWS = 20
engine = database.connect(sys.argv[1])
places = erasure.Places(Spool(Path(sys.argv[3])), Path(sys.argv[4]))
print("ready", flush=True)
subject = Subject(MarkKind.FEATURE, sys.argv[5], "town")
erasure.erase(engine, places, [subject], at=datetime.fromisoformat(sys.argv[2]), by="me", reason="asked")
"""


def carol(number: int, at: timedelta = timedelta(0), *, request_id: str | None = CAROL) -> PredictionRecord:
    """One request of the person who wants to be forgotten."""
    row: Row = {"size": 47.11, "floor": 1, "lift": True, "town": CAROL}
    identity = None if request_id is None else RequestId(request_id, "hash")
    return PredictionRecord(
        f"carol-{number}", START + at, "1", State.NORMAL, row, "1", 0.9, False, "made up", request_id=identity
    )


def log(service: Service, *records: PredictionRecord) -> None:
    with database.writing(service.engine) as connection:
        append_first_predictions(connection, records, START - DAY)


def places(service: Service, spool: Spool | None = None) -> Places:
    return Places(spool, service.settings.folder)


def erase(service: Service, *subjects: Subject, spool: Spool | None = None) -> ErasureResult:
    all_subjects = subjects or (Subject(MarkKind.REQUEST, CAROL),)
    at = service.now + DAY
    return erasure.erase(service.engine, places(service, spool), all_subjects, at=at, by="me", reason="asked")


def row_count(service: Service) -> int:
    with database.reading(service.engine) as connection:
        return int(connection.execute(select(func.count()).select_from(prediction_logs)).scalar_one())


def recount(service: Service, folder: Path | None = None) -> ReplayResult:
    return replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
        archive=None if folder is None else Archive(folder),
    )


def spool_with(service: Service, *records: PredictionRecord) -> Spool:
    spool = Spool(service.settings.folder / "rows.spool.db")
    spool.append([Entry(PREDICTION, record.spool_document()) for record in records])
    return spool


def files_with(folder: Path, *texts: str) -> list[str]:
    """The files of a folder whose bytes have any of the texts."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if any(text.encode() in file.read_bytes() for text in texts)]


@pytest.mark.parametrize(
    "subject",
    [
        Subject(MarkKind.REQUEST, CAROL),
        Subject(MarkKind.PREDICTION, "carol-1"),
        Subject(MarkKind.FEATURE, CAROL, "town"),
        Subject(MarkKind.FEATURE, 47.11, "size"),
    ],
)
def test_every_trace_of_a_row_goes_and_a_tombstone_stays(bare_service: Service, subject: Subject) -> None:
    """Features, answer, id, label and its history; other rows stay. A preview counts the same and changes nothing."""
    bare_service.send(50)
    log(bare_service, carol(1))
    with database.writing(bare_service.engine) as connection:
        append_labels(connection, [("carol-1", "0"), ("carol-1", "1"), ("p7", "1")], START)
    preview = erasure.preview(bare_service.engine, places(bare_service), [subject], bare_service.now + DAY)
    assert row_count(bare_service) == 51
    result = erase(bare_service, subject)
    assert (result.prediction_count, result.label_count) == (1, 2)
    assert replace(preview, erasure_id=1, dry_run=False) == result
    with database.reading(bare_service.engine) as connection:
        assert prediction_by_id(connection, "carol-1") is None
        assert predictions_of_request(connection, CAROL) == []
        assert label_history(connection, "carol-1") == []
        assert len(label_history(connection, "p7")) == 1
        (record,) = all_erasures(connection)
    assert (record.by, record.reason, record.prediction_count, record.label_count) == ("me", "asked", 1, 2)
    assert record.completed_at is not None
    assert row_count(bare_service) == 50
    assert result.document()["missing_archives"] == []


def test_no_file_has_a_byte_of_the_row(bare_service: Service) -> None:
    """Neither the database nor its write-ahead log, nor the spool or the archive, after many writes around the row."""
    if bare_service.engine.dialect.name != "sqlite":
        return  # the server's files are its own
    folder = Path(str(bare_service.engine.url.database)).parent
    for number in range(1, 40):
        bare_service.send(60)
        log(bare_service, carol(number, timedelta(seconds=number), request_id=f"{CAROL}-{number}"))
    spool = spool_with(bare_service, carol(90, request_id=f"{CAROL}-90"))
    archive = folder / "archive"
    retention.prune(
        bare_service.engine, now=START + 3 * DAY, older_than=DAY, window=timedelta(minutes=15), folder=archive
    )
    bare_service.send(60)
    log(bare_service, *[carol(number, 2 * DAY, request_id=f"{CAROL}-{number}") for number in range(40, 60)])
    texts = (CAROL, "carol-")
    assert files_with(folder, *texts)
    subjects = [Subject(MarkKind.REQUEST, f"{CAROL}-{number}") for number in range(1, 91)]
    result = erasure.erase(
        bare_service.engine, places(bare_service, spool), subjects, at=START + 9 * DAY, by="me", reason="asked"
    )
    assert (result.prediction_count + result.archived_count, result.spooled_count) == (59, 1)
    assert result.log_emptied
    assert files_with(folder, *texts) == []


def test_archived_rows_go_by_any_subject(bare_service: Service, tmp_path: Path) -> None:
    """The archive keeps the request's id for that; other rows stay readable; a folder that is gone is listed."""
    log(bare_service, carol(1), carol(2, request_id="other"))
    bare_service.send(20)
    archive = tmp_path / "archive"
    retention.prune(
        bare_service.engine, now=START + 9 * DAY, older_than=DAY, window=timedelta(minutes=15), folder=archive
    )
    archived_count = len(archived_ids(archive, RequestTable.PREDICTIONS))
    (archive / "predictions-2026-01-01-1.parquet.partial").write_text(CAROL)
    assert erase(bare_service).archived_count == 1
    assert len(archived_ids(archive, RequestTable.PREDICTIONS)) == archived_count - 1
    assert erase(bare_service, Subject(MarkKind.FEATURE, CAROL, "town")).archived_count == 1
    assert CAROL not in str(Archive(archive).frame().to_dict())
    assert not list(archive.glob("*.partial"))
    archive.rename(tmp_path / "moved")
    assert erase(bare_service).missing_archives == (str(archive),)
    new_places = Places(None, tmp_path, (tmp_path / "moved",))
    assert (
        erasure.preview(bare_service.engine, new_places, [Subject(MarkKind.PREDICTION, "p1")], START).archived_count
        <= 1
    )


def test_a_row_that_arrives_from_a_spool_afterwards_is_left_out(bare_service: Service) -> None:
    """Of this host's spool it goes at once, of another host's when it drains; a later request with that id stays."""
    log(bare_service, carol(1))
    spool = spool_with(bare_service, carol(2), replace(carol(3), request_id=RequestId("other", "hash")))
    assert erase(bare_service, spool=spool).spooled_count == 1
    assert spool.count() == 1
    later = carol(5, 3 * DAY)
    other_spool = Spool(bare_service.settings.folder / "other.spool.db")
    other_spool.append([Entry(PREDICTION, each.spool_document()) for each in (carol(1), carol(4), later)])
    for each in (spool, other_spool):
        with database.writing(bare_service.engine) as connection:
            write_spooled(connection, each.oldest(9))
    with database.reading(bare_service.engine) as connection:
        present = [number for number in range(1, 6) if prediction_by_id(connection, f"carol-{number}")]
    assert present == [3, 5]


def test_replay_names_the_windows_that_are_no_longer_recountable(service: Service) -> None:
    """And still finds a row that somebody deletes otherwise, in a window without erased rows."""
    for number in range(3):
        log(service, carol(number, number * timedelta(minutes=10), request_id=f"{CAROL}{number}"))
        service.step()
    assert recount(service).difference is None
    assert recount(service).windows == 3
    erase(service, Subject(MarkKind.REQUEST, f"{CAROL}0"))
    result = recount(service)
    assert result.difference is None
    assert set(result.not_recounted.values()) == {ROWS_ERASED}
    assert 0 < len(result.not_recounted) < 3
    with database.writing(service.engine) as connection:
        connection.execute(prediction_logs.delete().where(prediction_logs.c.prediction_id == f"p{service.sent_count}"))
    assert recount(service).difference is not None


def test_only_one_erasure_runs(bare_service: Service) -> None:
    """A prune would write rows to an archive that the erasure has left already."""
    with database.try_lock(bare_service.engine, "prune"), pytest.raises(RefusedError, match="under way"):
        erase(bare_service)


def test_the_lock_of_a_client_that_has_just_died_is_awaited(bare_service: Service) -> None:
    """A server lets go of a killed client's lock only when its statement ends: who comes meanwhile is not refused."""
    held = threading.Event()

    def hold() -> None:
        with database.try_lock(bare_service.engine, "prune"):
            held.set()
            time.sleep(0.5)

    for is_erasure in (True, False):
        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        if is_erasure:
            assert erase(bare_service).prediction_count == 0
        else:
            result = retention.prune(bare_service.engine, now=bare_service.now, older_than=DAY, window=DAY)
            assert result.prediction_count == 0
        other.join()
        held.clear()


@pytest.mark.parametrize("is_marked", [False, True])
def test_an_interrupted_erasure_goes_on(
    bare_service: Service, monkeypatch: pytest.MonkeyPatch, is_marked: bool
) -> None:
    """From its marks alone, before and after all rows were marked; what was done is not counted twice."""
    log(bare_service, *[carol(number, request_id=f"{CAROL}-{number}") for number in range(5)])
    spool = spool_with(bare_service, carol(9))
    function = "_erase_log" if is_marked else "_mark"
    with monkeypatch.context() as patch:
        patch.setattr(erasure, function, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erase(bare_service, Subject(MarkKind.FEATURE, CAROL, "town"), spool=spool)
    assert row_count(bare_service) == 5
    (record,) = erasure.unfinished_erasures(bare_service.engine)
    assert (record.marked_at is not None) is is_marked
    (result,) = erasure.resume(bare_service.engine, places(bare_service, spool))
    assert (result.prediction_count, result.spooled_count, row_count(bare_service)) == (5, 1, 0)
    assert erasure.resume(bare_service.engine, places(bare_service, spool)) == []


@pytest.mark.parametrize("milliseconds", [5, 60, 150])
def test_a_killed_erasure_can_be_resumed(bare_service: Service, milliseconds: int) -> None:
    """Kill -9 at any moment: afterwards `--resume` leaves no row, and the tombstone counts each row once."""
    log(bare_service, *[carol(number, request_id=None) for number in range(200)])
    bare_service.send(100)
    spool = spool_with(bare_service, carol(900))
    words = [str(bare_service.settings.database_url), (START + DAY).isoformat(), str(spool.path)]
    words += [str(bare_service.settings.folder), CAROL]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    end = time.monotonic() + 20
    while time.monotonic() < end and not _has_begun(bare_service):
        time.sleep(0.002)
    time.sleep(milliseconds / 1000)
    process.kill()
    process.wait()
    process.stdout.close()
    erasure.resume(bare_service.engine, places(bare_service, spool))
    assert (row_count(bare_service), spool.count()) == (100, 0)
    with database.reading(bare_service.engine) as connection:
        (record,) = all_erasures(connection)
    assert record.prediction_count == 200
    assert record.spooled_count <= 1


def _has_begun(service: Service) -> bool:
    with database.reading(service.engine) as connection:
        return bool(connection.execute(select(func.count()).select_from(erasures)).scalar_one())


def test_an_archive_that_is_not_there_is_refused(bare_service: Service, tmp_path: Path) -> None:
    """A mistyped folder is no success with rows left."""
    log(bare_service, carol(1))
    wrong = replace(places(bare_service), archives=(tmp_path / "nowhere",))
    with pytest.raises(RefusedError, match="no such folder"):
        erasure.preview(bare_service.engine, wrong, [Subject(MarkKind.REQUEST, CAROL)], bare_service.now)
    assert row_count(bare_service) == 1


def test_each_request_of_an_id_that_was_used_again_goes(bare_service: Service) -> None:
    """The earlier request lost the id to the newer one, and is found by it all the same."""
    log(bare_service, carol(1))
    with database.writing(bare_service.engine) as connection:
        append_first_predictions(connection, [carol(2, DAY)], START + DAY / 2)
    assert row_count(bare_service) == 2
    assert erase(bare_service).prediction_count == 2
    assert row_count(bare_service) == 0
