"""What the store may hold of a reference baseline: nothing of a dropped feature, and of a hashed one only hashes.

A reference is made of a sample in clear. If the owner has a feature dropped or hashed afterwards, its profile is cut
down before the baseline is stored for the first time. `stillsafe init --refresh` writes a reference file without it.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.impact import LabelProfile, PerformanceImpact
from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.core.evidence.view import with_views_of
from stillsafe.core.evidence.watch import watched_part
from stillsafe.core.schema import OPEN_TYPES, LogMode, salted_hash
from stillsafe.core.window import Tally
from stillsafe.monitoring.log_format import HASH, LogFormat

T = TypeVar("T")


def logged_baseline(baseline: Baseline, log_format: LogFormat) -> Baseline:
    """The baseline as the store may hold it; the same one where the log shows every feature in clear."""
    modes = {spec.name: spec for spec in log_format.schema.features if spec.log is not LogMode.KEEP}
    dropped_names = {name for name, spec in modes.items() if spec.log is LogMode.DROP} & baseline.features.keys()
    hashed_features = {
        name: baseline.features[name] for name in modes.keys() - dropped_names if name in baseline.features
    }
    countable = {
        name: _hashed_feature(feature, log_format.salt)
        for name, feature in hashed_features.items()
        if feature.is_categorical and feature.minimum is None and modes[name].type not in OPEN_TYPES
    }
    uncountable = hashed_features.keys() - countable.keys()
    if not dropped_names and not hashed_features:
        return baseline
    part = _without(baseline, dropped_names | uncountable)
    missing = {
        name: FeatureBaseline(None, hashed_features[name].value_count, hashed_features[name].missing_count)
        for name in uncountable
    }
    features = {name: countable.get(name, feature) for name, feature in part.features.items()} | missing
    in_order = {name: features[name] for name in baseline.features if name in features}
    return replace(part, features=in_order, clock=_other(part.clock, hashed_features))


def shown_features(baseline: Baseline, log_format: LogFormat) -> tuple[str, ...]:
    """The features of which a baseline shows more than the log may, in order of the schema."""
    part = logged_baseline(baseline, log_format)
    of_views = {each.view.of for name, each in baseline.features.items() if each.view and name not in part.features}
    return tuple(
        spec.name
        for spec in log_format.schema.features
        if spec.name in of_views or baseline.features.get(spec.name) != part.features.get(spec.name)
    )


def _hashed_feature(feature: FeatureBaseline, salt: str) -> FeatureBaseline:
    """A categorical feature with the hashes of its categories in their place, unless it has hashes already."""
    bins = feature.bins or Bins()
    group_categories = [category for group in bins.groups for category in group]
    names = (*feature.category_counts, *bins.categories, *group_categories)
    if all(HASH.fullmatch(name) for name in names):
        return feature
    hashes = {category: salted_hash(category, salt) for category in names}
    categories, groups = (
        tuple(hashes[category] for category in bins.categories),
        tuple(tuple(hashes[category] for category in group) for group in bins.groups),
    )
    return replace(
        feature,
        category_counts={hashes[category]: count for category, count in feature.category_counts.items()},
        bins=None if feature.bins is None else replace(bins, categories=categories, groups=groups),
    )


def _without(baseline: Baseline, names: Collection[str]) -> Baseline:
    """The baseline without some features, wherever it counts them."""
    names = with_views_of(names, baseline.features)
    part, _ = watched_part(baseline, Tally(), names)
    return replace(
        part,
        variation=_other_keys(baseline.variation, names),
        offset=_other_keys(baseline.offset, names),
        clock=_other(baseline.clock, names),
        slots=None if baseline.slots is None else _other_slots(baseline, baseline.slots, names),
        harm=None if baseline.harm is None else _other_impact(baseline.harm, names),
    )


def _other(mapping: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in mapping.items() if name not in names}


def _other_keys(numbers: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    return {key: number for key, number in numbers.items() if key.partition(":")[2] not in names}


def _other_slots(baseline: Baseline, table: SlotTable, names: Collection[str]) -> SlotTable:
    healthy = {**{name: baseline.features[name] for name in table.features}}
    sizes = [feature.bins.size if feature.bins is not None else 0 for feature in healthy.values()]
    is_other = np.repeat([name not in names for name in table.features], sizes)
    joint = () if baseline.joint is None else baseline.joint.features
    return replace(
        table,
        features=tuple(name for name in table.features if name not in names),
        counts=tuple(
            (*(count for count, other in zip(row, is_other.tolist(), strict=False) if other), *row[len(is_other) :])
            for row in table.counts
        ),
        frequent=_other(table.frequent, names),
        variation=_other_keys(table.variation, names),
        offset=_other_keys(table.offset, names),
        row_sd=tuple(sd for name, sd in zip(joint, table.row_sd, strict=False) if name not in names),
    )


def _other_impact(impact: PerformanceImpact, names: Collection[str]) -> PerformanceImpact:
    return replace(
        impact,
        features=_other(impact.features, names),
        together=tuple(pair for pair in impact.together if not {pair[0], pair[1]} & {*names}),
        groups=tuple(group for group in impact.groups if not {*group[0]} & {*names}),
        effects=_other(impact.effects, names),
        effects_alone=_other(impact.effects_alone, names),
        answer_effects=_other(impact.answer_effects, names),
        truths=tuple(_other_labels(label, names) for label in impact.truths),
        also=tuple(_other_impact(each, names) for each in impact.also),
    )


def _other_labels(label: LabelProfile, names: Collection[str]) -> LabelProfile:
    return replace(label, features=_other(label.features, names))
