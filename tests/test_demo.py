"""The demo shows a degradation and the recovery on real data, or fails."""

import json
import re
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scripts import draw_incident
from stillsafe import demo
from stillsafe.demo import DemoFailed
from tests.contract.surface import key_paths
from tests.test_contract import RELEASE, missing

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
def demo_result(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The demo, run as a person runs it; its JSON and its folder."""
    out = tmp_path_factory.mktemp("demo") / "story"
    process = subprocess.run(
        [sys.executable, "-m", "stillsafe", "demo", "--json", "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(process.stdout), out


def test_the_model_degrades_and_recovers(demo_result: tuple[dict[str, Any], Path]) -> None:
    """NORMAL, WARNING, DEGRADED, NORMAL, and the fallback does better than the broken model would have."""
    result, _ = demo_result
    assert result["states"] == ["NORMAL", "WARNING", "DEGRADED", "NORMAL"]
    assert result["accuracy_with_protection"] > result["accuracy_without_protection"] + 0.2
    assert result["incident"]["severity"] == "CRITICAL"
    assert result["incident"]["resolved"]
    assert result["windows_recounted"] == len(result["runs"])


def test_its_json_keeps_its_keys(demo_result: tuple[dict[str, Any], Path]) -> None:
    """`demo --json` prints every key that the last release printed."""
    assert list(missing(RELEASE["json"]["demo"], list(key_paths(demo_result[0])))) == []


def test_the_degraded_model_is_bypassed(demo_result: tuple[dict[str, Any], Path]) -> None:
    """Between the run that degrades and the run that recovers no answer is the model's."""
    runs = demo_result[0]["runs"]
    for previous, run in pairwise(runs):
        if previous["state"] == "DEGRADED":
            assert run["answered_by_model"] == 0
        else:
            assert run["answered_by_fallback"] == 0


@pytest.mark.parametrize("table", MISSION_TABLES)
def test_the_missions_tables_are_filled(demo_result: tuple[dict[str, Any], Path], table: str) -> None:
    """After the demo each of the six tables has the mission's columns, in its order, with values in them."""
    connection = sqlite3.connect(demo_result[1] / "stillsafe.db")
    connection.row_factory = sqlite3.Row
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
    connection.close()
    assert rows
    columns = [name for name in rows[0].keys() if name in MISSION_TABLES[table]]  # noqa: SIM118 - a sqlite3.Row
    assert tuple(columns) == MISSION_TABLES[table]
    for name in columns:
        assert any(row[name] is not None for row in rows), name


def test_every_flight_is_recorded(demo_result: tuple[dict[str, Any], Path]) -> None:
    """As many rows as answers."""
    connection = sqlite3.connect(demo_result[1] / "stillsafe.db")
    (count,) = connection.execute("SELECT count(DISTINCT prediction_id) FROM prediction_logs").fetchone()
    connection.close()
    assert count == sum(run["answered_by_model"] + run["answered_by_fallback"] for run in demo_result[0]["runs"])


def test_the_picture_of_the_incident_is_this_one(demo_result: tuple[dict[str, Any], Path]) -> None:
    """The committed picture has the states, times and charts of the demo as it plays now, and stands alone."""
    new, picture_text = draw_incident.picture(*demo_result), draw_incident.FILE.read_text(encoding="utf-8")
    assert [state for _, state in draw_incident.steps(new)] == demo.EXPECTED_STATES
    assert draw_incident.steps(picture_text) == draw_incident.steps(new)
    for kind in (r'class="caption"[^>]*>[^<]+', r'<rect class="(?:state|injected)[^>]+', r"<title[^>]*>[^<:]+<"):
        assert re.findall(kind, picture_text) == re.findall(kind, new)
    assert ElementTree.fromstring(picture_text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
    assert not re.search(r"<script|<image|@import|url\(|href", picture_text)
    assert len(picture_text) < 60_000


def test_a_demo_without_a_degradation_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no feed breaks the demo fails and names the states that it saw."""
    monkeypatch.setattr(demo, "CHAPTERS", (("healthy", 2),))
    with pytest.raises(DemoFailed, match="the states were NORMAL, not"):
        demo.play(tmp_path / "story", console=Console(quiet=True), quiet=True)


def test_a_foreign_folder_is_unchanged(tmp_path: Path) -> None:
    """The demo replaces its own folder and no other."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stillsafe.toml").write_text('[service]\nname = "fraud"\n')
    with pytest.raises(DemoFailed, match="was not made by a demo"):
        demo.play(tmp_path / "mine", console=Console(quiet=True), quiet=True)
    assert (tmp_path / "mine" / "stillsafe.toml").exists()
