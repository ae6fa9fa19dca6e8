"""`erase` on the command line: what it needs, what it asks, what it prints."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import stillsafe

from .commands import Command, document

REASON = ("--reason", "asked by mail")


@pytest.fixture
def answers(made_service: Path, healthy_rows: list[dict[str, float]]) -> list[Any]:
    """Answers of the service to requests with the ids order-0 to order-4."""
    with TestClient(stillsafe.create_app(made_service / "stillsafe.toml")) as client:
        bodies = [{"id": f"order-{number}", "features": row} for number, row in enumerate(healthy_rows[:5])]
        return [client.post("/v1/predict", json=body).json() for body in bodies]


def test_rows_are_erased_by_ids_of_options_and_of_a_file(run: Command, answers: list[Any], made_service: Path) -> None:
    """A dry run counts the same; the rest stays; the list has who, why and how many, and no salt."""
    (made_service / "ids.txt").write_text("order-1\r\n\norder-2\n")
    words = ("erase", "--id", "order-0", "--ids", "ids.txt", "--prediction-id", answers[3]["prediction_id"], *REASON)
    trial = document(run(*words, "--dry-run", "--json")[1])
    assert (trial["prediction_count"], trial["dry_run"], trial["erasure_id"]) == (4, True, None)
    result = document(run(*words, "--yes", "--json", "--by", "alice")[1])
    assert (result["prediction_count"], result["dry_run"], result["log_emptied"]) == (4, False, True)
    assert run("predictions", "show", "--id", "order-1")[0] == 1
    assert run("predictions", "show", "--id", "order-4")[0] == 0
    (record,) = document(run("erase", "--list", "--json")[1])
    assert (record["by"], record["reason"], record["prediction_count"]) == ("alice", "asked by mail", 4)
    assert "salt" not in record
    assert "alice: 4 predictions" in run("erase", "--list")[1]
    assert "No erasure was interrupted" in run("erase", "--resume")[1]


def test_rows_are_erased_by_a_value(run: Command, answers: list[Any], healthy_rows: list[dict[str, float]]) -> None:
    """As text it says what went, and what a person still has to delete."""
    value = healthy_rows[2]["mean radius"]
    text = run("erase", "--feature", f"mean radius={value}", *REASON, "--yes")[1]
    assert "1 predictions and 0 labels erased" in text
    assert "Backups" in text
    assert run("predictions", "show", "--id", "order-2")[0] == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--id", "order-0"), "A reason is needed"),
        (REASON, "Nothing is named"),
        (("--id", "order-0", *REASON), "Add --yes"),
        (("--feature", "age=3", *REASON), "names no feature"),
        (("--feature", "mean radius=x", *REASON), "is no value"),
        (("--ids", "none.txt", *REASON), "cannot be read"),
    ],
)
def test_what_is_missing_is_named(run: Command, answers: list[Any], words: tuple[str, ...], problem: str) -> None:
    """Exit code 2, and nothing goes."""
    code, _, errors = run("erase", *words)
    assert code == 2
    assert problem in errors
    assert run("predictions", "show", "--id", "order-0")[0] == 0


def test_nothing_was_erased(run: Command) -> None:
    """The list of a new service is empty."""
    assert "Nothing was ever erased" in run("erase", "--list")[1]
