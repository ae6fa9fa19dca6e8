"""A trusted joblib model as a skops file: what need not be able to run code had better not be."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stillsafe.core.schema import Row
from stillsafe.model.artifact import parsed
from stillsafe.model.model import Model, Score

MOST_ROWS_COMPARED = 500
TOLERANCE = 1e-9  # threads of a forest add up in any order


def as_skops(model: Model, rows: Sequence[Row]) -> bytes | None:
    """The model's estimator as the bytes of a skops file.

    Args:
        model: as it was read from joblib.
        rows: rows of the sample, which both are asked about.

    Returns:
        None where skops cannot write it, where it would hold a type that is not trusted by name, or where the
        estimator that is read back answers differently.
    """
    import skops.io

    few = rows[:: max(1, len(rows) // MOST_ROWS_COMPARED)]
    try:
        content: bytes = skops.io.dumps(model.estimator)
        again = parsed(content, Path("model.skops"), kind="skops", trusted=False, trusted_types=())
    except Exception:  # noqa: BLE001 - whatever keeps skops from it, joblib remains
        return None
    said = zip(model.score(few), replace(model, estimator=again).score(few), strict=True)
    return content if all(alike(before, after) for before, after in said) else None


def alike(before: Score, after: Score) -> bool:
    """Whether two answers are the same but for rounding."""
    return before.error == after.error and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in ((before.prediction, after.prediction), (before.confidence, after.confidence))
    )
