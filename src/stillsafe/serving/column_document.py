"""Answers by column as JSON: what they have in common is encoded once, and their own numbers by column."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stillsafe.model.feature_columns import json_cells, json_texts
from stillsafe.serving.schemas import prediction_document
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord

_encode = msgspec.json.Encoder().encode


def answer_texts(answers: PredictionColumns, reason_of: Callable[[PredictionRecord], str]) -> list[str]:
    """Per row its `PredictionDocument` as JSON, as `prediction_document` has it."""
    own: dict[str, Sequence[str]] = {
        "prediction_id": [f'"{each}"' for each in answers.ids],
        "prediction": _cells(answers.predictions),
        "confidence": json_cells(answers.confidences),
    }
    if answers.probabilities is not None:
        own["probabilities"] = _objects(answers.probabilities)
    document = prediction_document(answers.common, reason_of)
    members = (f"{_escape(name)}:{'%s' if name in own else _escape(value)}" for name, value in document.items())
    cells = (own[name] for name in document if name in own)
    return list(map(f"{{{','.join(members)}}}".__mod__, zip(*cells, strict=True)))


def _cells(values: Sequence[Any]) -> list[str]:
    kinds = {*map(type, values)}
    if str not in kinds:
        return json_cells(values)
    return json_texts(values) if kinds == {str} else [_encode(each).decode() for each in values]


def _objects(columns: Mapping[str, Sequence[float]]) -> list[str]:
    template = f"{{{','.join(f'{_escape(name)}:%s' for name in columns)}}}"
    return list(map(template.__mod__, zip(*map(json_cells, columns.values()), strict=True)))


def _escape(value: Any) -> str:
    """A value as JSON in a template."""
    return _encode(value).decode().replace("%", "%%")
