"""A service folder, and the command line in this process."""

import sqlite3
from pathlib import Path

import pytest

from .commands import stillsafe


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
