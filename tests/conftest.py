"""A real service folder, made once by `init` from a real model, for every test that needs one."""

import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest_plugins = ["tests.postgres", "tests.faults.figures"]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets logging up for its whole process, which here goes on with other tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def pristine_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as `init` wrote it: a classifier of tumours with four numbers, one of them optional."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from skops import io

    from stillsafe.init.create import create_service

    folder = tmp_path_factory.mktemp("made")
    tumours = load_breast_cancer(as_frame=True)
    features = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(features[::2], tumours.target[::2])
    io.dump(model, folder / "model.skops")
    features[1::2].assign(benign=tumours.target[1::2]).to_csv(folder / "sample.csv", index=False)
    create_service(
        folder / "model.skops",
        folder / "sample.csv",
        label="benign",
        out=folder / "service",
        name="tumours",
        version=None,
        trust_joblib=False,
        force=False,
        now=datetime(2026, 1, 1, tzinfo=UTC),
        salt="salt",
        progress=lambda _message: None,
    )
    return folder / "service"


@pytest.fixture(scope="session")
def healthy_rows() -> list[dict[str, float]]:
    """Features of tumours that the service's model was not trained on."""
    from sklearn.datasets import load_breast_cancer

    features = load_breast_cancer(as_frame=True).data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    return [
        {str(name): float(value) for name, value in row.items()}
        for row in features[1::2].sample(frac=1, random_state=3).to_dict("records")
    ]


@pytest.fixture
def made_service(pristine_service: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to do with as one likes."""
    return Path(shutil.copytree(pristine_service, tmp_path / "service"))
