"""The crontab entry: its text, its refusals, and that no other line of the crontab changes."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import pytest

from stillsafe.errors import RefusedError
from stillsafe.monitoring import schedule
from tests.monitoring.crontab import read, restored_crontab, write

PYTHON = Path("/opt/venv/bin/python")
OTHERS = """# my notes, which come first
MAILTO=me@example.org

*/1 *   * * *   /usr/bin/foo  a  b
# about bar
0 5 * * 1-5 /usr/bin/bar # weekly
@reboot /usr/bin/boot

SHELL=/bin/bash
0 0 1 jan * echo "50\\%" # stillsafe:monitor:/another/service/stillsafe.toml
#*/5 * * * * switched off
# last words
"""


@pytest.fixture
def crontab() -> Iterator[None]:
    """This user's real crontab, restored afterwards."""
    with restored_crontab():
        yield


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "it's 100% mine"
    folder.mkdir()
    return folder / "stillsafe.toml"


def command(entry: str) -> str:
    """The command of an entry as cron reads it: after the five fields, up to a percent sign without a backslash."""
    return re.split(r"(?<!\\)%", entry.split(" ", 5)[5])[0].replace(r"\%", "%")


def run_entry(entry: str) -> subprocess.CompletedProcess[str]:
    """Run the command of an entry in a shell with cron's small environment."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh"}
    return subprocess.run(
        ["/bin/sh", "-c", command(entry)],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def stand_in(folder: Path, script: str) -> Path:
    """A program in place of the interpreter, to record how it is started."""
    program = folder / "a python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("every_seconds", "fields"),
    [
        (60, "* * * * *"),
        (120, "*/2 * * * *"),
        (600.0, "*/10 * * * *"),
        (1800, "*/30 * * * *"),
        (3600, "0 * * * *"),
        (7200, "0 */2 * * *"),
        (43200, "0 */12 * * *"),
        (86400, "0 0 * * *"),
    ],
)
def test_an_interval_that_divides_hour_or_day_has_its_five_fields(
    config: Path, every_seconds: float, fields: str
) -> None:
    """A crontab can express whole minutes that divide an hour, and whole hours that divide a day."""
    assert schedule.entry(config, every_seconds, python=PYTHON).startswith(f"{fields} cd ")


@pytest.mark.parametrize(
    ("every_seconds", "message"),
    [
        (420, r"an interval of 7 minutes\..*the nearest is 6 minutes"),
        (90, r"an interval of 1\.5 minutes"),
        (60.5, r"cannot express.*the nearest is 1 minute\."),
        (5400, r"an interval of 90 minutes"),
        (18000, r"an interval of 5 hours.*the nearest is 4 hours"),
        (172800, r"an interval of 48 hours.*the nearest is 24 hours"),
        (2, r"once a minute at most, and `monitor.every` is 2 s\..*run the monitor in a loop"),
    ],
)
def test_an_interval_that_does_not_is_refused_with_the_remedy(config: Path, every_seconds: float, message: str) -> None:
    """Cron would silently use another interval, so it is refused, and the error names the nearest one."""
    with pytest.raises(RefusedError, match=message):
        schedule.entry(config, every_seconds, python=PYTHON)


def test_a_path_that_no_crontab_can_hold_is_refused(tmp_path: Path) -> None:
    """A line break in a path would be a second, broken entry."""
    with pytest.raises(RefusedError, match="Rename the folder"):
        schedule.entry(tmp_path / "two\nlines" / "stillsafe.toml", 600, python=PYTHON)


def test_the_entry_runs_the_monitor_where_cron_knows_nothing(config: Path) -> None:
    """From cron's bare environment the entry runs in the service folder, with its variables, and logs there."""
    (config.parent / ".env").write_text("STILLSAFE_DATABASE_URL='postgresql://me:s3cret@host/name'\n")
    python = stand_in(config.parent, 'echo "$@"; pwd; echo "$STILLSAFE_DATABASE_URL"; echo complaint >&2')
    entry = schedule.entry(config, 600, python=python)
    for _ in range(2):
        process = run_entry(entry)
        assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    log_lines = (config.parent / "stillsafe.monitor.log").read_text().splitlines()
    expected = [f"-m stillsafe monitor --config {config}", str(config.parent), "postgresql://me:s3cret@host/name"]
    assert log_lines == [*expected, "complaint"] * 2
    assert "s3cret" not in entry


def test_the_entry_needs_no_variables(config: Path) -> None:
    """A service without `.env` runs as well, and the entry fails as the job does."""
    process = run_entry(schedule.entry(config, 600, python=stand_in(config.parent, "exit 2")))
    assert process.returncode == 2


