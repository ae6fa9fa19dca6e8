"""The environment in which cron starts a job: a command is tried in it before the entry is trusted.

Cron knows nothing of the shell that a service was set up from: neither PYTHONPATH nor exported addresses.
"""

import json
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

TRIAL_SECONDS = 120.0
"""Longest time for a trial: loading a large model takes seconds, an unreachable database its timeout."""
LOAD_VARIABLES = "if [ -f .env ]; then set -a; . ./.env; set +a; fi"
"""The part of a job that reads the variables of the service's folder."""
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_TIMED_OUT = 124


def environment(crontab_lines: Iterable[str] = ()) -> dict[str, str]:
    """The variables that cron gives to a job after these lines of the crontab, which may assign some."""
    account = pwd.getpwuid(os.getuid())
    variables = {"HOME": account.pw_dir, "LOGNAME": account.pw_name, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for line in crontab_lines:
        if (match := _ASSIGNMENT.fullmatch(line)) and match[1] not in ("LOGNAME", "USER"):
            variables[match[1]] = _unquote(match[2])
    return variables


def folder_environment(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    """The variables of a job in a service's folder, after its `.env` was read; unchanged where that fails."""
    command = f"cd {shlex.quote(str(folder))} && {{ {LOAD_VARIABLES}; /usr/bin/env -0; }}"
    process = run(command, variables)
    if process.returncode != 0:
        return variables
    return dict(entry.split("=", 1) for entry in process.stdout.split("\0") if "=" in entry)


def run(command: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as cron does, and capture its output. A command without an end is stopped after some time."""
    arguments = [variables["SHELL"], "-c", command]
    try:
        # The command is the one that the user's crontab runs, in the user's name.
        return subprocess.run(  # noqa: S603
            arguments,
            env=variables,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"It did not end within {TRIAL_SECONDS:g} seconds."
    except OSError as error:
        message = f"The shell {variables['SHELL']} cannot be started: {error.strerror}."
    return subprocess.CompletedProcess(arguments, _TIMED_OUT, "", message)


def failure_message(process: subprocess.CompletedProcess[str]) -> str:
    """The last sentence that a failed command printed; a JSON line is replaced by its message."""
    for text in (process.stderr, process.stdout):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return _message(lines[-1]).removeprefix("stillsafe: ")
    return f"It ended with exit code {process.returncode} and printed nothing."


def _message(line: str) -> str:
    try:
        document = json.loads(line)
    except ValueError:
        return line
    return str(document.get("message", line)) if isinstance(document, dict) else line


def _unquote(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value
