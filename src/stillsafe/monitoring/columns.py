"""Reads the log's rows into columns, one array per feature."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.view import View
from stillsafe.core.schema import OPEN_TYPES, TEXT_TYPES, FeatureSpec, FeatureType, LogMode, Row, Schema
from stillsafe.core.score import Score
from stillsafe.monitoring.date_values import DateValues, date_values
from stillsafe.monitoring.text_form import NO_DATE, text_forms
from stillsafe.monitoring.text_values import TextValues, text_values
from stillsafe.store.read.requests import LogRows, WindowRows, micros_of

Mask = NDArray[np.bool_]
RowSelection = Mask | slice | Sequence[int] | NDArray[np.intp]
SHADOW_DIGITS = 9

ShadowScorer = Callable[[Sequence[Row]], Sequence[Score]]
"""Scores rows outside of requests, one score per row."""


class _Vocabulary(dict[object, int]):
    """The index of each text, in the order of first use. Index 0 is None: missing, and anything but text and number."""

    def __init__(self) -> None:
        super().__init__({None: 0})

    def __missing__(self, value: object) -> int:
        if not isinstance(value, str | int | float):
            return 0
        index = self[value] = len(self)
        return index

    def indices(self, values: Sequence[object]) -> NDArray[np.int32]:
        """(n,) the index of each value."""
        return np.fromiter(map(self.__getitem__, values), dtype=np.int32, count=len(values))


@dataclass(frozen=True, slots=True)
class DictionaryColumn:
    """A column of texts that stores each distinct text once.

    Attributes:
        indices: (n,) index of each row's text in the vocabulary.
        vocabulary: the distinct texts; the first is None: missing. A foreign log may have numbers among them.
    """

    indices: NDArray[np.int32]
    vocabulary: Sequence[object]

    @classmethod
    def of(cls, values: Sequence[object]) -> "DictionaryColumn":
        """The column of these values. Anything but text and number is missing."""
        vocabulary = _Vocabulary()
        try:
            indices = vocabulary.indices(values)
        except TypeError:  # a list or an object is not hashable, so the look-up fails before `__missing__`
            indices = vocabulary.indices([value if isinstance(value, str | int | float) else None for value in values])
        return cls(indices, tuple(vocabulary))

    @classmethod
    def of_codes(cls, numbers: NDArray[np.float64]) -> "DictionaryColumn":
        """The column of the texts of whole codes, such as `2`; NaN is missing."""
        is_present = np.isfinite(numbers)
        codes, positions = np.unique(numbers[is_present], return_inverse=True)
        indices = np.zeros(len(numbers), dtype=np.int32)
        indices[is_present] = positions + 1
        return cls(indices, (None, *(str(int(code)) if code.is_integer() else repr(code) for code in codes.tolist())))

    def __len__(self) -> int:
        """Rows."""
        return len(self.indices)

    def __getitem__(self, rows: RowSelection) -> "DictionaryColumn":
        """The selected rows. A short selection gets a vocabulary of its own, since the whole one may be large."""
        selection = DictionaryColumn(self.indices[rows], self.vocabulary)
        return selection if len(selection) >= len(self.vocabulary) else DictionaryColumn.of(selection.tolist())

    def without(self, rows: Mask) -> "DictionaryColumn":
        """The same column with these rows missing."""
        return DictionaryColumn(np.where(rows, np.int32(0), self.indices), self.vocabulary)

    def tolist(self) -> list[Any]:
        """Each row's text."""
        return [self.vocabulary[index] for index in self.indices.tolist()]

    def counts(self) -> Counter[Any]:
        """Rows with each text; missing is None."""
        counts = np.bincount(self.indices, minlength=len(self.vocabulary)).tolist()
        return Counter({text: count for text, count in zip(self.vocabulary, counts, strict=True) if count})


