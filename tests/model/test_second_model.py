"""Second models of the fallback: what loads, what answers, and what a failure leaves to the next source."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from skops import io

from stillsafe.core.fallback import MODEL, Fallback
from stillsafe.deadline import Deadline
from stillsafe.errors import ModelError
from stillsafe.model.second_model import load_second_models
from stillsafe.settings import Settings, parse

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame({"age": RANDOM.uniform(0, 100, 200), "visits": RANDOM.uniform(0, 10, 200)})


def settings(folder: Path, *models: dict[str, Any]) -> Settings:
    return parse(
        {
            "service": {"name": "s"},
            "model": {"file": "m.skops", "sha256": "0" * 64, "version": "1"},
            "fallback": {"default": "no", "models": list(models)},
            "features": [{"name": name, "type": "numeric"} for name in ("age", "visits", "income")],
        },
        folder=folder,
    )


@pytest.fixture
def model_section(tmp_path: Path) -> dict[str, Any]:
    """A file with two models, and how the settings name the second one."""
    estimators = [
        LogisticRegression().fit(TABLE[names], TABLE["age"] > 50) for names in (["visits"], ["age", "visits"])
    ]
    io.dump(estimators, tmp_path / "models.skops")
    digest = sha256((tmp_path / "models.skops").read_bytes()).hexdigest()
    return {"file": "models.skops", "sha256": digest, "member": 1, "reads": ["age", "visits"], "score": 0.9}


def test_a_second_model_answers_while_its_features_are_intact(model_section: dict[str, Any], tmp_path: Path) -> None:
    """All rows of a batch, in their order; not while a feature that it reads is damaged."""
    sources = load_second_models(settings(tmp_path, model_section))
    fallback = Fallback("no", sources=sources)
    answers = fallback.answers([{"age": age, "visits": 1.0, "income": None} for age in (90.0, 10.0)], ("income",))
    assert [(each.answer, each.kind, each.why) for each in answers] == [
        (True, MODEL, "model 1: without income"),
        (False, MODEL, "model 1: without income"),
    ]
    assert fallback.answer({"age": 90.0, "visits": 1.0}, ("age",)).why == "the default"


def test_a_model_that_fails_leaves_its_rows_to_the_next_source(model_section: dict[str, Any], tmp_path: Path) -> None:
    """The error is kept once for the batch, and no row is without an answer."""
    fallback = Fallback("no", sources=load_second_models(settings(tmp_path, model_section)))
    answers = fallback.answers([{"age": None, "visits": None}, {"age": 90.0, "visits": 1.0}])
    assert [each.answer for each in answers] == ["no", "no"]
    assert [len(each.errors) for each in answers] == [1, 0]


def test_a_model_that_is_too_slow_is_left_out(
    model_section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the time that an answer of the model may take."""

    def late(*_arguments: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(Deadline, "call", late)
    answer = Fallback("no", sources=load_second_models(settings(tmp_path, model_section))).answer(
        {"age": 1.0, "visits": 1.0}
    )
    assert (answer.why, [type(error) for error in answer.errors]) == ("the default", [TimeoutError])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sha256": "1" * 64}, "Its SHA-256 is"),
        ({"member": 2}, "no member 2"),
        ({"reads": ["age"]}, "`reads` differs"),
        ({"reads": ["age", "wind"]}, "`reads` differs"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], problem: str, model_section: dict[str, Any], tmp_path: Path
) -> None:
    """Another file, a member that the file lacks, and features that the model does not take."""
    with pytest.raises(ModelError, match=problem):
        load_second_models(settings(tmp_path, model_section | change))
