"""Baseline noise: how far a healthy period deviates from itself, and which of its features are associated.

A baseline is compared with chunks of its own period. The noise of an association is measured on rows that its table was
not made of: tables of one half against chunks of the other half, and vice versa. On its own rows it would seem far
smaller than it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence import association
from stillsafe.core.evidence.association import AssociationNoise, AssociationTable, Numbers
from stillsafe.core.evidence.impact import PerformanceImpact, total_variation, total_variation_noise
from stillsafe.core.evidence.view import ASSOCIATED_KINDS
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.schema import OPEN_TYPES, Schema
from stillsafe.core.signals import OUTPUT_SIGNALS, Signal
from stillsafe.core.window import Tally
from stillsafe.monitoring.binning import BinCodes, bin_codes, co_occurrence, feature_bin_codes, one_hot
from stillsafe.monitoring.category_groups import held_out_codes
from stillsafe.monitoring.columns import Columns, Mask, output_columns
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.profile import profile_features
from stillsafe.monitoring.tally import tally

FEWEST_ROWS = 200  # below, there is no joint table
FEWEST_CHUNKS, MOST_CHUNKS, SMALLEST_CHUNK = 3, 10, 50
MOST_BINS = 400  # in the joint table: some forty features, what the model leans on first
MOST_PARTNERS = 2  # of a feature that the model leans on
DIGITS = 9

Series = Sequence[tuple[float, int]]
"""Per chunk a value and the number of values behind it."""


@dataclass(frozen=True, slots=True)
class BaselineNoise:
    """How far the chunks of a healthy period deviate, per reading key.

    Attributes:
        variation: standard deviation between chunks beyond sampling; an absent key varies by nothing.
        offset: mean over the chunks.
    """

    variation: Mapping[str, float]
    offset: Mapping[str, float]


def chunks(rows: NDArray[np.intp], count: int, *, front_loaded: bool = False) -> list[NDArray[np.intp]]:
    """Split rows into consecutive chunks whose lengths differ by one at most.

    Args:
        rows: row indices in time order.
        count: number of chunks.
        front_loaded: whether the first chunks are the longer ones; by default the longer ones are spread evenly.
    """
    if front_loaded:
        return np.array_split(rows, count)
    return np.split(rows, np.linspace(0, len(rows), count + 1).astype(int)[1:-1])


def joint_table(
    rows: Columns, features: Mapping[str, FeatureBaseline], impact: PerformanceImpact | None = None
) -> Joint | None:
    """The joint table of the associated features, or None where there are too few rows or associations.

    Args:
        rows: the healthy period.
        features: that may be part of it.
        impact: where the table would exceed its size, what the model leans on comes first.
    """
    if len(rows) < FEWEST_ROWS:
        return None
    codes = held_out_codes(rows, features, feature_bin_codes(rows, features, slice(None)))
    names = _most_associated(features, codes, impact)
    if len(names) < 2:
        return None
    joint_features, joint_codes = [features[name] for name in names], [codes[name] for name in names]
    table = _table(names, joint_features, joint_codes)
    row_sd = np.array([_row_sd(table, joint_features, joint_codes, half) for half in _halves(rows)]).mean(axis=0)
    counts = co_occurrence(joint_features, joint_codes).astype(np.int64).tolist()
    upper = tuple(tuple(row[index:]) for index, row in enumerate(counts))
    return Joint(tuple(names), upper, tuple(np.round(row_sd, DIGITS).tolist()))


def baseline_noise(rows: Columns, schema: Schema, baseline: Baseline) -> BaselineNoise:
    """Measure how far the chunks of the healthy period deviate: in rates, distributions and associations.

    Args:
        rows: the healthy period, in time order where there is one.
        schema: the features.
        baseline: made of these rows.
    """
    codes = feature_bin_codes(rows, baseline.features, slice(None))
    offset, variation = _association_noise(rows, baseline, codes)
    for name, column in codes.items():
        variation[f"{Signal.DISTRIBUTION_CHANGE}:{name}"] = _distribution_variation(column, baseline.features[name])
    for name, output in output_columns(rows).items():
        healthy = baseline.outputs[name]
        variation[OUTPUT_SIGNALS[name]] = _distribution_variation(bin_codes(output, healthy), healthy)
    return BaselineNoise(
        {**_positive(_rate_variation(rows, schema, baseline)), **_positive(variation)},
        {key: round(value, DIGITS) for key, value in sorted(offset.items())},
    )


def _positive(variation: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, DIGITS) for key, value in sorted(variation.items()) if value > 0}


def with_impact(rows: Columns, baseline: Baseline, impact: PerformanceImpact | None) -> Baseline:
    """The baseline with the impact study, and with the joint table of what the model leans on if it has room for few.

    Args:
        rows: the healthy period.
        baseline: made of these rows.
        impact: the study of the model on them.
    """
    baseline, joint = replace(baseline, harm=impact), baseline.joint
    if impact is None or joint is None:
        return baseline
    features = {name: feature for name, feature in baseline.features.items() if name not in baseline.clock}
    important_joint = joint_table(rows, features, impact)
    if important_joint is None or important_joint.features == joint.features:
        return baseline
    baseline = replace(baseline, joint=important_joint)
    offset, variation = _association_noise(rows, baseline, feature_bin_codes(rows, baseline.features, slice(None)))
    is_other = {key: not key.startswith(f"{Signal.BROKEN_RELATION_RATE}:") for key in (*baseline.variation, *offset)}
    return replace(
        baseline,
        variation={key: sd for key, sd in baseline.variation.items() if is_other[key]} | _positive(variation),
        offset={key: round(value, DIGITS) for key, value in sorted(offset.items())},
    )


def _most_associated(
    features: Mapping[str, FeatureBaseline], codes: Mapping[str, BinCodes], impact: PerformanceImpact | None
) -> list[str]:
    """The associated features in order of name; where the table would exceed its size, the most relevant ones.

    First come the features that the model leans on, the most important one first, each followed by its strongest
    partners: a feature is only judged by what it is associated with. Then come the most associated ones.
    """
    names = sorted(name for name in codes if features[name].type not in OPEN_TYPES and _may_associate(features[name]))
    if len(names) < 2:
        return []
    bins = [features[name].bins for name in names]
    counts = co_occurrence([features[name] for name in names], [codes[name] for name in names])
    table = association.association_strengths(names, [each.size for each in bins if each is not None], counts)
    information = table.total_information
    ranking = [*_important(names, table, impact), *np.argsort(-information, kind="stable").tolist()]
    associated_names, room = [], MOST_BINS
    for index in dict.fromkeys(ranking):
        if information[index] > EVIDENCE.association_min_nats and table.sizes[index] <= room:
            associated_names.append(names[index])
            room -= int(table.sizes[index])
    return sorted(associated_names)


def _may_associate(feature: FeatureBaseline) -> bool:
    return feature.view is None or feature.view.kind in ASSOCIATED_KINDS


def _important(names: Sequence[str], table: AssociationTable, impact: PerformanceImpact | None) -> Iterator[int]:
    """Positions of the features that move the model's answers, each with its strongest partners.

    How many answers a feature can change is known more exactly than what that costs.
    """
    if impact is None:
        return
    influence = {
        name: each.permuted if each.most_changed is None else each.most_changed
        for name in names
        if (each := impact.features.get(name)) is not None
    }
    strength = table.mutual_information * table.is_associated
    for name in sorted(influence, key=lambda name: -influence[name]):
        if influence[name] <= 0:
            return
        index = names.index(name)
        yield index
        partners = np.argsort(-strength[index], kind="stable")[:MOST_PARTNERS].tolist()
        yield from (partner for partner in partners if strength[index, partner] > 0)


def _halves(rows: Columns) -> tuple[Mask, Mask]:
    """The earlier and the later half."""
    first = np.arange(len(rows)) < len(rows) // 2
    return first, ~first


def _row_sd(
    whole: AssociationTable, features: Sequence[FeatureBaseline], codes: Sequence[BinCodes], half: Mask
) -> Numbers:
    """(F,) standard deviation of one row's broken share: a table of one half against the rows of the other."""
    table = _half_table(whole, features, codes, half)
    other_half = one_hot(features, [column[~half] for column in codes], clip=True)
    return np.asarray(association.row_broken_shares(table, other_half).std(axis=0))


