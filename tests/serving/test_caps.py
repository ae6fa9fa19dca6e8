"""The caps of `[fallback]` limit the model's numbers only where the owner says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LinearRegression

from stillsafe import service
from stillsafe.core.score import Score
from stillsafe.guard import Guard
from stillsafe.serving.caps import cap_score, cap_scores
from stillsafe.settings_fallback import FallbackSettings
from tests.init.services import init_service
from tests.stores import with_store

CAPS: dict[str, Any] = {"default": 5.0, "minimum": 1.0, "maximum": 9.0, "cap_model": True}


@pytest.mark.parametrize(
    ("answer", "result", "words"),
    [
        (-3.0, 1.0, "-3 was raised"),
        (12.5, 9.0, "12.5 was lowered"),
        (4.0, 4.0, ""),
        ("yes", "yes", ""),
        (None, None, ""),
    ],
)
def test_a_number_beyond_a_cap_becomes_the_cap(answer: Any, result: Any, words: str) -> None:
    """A class has no caps, a failure stays one, and without the setting nothing is changed."""
    score = Score(answer, 0.5, None, None)
    capped_score, sentence = cap_score(FallbackSettings(**CAPS), score)
    assert (capped_score.prediction, capped_score.confidence) == (result, 0.5)
    assert words in sentence
    assert bool(words) is bool(sentence)
    assert cap_scores(FallbackSettings(**CAPS), [score]) == [capped_score]
    assert cap_score(FallbackSettings(**{**CAPS, "cap_model": False}), score) == (score, "")


def test_it_needs_a_cap() -> None:
    """Otherwise the owner believes in a limit that is none."""
    with pytest.raises(ValidationError, match="needs `minimum` or `maximum`"):
        FallbackSettings(default=1.0, cap_model=True)


def test_the_answer_the_log_and_the_shadow_score_are_capped(tmp_path: Path) -> None:
    """With the model's own number in the reason."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"size": random.uniform(0, 10, 300)}).assign(price=lambda each: 2 * each["size"])
    model = LinearRegression().fit(table[["size"]], table["price"])
    folder = with_store(init_service(model, table, tmp_path, label="price").folder)
    settings = service.settings_of(folder / "stillsafe.toml")
    fallback = settings.fallback.model_copy(update={"maximum": 9.0, "cap_model": True})
    settings = settings.model_copy(update={"fallback": fallback})
    with Guard(settings) as guard:
        high, low = guard.predict({"size": 8.0}), guard.predict({"size": 3.0})
    assert [high.prediction, low.prediction] == pytest.approx([9.0, 6.0])
    assert "16 was lowered to the cap" in high.reason
    assert "cap" not in low.reason
    scorer = service.shadow_scorer(settings)
    assert scorer is not None
    assert [score.prediction for score in scorer([{"size": 8.0}])] == [9.0]
