"""The crontab entry that starts the monitor.

Stillsafe edits the crontab as text and leaves all other lines as they are. Its entry ends in a marker that names the
settings file, so that a second install replaces the entry, and each service has its own.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from stillsafe.errors import RefusedError
from stillsafe.monitoring import cron

MARKER = "# stillsafe:monitor:"
_RUN = "-m stillsafe monitor"
MINUTE, HOUR = 60, 3600
_DIVISORS_OF_60 = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
_DIVISORS_OF_24 = (1, 2, 3, 4, 6, 8, 12, 24)


def install(config: Path, every_seconds: float, *, python: Path, obsolete_lines: Collection[str] = ()) -> str:
    """Add the entry to this user's crontab, or replace it. Returns the entry.

    Args:
        config: the service's settings file. The job runs in its folder, and reads `.env` and writes its log there.
        every_seconds: the interval between two runs.
        python: the interpreter in whose environment Stillsafe is installed.
        obsolete_lines: further entries to remove.

    Raises:
        RefusedError: a crontab cannot express the interval, or cannot be changed.
    """
    line = entry(config, every_seconds, python=python)
    _require("flock", "util-linux")
    other_lines = [each for each in _other_lines(_read_lines(), config) if each not in obsolete_lines]
    _write_lines([*other_lines, line])
    return line


def show(config: Path) -> str | None:
    """The installed entry of this service, or None.

    Raises:
        RefusedError: the crontab cannot be read.
    """
    return next((line for line in _read_lines() if _is_entry(line, config)), None)


def entries() -> list[tuple[str, Path]]:
    """The entries of this user's crontab that start a monitor, each with the settings file that it names.

    Raises:
        RefusedError: the crontab cannot be read.
    """
    started_monitors = [line for line in _read_lines() if _RUN in line and not line.lstrip().startswith("#")]
    marked_lines = [(line, line.rpartition(f" {MARKER}")) for line in started_monitors]
    return [(line, Path(path.replace(r"\%", "%"))) for line, (_, marker, path) in marked_lines if marker]


def lines_before(config: Path) -> list[str]:
    """The lines of the crontab above the entry of this service, which may set variables; all without an entry.

    Raises:
        RefusedError: the crontab cannot be read.
    """
    return list(takewhile(lambda line: not _is_entry(line, config), _read_lines()))


def trial_problem(config: Path, *, python: Path) -> str | None:
    """Why the entry's command would fail under cron, or None. It is run there with `--try`, which writes nothing.

    Raises:
        RefusedError: the crontab cannot be read.
    """
    file = config.resolve()
    folder = shlex.quote(str(file.parent))
    needs = (
        "command -v flock >/dev/null || { echo 'The program flock is not on the PATH of cron.' >&2; exit 2; }; "
        "[ -w . ] || { echo 'The log cannot be written into the folder of the settings.' >&2; exit 2; }"
    )
    command = f"cd {folder} && {{ {cron.LOAD_VARIABLES}; {needs}; {_run(file, python)} --try; }}"
    process = cron.run(command, cron.environment(lines_before(config)))
    return cron.failure_message(process) if process.returncode != 0 else None


def remove(config: Path) -> bool:
    """Remove the entry of this service. Returns whether there was one.

    Raises:
        RefusedError: the crontab cannot be changed.
    """
    lines = _read_lines()
    other_lines = _other_lines(lines, config)
    if len(other_lines) == len(lines):
        return False
    _write_lines(other_lines)
    return True


def entry(config: Path, every_seconds: float, *, python: Path) -> str:
    """The crontab line.

    Cron does not read the shell's settings, so the line has absolute paths only. It reads variables from `.env` in the
    folder of the settings file, so the crontab holds no secrets. A lock file prevents a second run while one is under
    way. All output is appended to a log file.

    Raises:
        RefusedError: a crontab cannot express the interval or the path.
    """
    file = config.resolve()
    name = file.stem
    job = f"flock -n {shlex.quote(f'{name}.cron.lock')} {_run(file, python)}"
    log = shlex.quote(f"{name}.monitor.log")
    command = f"cd {shlex.quote(str(file.parent))} && {{ {cron.LOAD_VARIABLES}; {job}; }} >> {log} 2>&1"
    line = f"{_time_fields(every_seconds)} {_escape(command)} {_marker(file)}"
    if "\n" in line or "\r" in line:
        raise RefusedError(f"A crontab cannot hold a path with a line break: {str(file)!r}. Rename the folder.")
    return line


def _run(file: Path, python: Path) -> str:
    """The command of one monitoring run."""
    # The interpreter of a virtual environment is a link that works only under its own name, so it is not resolved.
    return shlex.join([str(python.absolute()), *_RUN.split(), "--config", str(file)])


def _time_fields(every_seconds: float) -> str:
    """The five time fields. Cron counts anew every hour and every day, so the interval must divide an hour or a day."""
    if every_seconds < MINUTE:
        raise RefusedError(
            f"Cron starts a job once a minute at most, and `monitor.every` is {every_seconds:g} s. Set it to at least "
            "a minute. To test a shorter interval, run the monitor in a loop: while sleep 3; do stillsafe monitor; done"
        )
    minutes, hours = every_seconds / MINUTE, every_seconds / HOUR
    if minutes == 1:
        return "* * * * *"
    if minutes in _DIVISORS_OF_60[:-1]:
        return f"*/{minutes:.0f} * * * *"
    if hours in _DIVISORS_OF_24:
        return {1: "0 * * * *", 24: "0 0 * * *"}.get(int(hours), f"0 */{hours:.0f} * * *")
    raise RefusedError(
        f"A crontab cannot express an interval of {_interval_text(every_seconds)}. Set `monitor.every` to whole "
        f"minutes that divide an hour or whole hours that divide a day; the nearest is {_nearest(every_seconds)}."
    )


def _nearest(every_seconds: float) -> str:
    intervals = [*(MINUTE * n for n in _DIVISORS_OF_60), *(HOUR * n for n in _DIVISORS_OF_24)]
    return _interval_text(min(intervals, key=lambda seconds: abs(seconds - every_seconds)))


def _interval_text(every_seconds: float) -> str:
    hours = every_seconds / HOUR
    amount, unit = (hours, "hour") if hours.is_integer() else (every_seconds / MINUTE, "minute")
    return f"{amount:g} {unit}{'' if amount == 1 else 's'}"


def _escape(text: str) -> str:
    # Cron ends the command at a percent sign without a backslash.
    return text.replace("%", r"\%")


def _marker(config: Path) -> str:
    return _escape(f"{MARKER}{config.resolve()}")


def _is_entry(line: str, config: Path) -> bool:
    # A person who comments the entry out wants to keep the line, so it no longer counts as the entry.
    return line.endswith(f" {_marker(config)}") and not line.lstrip().startswith("#")


def _other_lines(lines: list[str], config: Path) -> list[str]:
    return [line for line in lines if not _is_entry(line, config)]


def _read_lines() -> list[str]:
    process = _crontab("-l")
    if process.returncode == 0:
        return os.fsdecode(process.stdout).removesuffix("\n").split("\n") if process.stdout else []
    if b"no crontab for" in process.stderr:
        return []
    raise RefusedError(f"The crontab cannot be read: {_error_text(process)}")


def _write_lines(lines: list[str]) -> None:
    process = _crontab("-", text="".join(f"{line}\n" for line in lines))
    if process.returncode != 0:
        raise RefusedError(f"The crontab was not changed: {_error_text(process)}")


def _crontab(argument: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    program = _require("crontab", "cron")
    environment = {**os.environ, "LC_ALL": "C"}  # its messages are parsed, so they must be in English
    command, stdin = [program, argument], os.fsencode(text)
    # The program was found on the PATH, and the argument is one of two constants.
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)  # noqa: S603


def _require(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RefusedError(f"The program `{program}` is not installed. On Debian: apt-get install {package}")
    return path


def _error_text(process: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(os.fsdecode(process.stderr).split()) or f"exit code {process.returncode}"
