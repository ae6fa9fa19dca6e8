"""`check` and `schedule install` try the crontab entry where it will run, and look at the other entries."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe import settings
from stillsafe.check.findings import Finding, Verdict
from stillsafe.check.schedule import schedule_findings
from stillsafe.monitoring import schedule
from stillsafe.settings import DATABASE_VARIABLE
from tests.cli.commands import stillsafe
from tests.monitoring.crontab import read, restored_crontab, write
from tests.monitoring.test_sibling_entries import change
from tests.stores import with_store

pytestmark = [pytest.mark.serial, pytest.mark.usefixtures("crontab")]
NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def crontab() -> Iterator[None]:
    """This user's real crontab, restored afterwards."""
    with restored_crontab():
        yield


def findings(folder: Path) -> dict[str, Finding]:
    config = folder / "stillsafe.toml"
    return {each.subject: each for each in schedule_findings(config, settings.load(config), NOW)}


def install(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return stillsafe(folder, "schedule", "install", *options)


def test_an_entry_that_can_run(made_service: Path) -> None:
    """`install` tries the entry and installs it; `check` tries it again and finds nothing to do."""
    assert findings(made_service)["schedule"].verdict is Verdict.WARNING
    process = install(made_service)
    assert process.returncode == 0, process.stderr
    assert {subject: each.verdict.value for subject, each in findings(made_service).items()} == {
        "schedule": "ok",
        "cron environment": "ok",
    }


def test_an_entry_that_fails_under_cron_is_not_installed(made_service: Path) -> None:
    """The trial's message is the error; nothing is installed unless `--untried` asks for it, and `check` reports it."""
    write("# mine\n")
    model = next(made_service.glob("model.*"))
    model.rename(made_service / "aside")
    process = install(made_service)
    assert (process.returncode, read()) == (2, "# mine\n")
    assert "In cron's environment the monitor cannot run" in process.stderr
    assert "The model cannot be read" in process.stderr
    assert install(made_service, "--untried").returncode == 0
    finding = findings(made_service)["cron environment"]
    assert finding.verdict is Verdict.ERROR
    assert "The model cannot be read" in finding.message
    assert not list(made_service.glob("*.monitor.log"))


def test_another_database_under_cron(made_service: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address exported in the shell is unknown to cron, which would watch an empty database without a word."""
    monkeypatch.setenv(DATABASE_VARIABLE, f"sqlite:///{tmp_path}/exported.db")
    with_store(made_service)
    process = install(made_service)
    assert process.returncode == 2
    assert "Cron would watch another database" in process.stderr
    (made_service / ".env").write_text(f"{DATABASE_VARIABLE}=sqlite:///{tmp_path}/exported.db\n")
    assert install(made_service).returncode == 0
    assert findings(made_service)["cron environment"].verdict is Verdict.OK


def test_a_deploy_is_one_command(made_service: Path, tmp_path: Path) -> None:
    """Installing the new version removes the entry of an old one that no longer answers; options decide otherwise."""
    old = Path(shutil.copytree(made_service, tmp_path / "old"))
    change(old / "stillsafe.toml", f'"sqlite:///{made_service}/stillsafe.db"', "database")
    change(old / "stillsafe.toml", '"old"', "version")
    schedule.install(old / "stillsafe.toml", 600, python=Path(sys.executable))
    assert install(made_service, "--keep-siblings").returncode == 0
    assert len(schedule.entries()) == 2
    assert findings(made_service)["other entries"].verdict is Verdict.WARNING
    process = install(made_service)
    assert "Removed: The entry of" in process.stdout
    assert [path for _, path in schedule.entries()] == [made_service / "stillsafe.toml"]
    assert "other entries" not in findings(made_service)


def test_replace_removes_what_cannot_be_read(made_service: Path, tmp_path: Path) -> None:
    """An entry of which nothing is known stays, with a warning; `--replace` removes it as well."""
    old = Path(shutil.copytree(made_service, tmp_path / "old"))
    (old / "stillsafe.toml").write_text("[service")
    schedule.install(old / "stillsafe.toml", 600, python=Path(sys.executable))
    assert "Kept: The entry of" in install(made_service).stdout
    assert findings(made_service)["other entries"].verdict is Verdict.WARNING
    assert "Removed" in install(made_service, "--replace").stdout
    assert len(schedule.entries()) == 1
