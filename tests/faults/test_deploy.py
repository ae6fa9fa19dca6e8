"""Two versions of a model serve side by side for a while, on one log and one state."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe.init.create import create_service
from tests.faults.api import Api, Load, missing_and_doubled
from tests.faults.conftest import running


@pytest.fixture
def old(named_store: str, made_service: Path) -> Iterator[Api]:
    """The version that serves already, once on each store."""
    yield from running(Api(made_service, named_store))


@pytest.fixture
def new(old: Api, pristine_service: Path, tmp_path: Path) -> Iterator[Api]:
    """The version that is being deployed, on the same database."""
    made = pristine_service.parent
    create_service(
        made / "model.skops",
        made / "sample.csv",
        label="benign",
        out=tmp_path / "new",
        name="tumours",
        version="new",
        trust_joblib=False,
        force=False,
        now=datetime(2026, 1, 2, tzinfo=UTC),
        salt="salt",
        progress=lambda _message: None,
    )
    yield from running(Api(tmp_path / "new", old.database))


def test_each_version_is_judged_on_its_own_rows(old: Api, new: Api) -> None:
    """Both record and both are watched; a window holds one version's rows, and no row is lost or doubled."""
    with Load(old, 4) as before, Load(new, 4) as after:
        before.more(100)
        after.more(100)
    rows = old.logged()
    assert before.failed == after.failed == []
    assert missing_and_doubled(before.ids | after.ids, rows) == (0, 0)
    now = datetime.now(UTC)
    for api, later in ((old, now), (new, now + timedelta(seconds=1))):
        ran = api.command("monitor", "--now", later.isoformat())
        assert ran.returncode == 0, ran.stderr
    windows = old.get("/v1/windows")["windows"]
    assert [each["prediction_count"] for each in windows] == [len(after.ids), len(before.ids)]
    assert len({each["model_version"] for each in windows}) == 2
    assert all(api.get("/health/ready")["watched"] for api in (old, new))


def test_a_hold_binds_both_versions(old: Api, new: Api) -> None:
    """One state is obeyed by whoever serves."""
    assert old.command("hold", "--reason", "looking into it").returncode == 0
    assert [api.predict()["decided_by"] for api in (old, new)] == ["fallback", "fallback"]
    assert new.command("release", "--reason", "seen").returncode == 0
    assert [api.predict()["decided_by"] for api in (old, new)] == ["model", "model"]
