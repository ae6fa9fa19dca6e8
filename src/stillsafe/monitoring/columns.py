"""From rows to aggregates: vectorised counting for windows and baselines. Nothing here judges."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence import association
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Row, Schema
from stillsafe.core.window import FeatureTally, Tally
from stillsafe.store.read.requests import LogRows, WindowRows

Mask = NDArray[np.bool_]
Rows = Mask | slice | Sequence[int]
SHADOW_DIGITS = 9
MOST_CLASSES_COUNTED = 50
EXAMPLES_SHOWN = 5
EXAMPLE_LENGTH = 60

Codes = NDArray[np.int16]
OneHot = NDArray[np.float32]
COUNTED_AT_ONCE = 8_000  # rows, so that the pairs of bins are counted within a processor's cache

Scorer = Callable[[Sequence[Row]], Sequence[tuple[float | None, str | None, str | None]]]
"""Scores rows off the client path: per row the confidence and the answer as text, or how the model failed."""


class _Places(dict[object, int]):
    """A place for each text, in the order in which they are first asked for. What is no plain value is missing."""

    def __init__(self) -> None:
        super().__init__({None: 0})

    def __missing__(self, value: object) -> int:
        if not isinstance(value, str | int | float):
            return 0
        place = self[value] = len(self)
        return place

    def of(self, values: Sequence[object]) -> NDArray[np.int32]:
        """(n,) each value's place."""
        return np.fromiter(map(self.__getitem__, values), dtype=np.int32, count=len(values))


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of texts, each distinct one kept once.

    Attributes:
        places: (n,) which of the texts each row has.
        texts: the distinct ones; the first is None: missing. Somebody else's rows may have numbers among them.
    """

    places: NDArray[np.int32]
    texts: Sequence[object]

    @classmethod
    def of(cls, values: Sequence[object]) -> "Labels":
        """The labels of these values. What is neither text nor number is missing."""
        known = _Places()
        try:
            places = known.of(values)
        except TypeError:  # a list or an object: it cannot even be looked up
            places = known.of([value if isinstance(value, str | int | float) else None for value in values])
        return cls(places, tuple(known))

    def __len__(self) -> int:
        """Rows."""
        return len(self.places)

    def __getitem__(self, rows: Rows) -> "Labels":
        """Those of some rows. Few rows do not drag all texts along: they may be as many as the rows of a window."""
        chosen = Labels(self.places[rows], self.texts)
        return chosen if len(chosen) >= len(self.texts) else Labels.of(chosen.tolist())

    def without(self, rows: Mask) -> "Labels":
        """The same, with these rows missing."""
        return Labels(np.where(rows, np.int32(0), self.places), self.texts)

    def tolist(self) -> list[Any]:
        """Each row's text."""
        return [self.texts[place] for place in self.places.tolist()]

    def counts(self) -> Counter[Any]:
        """On how many rows each text stands; missing is None."""
        found = np.bincount(self.places, minlength=len(self.texts)).tolist()
        return Counter({text: count for text, count in zip(self.texts, found, strict=True) if count})


Column = NDArray[np.float64] | Labels


@dataclass(frozen=True, slots=True)
class Columns:
    """A stretch of the log, one array per thing. `n` rows; a feature's column is float64 (NaN: missing) or labels.

    Attributes:
        timestamps: (n,), aware UTC; empty where they are not needed.
        confidences: (n,), NaN where there is none.
        model_errors, fallback_used: (n,) flags.
        answers: what the model itself answered, as text; missing where nobody asked it.
        numbers: per numeric, integer or boolean feature, (n,).
        categories: the same per category, and per hashed feature whatever its type.
        fresh: (n,) flags: rows of a window that no conclusive run has judged before; all, where that is no question.
    """

    timestamps: Sequence[datetime]
    confidences: NDArray[np.float64]
    model_errors: Mask
    fallback_used: Mask
    answers: Labels
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, Labels]
    fresh: Mask

    def __len__(self) -> int:
        """Rows."""
        return len(self.confidences)


_NO_ROWS = WindowRows((), (), (), (), (), (), ())


