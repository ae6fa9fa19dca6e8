"""Convert the raw labels of a table to the model's classes or to numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.score import as_text
from stillsafe.errors import ConfigurationError

MOST_CLASSES_NAMED = 10


def parse_labels(values: Sequence[object], classes: Sequence[Answer]) -> list[Answer | None]:
    """Convert raw labels to the model's classes or to numbers; None for a missing or unknown label.

    Args:
        values: the label column.
        classes: a classifier's classes; empty for a regressor, whose labels are numbers.

    Raises:
        ConfigurationError: no value is a class of the model or, for a regressor, a finite number.
    """
    labels = {value: _class(value, classes) if classes else _finite_number(value) for value in set(values)}
    parsed_values = [labels[value] for value in values]
    unknown_texts = {str(value) for value, label in labels.items() if label is None}
    if tuple(classes) == (-1, 1) and unknown_texts & {"0", "0.0", "False"}:
        raise ConfigurationError(
            "The model answers -1 for an outlier and 1 for any other row, and the labels are 0 and 1.",
            "Recode the label column: -1 for an outlier, 1 for any other row.",
        )
    if all(label is None for label in parsed_values):
        class_names = ", ".join(repr(name) for name in classes[:MOST_CLASSES_NAMED])
        valid_values = f"a class of the model ({class_names})" if classes else "a finite number"
        raise ConfigurationError(
            f"No value of the label column is {valid_values}.",
            "Name the label column with --label, or the classes of a booster's file with --class.",
        )
    return parsed_values


def _class(value: Any, classes: Sequence[Answer]) -> Answer | None:
    """The class that a raw label means. A CSV file holds True for true, and 1.0 for 1 if another label is missing."""
    if value is None:
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    plain = int(plain) if isinstance(plain, float) and plain.is_integer() else plain
    text = str(plain)
    return next((name for name in classes if name == plain or text in (str(name), as_text(name))), None)


def _finite_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
