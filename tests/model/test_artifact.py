"""A model file is verified before it is parsed, and parsing runs no code of the file."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import FunctionTransformer
from skops import io

from stillsafe.errors import ModelError
from stillsafe.model.artifact import read_estimator, sha256_of
from stillsafe.model.load import load_model
from stillsafe.model.trusted_types import NEVER_TRUSTED, TRUSTED_TYPES
from tests.model.versions import OTHER_VERSION, content_of
from tests.serving.services import GOOD, fitted_pipeline, save_model, settings_of


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """The call that unpickling makes."""
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "last",
    [
        LogisticRegression(),
        RandomForestClassifier(5),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(3),
        MLPClassifier((3,), max_iter=500),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=3), method="isotonic", cv=2),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ordinary_models_need_no_trust_in_further_types(tmp_path: Path, last: Any) -> None:
    """The built-in list of trusted types covers common models, and they predict the same after the file."""
    estimator = fitted_pipeline(last)
    model = load_model(settings_of(save_model(estimator, tmp_path)))
    assert model.score([GOOD])[0].error is None
    np.testing.assert_array_equal(model.estimator.classes_, estimator.classes_)


def test_a_file_with_another_hash_is_not_parsed(tmp_path: Path) -> None:
    """A changed byte is detected before the file is parsed."""
    settings = settings_of(save_model(fitted_pipeline(), tmp_path))
    joblib.dump(Bomb(tmp_path / "exploded"), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="SHA-256") as failure:
        load_model(settings)
    assert sha256_of(tmp_path / "model.skops") in str(failure.value)
    assert not (tmp_path / "exploded").exists()


def test_a_type_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    """A function in the file is refused by name, and accepted only by that exact name."""
    file = save_model(FunctionTransformer(os.path.abspath), tmp_path)
    with pytest.raises(ModelError, match=r"not trusted: posixpath\.abspath") as failure:
        read_estimator(file)
    assert "model.trusted_types" in failure.value.remedy
    assert isinstance(read_estimator(file, trusted_types=["posixpath.abspath"]), FunctionTransformer)


def test_functools_partial_is_never_trusted(tmp_path: Path) -> None:
    """It can call any function, so no setting allows it; the remedy names the alternative."""
    file = save_model(FunctionTransformer(partial(np.clip, a_min=0, a_max=1)), tmp_path)
    with pytest.raises(ModelError, match=r"functools\.partial") as failure:
        read_estimator(file, trusted_types=["functools.partial", "numpy.clip"])
    assert "OrdinalEncoder" in failure.value.remedy
    assert NEVER_TRUSTED.isdisjoint(TRUSTED_TYPES)


def test_a_pickle_under_a_skops_name_runs_nothing(tmp_path: Path) -> None:
    """It is not a skops file, and no other format is tried."""
    joblib.dump(Bomb(tmp_path / "exploded"), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="not a readable skops file"):
        read_estimator(tmp_path / "model.skops")
    assert not (tmp_path / "exploded").exists()


def test_a_joblib_file_opens_only_when_it_is_trusted(tmp_path: Path) -> None:
    """It can run any code, so a person has to declare it trusted."""
    joblib.dump(fitted_pipeline(), tmp_path / "model.joblib")
    sections: dict[str, Any] = {"format": "joblib", "trusted": False}
    with pytest.raises(ModelError, match="can run any code") as failure:
        load_model(settings_of(tmp_path / "model.joblib", model=sections))
    assert "model.trusted" in failure.value.remedy
    trusting = settings_of(tmp_path / "model.joblib", model={**sections, "trusted": True})
    assert load_model(trusting).score([GOOD])[0].error is None


@pytest.mark.parametrize(
    ("kind", "content"), [("joblib", b""), ("joblib", b"abc"), ("skops", b""), ("skops", b"PK\x03")]
)
def test_a_broken_file_gives_one_sentence(tmp_path: Path, kind: str, content: bytes) -> None:
    """Whatever the parser raises, the error names the file and the remedy."""
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ModelError, match=f"not a readable {kind} file") as failure:
        read_estimator(tmp_path / "model", kind=kind, trusted=True)
    assert failure.value.file == str(tmp_path / "model")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The remedy names the setting that points to the file."""
    with pytest.raises(ModelError, match="No such file") as failure:
        read_estimator(tmp_path / "model.skops")
    assert "model.file" in failure.value.remedy


def test_a_truncated_skops_file_is_refused(tmp_path: Path) -> None:
    """Half a file is not a model."""
    file = tmp_path / "model.skops"
    io.dump(fitted_pipeline(), file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="not a readable skops file"):
        read_estimator(file)


@pytest.mark.parametrize("form", ["skops", "joblib"])
@pytest.mark.parametrize("version", [OTHER_VERSION, None])
def test_a_model_without_a_parameter_of_its_class_is_refused(tmp_path: Path, form: str, version: str | None) -> None:
    """An older class reads a parameter that a newer one no longer wrote: one sentence, with both versions if known."""
    estimator = fitted_pipeline()
    del estimator.steps[-1][1].C
    file = tmp_path / f"model.{form}"
    file.write_bytes(content_of(estimator, form, version))
    message = f"saved with scikit-learn {OTHER_VERSION}" if version else "lacks a parameter that its class has here"
    with pytest.raises(ModelError, match=message) as failure:
        read_estimator(file, kind=form, trusted=True)
    assert "'C'" in failure.value.problem
