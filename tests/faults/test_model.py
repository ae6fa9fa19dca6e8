"""If the model raises, predicts NaN or blocks, every request is answered and every failure is in the log."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_breast_cancer

from stillsafe.init.create import ServiceRequest, create_service
from tests.faults.api import BODY, Api, Load, missing_and_duplicate_counts, wait_until
from tests.faults.conftest import running
from tests.faults.models import BLOCKS, PREDICTS_NAN, RAISES, Fickle
from tests.stores import with_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fickle(tmp_path: Path) -> Iterator[Api]:
    """A service whose model fails on command."""
    tumours = load_breast_cancer(as_frame=True)
    features = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    joblib.dump(Fickle().fit(features, tumours.target), tmp_path / "model.joblib")
    features.assign(benign=tumours.target).to_csv(tmp_path / "sample.csv", index=False)
    folder = tmp_path / "service"
    create_service(
        ServiceRequest(
            tmp_path / "model.joblib",
            tmp_path / "sample.csv",
            label="benign",
            out=folder,
            name="fickle",
            trust_joblib=True,
            now=datetime(2026, 1, 1, tzinfo=UTC),
            salt="salt",
        )
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    api = Api(with_store(folder), f"sqlite:///{folder / 'stillsafe.db'}", extra_environment={"PYTHONPATH": path})
    settings = folder / "stillsafe.toml"
    settings.write_text(re.sub(r"(?m)^timeout = .*$", 'timeout = "1s"', settings.read_text()))
    yield from running(api)


@pytest.mark.parametrize(("radius", "message"), [(RAISES, "raised"), (PREDICTS_NAN, ""), (BLOCKS, "timed out")])
def test_no_request_fails_with_a_failing_model(fickle: Api, radius: float, message: str) -> None:
    """The fallback answers the row, the log has the error, and the model answers later rows."""
    with Load(fickle, 4) as load:
        load.wait_for_answers(20)
        answer = fickle.predict(BODY | {"mean radius": radius})
        load.wait_for_answers(20)
    wait_until(lambda: bool(fickle.predict()["decided_by"] == "model"))
    rows = fickle.prediction_log()
    row = next(each for each in rows if each.prediction_id == answer["prediction_id"])
    assert (answer["decided_by"], answer["confidence"]) == ("fallback", None)
    assert row.model_error is not None
    assert message in row.model_error
    assert load.failures == []
    assert missing_and_duplicate_counts(load.prediction_ids, rows) == (0, 0)
