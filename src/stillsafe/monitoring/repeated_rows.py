"""Repeated rows: the same input again and again, as a probe sends it, where the healthy period explains no such row.

Copies of one row are one piece of evidence and not many, so a tally leaves the unexplained ones out and counts them
apart. A row's copies are explained by the share of its rarest value, in health or among the window's other rows: a
feature that is stuck at one value leaves the others of its rows as different as they were, and makes no repeated row.

A feed that is wholly dead sends one row as well: everything missing, zero or stuck. So copies are left out only beside
other rows: enough of them to judge, or a part of the traffic that a later run judges, or where one client of several
sent the copies. Otherwise the copies are the traffic, and they are judged.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.policy import EVIDENCE
from stillsafe.monitoring.columns import Columns, DictionaryColumn, Mask

_BLOCK_ROWS = 16_000
_FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)  # of the mixing function SplitMix64


def unexplained_copies(rows: Columns, healthy: Mapping[str, FeatureBaseline]) -> Mask:
    """(n,) flags: the copies of repeated rows that health does not explain. Independent of the order of the rows."""
    copies = np.zeros(len(rows), dtype=np.bool_)
    names = _inputs(rows)
    agreement = math.prod(_value_agreement(healthy[name]) for name in names if name in healthy)
    if agreement > EVIDENCE.repeated_row_max_agreement:  # where rows often are equal, equal rows are nothing unusual
        return copies
    groups = list(_groups(rows))
    single_rows = ~np.any([copies, *groups], axis=0)
    for group in groups:
        explained_share = _explained_share(rows, healthy, group, single_rows)
        if explained_share is not None:
            indices = np.flatnonzero(group)
            outcomes = (array[indices] for array in (rows.confidences, rows.fallback_used, rows.model_errors))
            copies[indices[np.lexsort(tuple(outcomes))[int(explained_share * len(rows)) :]]] = True
    return copies


def are_beside_others(rows: Columns, copies: Mask) -> bool:
    """Whether rows besides the copies stand for the service, so that the copies can be left out.

    Args:
        rows: of a window, with their sources where these are known.
        copies: (n,) flags of the unexplained copies among them.
    """
    other_count = int((~copies).sum())
    if other_count >= EVIDENCE.repeated_row_enough_others:
        return True
    return other_count >= EVIDENCE.repeated_row_least_others * len(rows) or _are_of_one_source(rows, copies)


def _are_of_one_source(rows: Columns, copies: Mask) -> bool:
    """Whether one known source of several sent the copies."""
    if not len(rows.sources):
        return False
    names = rows.sources.vocabulary
    senders, others = ({names[index] for index in rows.sources.indices[each].tolist()} for each in (copies, ~copies))
    return len(senders) == 1 and None not in senders and bool(others - senders - {None})


def _most_copies(count: int, share: float) -> float:
    """Rows of a kind that a window has at most, beyond chance (Bernstein's inequality), where a share is healthy."""
    deviations = EVIDENCE.repeated_row_deviations
    slack = deviations**2 / 6
    return count * share + slack + math.hypot(slack, deviations * math.sqrt(count * share * (1 - share)))


def _value_agreement(feature: FeatureBaseline) -> float:
    """Upper limit of the probability that two healthy rows have the same value."""
    counts = [*feature.category_counts.values()] or [count for _, count in feature.frequent]
    total, most = feature.value_count + feature.missing_count, feature.unlisted_most
    if not total or (not counts and most is None):
        return 1.0  # nothing is known about its values, so they tell no rows apart
    unlisted_count = 0 if most is None else feature.value_count - sum(counts)
    listed_agreement = sum((count / total) ** 2 for count in (*counts, feature.missing_count))
    return listed_agreement + unlisted_count * (most or 0) / total**2


def _groups(rows: Columns) -> Iterator[Mask]:
    """Flags of the rows that are equal, for each input with so many copies that they matter."""
    least = max(_most_copies(len(rows), 0.0), EVIDENCE.repeated_row_min_rate * len(rows))
    keys = _keys(rows)
    sorted_keys = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))
    counts = np.diff(np.append(starts, len(sorted_keys)))
    for key in sorted_keys[starts[counts > least]].tolist():
        group = keys == np.uint64(key)
        first = int(np.argmax(group))
        for _, column in _values(rows):  # two inputs may have the same key
            group &= column == column[first]
        yield group


