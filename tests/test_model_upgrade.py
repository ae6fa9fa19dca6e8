"""A library upgrade that changes the model's answers is noticed before the first client gets one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sklearn
from starlette.testclient import TestClient

from stillsafe import service
from tests.cli.command_server import program
from tests.stores import with_store
from tests.upgrades import OLD_VERSION, answered_otherwise, edit_reference, measured_with_old_version

ROW = {"mean radius": 14.0, "mean texture": 19.0, "mean smoothness": 0.09, "worst area": 880.0}


def responses(folder: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The readiness response of a new start, a prediction and the served model."""
    with TestClient(service.create_app(folder / "stillsafe.toml")) as client:
        ready = client.get("/health/ready")
        prediction = client.post("/v1/predict", json={"features": ROW})
        return ready, prediction.json(), client.get("/v1/model").json()


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    command = [str(program()), *words, "--config", str(folder / "stillsafe.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_changed_answers_are_not_served_until_a_person_accepts_them(made_service: Path) -> None:
    """Not ready, the fallback answers, with both versions and the command; after it, the model answers again."""
    folder = with_store(made_service)
    edit_reference(folder, answered_otherwise)
    ready, prediction, model = responses(folder)
    assert ready.status_code == 503
    sentence = ready.json()["detail"]
    versions = f"scikit-learn {OLD_VERSION} (here {sklearn.__version__})"
    for words in ("10 of 60 synthetic rows", versions, "stillsafe model accept", f"scikit-learn=={OLD_VERSION}"):
        assert words in sentence
    assert (prediction["decided_by"], prediction["system_state"]) == ("fallback", "NORMAL")
    assert versions in prediction["reason"]
    assert versions in model["answer_change"]
    assert model["library_versions"]["scikit-learn"] == sklearn.__version__
    process = run(folder, "model", "accept", "--reason", "compared on last week", "--by", "Ada", "--json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["changed_rows"] == 10
    ready, prediction, model = responses(folder)
    assert (ready.status_code, prediction["decided_by"], model["answer_change"]) == (200, "model", None)
    document = json.loads(run(folder, "model", "show", "--json").stdout)
    assert (document["accepted_by"], document["accepted_reason"]) == ("Ada", "compared on last week")


def test_other_libraries_with_the_same_answers_change_nothing(made_service: Path) -> None:
    """The version alone is no reason to bypass the model."""
    folder = with_store(made_service)
    edit_reference(folder, measured_with_old_version)
    ready, prediction, model = responses(folder)
    assert (ready.status_code, prediction["decided_by"], model["answer_change"]) == (200, "model", None)
    assert model["library_versions_before"]["scikit-learn"] == OLD_VERSION


def test_in_observe_mode_the_model_answers_nevertheless(made_service: Path) -> None:
    """Observing changes no answer; the served model still shows that its answers changed."""
    folder = with_store(made_service)
    edit_reference(folder, answered_otherwise)
    config = folder / "stillsafe.toml"
    config.write_text(config.read_text().replace('mode = "enforce"', 'mode = "observe"'))
    ready, prediction, model = responses(folder)
    assert (ready.status_code, prediction["decided_by"]) == (200, "model")
    assert "10 of 60" in model["answer_change"]


@pytest.mark.parametrize("section", ["probes", "model"])
def test_a_reference_file_of_an_older_release_is_served_as_before(made_service: Path, section: str) -> None:
    """Without stored answers nothing is compared, and the model answers."""
    folder = with_store(made_service)
    edit_reference(folder, lambda document: document.pop(section))
    ready, prediction, model = responses(folder)
    assert (ready.status_code, prediction["decided_by"], model["answer_change"]) == (200, "model", None)
