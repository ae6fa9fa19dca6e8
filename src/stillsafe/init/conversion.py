"""Convert a trusted joblib model to a skops file, which cannot run code when it is loaded."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.model.artifact import parse_estimator
from stillsafe.model.model import Model

MOST_ROWS_COMPARED = 500
TOLERANCE = 1e-9
"""Allowed relative difference of a number: the threads of a forest add in any order."""


def as_skops(model: Model, rows: Sequence[Row], trusted_types: Sequence[str] = ()) -> bytes | None:
    """The model's estimator as the content of a skops file.

    Args:
        model: the model, read from joblib.
        rows: rows of the sample, which the original and the converted model score.
        trusted_types: exact names of further types that the file may contain.

    Returns:
        None if skops cannot write the estimator, if the file would contain an untrusted type, or if the converted
        model scores a row differently.
    """
    import skops.io

    compared_rows = rows[:: max(1, len(rows) // MOST_ROWS_COMPARED)]
    try:
        content: bytes = skops.io.dumps(model.estimator)
        estimator = parse_estimator(
            content, Path("model.skops"), kind="skops", trusted=False, trusted_types=trusted_types
        )
    except Exception:  # noqa: BLE001 - whatever skops raises, the model stays joblib
        return None
    pairs = zip(model.score(compared_rows), replace(model, estimator=estimator).score(compared_rows), strict=True)
    return content if all(equal_scores(*pair) for pair in pairs) else None


def equal_scores(one: Score, other: Score) -> bool:
    """Whether two scores are equal except for rounding."""
    return one.error == other.error and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in ((one.prediction, other.prediction), (one.confidence, other.confidence))
    )