def _keys(rows: Columns) -> NDArray[np.uint64]:
    """(n,) a hash of each row's inputs. Block by block, because a whole column fits into no processor's cache."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        block_keys = keys[block]
        for _, column in _values(rows, block):
            block_keys ^= column.astype(np.uint64, copy=False)
            block_keys *= np.uint64(_FACTORS[0])
            block_keys ^= block_keys >> np.uint64(29)
            block_keys *= np.uint64(_FACTORS[1])
            block_keys ^= block_keys >> np.uint64(32)
    return keys


def _bits(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The bits of numbers, the same for both zeros and for everything missing."""
    values = numbers + 0.0
    values[~np.isfinite(values)] = math.nan
    return values.view(np.uint64)


def _explained_share(
    rows: Columns, healthy: Mapping[str, FeatureBaseline], group: Mask, single_rows: Mask
) -> float | None:
    """The share of the rows that equal rows have by their rarest value, or None where that explains all of them.

    The rarest value alone may be a stuck feature's. So another value has to be more common among the rows with that
    value, too, than it is in health, among the rows that repeat nothing, or beside the equal rows.
    """
    same, shares, first = {}, {}, int(np.argmax(group))
    for name, column in _values(rows):
        same[name] = column == column[first]
        shares[name] = max(
            _share(same[name], single_rows), _healthy_share(healthy.get(name), _value(rows, name, first))
        )
    rarest = min(shares, key=lambda name: (shares[name], name), default=None)
    if rarest is None or len(shares) < 2 or group.sum() <= _most_copies(len(rows), shares[rarest]):
        return None
    other_copies = same[rarest] & ~group
    rarest_other = min(max(shares[name], _share(same[name], other_copies)) for name in shares if name != rarest)
    is_explained = group.sum() <= _most_copies(int(same[rarest].sum()), rarest_other)
    return None if is_explained else shares[rarest]


def _share(flags: Mask, rows: Mask) -> float:
    """The share of some rows that have a flag, 0 without any."""
    return float(flags[rows].mean()) if rows.any() else 0.0


def _values(rows: Columns, selection: slice = slice(None)) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each feature and its values of the selected rows, as whole numbers that are equal where the values are.

    One after the other, because all of them together would be a second copy of the numbers.
    """
    for name in _inputs(rows):
        column = rows.categories.get(name)
        yield name, _bits(rows.numbers[name][selection]) if column is None else column.indices[selection]


def _inputs(rows: Columns) -> list[str]:
    """The features, without their views: the lag of equal dates grows from request to request."""
    return [name for name in (*rows.numbers, *rows.categories) if name not in rows.views]


def _value(rows: Columns, name: str, row: int) -> object:
    """One value; None where it is missing."""
    if name in rows.categories:
        return rows.categories[name].vocabulary[int(rows.categories[name].indices[row])]
    number = float(rows.numbers[name][row])
    return number if math.isfinite(number) else None


def _healthy_share(feature: FeatureBaseline | None, value: object) -> float:
    """Upper limit of the share of a value in health; 1 where it is not known."""
    if feature is None:
        return 1.0
    total = feature.value_count + feature.missing_count
    if value is None:
        count: float = feature.missing_count
    elif feature.is_categorical and (feature.category_counts or feature.unlisted_most is not None):
        text = value if isinstance(value, str) else DictionaryColumn.of_codes(np.array([value])).vocabulary[-1]
        count = feature.category_counts.get(str(text), feature.unlisted_most or 0)
    elif (feature.frequent or feature.unlisted_most is not None) and isinstance(value, float):
        count = feature.usual_rate(value) * feature.value_count
    else:
        return 1.0
    # A value that the sample showed k times may well have had the share of k + 1.
    return min((count + 1) / (total + 1), 1.0)