def columns(rows: LogRows | WindowRows, schema: Schema) -> Columns:
    """The log's rows as arrays. A snapshot that is no JSON object counts as one in which everything is missing."""
    return _as_columns(
        _values(rows.input_summaries, _watched(schema)),
        schema,
        timestamps=rows.timestamps if isinstance(rows, LogRows) else (),
        confidences=rows.confidences,
        model_errors=rows.model_errors,
        fallback_used=rows.fallback_used,
        predictions=rows.predictions,
        fresh=rows.fresh if isinstance(rows, WindowRows) else None,
    )


def from_snapshots(
    snapshots: Sequence[Mapping[str, object]],
    schema: Schema,
    *,
    timestamps: Sequence[datetime] = (),
    confidences: Sequence[float | None],
    model_errors: Sequence[str | None],
    fallback_used: Sequence[bool],
    predictions: Sequence[str | None],
) -> Columns:
    """Sanitised rows as arrays."""
    return _as_columns(
        _values_of(snapshots, _watched(schema)),
        schema,
        timestamps=timestamps,
        confidences=confidences,
        model_errors=model_errors,
        fallback_used=fallback_used,
        predictions=predictions,
        fresh=None,
    )


def _as_columns(
    values: Mapping[str, Sequence[object]],
    schema: Schema,
    *,
    timestamps: Sequence[datetime],
    confidences: Sequence[float | None],
    model_errors: Sequence[str | None],
    fallback_used: Sequence[bool],
    predictions: Sequence[str | None],
    fresh: Sequence[bool] | None,
) -> Columns:
    count, bypassed = len(confidences), np.array(fallback_used, dtype=np.bool_)
    return Columns(
        timestamps,
        _as_numbers(confidences),
        np.array([error is not None for error in model_errors], dtype=np.bool_),
        bypassed,
        Labels.of(predictions).without(bypassed),
        {spec.name: _as_numbers(values[spec.name]) for spec in _watched(schema) if not _is_category(spec)},
        {spec.name: Labels.of(values[spec.name]) for spec in _watched(schema) if _is_category(spec)},
        np.ones(count, dtype=np.bool_) if fresh is None else np.array(fresh, dtype=np.bool_),
    )


def _watched(schema: Schema) -> list[FeatureSpec]:
    return [spec for spec in schema.features if spec.log is not Logged.DROP]


class Gathered:
    """A large window's columns, from parts of it. Eight bytes a number and four a text stay; the rows do not."""

    def __init__(self, schema: Schema) -> None:
        self._none = columns(_NO_ROWS, schema)
        self._answers, self._places = _Places(), {name: _Places() for name in self._none.categories}
        self._grown = [bytearray() for _ in self._arrays(self._none)]

    def add(self, part: Columns) -> None:
        """Some more rows."""
        for grown, array in zip(self._grown, self._arrays(part), strict=True):
            grown += array.tobytes()

    def columns(self) -> Columns:
        """All of them, in the memory where they were gathered: nothing can be added any more."""
        types = (array.dtype for array in self._arrays(self._none))
        arrays = map(np.frombuffer, self._grown, types)
        confidences, model_errors, fallback_used, fresh, answers, *features = arrays
        numbers = dict(zip(self._none.numbers, features, strict=False))
        placed = zip(self._places.items(), features[len(numbers) :], strict=True)
        return Columns(
            (),
            confidences,
            model_errors,
            fallback_used,
            Labels(answers, tuple(self._answers)),
            numbers,
            {name: Labels(column, tuple(places)) for (name, places), column in placed},
            fresh,
        )

    def _arrays(self, part: Columns) -> list[NDArray[Any]]:
        """One after the other, texts by their places among all that were gathered."""
        return [
            part.confidences,
            part.model_errors,
            part.fallback_used,
            part.fresh,
            self._answers.of(part.answers.texts)[part.answers.places],
            *part.numbers.values(),
            *(
                places.of(part.categories[name].texts)[part.categories[name].places]
                for name, places in self._places.items()
            ),
        ]


