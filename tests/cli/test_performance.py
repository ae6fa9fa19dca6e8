"""`performance`."""

from pathlib import Path

from fastapi.testclient import TestClient

import stillsafe

from .commands import Command, degrade, document


def test_the_performance_of_days_and_windows_is_printed(
    run: Command, made_service: Path, healthy_rows: list[dict[str, float]]
) -> None:
    """As a table with intervals and as JSON; without labels the command says how to add them."""
    assert "No label has come" in run("performance")[1]
    with TestClient(stillsafe.create_app(made_service / "stillsafe.toml")) as client:
        for number, row in enumerate(healthy_rows[:4]):
            client.post("/v1/predict", json={"id": f"r{number}", "features": row})
            client.post("/v1/labels", json={"id": f"r{number}", "label": 1})
    text = run("performance")[1]
    assert "accuracy" in text
    assert "100.0%" in text
    day = document(run("performance", "--limit", "1", "--json")[1])[0]
    assert (day["label_count"], day["overall"]["label_count"]) == (4, 4)
    assert day["estimate"] is None
    degrade(run, made_service)
    windows = document(run("performance", "--by", "window", "--json")[1])
    assert [window["prediction_count"] > 0 for window in windows] == [True] * 3
    assert run("performance", "--by", "year")[0] == 2
