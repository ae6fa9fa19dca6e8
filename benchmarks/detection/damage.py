"""Ways in which the rows that a model is served go wrong upstream. Each knows the healthy sample, not the labels."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.detection.data import Half

STRETCH = 25  # rows for which a carried value is held


class Kind(StrEnum):
    """One kind of failure."""

    UNIT_CHANGE = "unit_change"
    AFFINE = "affine"
    NULLS = "nulls"
    STUCK = "stuck"
    STALE = "stale"
    CARRIED = "carried"
    SWAPPED = "swapped"
    PERMUTED = "permuted"
    WRONG_JOIN = "wrong_join"
    RENAMED = "renamed"
    CASE_CHANGE = "case_change"
    RECODED = "recoded"
    SENTINEL = "sentinel"
    SIGN_FLIP = "sign_flip"
    ROUNDED = "rounded"
    NOISE = "noise"
    OFFSET = "offset"
    CLIPPED = "clipped"


ASIDE_KINDS = frozenset({Kind.AFFINE, Kind.CARRIED, Kind.CASE_CHANGE, Kind.RECODED, Kind.SIGN_FLIP, Kind.NOISE})
RELATIONAL = frozenset({Kind.STALE, Kind.PERMUTED, Kind.WRONG_JOIN, Kind.CARRIED})  # every distribution stays
OF_NUMBERS = frozenset(
    {
        Kind.UNIT_CHANGE, Kind.AFFINE, Kind.SENTINEL, Kind.SIGN_FLIP,
        Kind.ROUNDED, Kind.NOISE, Kind.OFFSET, Kind.CLIPPED,
    }
)  # fmt: skip
OF_WORDS = frozenset({Kind.RENAMED, Kind.CASE_CHANGE, Kind.RECODED})
OF_GROUPS = frozenset({Kind.SWAPPED, Kind.WRONG_JOIN})
AMOUNTS: dict[Kind, tuple[float, ...]] = {
    Kind.UNIT_CHANGE: (0.01, 1000.0, 0.1, 10.0, 2.54),
    Kind.SENTINEL: (-999.0, 0.0, -1.0, np.inf),  # infinity stands for the sample's maximum
    Kind.STALE: (1.0, 7.0),
    Kind.STUCK: (0.5, 0.9, 0.1),  # the quantile of the sample at which the value sticks
    Kind.ROUNDED: (1.0, 2.0),  # levels within the sample's middle four fifths
    Kind.NOISE: (2.0, 1.0),  # standard deviations
    Kind.OFFSET: (2.0, -1.0, 1.0),
    Kind.CLIPPED: (0.3, 0.7),  # the quantile: below one half from above, else from below
}


def half_of(kind: Kind, of_data: Half) -> Half:
    """A stream is seen only if both its data set and its kind of failure are."""
    return Half.ASIDE if kind in ASIDE_KINDS else of_data


@dataclass(frozen=True, slots=True)
class Damage:
    """One failure.

    Attributes:
        kind: of the failure.
        features: the columns damaged.
        amount: how strong; its meaning depends on the kind.
        share: of the rows damaged, in (0, 1].
        seed: of what stays the same from run to run, such as a new coding.
    """

    kind: Kind
    features: tuple[str, ...]
    amount: float
    share: float
    seed: int

    @property
    def name(self) -> str:
        """Kind, features and what else tells this failure from another."""
        strength = f" {self.amount:g}" if self.kind in AMOUNTS else ""
        part = "" if self.share == 1 else f", {self.share:.0%} of rows"
        return f"{self.kind}{strength}: {', '.join(self.features)}{part}"


def damaged(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The rows as served when the failure is on.

    Args:
        rows: one run, in order.
        damage: the failure.
        sample: healthy rows, for what a column usually holds.
        draw: chance of this run.
    """
    broken = rows.copy()
    hit = np.ones(len(rows), np.bool_) if damage.share == 1 else draw.random(len(rows)) < damage.share
    for name, column in _BREAK[damage.kind](rows, damage, sample, draw).items():
        broken[name] = rows[name].where(~hit, column)
    return broken


