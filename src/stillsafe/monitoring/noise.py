"""How a healthy period wobbles: which values go together, and how far that and the distributions move by themselves.

The noise of a relation is measured on rows that its table has not seen: tables from one half, stretches of the other
half against them, and the other way round. Measured on its own rows it would look far smaller than it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence import association
from stillsafe.core.evidence.association import Numbers, Tables
from stillsafe.core.evidence.impact import distance, distance_noise
from stillsafe.core.signals import Signal
from stillsafe.monitoring.columns import Codes, Columns, Mask, binned_columns, codes, onehot, output_columns, together

FEWEST_ROWS = 200
CHUNKS_PER_HALF, SMALLEST_CHUNK = 5, 50
MOST_BINS = 400  # in the joint table: some forty features, the most related first
DIGITS = 9


@dataclass(frozen=True, slots=True)
class Wobble:
    """Per reading key, what healthy stretches of the period show by themselves.

    Attributes:
        variation: standard deviation from stretch to stretch beyond sampling.
        offset: mean.
    """

    variation: Mapping[str, float]
    offset: Mapping[str, float]


def joint_of(found: Columns, features: Mapping[str, FeatureBaseline]) -> Joint | None:
    """The joint table of the features that are related to others, or None where there are too few rows or relations."""
    if len(found) < FEWEST_ROWS:
        return None
    binned = binned_columns(found, features, np.ones(len(found), dtype=np.bool_))
    names = _most_related(features, binned)
    if len(names) < 2:
        return None
    chosen, placed = [features[name] for name in names], [binned[name] for name in names]
    counts = together(chosen, placed)
    row_sd = np.array([_row_sd(chosen, placed, half, ~half) for half in _halves(found)]).mean(axis=0)
    rows = counts.astype(np.int64).tolist()
    return Joint(
        tuple(names), tuple(tuple(row[i:]) for i, row in enumerate(rows)), tuple(np.round(row_sd, DIGITS).tolist())
    )


def wobble(found: Columns, whole: Baseline) -> Wobble:
    """What stretches of the healthy period show: of relations against tables from other rows, and of distributions."""
    every = np.ones(len(found), dtype=np.bool_)
    binned = binned_columns(found, whole.features, every)
    outputs = {name: codes(column, whole.outputs[name]) for name, column in output_columns(found).items()}
    offset, variation = _relations(found, whole, binned)
    signals = {"confidence": Signal.CONFIDENCE_CHANGE, "prediction": Signal.PREDICTION_CHANGE}
    for name, column in binned.items():
        variation[f"{Signal.DISTRIBUTION_CHANGE}:{name}"] = _movement(column, whole.features[name])
    for name, column in outputs.items():
        variation[signals[name]] = _movement(column, whole.outputs[name])
    kept = {key: round(value, DIGITS) for key, value in sorted(variation.items()) if value > 0}
    return Wobble(kept, {key: round(value, DIGITS) for key, value in sorted(offset.items())})


def _most_related(features: Mapping[str, FeatureBaseline], binned: Mapping[str, Codes]) -> list[str]:
    """The features with relations, the most related ones until the table is full; in order of name."""
    names = sorted(binned)
    if len(names) < 2:
        return []
    chosen = [features[name] for name in names]
    found = association.tables(names, _sizes(chosen), together(chosen, [binned[name] for name in names]))
    strengths = np.sum(found.strength * found.related, axis=1)
    kept, room = [], MOST_BINS
    for index in np.argsort(-strengths, kind="stable").tolist():
        if strengths[index] > association.LEAST_STRENGTH and found.sizes[index] <= room:
            kept.append(names[index])
            room -= int(found.sizes[index])
    return sorted(kept)


def _halves(found: Columns) -> tuple[Mask, Mask]:
    """The earlier and the later half."""
    first = np.arange(len(found)) < len(found) // 2
    return first, ~first


def _row_sd(chosen: Sequence[FeatureBaseline], placed: Sequence[Codes], learnt: Mask, tried: Mask) -> Numbers:
    found = _tables(chosen, placed, learnt)
    rows = onehot(chosen, [column[tried] for column in placed], inside=True)
    return np.asarray(association.row_shares(found, rows).std(axis=0))


def _tables(chosen: Sequence[FeatureBaseline], placed: Sequence[Codes], rows: Mask) -> Tables:
    names = [str(number) for number in range(len(chosen))]
    return association.tables(names, _sizes(chosen), together(chosen, [column[rows] for column in placed]))


def _relations(
    found: Columns, whole: Baseline, binned: Mapping[str, Codes]
) -> tuple[dict[str, float], dict[str, float]]:
    """Per feature the mean broken share of healthy stretches, and its standard deviation beyond sampling."""
    joint = whole.joint
    if joint is None:
        return {}, {}
    chosen, placed = [whole.features[name] for name in joint.features], [binned[name] for name in joint.features]
    none = np.zeros(len(chosen))
    shares, sizes = [], []
    for learnt in _halves(found):
        tables = _tables(chosen, placed, learnt)
        for rows in _stretches(~learnt):
            table = onehot(chosen, [column[rows] for column in placed], inside=True)
            sums = association.agreement(tables, (table.T @ table).astype(np.float64))
            seen = association.look(tables, table.mean(axis=0).astype(np.float64), sums, len(rows))
            shares.append(association.broken(tables, seen, none, np.array(joint.row_sd), none).share)
            sizes.append(len(rows))
    measured = np.array(shares)
    excess = measured.var(axis=0, ddof=1) - np.array(joint.row_sd) ** 2 / np.mean(sizes)
    keys = [f"{Signal.BROKEN_RELATION_RATE}:{name}" for name in joint.features]
    offset = dict(zip(keys, measured.mean(axis=0).tolist(), strict=True))
    return offset, dict(zip(keys, np.sqrt(np.maximum(excess, 0.0)).tolist(), strict=True))


def _stretches(rows: Mask) -> list[NDArray[np.intp]]:
    places = np.flatnonzero(rows)
    return np.array_split(places, max(2, min(CHUNKS_PER_HALF, len(places) // SMALLEST_CHUNK)))


def _movement(column: Codes, whole: FeatureBaseline) -> float:
    """How far a distribution moves from stretch to stretch beyond sampling: root mean square of the excess distance."""
    if whole.bins is None or not sum(whole.bin_counts):
        return 0.0
    chunks = min(2 * CHUNKS_PER_HALF, len(column) // SMALLEST_CHUNK)
    if chunks < 3:
        return 0.0
    healthy = np.array(whole.bin_counts, dtype=np.float64) / sum(whole.bin_counts)
    squares = []
    bounds = np.linspace(0, len(column), chunks + 1).astype(int)
    for start, end in pairwise(bounds.tolist()):
        counts = np.bincount(column[start:end], minlength=whole.bins.size).astype(np.float64)
        usual, _ = distance_noise(healthy, 1 / (end - start) - 1 / len(column))
        squares.append(max(0.0, distance(counts / counts.sum(), healthy) - usual) ** 2)
    return float(np.sqrt(np.mean(squares)))


def _sizes(chosen: Sequence[FeatureBaseline]) -> list[int]:
    return [before.bins.size for before in chosen if before.bins is not None]
