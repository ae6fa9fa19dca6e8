"""A model that needs a class which Python does not find: the message has module, class and remedy."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
from skops import io

from stillsafe.errors import ModelError
from stillsafe.model.artifact import read_estimator
from stillsafe.model.missing_class import missing_class_error

MODULE = """
from sklearn.base import BaseEstimator, TransformerMixin


class LogIncome(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X
"""


def save_elsewhere(folder: Path, module: str, *, file: str = "model.joblib") -> Path:
    """Save a model of an own class in another process, as its owner does."""
    (folder / "own_features.py").write_text(MODULE)
    definition = MODULE if module == "__main__" else f"from {module} import LogIncome"
    save = "import joblib; joblib.dump" if file.endswith("joblib") else "from skops import io; io.dump"
    code = f"{definition}\n{save}(LogIncome(), {file!r})"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    return folder / file


def message_of(file: Path, **options: object) -> str:
    """The message of the failure to read the file."""
    with pytest.raises(ModelError) as failure:
        read_estimator(file, kind="joblib" if file.suffix == ".joblib" else "skops", trusted=True, **options)  # type: ignore[arg-type] # of each kind
    return str(failure.value)


@pytest.mark.parametrize("file", ["model.joblib", "model.skops"])
def test_a_module_that_is_not_found(tmp_path: Path, file: str) -> None:
    """The message names the file, the class, the module and the setting, whatever the form of the file."""
    message = message_of(save_elsewhere(tmp_path, "own_features", file=file), trusted_types=["own_features.LogIncome"])
    for words in (file, "'LogIncome'", "'own_features'", 'python_path = ["."]', "install it for"):
        assert words in message


class WithoutLightGBM:
    """An import system in which LightGBM is not installed."""

    def find_spec(self, name: str, *_arguments: object) -> None:
        """Nothing, and no other finder is used for LightGBM."""
        if name == "lightgbm":
            raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")


def test_a_library_of_boosters_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the library and the extra that installs it."""
    (tmp_path / "model.joblib").write_bytes(b"clightgbm.sklearn\nLGBMClassifier\n.")
    for name in ("lightgbm", "lightgbm.sklearn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutLightGBM(), *sys.meta_path])
    message = message_of(tmp_path / "model.joblib")
    assert "needs lightgbm, which is not installed" in message
    assert "pip install 'stillsafe[lightgbm]'" in message


def test_a_class_of_a_script(tmp_path: Path) -> None:
    """A class of `__main__` can be found by no other process, so it must move to a module."""
    message = message_of(save_elsewhere(tmp_path, "__main__"))
    for words in ("'LogIncome'", "script (`__main__`)", "Move it to a module", "python_path"):
        assert words in message


def test_a_module_without_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that lost its class, or that fails when it is imported, is told apart from an absent one."""
    file = save_elsewhere(tmp_path, "own_features")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_features.py").write_text("import package_that_is_not_installed\n")
    assert "cannot be imported: ModuleNotFoundError: No module named 'package_that_is_not" in message_of(file)
    (tmp_path / "own_features.py").write_text("NOTHING = 0\n")
    assert "'own_features', and the module that Python finds has none" in message_of(file)
    del sys.modules["own_features"]


def test_a_file_that_fails_for_another_reason(tmp_path: Path) -> None:
    """A damaged file is not explained by a class."""
    joblib.dump([0], tmp_path / "whole.joblib")
    (tmp_path / "cut.joblib").write_bytes((tmp_path / "whole.joblib").read_bytes()[:-3])
    io.dump([0], tmp_path / "model.skops")
    assert "not a readable joblib file" in message_of(tmp_path / "cut.joblib")
    assert missing_class_error(ValueError("other"), tmp_path) is None
