"""An archive's rows belong to one service of one database, although service ids begin at 1 in every database."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import parquet

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.errors import RefusedError
from stillsafe.monitoring import erasure, retention
from stillsafe.monitoring.archive import UNKNOWN, archived_ids
from stillsafe.monitoring.archive_owner import ArchiveOwner, stamp_of
from stillsafe.monitoring.erasure import Places
from stillsafe.store import database
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.records import PredictionRecord, RequestId
from stillsafe.store.write.predictions import append_first_predictions
from stillsafe.store.write.services import register_service
from tests.monitoring.conftest import START, Service, settings

DAY, WINDOW = timedelta(days=1), timedelta(minutes=15)
SUBJECTS = [Subject(MarkKind.FEATURE, 47.11, "size"), Subject(MarkKind.REQUEST, "order")]


def log(service: Service, prefix: str) -> None:
    """Rows with values and a client's id that other services have too, and a later row."""
    row: Row = {"size": 47.11, "town": "A"}
    records = [
        PredictionRecord(
            f"{prefix}{number}",
            START + number * timedelta(hours=1),
            "1",
            State.NORMAL,
            row if number else {"size": 1.0},
            "1",
            0.9,
            False,
            "made up",
            request_id=RequestId("order" if number < 3 else f"{number}", "hash"),
        )
        for number in range(6)
    ]
    with database.writing(service.engine) as connection:
        append_first_predictions(connection, records, START - DAY)
    service.send(3, start=START + 8 * DAY)


def prune(service: Service, folder: Path, days: int = 9) -> None:
    retention.prune(service.engine, now=START + days * DAY, older_than=DAY, window=WINDOW, folder=folder)


def erase(service: Service, folder: Path) -> int:
    places = Places(None, service.settings.folder, (folder,))
    subjects, at = SUBJECTS, START + 12 * DAY
    preview = erasure.preview(service.engine, places, subjects, at)
    result = erasure.erase(service.engine, places, subjects, at=at, by="me", reason="asked")
    assert preview.archived_count == result.archived_count
    return result.archived_count


@pytest.fixture(params=["another service", "another database"])
def others(request: pytest.FixtureRequest, bare_service: Service, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Two services, of one database or of two: both have the id 1 then."""
    log(bare_service, "own")
    other_settings = settings(tmp_path / "other", service={"name": "other"})
    engine = database.connect(f"sqlite:///{tmp_path / 'other.db'}")
    if request.param == "another service":
        engine = bare_service.engine.execution_options(service="other")
        with database.writing(bare_service.engine.execution_options(service="made-up")) as connection:
            register_service(connection)
        with database.writing(engine) as connection:
            register_service(connection)
    else:
        database.upgrade(engine)
    other = Service(engine, other_settings, prefix="other")
    log(other, "o")
    yield bare_service, other
    engine.dispose()


def test_an_erasure_leaves_the_archived_rows_of_others(others: tuple[Service, Service], tmp_path: Path) -> None:
    """Also where their files came into its folder, with the same values and ids of clients."""
    own, other = others
    for number, service in enumerate(others):
        prune(service, tmp_path / f"archive{number}", 9 + number)
    common = tmp_path / "archive0"
    for file in (tmp_path / "archive1").iterdir():
        shutil.move(file, common / file.name.replace(".parquet", "b.parquet"))
    total = len(archived_ids(common, RequestTable.PREDICTIONS))
    assert erase(other, common) == 4
    assert len(archived_ids(common, RequestTable.PREDICTIONS)) == total - 4
    assert erase(own, common) == 4
    assert erase(own, common) == 0
    assert len(archived_ids(common, RequestTable.PREDICTIONS)) == total - 8


def test_a_prune_refuses_the_folder_of_others(others: tuple[Service, Service], tmp_path: Path) -> None:
    """Before it records or deletes anything; its own folder is added to."""
    own, other = others
    prune(own, tmp_path / "archive")
    files = {file.name: file.read_bytes() for file in (tmp_path / "archive").iterdir()}
    with pytest.raises(RefusedError, match=r"rows of another service\. Give each service a folder of its own"):
        prune(other, tmp_path / "archive", 10)
    assert {file.name: file.read_bytes() for file in (tmp_path / "archive").iterdir()} == files
    with database.reading(other.engine) as connection:
        assert ArchiveOwner.of(connection).stamps == frozenset()
    prune(own, tmp_path / "archive", 11)
    with database.reading(own.engine) as connection:
        owner = ArchiveOwner.of(connection)
    assert owner.stamps >= {stamp_of(START + 9 * DAY)}


def test_a_row_of_an_older_release_is_owned_where_all_of_it_fits(bare_service: Service, tmp_path: Path) -> None:
    """By service, version and the time of a prune that archived; a service that archived nothing owns none."""
    log(bare_service, "own")
    prune(bare_service, tmp_path)
    with database.reading(bare_service.engine) as connection:
        owner = ArchiveOwner.of(connection)
    row = {"service_id": 1, "model_version": "1", "timestamp": START}
    unknown = frozenset([UNKNOWN])
    assert owner.owns(unknown, row)
    assert owner.owns(unknown, {name: value for name, value in row.items() if name != "service_id"})
    assert not owner.owns(unknown, row | {"service_id": 2})
    assert not owner.owns(unknown, row | {"model_version": "9"})
    assert not owner.owns(unknown, row | {"timestamp": START + 9 * DAY})
    assert not replace(owner, last_cut=None).owns(unknown, row)
    (file,) = tmp_path.glob("predictions-*.parquet")
    parquet.write_table(parquet.read_table(file, partitioning=None).replace_schema_metadata(None), file)
    owner.require_own_folder(tmp_path)
    with pytest.raises(RefusedError, match="another service"):
        replace(owner, service_id=2).require_own_folder(tmp_path)
    with pytest.raises(RefusedError, match="another service"):
        replace(owner, last_cut=None).require_own_folder(tmp_path)
    assert erase(bare_service, tmp_path) == 4