def _half_table(
    whole: AssociationTable, features: Sequence[FeatureBaseline], codes: Sequence[BinCodes], half: Mask
) -> AssociationTable:
    """The table of one half, with the associations of the whole period.

    A weak association does not exceed chance in a half, so its noise would count as zero.
    """
    table = _table(whole.features, features, [column[half] for column in codes])
    none = np.zeros_like(whole.optimism)
    return replace(table, is_associated=whole.is_associated, mutual_information=whole.mutual_information, optimism=none)


def _table(names: Sequence[str], features: Sequence[FeatureBaseline], codes: Sequence[BinCodes]) -> AssociationTable:
    sizes = [feature.bins.size for feature in features if feature.bins is not None]
    return association.association_table(names, sizes, co_occurrence(features, codes))


def _association_noise(
    rows: Columns, baseline: Baseline, codes: Mapping[str, BinCodes]
) -> tuple[dict[str, float], dict[str, float]]:
    """Per feature the mean broken share of healthy chunks, and its standard deviation beyond sampling."""
    joint = baseline.joint
    if joint is None:
        return {}, {}
    codes = held_out_codes(rows, baseline.features, codes)
    features, joint_codes = (
        [baseline.features[name] for name in joint.features],
        [codes[name] for name in joint.features],
    )
    none, row_sd = np.zeros(len(features)), np.array(joint.row_sd)
    shares, sizes = [], []
    for half in _halves(rows):
        # An association that a half does not show gets no offset here: the optimism of the whole table stands in.
        table = _table(joint.features, features, [column[half] for column in joint_codes])
        table = replace(table, optimism=np.zeros_like(table.optimism))
        for chunk in _half_chunks(~half):
            bins = one_hot(features, [column[chunk] for column in joint_codes], clip=True)
            sums = association.pmi_sums(table, (bins.T @ bins).astype(np.float64))
            window = association.window_association(table, bins.mean(axis=0).astype(np.float64), sums, len(chunk))
            shares.append(association.broken_association(table, window, AssociationNoise(none, row_sd, none)).share)
            sizes.append(len(chunk))
    by_chunk = np.array(shares)
    excess = by_chunk.var(axis=0, ddof=1) - row_sd**2 / np.mean(sizes)
    keys = [f"{Signal.BROKEN_RELATION_RATE}:{name}" for name in joint.features]
    offset = dict(zip(keys, by_chunk.mean(axis=0).tolist(), strict=True))
    return offset, dict(zip(keys, np.sqrt(np.maximum(excess, 0.0)).tolist(), strict=True))


