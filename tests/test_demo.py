"""The demo tells the mission's whole story on real data, or fails."""

import json
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillsafe import demo
from stillsafe.demo import StoryDidNotHappen

MISSION_TABLES = {
    "prediction_logs": (
        *("id", "timestamp", "model_version", "system_state", "input_summary", "prediction", "confidence_score"),
        "fallback_used",
    ),
    "baseline_metrics": (
        *("baseline_id", "created_at", "sample_size", "avg_confidence", "low_confidence_rate", "feature_ranges"),
        *("category_frequencies", "missing_value_rates"),
    ),
    "current_window_metrics": (
        *("window_start", "window_end", "prediction_count", "avg_confidence", "low_confidence_rate"),
        *("feature_anomalies", "unseen_categories"),
    ),
    "system_state": ("id", "current_state", "last_updated", "reason"),
    "incidents": (
        *("incident_id", "detected_at", "severity", "trigger_signals", "decision_reason", "fallback_activated"),
        "resolved",
    ),
    "llm_explanations": ("incident_id", "generated_at", "summary", "recommendations", "llm_model"),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The demo, run as a person runs it; its JSON and its folder."""
    out = tmp_path_factory.mktemp("demo") / "story"
    done = subprocess.run(
        [sys.executable, "-m", "stillsafe", "demo", "--json", "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout), out


def test_the_story_happens(played: tuple[dict[str, Any], Path]) -> None:
    """NORMAL, WARNING, DEGRADED, NORMAL, and the fallback does better than the broken model would have."""
    told, _ = played
    assert told["states"] == ["NORMAL", "WARNING", "DEGRADED", "NORMAL"]
    assert told["accuracy_with_protection"] > told["accuracy_without_protection"] + 0.2
    assert told["incident"]["severity"] == "CRITICAL"
    assert told["incident"]["resolved"]
    assert told["windows_recounted"] == len(told["runs"])


def test_the_degraded_model_is_bypassed(played: tuple[dict[str, Any], Path]) -> None:
    """Between the run that degrades and the run that recovers no answer is the model's."""
    runs = played[0]["runs"]
    for before, after in pairwise(runs):
        if before["state"] == "DEGRADED":
            assert after["answered_by_model"] == 0
        else:
            assert after["answered_by_fallback"] == 0


@pytest.mark.parametrize("table", MISSION_TABLES)
def test_the_missions_tables_are_there_and_filled(played: tuple[dict[str, Any], Path], table: str) -> None:
    """After the demo each of the six tables has the mission's columns, in its order, with values in them."""
    connection = sqlite3.connect(played[1] / "stillsafe.db")
    connection.row_factory = sqlite3.Row
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
    connection.close()
    assert rows
    columns = [name for name in rows[0].keys() if name in MISSION_TABLES[table]]  # noqa: SIM118 - a sqlite3.Row
    assert tuple(columns) == MISSION_TABLES[table]
    for name in columns:
        assert any(row[name] is not None for row in rows), name


def test_every_flight_is_recorded(played: tuple[dict[str, Any], Path]) -> None:
    """As many rows as answers."""
    connection = sqlite3.connect(played[1] / "stillsafe.db")
    (count,) = connection.execute("SELECT count(DISTINCT prediction_id) FROM prediction_logs").fetchone()
    connection.close()
    assert count == sum(run["answered_by_model"] + run["answered_by_fallback"] for run in played[0]["runs"])


def test_a_story_that_does_not_happen_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing breaks there is no degradation to show, and the demo says so instead of claiming one."""
    monkeypatch.setattr(demo, "CHAPTERS", (("healthy", 2),))
    with pytest.raises(StoryDidNotHappen, match="the states were NORMAL, not"):
        demo.play(tmp_path / "story", console=Console(quiet=True), quiet=True)


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    """The demo replaces its own folder and nobody else's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stillsafe.toml").write_text('[service]\nname = "fraud"\n')
    with pytest.raises(StoryDidNotHappen, match="was not made by a demo"):
        demo.play(tmp_path / "mine", console=Console(quiet=True), quiet=True)
    assert (tmp_path / "mine" / "stillsafe.toml").exists()