_Columns = dict[str, "pd.Series[Any]"]
_Break = Callable[[pd.DataFrame, Damage, pd.DataFrame, np.random.Generator], _Columns]


def _each(change: Callable[["pd.Series[Any]", "pd.Series[Any]", float], "pd.Series[Any]"]) -> _Break:
    """A failure of a column by itself: from its values, the sample's and the amount."""

    def broken(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
        del draw
        return {name: change(rows[name], sample[name], damage.amount) for name in damage.features}

    return broken


def _permuted(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    """Each column, or the group as one, from other rows of the run."""
    del sample
    order = draw.permutation(len(rows))
    return {name: rows[name].iloc[order].set_axis(rows.index) for name in damage.features}


def _swapped(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    del sample, draw
    one, other = damage.features
    return {one: rows[other], other: rows[one]}


def _noise(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    def noisy(name: str) -> "pd.Series[Any]":
        return rows[name] + draw.normal(0, damage.amount * float(sample[name].std()), len(rows))

    return {name: noisy(name) for name in damage.features}


def _recoded(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    """Known categories trade places, the same way in every run."""
    del draw

    def coded(name: str) -> "pd.Series[Any]":
        known = sample[name].value_counts().index.tolist()
        turned = known[1:] + known[:1] if damage.seed % 2 else known[::-1]
        return rows[name].map(dict(zip(known, turned, strict=True))).where(rows[name].isin(known), rows[name])

    return {name: coded(name) for name in damage.features}


def _stuck_at(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(sample):
        value = float(sample.quantile(amount, interpolation="nearest"))
    else:
        common = sample.value_counts().index
        value = common[min(len(common) - 1, {0.5: 0, 0.9: 1, 0.1: 2}[amount])]
    return pd.Series([value] * len(values), index=values.index, dtype=values.dtype)


def _sentinel(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    return pd.Series(float(sample.max()) if np.isinf(amount) else amount, index=values.index, dtype=values.dtype)


def _carried(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    del sample, amount
    return values.iloc[np.arange(len(values)) // STRETCH * STRETCH].set_axis(values.index)


def _stale(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    del sample
    return values.iloc[(np.arange(len(values)) - int(amount)) % len(values)].set_axis(values.index)


def _rounded(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    low, high = float(sample.quantile(0.1)), float(sample.quantile(0.9))
    step = (high - low) / amount or 1.0
    rounded: pd.Series[Any] = low + np.floor((values - low) / step) * step
    return rounded


def _clipped(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    limit = float(sample.quantile(amount))
    return values.clip(upper=limit) if amount < 0.5 else values.clip(lower=limit)


def _text(change: Callable[[str], str]) -> _Break:
    return _each(lambda values, _sample, _amount: values.map(change, na_action="ignore"))


_BREAK: dict[Kind, _Break] = {
    Kind.UNIT_CHANGE: _each(lambda values, _sample, factor: values * factor),
    Kind.AFFINE: _each(lambda values, _sample, _amount: values * 1.8 + 32),
    Kind.NULLS: _each(lambda values, _sample, _amount: pd.Series(np.nan, index=values.index, dtype=values.dtype)),
    Kind.STUCK: _each(_stuck_at),
    Kind.STALE: _each(_stale),
    Kind.CARRIED: _each(_carried),
    Kind.SWAPPED: _swapped,
    Kind.PERMUTED: _permuted,
    Kind.WRONG_JOIN: _permuted,
    Kind.RENAMED: _text(lambda value: f"v2:{value}"),
    Kind.CASE_CHANGE: _text(str.swapcase),
    Kind.RECODED: _recoded,
    Kind.SENTINEL: _each(_sentinel),
    Kind.SIGN_FLIP: _each(lambda values, _sample, _amount: -values),
    Kind.ROUNDED: _each(_rounded),
    Kind.NOISE: _noise,
    Kind.OFFSET: _each(lambda values, sample, amount: values + amount * float(sample.std())),
    Kind.CLIPPED: _each(_clipped),
}