def shadow_scored(found: Columns, snapshots: Sequence[str], schema: Schema, score: Scorer) -> Columns:
    """The same rows, those that bypassed the model scored now, off the client path.

    A row that the model fails on, or that today's schema refuses, counts as a model error.
    """
    bypassed = np.flatnonzero(found.fallback_used & ~found.model_errors).tolist()
    confidences, errors, answers = found.confidences.copy(), found.model_errors.copy(), found.answers.tolist()
    given = zip(bypassed, _parse([snapshots[i] for i in bypassed]), strict=True)
    clean = {i: row for i, snapshot in given if isinstance(row := schema.validate(snapshot), dict)}
    errors[[i for i in bypassed if i not in clean]] = True
    for index, (confidence, answer, error) in zip(clean, score(list(clean.values())), strict=True):
        errors[index] = error is not None
        answers[index] = answer
        # Rounded, so that the sums agree wherever they are recomputed.
        confidences[index] = math.nan if confidence is None else round(confidence, SHADOW_DIGITS)
    return replace(found, confidences=confidences, model_errors=errors, answers=Labels.of(answers))


def tally(found: Columns, baseline: Baseline | None, refusal_count: int, rows: Mask | None = None) -> Tally:
    """Counts over the given rows (default all), against a baseline where there is one."""
    chosen = slice(None) if rows is None else rows
    given = found.confidences[chosen]
    confidences = given[np.isfinite(given)]
    threshold = baseline.low_confidence_threshold if baseline is not None else None
    binned = {} if baseline is None else binned_columns(found, baseline.features, chosen)
    outputs = output_columns(found)
    return Tally(
        prediction_count=len(given),
        confidence_count=len(confidences),
        confidence_sum=math.fsum(confidences.tolist()),
        confidence_square_sum=math.fsum((confidences**2).tolist()),
        low_confidence_count=int((confidences < threshold).sum()) if threshold is not None else 0,
        model_error_count=int(found.model_errors[chosen].sum()),
        fallback_count=int(found.fallback_used[chosen].sum()),
        refusal_count=refusal_count,
        features=_feature_tallies(found, baseline, chosen, binned),
        prediction_counts=prediction_counts(found, chosen),
        outputs={} if baseline is None else _output_tallies(outputs, baseline, chosen),
        prediction_sum=_exact_sum(outputs, baseline, chosen),
        agreement=_agreement(baseline, binned),
    )


def output_columns(found: Columns) -> dict[str, Column]:
    """The model's confidence and its answers. Only where there are any."""
    outputs: dict[str, Column] = {}
    if np.isfinite(found.confidences).any():
        outputs["confidence"] = found.confidences
    if found.answers.places.any():
        outputs["prediction"] = found.answers
    return outputs


def as_numbers(column: Column) -> NDArray[np.float64]:
    """Answers as the log writes them, as numbers; NaN for what is none. Numbers stay as they are."""
    if isinstance(column, Labels):
        return _as_numbers([_number_in(text) for text in column.texts])[column.places]
    return column


def _number_in(text: object) -> object:
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None


def codes(column: Column, healthy: FeatureBaseline) -> Codes:
    """(n,) the bin of each value.

    Args:
        column: numbers (NaN: missing) or labels.
        healthy: with bins.
    """
    bins = healthy.bins or Bins()
    if bins.lowest is None or bins.highest is None:
        labels = column if isinstance(column, Labels) else Labels.of(column.tolist())
        places: dict[object, int] = dict.fromkeys(healthy.category_counts, bins.below)
        places |= {category: place for place, category in enumerate(bins.categories)}
        places[None] = bins.missing
        return np.array([places.get(text, bins.above) for text in labels.texts], dtype=np.int16)[labels.places]
    numbers = as_numbers(column)
    found = np.zeros(len(numbers), dtype=np.int16)
    for edge in bins.edges:  # there are few: faster than a search
        found += numbers > edge
    found[numbers < bins.lowest] = bins.below
    found[numbers > bins.highest] = bins.above
    found[~np.isfinite(numbers)] = bins.missing
    return found


def binned_columns(found: Columns, healthy: Mapping[str, FeatureBaseline], rows: Rows) -> dict[str, Codes]:
    """Per feature with bins, the bins of the given rows."""
    every: dict[str, Column] = {**found.numbers, **found.categories}
    return {
        name: codes(every[name][rows], before)
        for name, before in healthy.items()
        if before.bins is not None and name in every
    }


