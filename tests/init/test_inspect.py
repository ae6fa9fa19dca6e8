"""A model is read, classified and probed before it is served, and each refusal names its remedy."""

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from stillsafe.core.schema import Row
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import infer, inspect
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.model import Model, ModelKind
from tests.init.services import people, save_model
from tests.model.models import BareClassifier

FILE = Path("model.skops")
TABLE = people()[["age", "visits"]]
SCHEMA = infer.describe(TABLE).schema
ROWS = infer.rows_of(TABLE, SCHEMA)
OLD = (TABLE["age"] > 50).astype(int)


def candidate_of(estimator: Any) -> Model:
    """The model as it is before probing."""
    kind, classes = inspect.kind_and_classes(estimator, FILE)
    return Model("1", kind, classes, SCHEMA, estimator, inspect.probe_scale(estimator, FILE))


def without_age(every: int) -> list[Row]:
    """The sample with the age missing in every n-th row."""
    return [{**row, "age": None} if number % every == 0 else row for number, row in enumerate(ROWS)]


@pytest.mark.parametrize("file_format", ["skops", "joblib"])
def test_the_content_determines_the_format(file_format: str, tmp_path: Path) -> None:
    """A file is recognized and read whatever its name; joblib only if it is trusted."""
    path = save_model(LogisticRegression().fit(TABLE, OLD), tmp_path, file_format).rename(tmp_path / "model.bin")
    assert inspect.file_format(path, trusted=True) == file_format
    assert isinstance(inspect.read_model(path, file_format), LogisticRegression)
    if file_format == "joblib":
        with pytest.raises(ModelError, match="--trust-joblib"):
            inspect.file_format(path, trusted=False)
    with pytest.raises(ModelError, match=r"No such file or directory\. Check --model"):
        inspect.file_format(tmp_path / "nothing", trusted=True)


def test_the_kind_comes_with_the_classes() -> None:
    """A classifier has plain classes, a regressor none; other and unfitted estimators are refused."""
    assert inspect.kind_and_classes(LogisticRegression().fit(TABLE, OLD), FILE) == (ModelKind.CLASSIFIER, (0, 1))
    assert inspect.kind_and_classes(LinearRegression().fit(TABLE, OLD), FILE) == (ModelKind.REGRESSOR, ())
    for estimator, message in ((KMeans(2).fit(TABLE), "neither a classifier"), (LogisticRegression(), "not fitted")):
        with pytest.raises(ModelError, match=message) as failure:
            inspect.kind_and_classes(estimator, FILE)
        assert failure.value.remedy


def test_a_model_without_confidence_is_refused() -> None:
    """A classifier with neither probabilities nor margins nor votes gets a remedy."""
    with pytest.raises(ModelError, match="CalibratedClassifierCV"):
        inspect.probe_scale(BareClassifier().fit(TABLE, OLD), FILE)


def test_a_probed_model_has_its_scale_and_schema() -> None:
    """The scale is measured on the sample, and features that the model needs become required."""
    model = inspect.probe_model(candidate_of(LinearSVC().fit(TABLE, OLD)), ROWS, FILE)
    assert model.scale.method is ConfidenceMethod.MARGIN_RANK
    assert list(model.scale.quantiles) == sorted(model.scale.quantiles)
    assert [spec.required for spec in model.features.features] == [True, True]
    scores = inspect.score_sample(model, ROWS, lambda _activity, _share: None)
    assert [score.prediction for score in scores] == model.estimator.predict(TABLE).tolist()


def test_failures_on_the_sample_are_explained() -> None:
    """Missing values are named by feature; another failure carries the model's exception."""
    candidate = candidate_of(LogisticRegression().fit(TABLE, OLD))
    with pytest.raises(ConfigurationError, match="missing values of 'age', and the model fails on them"):
        inspect.probe_model(candidate, without_age(5), FILE)
    texts: list[Row] = [{**row, "age": "old"} for row in ROWS]
    words = replace(candidate, features=infer.describe(pd.DataFrame(texts)).schema)
    with pytest.raises(ModelError, match=r"60 of 60 rows of its own sample: ValueError: could not convert"):
        inspect.probe_model(words, texts, FILE)


def test_one_failure_in_a_hundred_is_tolerated() -> None:
    """A real sample may have a damaged row; beyond one percent it is not healthy."""
    candidate = candidate_of(LogisticRegression().fit(TABLE, OLD))
    scores = inspect.score_sample(candidate, without_age(120), lambda _activity, _share: None)
    assert sum(score.error is not None for score in scores) == 2
    with pytest.raises(ModelError, match="fails on 3 of the 240 rows"):
        inspect.score_sample(candidate, without_age(100), lambda _activity, _share: None)


def test_scoring_reports_its_progress() -> None:
    """The share is complete at the end."""
    shares: list[float | None] = []
    candidate = candidate_of(LogisticRegression().fit(TABLE, OLD))
    inspect.score_sample(candidate, ROWS * 10, lambda _activity, share: shares.append(share))
    assert shares == [2_000 / 2_400, 1.0]


def test_warnings_and_log_lines_are_suppressed(caplog: pytest.LogCaptureFixture) -> None:
    """Only inside the block, and also if the block raises."""
    model_logger = logging.getLogger("stillsafe.model.model")

    def warn_and_fail() -> None:
        with inspect.suppress_warnings():
            warnings.warn("unknown category", UserWarning, stacklevel=1)
            model_logger.warning("the model failed on rows")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        warn_and_fail()
    assert caplog.records == []
    model_logger.warning("the model failed on rows")
    assert [record.message for record in caplog.records] == ["the model failed on rows"]
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", UserWarning, stacklevel=1)