Column = NDArray[np.float64] | DictionaryColumn
OpenValues = DateValues | TextValues


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of the log as arrays. `n` rows; a feature is a float64 array (NaN: missing) or a dictionary column.

    Attributes:
        timestamps: (n,), aware UTC; empty where they are not needed.
        confidences: (n,), NaN where there is none.
        model_errors, fallback_used: (n,) flags.
        predictions: the model's own predictions as text; missing where the model was bypassed.
        numbers: per numeric, integer or boolean feature, (n,).
        categories: per category, per open-ended text its form, and per hashed feature of any type.
        fresh: (n,) flags: rows of a window after the last conclusive run; all True outside of windows.
        times: (n,) in microseconds since 1970, UTC; empty where they are not known or not needed.
        sources: salted hashes of the clients; missing, or empty for all rows, where they are not known.
        open_values: per date or free text that the log shows, what its views are computed from.
        views: the views among `numbers` and `categories`.
    """

    timestamps: Sequence[datetime]
    confidences: NDArray[np.float64]
    model_errors: Mask
    fallback_used: Mask
    predictions: DictionaryColumn
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, DictionaryColumn]
    fresh: Mask
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    sources: DictionaryColumn = field(default_factory=lambda: DictionaryColumn.of(()))
    open_values: Mapping[str, OpenValues] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows."""
        return len(self.confidences)

    def __getitem__(self, rows: Mask | slice | NDArray[np.intp]) -> "Columns":
        """The selected rows."""
        indices = np.arange(len(self))[rows].tolist() if self.timestamps else ()
        return Columns(
            [self.timestamps[index] for index in indices],
            self.confidences[rows],
            self.model_errors[rows],
            self.fallback_used[rows],
            self.predictions[rows],
            {name: column[rows] for name, column in self.numbers.items()},
            {name: column[rows] for name, column in self.categories.items()},
            self.fresh[rows],
            self.times[rows] if len(self.times) else self.times,
            self.sources[rows] if len(self.sources) else self.sources,
            {name: values[rows] for name, values in self.open_values.items()},
            self.views,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcomes:
    """What the log holds of `n` rows besides their inputs, one sequence per column.

    Attributes:
        confidences, model_errors, predictions: (n,), None where there is none.
        fallback_used: (n,) whether the fallback answered.
        timestamps: (n,), or empty where they are not needed.
        fresh: (n,) as in `Columns`, or None where all rows are.
        times, sources: (n,) as in `Columns`, or empty.
    """

    confidences: Sequence[float | None]
    model_errors: Sequence[str | None]
    fallback_used: Sequence[bool]
    predictions: Sequence[str | None]
    timestamps: Sequence[datetime] = ()
    fresh: Sequence[bool] | None = None
    times: Sequence[int] | NDArray[np.int64] = ()
    sources: Sequence[str | None] = ()


_NO_ROWS = WindowRows((), (), (), (), (), (), ())


def read_columns(rows: LogRows | WindowRows, schema: Schema) -> Columns:
    """The log's rows as arrays. In a snapshot that is no JSON object every feature is missing."""
    outcomes = RowOutcomes(
        confidences=rows.confidences,
        model_errors=rows.model_errors,
        fallback_used=rows.fallback_used,
        predictions=rows.predictions,
        timestamps=rows.timestamps if isinstance(rows, LogRows) else (),
        fresh=rows.fresh if isinstance(rows, WindowRows) else None,
        times=rows.times if isinstance(rows, WindowRows) else micros_of(rows.timestamps),
        sources=rows.sources if isinstance(rows, WindowRows) else (),
    )
    return _columns(_decode_values(rows.input_summaries, _logged_features(schema)), schema, outcomes)


def columns_from_snapshots(snapshots: Sequence[Mapping[str, object]], schema: Schema, outcomes: RowOutcomes) -> Columns:
    """Sanitised rows as arrays."""
    return _columns(_values(snapshots, _logged_features(schema)), schema, outcomes)


def _columns(values: Mapping[str, Sequence[object]], schema: Schema, outcomes: RowOutcomes) -> Columns:
    fallback_used, specs = np.array(outcomes.fallback_used, dtype=np.bool_), _logged_features(schema)
    open_values = {spec.name: _open_values(spec, values[spec.name]) for spec in specs if _has_views(spec)}
    return Columns(
        outcomes.timestamps,
        numbers_or_nan(outcomes.confidences),
        np.array([error is not None for error in outcomes.model_errors], dtype=np.bool_),
        fallback_used,
        DictionaryColumn.of(outcomes.predictions).without(fallback_used),
        {
            s.name: _dates_only(numbers_or_nan(values[s.name]), open_values.get(s.name))
            for s in specs
            if not _is_category(s)
        },
        {spec.name: DictionaryColumn.of(_watched_texts(spec, values)) for spec in specs if _is_category(spec)},
        np.ones(len(fallback_used), dtype=np.bool_)
        if outcomes.fresh is None
        else np.array(outcomes.fresh, dtype=np.bool_),
        np.asarray(outcomes.times, dtype=np.int64),
        DictionaryColumn.of(outcomes.sources),
        open_values,
    )


def _logged_features(schema: Schema) -> list[FeatureSpec]:
    return [spec for spec in schema.features if spec.log is not LogMode.DROP]


class ColumnBuilder:
    """Builds the columns of a large window from batches. It keeps eight bytes per number and four per text."""

    def __init__(self, schema: Schema) -> None:
        self._empty = read_columns(_NO_ROWS, schema)
        self._predictions, self._sources = _Vocabulary(), _Vocabulary()
        self._categories = {name: _Vocabulary() for name in self._empty.categories}
        self._buffers = [bytearray() for _ in self._arrays(self._empty)]

    def add(self, batch: Columns) -> None:
        """Append rows."""
        for buffer, array in zip(self._buffers, self._arrays(batch), strict=True):
            buffer += array.tobytes()

    def columns(self) -> Columns:
        """All rows, without copying them: the builder takes no more rows afterwards."""
        types = (array.dtype for array in self._arrays(self._empty))
        arrays = map(np.frombuffer, self._buffers, types)
        confidences, model_errors, fallback_used, fresh, times, predictions, sources, *features = arrays
        numbers = dict(zip(self._empty.numbers, features, strict=False))
        end = len(numbers) + len(self._categories)
        categories = zip(self._categories.items(), features[len(numbers) : end], strict=True)
        arrays_of_views = features[end:]
        return Columns(
            (),
            confidences,
            model_errors,
            fallback_used,
            DictionaryColumn(predictions, tuple(self._predictions)),
            numbers,
            {name: DictionaryColumn(indices, tuple(vocabulary)) for (name, vocabulary), indices in categories},
            fresh,
            times,
            # A window whose clients are all unknown needs no index of them per row.
            DictionaryColumn(sources, tuple(self._sources)) if len(self._sources) > 1 else self._empty.sources,
            self._open_values(arrays_of_views),
        )

    def _open_values(self, arrays: list[NDArray[Any]]) -> dict[str, OpenValues]:
        """What views are computed from, from its arrays in the order of `_arrays`."""
        values: dict[str, OpenValues] = {}
        for name, empty in self._empty.open_values.items():
            own = [arrays.pop(0).reshape(-1, *each.shape[1:]) for each in empty.arrays()]
            values[name] = type(empty)(*own)
        return values

    def _arrays(self, batch: Columns) -> list[NDArray[Any]]:
        """The batch's arrays in a fixed order, texts as indices in the builder's vocabularies."""
        return [
            batch.confidences,
            batch.model_errors,
            batch.fallback_used,
            batch.fresh,
            batch.times,
            self._predictions.indices(batch.predictions.vocabulary)[batch.predictions.indices],
            self._sources.indices(batch.sources.vocabulary)[batch.sources.indices],
            *batch.numbers.values(),
            *(
                vocabulary.indices(batch.categories[name].vocabulary)[batch.categories[name].indices]
                for name, vocabulary in self._categories.items()
            ),
            *(array for values in batch.open_values.values() for array in values.arrays()),
        ]


def with_shadow_scores(rows: Columns, snapshots: Sequence[str], schema: Schema, score: ShadowScorer) -> Columns:
    """The same rows with shadow scores for those that bypassed the model.

    A row on which the model fails, or that violates the current schema, counts as a model error.
    """
    bypassed_rows = np.flatnonzero(rows.fallback_used & ~rows.model_errors).tolist()
    confidences, errors, predictions = rows.confidences.copy(), rows.model_errors.copy(), rows.predictions.tolist()
    inputs = zip(bypassed_rows, _parse_snapshots([snapshots[i] for i in bypassed_rows]), strict=True)
    clean = {i: row for i, snapshot in inputs if isinstance(row := schema.validate(snapshot), dict)}
    errors[[i for i in bypassed_rows if i not in clean]] = True
    for index, row_score in zip(clean, score(list(clean.values())), strict=True):
        confidence = row_score.confidence
        errors[index] = row_score.error is not None
        predictions[index] = row_score.text
        # Different machines may differ in the last bit, so the confidence is rounded and the sums agree everywhere.
        confidences[index] = math.nan if confidence is None else round(confidence, SHADOW_DIGITS)
    return replace(rows, confidences=confidences, model_errors=errors, predictions=DictionaryColumn.of(predictions))


def output_columns(rows: Columns) -> dict[str, Column]:
    """The model's `confidence` and `prediction`, each only where any row has one."""
    outputs: dict[str, Column] = {}
    if np.isfinite(rows.confidences).any():
        outputs["confidence"] = rows.confidences
    if rows.predictions.indices.any():
        outputs["prediction"] = rows.predictions
    return outputs


def prediction_numbers(column: Column) -> NDArray[np.float64]:
    """Predictions as numbers, from the text in the log; NaN for other text. A numeric column stays as it is."""
    if isinstance(column, DictionaryColumn):
        return numbers_or_nan([_number_in(text) for text in column.vocabulary])[column.indices]
    return column


def _number_in(text: object) -> object:
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None


def numbers_or_nan(values: Sequence[object]) -> NDArray[np.float64]:
    """As float64; NaN for anything but a number, and for a number that no float can hold."""
    try:
        return np.fromiter(values, dtype=np.float64, count=len(values))
    except (TypeError, ValueError, OverflowError):
        return np.array([_number_or_nan(value) for value in values], dtype=np.float64)


def _number_or_nan(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _has_views(spec: FeatureSpec) -> bool:
    """Whether the log shows dates or free texts of a feature."""
    is_open = spec.type in (FeatureType.TEXT, FeatureType.DATE) or spec.date_format is not None
    return is_open and spec.log is LogMode.KEEP


def _open_values(spec: FeatureSpec, values: Sequence[object]) -> OpenValues:
    return text_values(values) if spec.type is FeatureType.TEXT else date_values(spec, values)


def _dates_only(numbers: NDArray[np.float64], dates: OpenValues | None) -> NDArray[np.float64]:
    """The numbers; of times, one that is no time counts as missing."""
    return np.where(np.isfinite(dates.micros), numbers, np.nan) if isinstance(dates, DateValues) else numbers


def _is_category(spec: FeatureSpec) -> bool:
    return spec.type in TEXT_TYPES or spec.log is LogMode.HASH


def _watched_texts(spec: FeatureSpec, values: Mapping[str, Sequence[object]]) -> Sequence[object]:
    """The texts of a feature; of an open-ended one their forms. A hash has no form."""
    texts = values[spec.name]
    if spec.type not in OPEN_TYPES or spec.log is not LogMode.KEEP:
        return texts
    forms = text_forms(texts)
    if spec.type is not FeatureType.DATE or spec.date_format is None:
        return forms
    is_date = np.isfinite(date_values(spec, texts).micros).tolist()
    return [form if is_one or form is None else NO_DATE for form, is_one in zip(forms, is_date, strict=True)]


def _decode_values(texts: Sequence[str], specs: Sequence[FeatureSpec]) -> Mapping[str, Sequence[object]]:
    """Each feature's values from JSON snapshots; None, or NaN of a number, where there is none. Text is no number."""
    kinds = tuple((spec.name, _is_category(spec)) for spec in specs)
    try:
        # One by one, because two broken texts could form a valid document when joined.
        rows = list(map(msgspec.structs.astuple, map(_decoder(kinds).decode, texts)))
    except (msgspec.MsgspecError, ValueError, TypeError):
        rows = []  # a foreign row, or a name that JSON has to escape: the slow path reads them all
    if rows:
        return dict(zip([name for name, _ in kinds], zip(*rows, strict=True), strict=True))
    return _values(_parse_snapshots(texts), specs)


def _values(snapshots: Sequence[Mapping[str, object]], specs: Sequence[FeatureSpec]) -> Mapping[str, Sequence[object]]:
    """Each feature's values from parsed snapshots, as `_decode_values`."""
    columns = {spec.name: [row.get(spec.name) for row in snapshots] for spec in specs}
    return {
        spec.name: columns[spec.name] if _is_category(spec) else _plain_numbers(columns[spec.name]) for spec in specs
    }


def _plain_numbers(values: Sequence[object]) -> Sequence[object]:
    """The numbers, NaN in place of anything else, as numbers in a text are none."""
    if {*map(type, values)} <= {float, int, bool, type(None)}:
        with suppress(OverflowError):
            return list(np.array(values, dtype=np.float64).tolist())
    return [_number_or_nan(value) for value in values]


@lru_cache(maxsize=16)
def _decoder(kinds: tuple[tuple[str, bool], ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """A fast decoder of snapshots with scalar values. Feature names may be no identifiers, so fields have others."""
    number, scalar = bool | int | float | None, bool | int | float | str | None
    fields = [(f"f{index}", scalar if is_category else number, None) for index, (_, is_category) in enumerate(kinds)]
    names = {field: name for (field, *_), (name, _) in zip(fields, kinds, strict=True)}
    return msgspec.json.Decoder(msgspec.defstruct("Snapshot", fields, rename=names, gc=False))


def _parse_snapshots(texts: Sequence[str]) -> Sequence[Mapping[str, object]]:
    """Snapshots one by one, empty where a text is no JSON object."""
    documents = map(_parse_json, texts)
    return [document if isinstance(document, dict) else {} for document in documents]


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return None
