"""Two model versions serve at the same time, on one log and one state."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe.init.create import ServiceRequest, create_service
from tests.faults.api import Api, Load, missing_and_duplicate_counts
from tests.faults.conftest import running
from tests.stores import with_store


@pytest.fixture
def old(named_store: str, made_service: Path) -> Iterator[Api]:
    """The version in production, once on each store."""
    yield from running(Api(with_store(made_service), named_store))


@pytest.fixture
def new(old: Api, pristine_service: Path, tmp_path: Path) -> Iterator[Api]:
    """The new version, on the same database."""
    trained_folder = pristine_service.parent
    create_service(
        ServiceRequest(
            trained_folder / "model.skops",
            trained_folder / "sample.csv",
            label="benign",
            out=tmp_path / "new",
            name="tumours",
            version="new",
            now=datetime(2026, 1, 2, tzinfo=UTC),
            salt="salt",
        )
    )
    yield from running(Api(tmp_path / "new", old.database))


def test_each_version_is_judged_on_its_own_rows(old: Api, new: Api) -> None:
    """Both versions are recorded and watched; a window has the rows of one version, and every row is logged once."""
    with Load(old, 4) as old_load, Load(new, 4) as new_load:
        old_load.wait_for_answers(100)
        new_load.wait_for_answers(100)
    rows = old.prediction_log()
    assert old_load.failures == new_load.failures == []
    assert missing_and_duplicate_counts(old_load.prediction_ids | new_load.prediction_ids, rows) == (0, 0)
    now = datetime.now(UTC)
    for api, later in ((old, now), (new, now + timedelta(seconds=1))):
        process = api.command("monitor", "--now", later.isoformat())
        assert process.returncode == 0, process.stderr
    windows = old.get("/v1/windows")["windows"]
    assert [each["prediction_count"] for each in windows] == [
        len(new_load.prediction_ids),
        len(old_load.prediction_ids),
    ]
    assert len({each["model_version"] for each in windows}) == 2
    assert all(api.get("/health/ready")["watched"] for api in (old, new))


def test_a_hold_binds_both_versions(old: Api, new: Api) -> None:
    """Both versions use the same state."""
    assert old.command("hold", "--reason", "investigation").returncode == 0
    assert [api.predict()["decided_by"] for api in (old, new)] == ["fallback", "fallback"]
    assert new.command("release", "--reason", "seen").returncode == 0
    assert [api.predict()["decided_by"] for api in (old, new)] == ["model", "model"]
