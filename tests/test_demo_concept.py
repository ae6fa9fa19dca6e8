"""The demo's second act: labels alone open the incident, and labels of newer flights end it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillsafe import demo_concept
from stillsafe.demo import DemoFailed


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The act, run as a person runs it; its JSON."""
    out = tmp_path_factory.mktemp("demo") / "story"
    command = [sys.executable, "-m", "stillsafe", "demo", "--act", "concept", "--json", "--out", str(out)]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def test_labels_open_the_incident_and_end_it(act: dict[str, Any]) -> None:
    """WARNING with the second labelled day of the strike, DEGRADED with the third, NORMAL after three newer ones."""
    assert act["states"] == ["NORMAL", "WARNING", "DEGRADED", "NORMAL"]
    assert act["incident"]["trigger_signals"] == ["realised_loss"]
    assert "By the labels of 300 predictions" in act["incident"]["decision_reason"]
    assert "3 consecutive labelled runs" in act["incident"]["resolution"]
    strike = [run["state"] for run in act["runs"] if run["chapter"] == "strike"]
    assert strike == ["NORMAL", "NORMAL", "NORMAL", "WARNING", "DEGRADED"]


def test_the_inputs_stay_healthy(act: dict[str, Any]) -> None:
    """The confidence does not move while more than ten points of accuracy are lost; every decision is replayed."""
    confidences = [run["avg_confidence"] for run in act["runs"]]
    assert max(confidences) - min(confidences) < 0.05
    assert act["accuracy_healthy"] - act["accuracy_strike"] > 0.1
    assert act["decisions_replayed"] == act["windows_recounted"] == len(act["runs"]) + 1


def test_an_act_without_a_strike_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the world does not change, the demo says which states it saw."""
    monkeypatch.setattr(demo_concept, "CHAPTERS", (("healthy", 3),))
    with pytest.raises(DemoFailed, match="the states were NORMAL, not"):
        demo_concept.play(tmp_path / "story", console=Console(quiet=True), quiet=True)