def test_the_log_is_rotated_by_its_name(config: Path) -> None:
    """A run goes on in the renamed file, and the next one starts a new file: no line is lost, as the example needs."""
    log, gate = config.parent / "stillsafe.monitor.log", config.parent / "gate"
    os.mkfifo(gate)
    python = stand_in(config.parent, "echo first; read line < gate; echo second")
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(run_entry, schedule.entry(config, 60, python=python))
        with gate.open("w") as writer:  # once the job reads it
            log.rename(log.with_suffix(".log.1"))
            writer.write("go\n")
        assert job.result().returncode == 0
    assert run_entry(schedule.entry(config, 60, python=stand_in(config.parent, "echo third"))).returncode == 0
    assert log.with_suffix(".log.1").read_text().splitlines() == ["first", "second"]
    assert log.read_text().splitlines() == ["third"]
    example = (Path(__file__).parents[2] / "examples" / "logrotate" / "stillsafe").read_text()
    (pattern,) = re.findall(r"^(/\S+) \{$", example, flags=re.MULTILINE)
    assert fnmatch(f"/srv/stillsafe/{log.name}", pattern)
    settings = [line.split()[0] for line in example.splitlines() if line.startswith("    ")]
    assert not {"copytruncate", "postrotate", "create"} & {*settings}


def test_no_second_job_starts_while_one_runs(config: Path) -> None:
    """While one job is under way, the next one ends at once without a run."""
    python = stand_in(config.parent, "echo started; read line < gate")
    os.mkfifo(config.parent / "gate")
    entry = schedule.entry(config, 60, python=python)
    log = config.parent / "stillsafe.monitor.log"
    with subprocess.Popen(["/bin/sh", "-c", command(entry)]) as first:
        try:
            while not (log.exists() and log.read_text()):
                assert first.poll() is None
            second = run_entry(entry)
        finally:
            (config.parent / "gate").write_text("go on\n")
    assert second.returncode == 1
    assert log.read_text() == "started\n"
    assert run_entry(schedule.entry(config, 60, python=stand_in(config.parent, "echo again"))).returncode == 0


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_the_crontab_has_the_installed_entry(config: Path) -> None:
    """Installing writes the entry that `--print` shows; `show` finds it; `remove` ends it, once."""
    assert schedule.show(config) is None
    entry = schedule.install(config, 600, python=Path(sys.executable))
    assert entry == schedule.entry(config, 600, python=Path(sys.executable)) == schedule.show(config)
    assert schedule.remove(config)
    assert schedule.show(config) is None
    assert not schedule.remove(config)


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_other_lines_do_not_change(config: Path) -> None:
    """Byte for byte, and in their order: other jobs, variables, comments, and other services' monitors."""
    write(OTHERS)
    schedule.install(config, 600, python=PYTHON)
    entry = schedule.install(config, 3600, python=PYTHON)
    assert read() == f"{OTHERS}{entry}\n"
    assert schedule.remove(config)
    assert read() == OTHERS


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_a_commented_out_entry_stays(config: Path) -> None:
    """A commented-out entry counts as absent and stays."""
    off = f"# {schedule.entry(config, 600, python=PYTHON)}\n"
    write(off)
    assert schedule.show(config) is None
    assert not schedule.remove(config)
    entry = schedule.install(config, 600, python=PYTHON)
    assert read() == f"{off}{entry}\n"


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_services_do_not_mix(config: Path) -> None:
    """Each settings file has an entry of its own, even if one path is the beginning of another."""
    neighbour = config.with_name("stillsafe.toml.toml")
    entries = [schedule.install(one, 600, python=PYTHON) for one in (config, neighbour)]
    assert [schedule.show(config), schedule.show(neighbour)] == entries
    assert schedule.remove(config)
    assert schedule.show(neighbour) == entries[1]


@pytest.mark.serial
@pytest.mark.usefixtures("crontab")
def test_a_refusal_of_the_crontab_program_is_reported(tmp_path: Path) -> None:
    """A line that cron refuses leaves the crontab as it was, and the error has cron's reason."""
    write(OTHERS)
    config = tmp_path.joinpath(*["a-rather-long-name-for-a-folder" * 5] * 4, "stillsafe.toml")
    with pytest.raises(RefusedError, match=r"The crontab was not changed: .*too long"):
        schedule.install(config, 600, python=PYTHON)
    assert read() == OTHERS


def test_without_cron_the_remedy_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without cron every command names the package to install."""
    monkeypatch.setenv("PATH", str(config.parent))
    for attempt in (schedule.show, schedule.remove):
        with pytest.raises(RefusedError, match=r"`crontab` is not installed.*apt-get install cron"):
            attempt(config)
    stand_in(config.parent, "").rename(config.parent / "crontab")
    with pytest.raises(RefusedError, match=r"`flock` is not installed.*apt-get install util-linux"):
        schedule.install(config, 600, python=PYTHON)
