"""A service folder, and the command line in this process."""

import logging
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillsafe.cli import main

from .commands import Command, stillsafe


@pytest.fixture
def run(made_service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command in this process, in a fresh service: its exit code, standard output and standard error."""
    monkeypatch.chdir(made_service)
    handlers = logging.root.handlers[:]

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stillsafe", *words])
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    yield command
    logging.root.handlers[:] = handlers


@pytest.fixture
def history(made_service: Path) -> Path:
    """Four hundred healthy tumours with their labels, beside the settings."""
    from sklearn.datasets import load_breast_cancer

    tumours = load_breast_cancer(as_frame=True)
    table = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]].assign(benign=tumours.target)
    file = made_service / "history.csv"
    table.sample(400, random_state=4).to_csv(file, index=False)
    return file


@pytest.fixture
def old_service(made_service: Path) -> Path:
    """A service whose log has a hundred old rows and a new one."""
    assert stillsafe(made_service, "db", "upgrade").returncode == 0
    insert = (
        "INSERT INTO prediction_logs (timestamp, model_version, system_state, input_summary)"
        " VALUES (?, '1', 'NORMAL', '{}')"
    )
    with sqlite3.connect(made_service / "stillsafe.db") as connection:
        connection.executemany(insert, [("2020-01-01 00:00:00.000000",)] * 100)
        connection.execute(insert.replace("?", "strftime('%Y-%m-%d %H:%M:%S.000000', 'now')"))
    connection.close()
    return made_service
