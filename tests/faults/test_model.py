"""A model that raises, answers NaN or does not come back costs nobody an answer, and every failure is in the log."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_breast_cancer

from stillsafe.init.create import create_service
from tests.faults.api import BODY, Api, Load, missing_and_doubled, until
from tests.faults.conftest import running
from tests.faults.models import BLOCKS, RAISES, SAYS_NAN, Fickle

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fickle(tmp_path: Path) -> Iterator[Api]:
    """A service whose model misbehaves on command."""
    tumours = load_breast_cancer(as_frame=True)
    features = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    joblib.dump(Fickle().fit(features, tumours.target), tmp_path / "model.joblib")
    features.assign(benign=tumours.target).to_csv(tmp_path / "sample.csv", index=False)
    folder = tmp_path / "service"
    create_service(
        tmp_path / "model.joblib",
        tmp_path / "sample.csv",
        label="benign",
        out=folder,
        name="fickle",
        version=None,
        trust_joblib=True,
        force=False,
        now=datetime(2026, 1, 1, tzinfo=UTC),
        salt="salt",
        progress=lambda _message: None,
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    api = Api(folder, f"sqlite:///{folder / 'stillsafe.db'}", surroundings={"PYTHONPATH": path})
    settings = folder / "stillsafe.toml"
    settings.write_text(re.sub(r"(?m)^timeout = .*$", 'timeout = "1s"', settings.read_text()))
    yield from running(api)


@pytest.mark.parametrize(("radius", "said"), [(RAISES, "raised"), (SAYS_NAN, ""), (BLOCKS, "timed out")])
def test_a_failing_model_costs_nobody_an_answer(fickle: Api, radius: float, said: str) -> None:
    """The row is answered by the fallback and logged with the error; the others go on, then the model again."""
    with Load(fickle, 4) as load:
        load.more(20)
        answer = fickle.predict(BODY | {"mean radius": radius})
        load.more(20)
    until(lambda: bool(fickle.predict()["decided_by"] == "model"))
    rows = fickle.logged()
    row = next(each for each in rows if each.prediction_id == answer["prediction_id"])
    assert (answer["decided_by"], answer["confidence"]) == ("fallback", None)
    assert row.model_error is not None
    assert said in row.model_error
    assert load.failed == []
    assert missing_and_doubled(load.ids, rows) == (0, 0)
