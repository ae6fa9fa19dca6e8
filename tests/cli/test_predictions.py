"""`predictions show` and `predictions export`."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import stillsafe

from .commands import Command, document


@pytest.fixture
def answer(made_service: Path, healthy_rows: list[dict[str, float]]) -> Any:
    """An answer of the service to a request with an id."""
    with TestClient(stillsafe.create_app(made_service / "stillsafe.toml")) as client:
        return client.post("/v1/predict", json={"id": "order [7]", "features": healthy_rows[0]}).json()


def test_a_prediction_is_shown_by_either_id(run: Command, answer: Any, healthy_rows: list[dict[str, float]]) -> None:
    """As JSON and as text."""
    prediction = document(run("predictions", "show", answer["prediction_id"], "--json")[1])
    assert (prediction["id"], prediction["features"]) == ("order [7]", healthy_rows[0])
    assert document(run("predictions", "show", "--id", "order [7]", "--json")[1]) == [prediction]
    text = run("predictions", "show", answer["prediction_id"])[1]
    assert "order [7]" in text
    assert "mean radius" in text


def test_unknown_and_missing_identifiers_are_named(run: Command, answer: Any) -> None:
    """Exit code 1 for one that the log lacks, 2 for none or two."""
    assert run("predictions", "show", "other")[0] == run("predictions", "show", "--id", "other")[0] == 1
    assert run("predictions", "show")[0] == 2
    assert run("predictions", "show", answer["prediction_id"], "--id", "order [7]")[0] == 2


def test_an_export_is_a_file_of_the_span(run: Command, answer: Any, made_service: Path) -> None:
    """The count is printed; a span before the service has no rows."""
    assert document(run("predictions", "export", "rows.csv", "--json")[1]) == {"file": "rows.csv", "predictions": 1}
    assert answer["prediction_id"] in (made_service / "rows.csv").read_text()
    assert "0 rows" in run("predictions", "export", "none.csv", "--until", "2020-01-01")[1]
    assert run("predictions", "export", "rows.csv")[0] == 1
    code, _, errors = run("predictions", "export", "turned.csv", "--since", "2030-01-01", "--until", "2020-01-01")
    assert code == 2
    assert "--since 2030-01-01T00:00:00Z is not before the end" in errors
    assert not (made_service / "turned.csv").exists()