def _half_chunks(half: Mask) -> list[NDArray[np.intp]]:
    rows = np.flatnonzero(half)
    return chunks(rows, max(2, min(MOST_CHUNKS // 2, len(rows) // SMALLEST_CHUNK)), front_loaded=True)


def _period_chunks(row_count: int) -> list[NDArray[np.intp]]:
    """The chunks of a whole period; empty where it is too short for a variation."""
    count = min(MOST_CHUNKS, row_count // SMALLEST_CHUNK)
    return chunks(np.arange(row_count), count) if count >= FEWEST_CHUNKS else []


def _distribution_variation(codes: BinCodes, healthy: FeatureBaseline) -> float:
    """Root mean square of the total variation distance between chunk and period beyond sampling."""
    if healthy.bins is None or not sum(healthy.bin_counts):
        return 0.0
    shares = np.array(healthy.bin_counts, dtype=np.float64) / sum(healthy.bin_counts)
    squares = []
    for chunk in _period_chunks(len(codes)):
        counts = np.bincount(codes[chunk], minlength=healthy.bins.size).astype(np.float64)
        sampling, _ = total_variation_noise(shares, 1 / len(chunk) - 1 / len(codes))
        squares.append(max(0.0, total_variation(counts / counts.sum(), shares) - sampling) ** 2)
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _rate_variation(rows: Columns, schema: Schema, baseline: Baseline) -> dict[str, float]:
    """Per reading key of a mean or a rate, its standard deviation between chunks beyond sampling.

    Each chunk is compared with a profile of all the others, as a window is with its baseline.
    """
    series: dict[str, list[tuple[float, int]]] = {}
    for chunk in _period_chunks(len(rows)):
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[chunk] = True
        others = replace(
            baseline,
            features=profile_features(rows[~mask], schema, baseline.features, Disclosure(baseline.min_count)),
            outputs={},
            joint=None,
        )
        for key, value, count in _rates(tally(rows, others, 0, mask)):
            series.setdefault(key, []).append((value, count))
    sd = {"avg_confidence": baseline.confidence_sd or 0.0}
    return {key: _between_chunk_sd(values, sd.get(key)) for key, values in series.items()}


def _rates(chunk: Tally) -> Iterator[tuple[str, float, int]]:
    """The reading keys of one chunk with their values, and the number of values behind each."""
    if chunk.confidence_count and chunk.avg_confidence is not None:
        n = chunk.confidence_count
        yield "avg_confidence", chunk.avg_confidence, n
        yield "low_confidence_rate", chunk.low_confidence_count / n, n
    for name, feature in chunk.features.items():
        row_count = feature.value_count + feature.missing_count
        if row_count:
            yield f"missing_rate:{name}", feature.missing_count / row_count, row_count
        if feature.value_count:
            n = feature.value_count
            yield f"unseen_category_rate:{name}", feature.unseen_count / n, n
            yield f"out_of_range_rate:{name}", (feature.below_count + feature.above_count) / n, n


def _between_chunk_sd(series: Series, sd: float | None) -> float:
    """Standard deviation between chunks beyond sampling: the moment estimator of random-effects models.

    Source: R. DerSimonian and N. Laird, "Meta-analysis in clinical trials", 1986, in its unweighted form.

    Args:
        series: the chunks.
        sd: standard deviation of one value, or None of a rate.
    """
    if len(series) < FEWEST_CHUNKS:
        return 0.0
    values = [value for value, _ in series]
    mean = math.fsum(values) / len(values)
    between = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    one = mean * (1 - mean) if sd is None else sd**2
    within = math.fsum(one / n for _, n in series) / len(series)
    return math.sqrt(max(0.0, between - within))