def onehot(features: Sequence[FeatureBaseline], binned: Sequence[Codes], *, inside: bool) -> OneHot:
    """(n, B) a one for the bin of each row and feature.

    Args:
        features: with bins, in order.
        binned: their bins, alike.
        inside: whether numbers far outside go to the outermost ordinary bin.
    """
    sizes = [before.bins.size for before in features if before.bins is not None]
    table = np.zeros((len(binned[0]) if binned else 0, sum(sizes)), dtype=np.float32)
    start = 0
    for before, column, size in zip(features, binned, sizes, strict=True):
        placed = _inside(before.bins, column) if inside and before.bins is not None else column
        table[np.arange(len(placed)), start + placed.astype(np.intp)] = 1
        start += size
    return table


def together(features: Sequence[FeatureBaseline], binned: Sequence[Codes]) -> NDArray[np.float64]:
    """(B, B) on how many rows two bins were seen together, numbers far outside counted as the outermost ordinary."""
    bins = [before.bins for before in features if before.bins is not None]
    starts = np.cumsum([0, *(each.size for each in bins)], dtype=np.int32)
    lower = np.zeros((starts[-1], starts[-1]))
    for first in range(0, len(binned[0]) if binned else 0, COUNTED_AT_ONCE):
        part = [_inside(*each) for each in zip(bins, (c[first : first + COUNTED_AT_ONCE] for c in binned), strict=True)]
        placed = np.array(part) + starts[:-1, None]
        for index, (own, each) in enumerate(zip(part, bins, strict=True)):
            start, shape = starts[index], (starts[-1], each.size)
            cells = np.bincount((placed[index:] * each.size + own).ravel(), minlength=shape[0] * shape[1])
            lower[:, start : start + each.size] += cells.reshape(shape)
    return lower + np.tril(lower, -1).T


def _inside(bins: Bins, column: Codes) -> Codes:
    if bins.lowest is None:
        return column
    outermost = np.where(column == bins.above, np.int16(bins.ordinary - 1), column)
    return np.where(column == bins.below, np.int16(0), outermost)


def _agreement(baseline: Baseline | None, binned: Mapping[str, Codes]) -> tuple[float, ...]:
    found = None if baseline is None else association.tables_of(baseline)
    if baseline is None or found is None or any(name not in binned for name in found.features):
        return ()
    chosen = [baseline.features[name] for name in found.features]
    return association.agreement(found, together(chosen, [binned[name] for name in found.features]))


def _output_tallies(outputs: Mapping[str, Column], baseline: Baseline, chosen: Rows) -> dict[str, FeatureTally]:
    tallies = {}
    for name, before in baseline.outputs.items():
        if name in outputs and before.bins is not None:
            counts = bin_counts(codes(outputs[name][chosen], before), before.bins)
            missing = counts[before.bins.missing]
            # An answer that nobody asked for says nothing; it is not a missing value.
            told = (*counts[: before.bins.missing], 0)
            tallies[name] = FeatureTally(sum(told), missing, bin_counts=told)
    return tallies


def bin_counts(binned: Codes, bins: Bins) -> tuple[int, ...]:
    """How many values lie in each bin."""
    return tuple(np.bincount(binned, minlength=bins.size).tolist())


def _exact_sum(outputs: Mapping[str, Column], baseline: Baseline | None, chosen: Rows) -> float:
    if baseline is None or baseline.prediction_mean is None or "prediction" not in outputs:
        return 0.0
    numbers = as_numbers(outputs["prediction"][chosen])
    total = math.fsum(numbers[np.isfinite(numbers)].tolist())
    return total if math.isfinite(total) else 0.0


def _is_category(spec: FeatureSpec) -> bool:
    return spec.type is FeatureType.CATEGORY or spec.log is Logged.HASH


def _values(texts: Sequence[str], watched: Sequence[FeatureSpec]) -> Mapping[str, Sequence[object]]:
    """Per feature its values, None where there is none; of numbers NaN, too. A text is never a number."""
    kinds = tuple((spec.name, _is_category(spec)) for spec in watched)
    try:
        # One by one: texts that are no documents must not become some when put together.
        rows = list(map(msgspec.structs.astuple, map(_decoder(kinds).decode, texts)))
    except (msgspec.MsgspecError, ValueError, TypeError):
        rows = []  # somebody else's row, or a name that JSON has to escape: the slow way knows them all
    if rows:
        return dict(zip([name for name, _ in kinds], zip(*rows, strict=True), strict=True))
    return _values_of(_parse(texts), watched)


