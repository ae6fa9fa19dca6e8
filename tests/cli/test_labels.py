"""`labels add`."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import stillsafe

from .commands import Command, document


@pytest.fixture
def answers(made_service: Path, healthy_rows: list[dict[str, float]]) -> list[Any]:
    """Three answers to requests with ids."""
    with TestClient(stillsafe.create_app(made_service / "stillsafe.toml")) as client:
        return [
            client.post("/v1/predict", json={"id": f"r{number}", "features": row}).json()
            for number, row in enumerate(healthy_rows[:3])
        ]


def test_a_file_of_labels_is_added(run: Command, answers: list[Any], made_service: Path) -> None:
    """By the clients' ids; first as a trial, then once, and never twice."""
    assert len(answers) == 3
    (made_service / "labels.csv").write_text("id,label\nr0,1\nr1,0.0\nr2,\nr9,1\nr1,x\n")
    trial = document(run("labels", "add", "labels.csv", "--dry-run", "--json")[1])
    assert (trial["new_count"], trial["absent_count"], trial["unknown_ids"], trial["dry_run"]) == (2, 1, ["r9"], True)
    text = run("labels", "add", "labels.csv")[1]
    assert "2 labels added" in text
    assert "1 identifiers are not in the log: r9" in text
    assert "1 rows are refused: row 6" in text
    assert document(run("labels", "add", "labels.csv", "--json")[1])["repeat_count"] == 2
    assert document(run("predictions", "show", "--id", "r1", "--json")[1])[0]["label"] == "0"


def test_a_file_without_the_columns_is_a_wrong_configuration(run: Command, made_service: Path) -> None:
    """Exit code 2, with the options that name them."""
    (made_service / "labels.csv").write_text("key,truth\nr0,1\n")
    code, _, errors = run("labels", "add", "labels.csv")
    assert (code, "--label" in errors) == (2, True)
