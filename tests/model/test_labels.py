"""Raw labels become the model's classes or numbers, whatever a file made of them."""

import math

import numpy as np
import pytest

from stillsafe.errors import ConfigurationError
from stillsafe.model.labels import parse_labels


def test_labels_are_matched_to_classes() -> None:
    """A CSV file holds True for true and 1.0 for 1; a label that is not a class is None."""
    assert parse_labels([1.0, None, 0, 7, True], (0, 1)) == [1, None, 0, None, 1]
    assert parse_labels(["yes", "no", "maybe"], ("no", "yes")) == ["yes", "no", None]
    assert parse_labels(["True", "false"], (False, True)) == [True, False]
    assert parse_labels([np.int64(1), np.str_("0")], (0, 1)) == [1, 0]


def test_labels_of_a_regressor_are_finite_numbers() -> None:
    """Numbers, also as text, become floats; everything else is None."""
    assert parse_labels([1, 2.5, None, "3.5"], ()) == [1.0, 2.5, None, 3.5]
    assert parse_labels([1, math.nan, math.inf, "many", 10**400], ()) == [1.0, None, None, None, None]


@pytest.mark.parametrize(("labels", "classes"), [(["a", "b"], (0, 1)), (["a"], ()), ([None], (0, 1))])
def test_labels_of_another_model_are_refused(labels: list[object], classes: tuple[int, ...]) -> None:
    """If no label fits the model, the column is wrong, and the error names the option that selects it."""
    with pytest.raises(ConfigurationError, match=r"No value of the label column .* --label"):
        parse_labels(labels, classes)