def _values_of(
    snapshots: Sequence[Mapping[str, object]], watched: Sequence[FeatureSpec]
) -> Mapping[str, Sequence[object]]:
    return {
        spec.name: [row.get(spec.name) if _is_category(spec) else _as_number(row.get(spec.name)) for row in snapshots]
        for spec in watched
    }


@lru_cache(maxsize=16)
def _decoder(kinds: tuple[tuple[str, bool], ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """What reads a snapshot of plain values only. Features' names need be no identifiers, fields' must."""
    number, plain = bool | int | float | None, bool | int | float | str | None
    fields = [(f"f{place}", plain if category else number, None) for place, (_, category) in enumerate(kinds)]
    names = {field: name for (field, *_), (name, _) in zip(fields, kinds, strict=True)}
    return msgspec.json.Decoder(msgspec.defstruct("Snapshot", fields, rename=names, gc=False))


def _parse(texts: Sequence[str]) -> Sequence[Mapping[str, object]]:
    """Snapshots one by one."""
    parsed = [_parse_one(text) for text in texts]
    return [row if isinstance(row, dict) else {} for row in parsed]


def _parse_one(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return {}


def _as_numbers(values: Sequence[object]) -> NDArray[np.float64]:
    """As float64; what is no number, or none that a float can hold, is missing."""
    try:
        return np.fromiter(values, dtype=np.float64, count=len(values))
    except (TypeError, ValueError, OverflowError):
        return np.array([_as_number(value) for value in values], dtype=np.float64)


def _as_number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _feature_tallies(
    found: Columns, baseline: Baseline | None, chosen: Rows, binned: Mapping[str, Codes]
) -> dict[str, FeatureTally]:
    healthy = baseline.features if baseline is not None else {}
    tallies = {name: _number_tally(column[chosen], healthy.get(name)) for name, column in found.numbers.items()}
    tallies |= {name: _category_tally(column[chosen], healthy.get(name)) for name, column in found.categories.items()}
    for name, column in binned.items():
        bins = healthy[name].bins
        if bins is not None:
            tallies[name] = replace(tallies[name], bin_counts=bin_counts(column, bins))
    return tallies


def _number_tally(column: NDArray[np.float64], healthy: FeatureBaseline | None) -> FeatureTally:
    present = column[np.isfinite(column)]
    below = above = 0
    if healthy is not None and healthy.minimum is not None and healthy.maximum is not None:
        below, above = int((present < healthy.minimum).sum()), int((present > healthy.maximum).sum())
    commonest = commonest_numbers(present, 1)
    return FeatureTally(
        len(present), len(column) - len(present), 0, below, above, commonest=commonest[0] if commonest else None
    )


def commonest_numbers(present: NDArray[np.float64], most: int) -> tuple[tuple[float, int], ...]:
    """The most frequent numbers with their counts; of equally frequent ones the lesser first."""
    numbers, counts = np.unique(present, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple((float(numbers[i]), int(counts[i])) for i in order.tolist())


def _category_tally(column: Labels, healthy: FeatureBaseline | None) -> FeatureTally:
    counts = column.counts()
    missing = counts.pop(None, 0)
    known = healthy.category_counts if healthy is not None and healthy.type is FeatureType.CATEGORY else counts
    unseen = {str(category): count for category, count in counts.items() if category not in known}
    # The most frequent first, ties by name, so that the examples do not depend on the rows' order.
    examples = sorted(unseen.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES_SHOWN]
    return FeatureTally(
        value_count=counts.total(),
        missing_count=missing,
        unseen_count=sum(unseen.values()),
        unseen_examples={_encodable(category[:EXAMPLE_LENGTH]): count for category, count in examples},
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def prediction_counts(found: Columns, chosen: Rows) -> dict[str, int]:
    """How often the model gave each answer; empty where there are too many to be classes."""
    counts = found.answers[chosen].counts()
    counts.pop(None, None)
    return dict(sorted(counts.items())) if len(counts) <= MOST_CLASSES_COUNTED else {}
