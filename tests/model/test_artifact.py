"""A model file is verified before it is parsed, and parsed without running what is in it."""

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
from stillsafe.model.artifact import NEVER_TRUSTED, TRUSTED_TYPES, read_estimator, sha256_of
from stillsafe.model.model import load
from tests.serving.services import GOOD, fitted, saved, settings_of


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """What a pickle would call."""
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
    """The exact names allowed suffice for what people use, and the answers survive the file."""
    estimator = fitted(last)
    model = load(settings_of(saved(estimator, tmp_path)))
    assert model.score([GOOD])[0].error is None
    np.testing.assert_array_equal(model.estimator.classes_, estimator.classes_)


def test_another_file_than_the_one_meant_is_refused_unparsed(tmp_path: Path) -> None:
    """A changed byte is found before anything in the file is looked at."""
    settings = settings_of(saved(fitted(), tmp_path))
    joblib.dump(Bomb(tmp_path / "exploded"), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="SHA-256") as caught:
        load(settings)
    assert sha256_of(tmp_path / "model.skops") in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_type_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    """A function that the file brings along is refused by name, and accepted only by that exact name."""
    file = saved(FunctionTransformer(os.path.abspath), tmp_path)
    with pytest.raises(ModelError, match=r"not trusted: posixpath\.abspath") as caught:
        read_estimator(file)
    assert "model.trusted_types" in caught.value.remedy
    assert isinstance(read_estimator(file, trusted_types=["posixpath.abspath"]), FunctionTransformer)


def test_functools_partial_is_never_trusted(tmp_path: Path) -> None:
    """It can call anything, so no setting lets it in; the remedy says what to do instead."""
    file = saved(FunctionTransformer(partial(np.clip, a_min=0, a_max=1)), tmp_path)
    with pytest.raises(ModelError, match=r"functools\.partial") as caught:
        read_estimator(file, trusted_types=["functools.partial", "numpy.clip"])
    assert "OrdinalEncoder" in caught.value.remedy
    assert NEVER_TRUSTED.isdisjoint(TRUSTED_TYPES)


def test_a_pickle_under_a_skops_name_runs_nothing(tmp_path: Path) -> None:
    """It is no skops file, and is not tried as anything else."""
    joblib.dump(Bomb(tmp_path / "exploded"), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="Not a skops file"):
        read_estimator(tmp_path / "model.skops")
    assert not (tmp_path / "exploded").exists()


def test_a_joblib_file_opens_only_when_it_is_trusted(tmp_path: Path) -> None:
    """It may run any code, so a person has to say that they made it."""
    joblib.dump(fitted(), tmp_path / "model.joblib")
    sections: dict[str, Any] = {"format": "joblib", "trusted": False}
    with pytest.raises(ModelError, match="can run any code") as caught:
        load(settings_of(tmp_path / "model.joblib", model=sections))
    assert "model.trusted" in caught.value.remedy
    trusting = settings_of(tmp_path / "model.joblib", model={**sections, "trusted": True})
    assert load(trusting).score([GOOD])[0].error is None


@pytest.mark.parametrize(
    ("kind", "content"), [("joblib", b""), ("joblib", b"abc"), ("skops", b""), ("skops", b"PK\x03")]
)
def test_a_broken_file_is_told_in_one_sentence(tmp_path: Path, kind: str, content: bytes) -> None:
    """Whatever the parser says, the person reads which file and what to do."""
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ModelError, match=f"Not a {kind} file that can be read") as caught:
        read_estimator(tmp_path / "model", kind=kind, trusted=True)
    assert caught.value.file == str(tmp_path / "model")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With the setting that names it."""
    with pytest.raises(ModelError, match="No such file") as caught:
        read_estimator(tmp_path / "model.skops")
    assert "model.file" in caught.value.remedy


def test_a_truncated_skops_file_is_refused(tmp_path: Path) -> None:
    """Half a file is not a model."""
    file = tmp_path / "model.skops"
    io.dump(fitted(), file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="Not a skops file"):
        read_estimator(file)
