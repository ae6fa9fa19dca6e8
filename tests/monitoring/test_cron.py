"""Cron's environment: small, extended by the crontab and by `.env`; a failed trial in it ends with a sentence."""

import os
import pwd
from pathlib import Path

import pytest

from stillsafe.monitoring import cron


def test_the_environment_knows_nothing_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four variables, whatever this process has; a job sees nothing else."""
    monkeypatch.setenv("PYTHONPATH", "/my/modules")
    variables = cron.environment()
    assert variables == {
        "HOME": pwd.getpwuid(os.getuid()).pw_dir,
        "LOGNAME": pwd.getpwuid(os.getuid()).pw_name,
        "SHELL": "/bin/sh",
        "PATH": "/usr/bin:/bin",
    }
    assert cron.run("echo $PYTHONPATH", variables).stdout == "\n"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("PYTHONPATH=/mine", "PYTHONPATH", "/mine"),
        ("  SHELL = /bin/bash  ", "SHELL", "/bin/bash"),
        ('NAME = "two words "', "NAME", "two words "),
        ("NAME='quoted'", "NAME", "quoted"),
        ("EMPTY=", "EMPTY", ""),
    ],
)
def test_the_crontab_may_assign_variables(line: str, name: str, value: str) -> None:
    """As cron reads them: spaces around the sign and quotes around the value do not count."""
    assert cron.environment(["# NAME=comment", line])[name] == value


def test_jobs_and_the_account_are_no_assignments() -> None:
    """A job with an equals sign assigns nothing, and LOGNAME cannot be variables_there."""
    lines = ["* * * * * A=b stillsafe", "LOGNAME=somebody"]
    assert cron.environment(lines) == cron.environment()


def test_the_folder_adds_its_variables(tmp_path: Path) -> None:
    """`.env` is read by the shell, so its values may be quoted; without a file nothing changes."""
    variables = cron.environment()
    assert cron.folder_environment(tmp_path, variables).items() >= variables.items()
    (tmp_path / ".env").write_text("STILLSAFE_DATABASE_URL='sqlite:///a b.db'\nOTHER=$HOME\n")
    variables_there = cron.folder_environment(tmp_path, variables)
    assert (variables_there["STILLSAFE_DATABASE_URL"], variables_there["OTHER"]) == (
        "sqlite:///a b.db",
        variables["HOME"],
    )
    assert cron.folder_environment(tmp_path / "absent", variables) == variables


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo ignored; echo first >&2; echo 'stillsafe: The last.' >&2; exit 2", "The last."),
        ("echo only output; exit 1", "only output"),
        ("exit 3", "It ended with exit code 3 and printed nothing."),
        ('echo \'{"event": "run_failed", "message": "In JSON."}\' >&2; exit 1', "In JSON."),
        ("echo '[1]' >&2; exit 1", "[1]"),
    ],
)
def test_a_failure_is_its_last_sentence(command: str, message: str) -> None:
    """Errors come before output; a line of the log gives its message."""
    assert cron.failure_message(cron.run(command, cron.environment())) == message


def test_a_command_that_does_not_end_or_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging command and a missing shell are failures with a sentence."""
    monkeypatch.setattr(cron, "TRIAL_SECONDS", 0.2)
    assert "did not end" in cron.failure_message(cron.run("exec sleep 20", cron.environment()))
    process = cron.run("true", cron.environment(["SHELL=/absent"]))
    assert process.returncode != 0
    assert "/absent cannot be started" in cron.failure_message(process)
