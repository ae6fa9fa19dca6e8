"""A trusted joblib model becomes a skops file wherever that costs nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe import settings
from stillsafe.init import conversion
from stillsafe.model.model import Score, load
from tests.init.making import PERSON, folder_of, made, people, served

NUMBERS = ["age", "visits"]


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5),
        RandomForestRegressor(5, n_jobs=2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_skops_can_hold_becomes_skops(estimator: Any, tmp_path: Path) -> None:
    """The folder holds no file that can run code, the person is told, and the model answers as it did."""
    table = people()
    estimator.fit(table[NUMBERS], table["age"].gt(50).astype(int))
    created = made(estimator, table, tmp_path, trust_joblib=True)
    chosen = settings.load(created.folder / "stillsafe.toml")
    assert (chosen.model.format, chosen.model.trusted) == ("skops", False)
    assert folder_of(created.folder) == {"stillsafe.toml", "model.skops", "reference.json"}
    assert any("saved as skops" in told for told in created.warnings)
    rows: list[Any] = table[NUMBERS].head(20).to_dict("records")
    answers = [answer["prediction"] for answer in served(created.folder, *rows)]
    assert np.allclose(answers, estimator.predict(table[NUMBERS].head(20)))


def test_what_skops_cannot_hold_stays_joblib(tmp_path: Path) -> None:
    """What skops would have to be trusted with keeps it joblib, marked so, and the person is told what that means."""
    table = people().astype({"town": "category"})
    features = table.drop(columns="stays")
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(features, table["stays"])
    created = made(model, table, tmp_path, trust_joblib=True)
    chosen = settings.load(created.folder / "stillsafe.toml")
    assert (chosen.model.format, chosen.model.trusted) == ("joblib", True)
    assert any("stays a joblib file" in told for told in created.warnings)
    assert served(created.folder, PERSON)[0]["decided_by"] == "model"


@pytest.mark.parametrize(
    "lie",
    [Score("no", 0.5, None, None), Score("yes", 0.25, None, None), Score(None, None, None, "raised ValueError")],
    ids=["prediction", "confidence", "failure"],
)
def test_a_difference_is_noticed(lie: Score) -> None:
    """An answer, a confidence or a failure that is not the same forbids the conversion; rounding does not."""
    score = Score("yes", 0.5, None, None)
    assert not conversion.alike(score, lie)
    assert conversion.alike(score, replace(score, confidence=0.5 + 1e-15))


class OneOfAKind(LogisticRegression):  # type: ignore[misc] # scikit-learn has no types
    """A type of one's own, which no skops file may bring along."""


def test_no_trust_is_needed_for_the_result(tmp_path: Path) -> None:
    """A type that is not trusted by name makes no skops file, however well skops could write it."""
    table = people()
    created = made(LogisticRegression().fit(table[["age"]], table["stays"]), table[["age"]], tmp_path)
    model = load(settings.load(created.folder / "stillsafe.toml"))
    rows: list[Any] = table[["age"]].to_dict("records")
    assert conversion.as_skops(model, rows) is not None
    strange = replace(model, estimator=OneOfAKind().fit(table[["age"]], table["stays"]))
    assert conversion.as_skops(strange, rows) is None
