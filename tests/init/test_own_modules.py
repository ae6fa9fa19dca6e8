"""A model with a class of an own module: `init` writes where it is, and no process needs PYTHONPATH afterwards."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.init.services import people, write_sample

MODULE = """
import numpy
from sklearn.base import BaseEstimator, TransformerMixin


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.feature_names_in_ = numpy.asarray(X.columns, dtype=object)
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        return 2 * X


def fallback(row):
    return "no"
"""
SAVE = """
import joblib, pandas, sys
from own_features import Doubled
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

table = pandas.read_parquet(sys.argv[1])
joblib.dump(make_pipeline(Doubled(), LogisticRegression()).fit(table[["age", "visits"]], table["stays"]), sys.argv[2])
"""
SERVE = """
import sys
from starlette.testclient import TestClient
from stillsafe import create_app

with TestClient(create_app("service/stillsafe.toml")) as client:
    print(client.post("/v1/predict", json={"features": {"age": 90.0, "visits": 9}}).json()["decided_by"])
"""


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, without PYTHONPATH unless it is options_of_all."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    arguments = [sys.executable, "-P", *command]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its module in `lib`, and the service that `init` made where PYTHONPATH had `lib`."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "lib").mkdir()
    (folder / "lib/own_features.py").write_text(MODULE)
    sample = write_sample(people(), folder)
    paths = [str(sample), "model.joblib"]
    assert run(folder, "-c", SAVE, *paths, PYTHONPATH="lib").returncode == 0
    process = run(folder, *init_command("service"), PYTHONPATH="lib")
    assert process.returncode == 0, process.stderr
    return folder


def init_command(out: str, *options: str) -> list[str]:
    """The command line of `init`."""
    options_of_all = ["--model", "model.joblib", "--trust-joblib", "--sample", "sample.parquet", "--label", "stays"]
    return ["-m", "stillsafe", "init", *options_of_all, "--out", out, *options]


def model_section(folder: Path) -> dict[str, Any]:
    """Section `[model]` of the written settings."""
    section: dict[str, Any] = tomllib.loads((folder / "stillsafe.toml").read_text())["model"]
    return section


def test_without_the_module_init_names_it(own_service: Path) -> None:
    """The message has module, class and both places to name the folder; with the option `init` succeeds."""
    process = run(own_service, *init_command("other"))
    assert process.returncode == 2
    for words in ("'own_features'", "'Doubled'", "python_path", "--python-path"):
        assert words in process.stderr
    process = run(own_service, *init_command("other", "--python-path", "lib", "--module", "own_features"))
    assert process.returncode == 0, process.stderr
    section = model_section(own_service / "other")
    assert (section["python_path"], section["modules"]) == (["../lib"], ["own_features"])


def test_init_writes_the_folder_that_it_found(own_service: Path) -> None:
    """A folder of PYTHONPATH is written relative to the settings; a new generation of the folder keeps it."""
    assert model_section(own_service / "service")["python_path"] == ["../lib"]
    process = run(own_service, *init_command("service", "--force"))
    assert process.returncode == 0, process.stderr
    assert model_section(own_service / "service")["python_path"] == ["../lib"]


def test_every_command_finds_the_module(own_service: Path) -> None:
    """`serve`, `monitor`, `check` and `backtest` work without PYTHONPATH, and so does a fallback function."""
    config = own_service / "service/stillsafe.toml"
    text = config.read_text()
    config.write_text(text.replace("[fallback]", '[fallback]\nfunction = "own_features:fallback"', 1))
    options = ["--config", "service/stillsafe.toml"]
    for command in (
        ["monitor", "--try"],
        ["monitor"],
        ["check"],
        ["backtest", "sample.parquet", "--label", "stays", "--rows-per-run", "60"],
    ):
        process = run(own_service, "-m", "stillsafe", *command, *options)
        assert process.returncode == 0, process.stderr + process.stdout
    process = run(own_service, "-c", SERVE)
    assert process.stdout.strip() == "model", process.stderr
    config.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["../lib"]', '["../absent"]', "absent in `model.python_path` does not exist"),
        ('["../lib"]', "[]", "'own_features', and Python does not find that module here"),
        ('["../lib"]', '["../lib"]\nmodules = ["absent_features"]', "'absent_features' in `model.modules` cannot be"),
    ],
)
def test_a_wrong_setting_is_named_by_the_trial(own_service: Path, old: str, new: str, message: str) -> None:
    """`monitor --try` exits with 2 and the sentence that helps."""
    text = (own_service / "service/stillsafe.toml").read_text()
    assert f"python_path = {old}" in text
    config = own_service / "service/broken.toml"
    config.write_text(text.replace(f"python_path = {old}", f"python_path = {new}", 1))
    process = run(own_service, "-m", "stillsafe", "monitor", "--try", "--config", str(config))
    assert process.returncode == 2
    assert message in " ".join(process.stderr.split())
