"""The crontab entry that starts the monitor, and nothing else of the crontab.

The crontab is edited as text: a line that is not ours comes out as it went in, whatever it says. Ours ends in
a marker that names the settings file, so that installing twice leaves one entry and services do not mix.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from stillsafe.errors import RefusedError

MARKER = "# stillsafe:monitor:"
MINUTE, HOUR = 60, 3600
_DIVISORS_OF_60 = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
_DIVISORS_OF_24 = (1, 2, 3, 4, 6, 8, 12, 24)


def install(config: Path, every_seconds: float, *, python: Path) -> str:
    """Add the entry to this user's crontab, or replace the one that is there. Returns the entry.

    Args:
        config: the service's settings file; its folder is where the job runs, logs, and looks for `.env`.
        every_seconds: the interval between two runs.
        python: the interpreter that has Stillsafe installed.

    Raises:
        RefusedError: the interval does not fit a crontab, or the crontab cannot be changed.
    """
    line = entry(config, every_seconds, python=python)
    _require("flock", "util-linux")
    _write([*_without_ours(_read(), config), line])
    return line


def show(config: Path) -> str | None:
    """The installed entry of this service, or None.

    Raises:
        RefusedError: the crontab cannot be read.
    """
    return next((line for line in _read() if _is_ours(line, config)), None)


def remove(config: Path) -> bool:
    """Take the entry of this service out; whether there was one.

    Raises:
        RefusedError: the crontab cannot be changed.
    """
    before = _read()
    after = _without_ours(before, config)
    if len(after) == len(before):
        return False
    _write(after)
    return True


def entry(config: Path, every_seconds: float, *, python: Path) -> str:
    """The crontab line.

    It names everything by its absolute path, since cron knows no shell's settings; reads the variables in `.env`
    beside the settings file, so that the crontab holds no secrets; never starts a second run beside a first one
    that still runs; and appends what is printed to a log file.

    Raises:
        RefusedError: the interval does not fit a crontab, or the path does not.
    """
    place = config.resolve()
    name = place.stem
    # The interpreter is not resolved: a virtual environment's is a link, and works only by its own name.
    run = shlex.join([str(python.absolute()), "-m", "stillsafe", "monitor", "--config", str(place)])
    job = f"flock -n {shlex.quote(f'{name}.cron.lock')} {run}"
    log = shlex.quote(f"{name}.monitor.log")
    variables = "if [ -f .env ]; then set -a; . ./.env; set +a; fi"
    command = f"cd {shlex.quote(str(place.parent))} && {{ {variables}; {job}; }} >> {log} 2>&1"
    line = f"{_times(every_seconds)} {_escaped(command)} {_marker(place)}"
    if "\n" in line or "\r" in line:
        raise RefusedError(f"A path with a line break fits no crontab: {str(place)!r}. Rename the folder.")
    return line


def _times(every_seconds: float) -> str:
    """The five fields of a crontab line; they start afresh every hour and every day, so the interval must divide it."""
    if every_seconds < MINUTE:
        raise RefusedError(
            f"Cron starts things once a minute at most, and `monitor.every` is {every_seconds:g} s. Make it at least "
            "a minute; to play faster, run the monitor in a loop: while sleep 3; do stillsafe monitor; done"
        )
    minutes, hours = every_seconds / MINUTE, every_seconds / HOUR
    if minutes == 1:
        return "* * * * *"
    if minutes in _DIVISORS_OF_60[:-1]:
        return f"*/{minutes:.0f} * * * *"
    if hours in _DIVISORS_OF_24:
        return {1: "0 * * * *", 24: "0 0 * * *"}.get(int(hours), f"0 */{hours:.0f} * * *")
    raise RefusedError(
        f"An interval of {_told(every_seconds)} does not come round evenly in a crontab. Set `monitor.every` to whole "
        f"minutes that divide an hour or whole hours that divide a day; the nearest is {_nearest(every_seconds)}."
    )


def _nearest(every_seconds: float) -> str:
    fitting = [*(MINUTE * n for n in _DIVISORS_OF_60), *(HOUR * n for n in _DIVISORS_OF_24)]
    return _told(min(fitting, key=lambda seconds: abs(seconds - every_seconds)))


def _told(every_seconds: float) -> str:
    hours = every_seconds / HOUR
    amount, unit = (hours, "hour") if hours.is_integer() else (every_seconds / MINUTE, "minute")
    return f"{amount:g} {unit}{'' if amount == 1 else 's'}"


def _escaped(text: str) -> str:
    # To cron a bare percent sign ends the command.
    return text.replace("%", r"\%")


def _marker(config: Path) -> str:
    return _escaped(f"{MARKER}{config.resolve()}")


def _is_ours(line: str, config: Path) -> bool:
    # A line that somebody has commented out is theirs now.
    return line.endswith(f" {_marker(config)}") and not line.lstrip().startswith("#")


def _without_ours(lines: list[str], config: Path) -> list[str]:
    return [line for line in lines if not _is_ours(line, config)]


def _read() -> list[str]:
    read = _crontab("-l")
    if read.returncode == 0:
        return os.fsdecode(read.stdout).removesuffix("\n").split("\n") if read.stdout else []
    if b"no crontab for" in read.stderr:
        return []
    raise RefusedError(f"The crontab cannot be read: {_complaint(read)}")


def _write(lines: list[str]) -> None:
    written = _crontab("-", given="".join(f"{line}\n" for line in lines))
    if written.returncode != 0:
        raise RefusedError(f"The crontab was not changed: {_complaint(written)}")


def _crontab(argument: str, given: str = "") -> subprocess.CompletedProcess[bytes]:
    program = _require("crontab", "cron")
    spoken = {**os.environ, "LC_ALL": "C"}  # its complaints are read
    return subprocess.run([program, argument], input=os.fsencode(given), capture_output=True, env=spoken, check=False)  # noqa: S603 # the program is found on the PATH, the argument is one of two constants


def _require(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise RefusedError(f"There is no `{program}` here. On Debian: apt-get install {package}")
    return found


def _complaint(process: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(os.fsdecode(process.stderr).split()) or f"it exits with {process.returncode}"
