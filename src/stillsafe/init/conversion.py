"""Convert a trusted joblib model to a file that cannot run code when it is loaded.

A booster becomes a file of its library's own format, everything else a skops file, if that gives the same answers.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.errors import ModelError
from stillsafe.model.artifact import parse_estimator
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.boosters.formats import NATIVE_FORMATS, file_name
from stillsafe.model.frame import frame, inputs_of
from stillsafe.model.library_versions import Versions, versions_in_file, with_origin
from stillsafe.model.model import Model
from stillsafe.model.parts import estimator_parts
from stillsafe.model.trusted_types import NEVER_TRUSTED, TRUSTED_TYPES

MOST_ROWS_COMPARED = 500
TOLERANCE = 1e-9
"""Allowed relative difference of a number: the threads of a forest add in any order."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The file of a model in the service folder.

    Attributes:
        content: the file's bytes.
        format: `skops`, `joblib`, or the library of a booster.
        classes: the classes that the file does not name; empty if it names them, or if they are 0, 1 and so on.
        sentence: what a person should know about it, or empty.
        origin_versions: versions that the original named.
    """

    content: bytes
    format: str
    classes: tuple[Answer, ...] = ()
    sentence: str = ""
    origin_versions: Versions = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name of the file in a new folder."""
        return file_name(self.format, self.content)


def stored_model(
    model: Model, rows: Sequence[Row], content: bytes, file_format: str, trusted_types: Sequence[str] = ()
) -> StoredModel:
    """The file that the service loads: the original, unless that can run code and another gives the same answers.

    Args:
        model: the model as the original gives it.
        rows: rows of the sample, which the original and the converted model score.
        content: the original.
        file_format: its format.
        trusted_types: exact names of further types that a skops file may contain.

    Raises:
        ModelError: a booster inside the model answers otherwise than its library's own class.
    """
    versions = versions_in_file(content)
    if file_format != "joblib":
        classes = _unnamed_classes(model.estimator, model.classes) if file_format in NATIVE_FORMATS else ()
        return StoredModel(content, file_format, classes, origin_versions=versions)
    _require_library_answers(model, rows, content)
    if native := as_native(model, rows):
        return replace(native, origin_versions=versions)
    if skops_content := as_skops(model, rows, trusted_types):
        sentence = (
            "The joblib model was saved as skops, which runs no code when it is loaded; its predictions are the same."
        )
        return StoredModel(with_origin(skops_content, versions), "skops", (), sentence, versions)
    sentence = (
        f"The model stays a joblib file, because {_obstacle(model.estimator, trusted_types)}. A joblib file can run "
        "any code when it is loaded: restrict who may write it."
    )
    return StoredModel(content, file_format, (), sentence, versions)


def _obstacle(estimator: Any, trusted_types: Sequence[str]) -> str:
    """Why an estimator is no skops file, and what may be done about it."""
    import skops.io

    try:
        types = set(skops.io.get_untrusted_types(data=skops.io.dumps(estimator))).difference(TRUSTED_TYPES)
    except Exception:  # noqa: BLE001 - whatever the libraries raise, the model stays joblib
        types = set()
    if never := sorted(types & NEVER_TRUSTED):
        return f"a skops file of it would contain {', '.join(never)}, which can call any function"
    if unknown := sorted(types.difference(trusted_types)):
        options = " ".join(f"--trusted-type {name}" for name in unknown)
        return f"skops does not know all of its types. If you trust their code, give {options}"
    return "skops cannot store it with the same predictions"


def as_native(model: Model, rows: Sequence[Row]) -> StoredModel | None:
    """The model's booster in its library's own format; None if it is none, or if its answers would differ."""
    booster = model.estimator
    if not isinstance(booster, BoosterModel) or not booster.is_whole_in_native_format:
        return None
    classes = _unnamed_classes(booster, model.classes)

    def convert() -> tuple[bytes, Any]:
        content = booster.native_content()
        estimator = parse_estimator(content, Path("model"), kind=booster.library, trusted=False, trusted_types=())
        estimator.take_names(model.features.names)
        return content, estimator.with_classes(classes) if classes else estimator

    content = _proven(model, rows, convert)
    if content is None:
        return None
    sentence = (
        f"The joblib model was saved in the own format of {booster.library}, which runs no code when it is loaded; its "
        "predictions are the same."
    )
    return StoredModel(content, booster.library, classes, sentence)


