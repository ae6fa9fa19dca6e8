"""Other crontab entries of the same service: which are still needed, and which only fail or idle."""

import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe import service, settings
from stillsafe.core.state import State
from stillsafe.monitoring import schedule
from stillsafe.monitoring.sibling_entries import (
    STATUSES_TO_KEEP,
    SiblingStatus,
    same_database,
    settings_under_cron,
    sibling_entries,
)
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions
from tests.monitoring.crontab import restored_crontab, write

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
PYTHON = Path(sys.executable)


@pytest.fixture
def crontab() -> Iterator[None]:
    """This user's real crontab, restored afterwards."""
    with restored_crontab():
        yield


@pytest.fixture
def old_config(made_service: Path, tmp_path: Path) -> Path:
    """The service's folder of an earlier version, on the database of the new one."""
    folder = Path(shutil.copytree(made_service, tmp_path / "old"))
    change(folder / "stillsafe.toml", f'"sqlite:///{made_service}/stillsafe.db"', "database")
    change(folder / "stillsafe.toml", '"old"', "version")
    return folder / "stillsafe.toml"


def change(config: Path, value: str, key: str) -> None:
    """Write another value of the first such key."""
    text, count = re.subn(rf"^{key} = .*", f"{key} = {value}", config.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    config.write_text(text)


def answer_at(config: Path, at: datetime) -> None:
    """Log an answer of the version that the settings name."""
    own_settings = settings.load(config)
    engine = service.open_store(own_settings)
    record = PredictionRecord(
        prediction_id=str(at),
        timestamp=at,
        model_version=own_settings.model.version,
        system_state=State.NORMAL,
        input_summary={},
        prediction="1",
        confidence_score=0.9,
        fallback_used=False,
        reason="",
    )
    with database.writing(engine) as connection:
        append_predictions(connection, [record])
    engine.dispose()


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_an_old_entry_is_needed_while_its_version_answers(made_service: Path, old_config: Path) -> None:
    """Within `max_gap` of its last answer it is in use, afterwards it is not; its own entry is no sibling."""
    config = made_service / "stillsafe.toml"
    assert sibling_entries(config, NOW) == []
    for each in (old_config, config):
        schedule.install(each, 600, python=PYTHON)
    (sibling,) = sibling_entries(config, NOW)
    assert (sibling.status, sibling.config) == (SiblingStatus.IDLE, old_config)
    assert "never answered" in sibling.description
    answer_at(old_config, NOW - timedelta(minutes=5))
    (sibling,) = sibling_entries(config, NOW)
    assert (sibling.status, sibling.status in STATUSES_TO_KEEP) == (SiblingStatus.IN_USE, True)
    (sibling,) = sibling_entries(config, NOW + timedelta(days=1))
    assert (sibling.status, sibling.status in STATUSES_TO_KEEP) == (SiblingStatus.IDLE, False)
    assert "last answered at 2026-04-01T11:55:00Z" in sibling.description


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_entries_that_fail_or_repeat(made_service: Path, old_config: Path) -> None:
    """A second entry of one version, unreadable settings, and a folder that is gone are told apart."""
    config = made_service / "stillsafe.toml"
    schedule.install(old_config, 600, python=PYTHON)
    change(old_config, f'"{settings.load(config).model.version}"', "version")
    assert [each.status for each in sibling_entries(config, NOW)] == [SiblingStatus.DUPLICATE]
    old_config.write_text("[service")
    assert [each.status for each in sibling_entries(config, NOW)] == [SiblingStatus.UNREADABLE]
    shutil.rmtree(old_config.parent)
    assert [each.status for each in sibling_entries(config, NOW)] == [SiblingStatus.NO_FOLDER]


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_other_services_are_no_siblings(made_service: Path, old_config: Path) -> None:
    """Another name, another database, or a line that starts no monitor is none of this service's."""
    config = made_service / "stillsafe.toml"
    schedule.install(old_config, 600, python=PYTHON)
    change(old_config, '"another"', "name")
    assert sibling_entries(config, NOW) == []
    change(old_config, f'"{settings.load(config).service.name}"', "name")
    assert len(sibling_entries(config, NOW)) == 1
    (old_config.parent / ".env").write_text(f"{DATABASE_VARIABLE}=sqlite:///elsewhere.db\n")
    assert sibling_entries(config, NOW) == []
    write(f"* * * * * echo hello # stillsafe:monitor:/another/stillsafe.toml\n# {schedule.entries()[0][0]}\n")
    assert (schedule.entries(), sibling_entries(config, NOW)) == ([], [])


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_settings_are_read_as_cron_reads_them(made_service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that only this process has does not count; one of `.env` or of the crontab does."""
    config = made_service / "stillsafe.toml"
    monkeypatch.setenv(DATABASE_VARIABLE, "sqlite:////tmp/of-the-shell.db")
    assert settings_under_cron(config).database_url == f"sqlite:///{made_service}/stillsafe.db"
    write(f"{DATABASE_VARIABLE}=sqlite:////tmp/of-the-crontab.db\n")
    assert settings_under_cron(config).database_url == "sqlite:////tmp/of-the-crontab.db"
    (made_service / ".env").write_text(f"{DATABASE_VARIABLE}=sqlite:////tmp/of-the-folder.db\n")
    assert settings_under_cron(config).database_url == "sqlite:////tmp/of-the-folder.db"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("postgresql://a:b@host/log", "postgresql+psycopg://c@host:5432/log", True),
        ("postgresql://host/log", "postgresql://host:5433/log", False),
        ("postgresql://host/log", "postgresql://other/log", False),
        ("sqlite:////a.db", "sqlite:////a.db", True),
        ("sqlite:////a.db", "sqlite:////b.db", False),
    ],
)
def test_a_database_is_a_place(made_service: Path, first: str, second: str, same: bool) -> None:
    """Users, passwords and drivers do not make another database; hosts, ports and names do."""
    own_settings = settings.load(made_service / "stillsafe.toml")
    pair = [
        own_settings.model_copy(update={"service": own_settings.service.model_copy(update={"database": url})})
        for url in (first, second)
    ]
    assert same_database(*pair) is same
