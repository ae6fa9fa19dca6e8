"""What the default answer is worth beside the model."""

import pytest

from stillsafe.init.answers import Default, doubts, priced
from stillsafe.serving.model import ModelKind

DEFAULT = Default("no", "The commonest class of the sample's labels.", None)
CLASSIFIER, REGRESSOR = ModelKind.CLASSIFIER, ModelKind.REGRESSOR


def test_the_default_has_a_price_where_labels_tell() -> None:
    """Its comment says what it and the model are worth; without labels it says nothing that nobody knows."""
    assert priced(DEFAULT, CLASSIFIER, (0.9, 0.6)).about.endswith("Its accuracy there: 0.6, the model's: 0.9.")
    assert "mean absolute error there: 65, the model's: 43.3" in priced(DEFAULT, REGRESSOR, (43.277, 65.04)).about
    assert priced(DEFAULT, CLASSIFIER, (None, None)) == DEFAULT


@pytest.mark.parametrize(
    ("kind", "model", "fallback", "doubtful"),
    [
        (CLASSIFIER, 0.9, 0.6, False),
        (CLASSIFIER, 0.6, 0.6, True),
        (CLASSIFIER, 0.1, 0.6, True),
        (REGRESSOR, 43.0, 65.0, False),
        (REGRESSOR, 65.0, 65.0, True),
        (REGRESSOR, 90.0, 65.0, True),
        (CLASSIFIER, None, None, False),
    ],
)
def test_a_model_no_better_than_its_fallback_is_doubted(
    kind: ModelKind, model: float | None, fallback: float | None, doubtful: bool
) -> None:
    """A greater accuracy is better, a greater error is worse, equal is not better, and no labels are no doubt."""
    assert bool(list(doubts(DEFAULT, kind, (model, fallback)))) is doubtful
