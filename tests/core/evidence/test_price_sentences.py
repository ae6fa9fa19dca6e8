"""When the fallback takes over, in one sentence."""

import pytest

from stillsafe.core.evidence.price_sentences import ERROR, takeover_sentence
from stillsafe.core.policy import FallbackPrice

PRICES = (FallbackPrice(("age",), 0.77), FallbackPrice(("age", "income"), 0.8), FallbackPrice((), 0.6))


@pytest.mark.parametrize(
    ("damaged_features", "expected"),
    [
        (
            (),
            "The best rules get 80 of 100 right and the model 83: they take over once damage is estimated to cost 3.8",
        ),
        (
            ("income",),
            "Without `income` the best rules get 77 of 100 right and the model 83: they take over once damage to it is "
            "estimated to cost 6.0 points.",
        ),
        (
            ("city", "income", "age"),
            "Without `city`, `income` and `age` no rules help, and the last answer gets 60 of 100 right and the model "
            "83: it takes over once damage to them is estimated to cost 23.0 points.",
        ),
    ],
)
def test_a_sentence_has_the_score_and_the_loss(damaged_features: tuple[str, ...], expected: str) -> None:
    """The best fallback that reads no damaged feature, and the loss that exceeds the model's lead and is severe."""
    assert takeover_sentence(PRICES, 0.83, damaged_features, 0.0375).startswith(expected)


def test_a_regressors_error_is_a_multiple_of_the_models() -> None:
    """A score of minus 2.3 is 2.3 times the model's error, which 130% more error of the model equal."""
    sentence = takeover_sentence((FallbackPrice(("x",), -2.3),), -1.0, ("y",), 0.15, ERROR)
    assert "make 2.3 times the model's error: they take over once damage to it is estimated to add 130% to" in sentence


def test_another_metric_is_named() -> None:
    """Scores of the owner's metric are numbers, with the metric's name."""
    sentence = takeover_sentence(PRICES, 0.84, (), 0.0375, "balanced accuracy")
    assert "reach 0.8 and the model 0.84 (balanced accuracy): they take over once damage is" in sentence
    assert sentence.endswith("estimated to cost 0.04.")


def test_without_a_price_there_is_no_sentence() -> None:
    """Where every list reads a damaged feature and the default has no score, nothing is known."""
    assert takeover_sentence(PRICES[:2], 0.83, ("age",), 0.0375) == ""


def test_the_error_of_a_price_is_a_part_of_what_must_be_lost() -> None:
    """Rules that trail by six points, give or take one, take over from eight points on."""
    sentence = takeover_sentence((FallbackPrice(("x",), 0.77, 0.01),), 0.83, ("y",), 0.0375)
    assert sentence.endswith("they take over once damage to it is estimated to cost 8.0 points.")
