"""Load the second models of the fallback: each reads some features only and is used while those are intact."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.fallback import MODEL, Answer, Rule, Source
from stillsafe.core.schema import Row, Schema, Value
from stillsafe.deadline import CallBroke, Deadline
from stillsafe.errors import ModelError
from stillsafe.model.artifact import parse_estimator, read_verified
from stillsafe.model.frame import frame, inputs_of
from stillsafe.model.model import one_thread
from stillsafe.settings import Settings
from stillsafe.settings_fallback import FallbackModel

Predict = Callable[[Sequence[Mapping[str, Value]]], list[Answer | None]]


def load_second_models(settings: Settings) -> tuple[Source, ...]:
    """The second models that the settings name, each tried on one row.

    Raises:
        ModelError: a hash differs, a file holds untrusted types, or a model does not fit its features.
    """
    files: dict[str, Any] = {}
    deadline = Deadline("stillsafe-fallback-model")
    sources = []
    for number, second_model in enumerate(settings.fallback.models, start=1):
        estimator = _member(second_model, settings.path(second_model.file), files)
        unknown_names = set(second_model.reads) - set(settings.schema_of_features.names)
        features = Schema(tuple(s for s in settings.schema_of_features.features if s.name in second_model.reads))
        fitted_names = getattr(estimator, "feature_names_in_", second_model.reads)
        if unknown_names or set(fitted_names) != set(second_model.reads):
            problem = f"The fallback's model {number} takes {', '.join(map(str, fitted_names))}, and `reads` differs."
            raise ModelError(problem, "Correct `reads`.", file=str(settings.path(second_model.file)))
        predict = partial(_predict, estimator, features)
        predict_in_time = partial(_within_time, deadline, settings.model.timeout, predict)
        name, reads = f"model {number}", frozenset(second_model.reads)
        rules = partial(_rules, f"without {_absent(settings, reads)}", predict_in_time)
        sources.append(Source(name, reads, rules, second_model.score, MODEL))
    return tuple(sources)


def _absent(settings: Settings, reads: frozenset[str]) -> str:
    return ", ".join(name for name in settings.schema_of_features.names if name not in reads) or "nothing"


def _member(second_model: FallbackModel, path: Path, files: dict[str, Any]) -> Any:
    """The estimator: the file's object, or a member of the list in it. Each file is read once."""
    if second_model.sha256 not in files:
        content = read_verified(path, second_model.sha256, "its `sha256` in `models`")
        files[second_model.sha256] = parse_estimator(
            content,
            path,
            kind=second_model.format,
            trusted=second_model.trusted,
            trusted_types=second_model.trusted_types,
        )
    contents = files[second_model.sha256]
    if second_model.member is None:
        return contents
    if not isinstance(contents, list) or second_model.member >= len(contents):
        raise ModelError(
            f"The file has no member {second_model.member}.",
            "Correct `member` of the fallback's model.",
            file=str(path),
        )
    return contents[second_model.member]


def _predict(estimator: Any, features: Schema, rows: Sequence[Row]) -> list[Answer | None]:
    with one_thread():
        return list(np.asarray(estimator.predict(inputs_of(estimator, frame(features, rows)))).tolist())


def _within_time(
    deadline: Deadline, timeout_seconds: float, predict: Predict, rows: Sequence[Mapping[str, Value]]
) -> list[Answer | None]:
    """The predictions.

    Raises:
        TimeoutError: they take longer than an answer of the model may.
        RuntimeError: a compiled library failed.
    """
    try:
        return deadline.call(partial(predict, rows), timeout_seconds)
    except CallBroke as error:
        raise RuntimeError(str(error)) from error


def _rules(text: str, predict: Predict, rows: Sequence[Mapping[str, Value]]) -> tuple[Rule, ...]:
    """One rule that predicts the whole batch when the first of its rows needs an answer."""
    positions = {id(row): position for position, row in enumerate(rows)}
    outcomes: list[list[Answer | None]] = []

    def answer(row: Mapping[str, Value]) -> Answer | None:
        if not outcomes:
            # If this raises, the caller logs it once and all rows are answered by the next source.
            outcomes.append([None] * len(rows))
            outcomes.append(predict(rows))
        return outcomes[-1][positions[id(row)]]

    return (Rule(text, frozenset(), lambda _row: True, answer),)