def as_skops(model: Model, rows: Sequence[Row], trusted_types: Sequence[str] = ()) -> bytes | None:
    """The model's estimator as the content of a skops file.

    A search is stored as the best estimator that it found, where it cannot be stored as a whole.

    Args:
        model: the model, read from joblib.
        rows: rows of the sample, which the original and the converted model score.
        trusted_types: exact names of further types that the file may contain.

    Returns:
        None if skops cannot write the estimator, if the file would contain an untrusted type, or if the converted
        model scores a row differently.
    """
    import skops.io

    for estimator in (model.estimator, getattr(model.estimator, "best_estimator_", None)):
        if estimator is None:
            continue

        def convert(estimator: Any = estimator) -> tuple[bytes, Any]:
            content: bytes = skops.io.dumps(estimator)
            return content, parse_estimator(
                content, Path("model.skops"), kind="skops", trusted=False, trusted_types=trusted_types
            )

        if (content := _proven(model, rows, convert)) is not None:
            return content
    return None


def _require_library_answers(model: Model, rows: Sequence[Row], content: bytes) -> None:
    """Compare the model, in which adapters stand for boosters, with the objects of the libraries that the file has.

    An object that cannot be called with the table of the sample proves nothing.
    """
    if not any(isinstance(part, BoosterModel) for part in estimator_parts(model.estimator)):
        return
    import joblib

    compared_rows = rows[:: max(1, len(rows) // MOST_ROWS_COMPARED)]
    table = inputs_of(model.estimator, _with_categories(model, frame(model.features, compared_rows)))
    original = joblib.load(io.BytesIO(content))
    answer = getattr(original, "predict_proba", getattr(original, "predict", None))
    if answer is None or not hasattr(original, "get_params"):
        return
    try:
        own_answers = np.asarray(answer(table), np.float64)
    except Exception:  # noqa: BLE001 - third-party code, which may take another table
        return
    predictions, _, probabilities = replace(model, compiled=None).raw_output(compared_rows)
    answers = np.asarray(predictions if probabilities is None else probabilities, np.float64)
    if answers.shape != own_answers.shape or not np.allclose(answers, own_answers, TOLERANCE, TOLERANCE):
        raise ModelError(
            "The model's boosters answer otherwise inside Stillsafe than in their library.",
            "Save the booster by itself with its library's `save_model`, and give that file.",
        )


def _with_categories(model: Model, table: Any) -> Any:
    """The table with the dtype `category` where the model's own encoder has the categories, as in training."""
    import pandas as pd

    if not isinstance(model.estimator, BoosterModel):
        return table
    columns = model.estimator.encoded_columns(list(getattr(model.estimator, "feature_names_in_", table.columns)))
    return table.assign(
        **{name: pd.Categorical(table[name], categories=values) for name, values in columns.items() if values}
    )


def _proven(model: Model, rows: Sequence[Row], convert: Callable[[], tuple[bytes, Any]]) -> bytes | None:
    """The converted content, or None if it cannot be made or its model scores a row differently."""
    try:
        content, estimator = convert()
    except Exception:  # noqa: BLE001 - whatever the libraries raise, the model stays joblib
        return None
    compared_rows = rows[:: max(1, len(rows) // MOST_ROWS_COMPARED)]
    pairs = zip(model.score(compared_rows), replace(model, estimator=estimator).score(compared_rows), strict=True)
    return content if all(equal_scores(*pair) for pair in pairs) else None


def _unnamed_classes(estimator: Any, classes: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """The classes, if a file of LightGBM or XGBoost does not name them: it has 0, 1 and so on."""
    return () if estimator.library == "catboost" or classes == tuple(range(len(classes))) else classes


def equal_scores(one: Score, other: Score) -> bool:
    """Whether two scores are equal except for rounding."""
    return one.error == other.error and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in ((one.prediction, other.prediction), (one.confidence, other.confidence))
    )
