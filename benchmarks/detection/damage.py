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
    STUCK_VALUE = "stuck"
    STALE = "stale"
    CARRY_FORWARD = "carried"
    SWAP = "swapped"
    PERMUTATION = "permuted"
    WRONG_JOIN = "wrong_join"
    RENAMING = "renamed"
    CASE_CHANGE = "case_change"
    RECODING = "recoded"
    SENTINEL = "sentinel"
    SIGN_FLIP = "sign_flip"
    ROUNDING = "rounded"
    NOISE = "noise"
    OFFSET = "offset"
    CLIPPING = "clipped"


ASIDE_KINDS = frozenset({Kind.AFFINE, Kind.CARRY_FORWARD, Kind.CASE_CHANGE, Kind.RECODING, Kind.SIGN_FLIP, Kind.NOISE})
RELATIONAL = frozenset({Kind.STALE, Kind.PERMUTATION, Kind.WRONG_JOIN, Kind.CARRY_FORWARD})  # every distribution stays
OF_NUMBERS = frozenset(
    {
        Kind.UNIT_CHANGE, Kind.AFFINE, Kind.SENTINEL, Kind.SIGN_FLIP,
        Kind.ROUNDING, Kind.NOISE, Kind.OFFSET, Kind.CLIPPING,
    }
)  # fmt: skip
OF_WORDS = frozenset({Kind.RENAMING, Kind.CASE_CHANGE, Kind.RECODING})
OF_GROUPS = frozenset({Kind.SWAP, Kind.WRONG_JOIN})
AMOUNTS: dict[Kind, tuple[float, ...]] = {
    Kind.UNIT_CHANGE: (0.01, 1000.0, 0.1, 10.0, 2.54),
    Kind.SENTINEL: (-999.0, 0.0, -1.0, np.inf),  # infinity stands for the sample's maximum
    Kind.STALE: (1.0, 7.0),
    Kind.STUCK_VALUE: (0.5, 0.9, 0.1),  # the quantile of the sample at which the value sticks
    Kind.ROUNDING: (1.0, 2.0),  # levels within the sample's middle four fifths
    Kind.NOISE: (2.0, 1.0),  # standard deviations
    Kind.OFFSET: (2.0, -1.0, 1.0),
    Kind.CLIPPING: (0.3, 0.7),  # the quantile: below one half from above, else from below
}


def half_of(kind: Kind, of_data: Half) -> Half:
    """A stream is seen only if both its data set and its kind of failure are."""
    return Half.HOLDOUT if kind in ASIDE_KINDS else of_data


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
        """A unique name: kind, strength, features and share of rows."""
        strength = f" {self.amount:g}" if self.kind in AMOUNTS else ""
        part = "" if self.share == 1 else f", {self.share:.0%} of rows"
        return f"{self.kind}{strength}: {', '.join(self.features)}{part}"


def apply_damage(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The rows as served when the failure is on.

    Args:
        rows: one run, in order.
        damage: the failure.
        sample: healthy rows, for what a column usually holds.
        draw: chance of this run.
    """
    damaged_rows = rows.copy()
    hit = np.ones(len(rows), np.bool_) if damage.share == 1 else draw.random(len(rows)) < damage.share
    for name, column in _BREAK[damage.kind](rows, damage, sample, draw).items():
        damaged_rows[name] = rows[name].where(~hit, column)
    return damaged_rows


_Columns = dict[str, "pd.Series[Any]"]
_Break = Callable[[pd.DataFrame, Damage, pd.DataFrame, np.random.Generator], _Columns]


def _each(change: Callable[["pd.Series[Any]", "pd.Series[Any]", float], "pd.Series[Any]"]) -> _Break:
    """A failure of a column by itself: from its values, the sample's and the amount."""

    def damage_columns(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
        del draw
        return {name: change(rows[name], sample[name], damage.amount) for name in damage.features}

    return damage_columns


def _permute(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    """Each column, or the group as one, from other rows of the run."""
    del sample
    order = draw.permutation(len(rows))
    return {name: rows[name].iloc[order].set_axis(rows.index) for name in damage.features}


def _swap(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    del sample, draw
    one, other = damage.features
    return {one: rows[other], other: rows[one]}


def _noise(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    def noisy(name: str) -> "pd.Series[Any]":
        return rows[name] + draw.normal(0, damage.amount * float(sample[name].std()), len(rows))

    return {name: noisy(name) for name in damage.features}


def _recode(rows: pd.DataFrame, damage: Damage, sample: pd.DataFrame, draw: np.random.Generator) -> _Columns:
    """Known categories trade places, the same way in every run."""
    del draw

    def recode(name: str) -> "pd.Series[Any]":
        categories = sample[name].value_counts().index.tolist()
        codes = categories[1:] + categories[:1] if damage.seed % 2 else categories[::-1]
        return rows[name].map(dict(zip(categories, codes, strict=True))).where(rows[name].isin(categories), rows[name])

    return {name: recode(name) for name in damage.features}


def _stuck_at(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(sample):
        value = float(sample.quantile(amount, interpolation="nearest"))
    else:
        common = sample.value_counts().index
        value = common[min(len(common) - 1, {0.5: 0, 0.9: 1, 0.1: 2}[amount])]
    return pd.Series([value] * len(values), index=values.index, dtype=values.dtype)


def _sentinel(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    return pd.Series(float(sample.max()) if np.isinf(amount) else amount, index=values.index, dtype=values.dtype)


def _carry_forward(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    del sample, amount
    return values.iloc[np.arange(len(values)) // STRETCH * STRETCH].set_axis(values.index)


def _stale(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    del sample
    return values.iloc[(np.arange(len(values)) - int(amount)) % len(values)].set_axis(values.index)


def _round(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    low, high = float(sample.quantile(0.1)), float(sample.quantile(0.9))
    step = (high - low) / amount or 1.0
    levels: pd.Series[Any] = low + np.floor((values - low) / step) * step
    return levels


def _clip(values: "pd.Series[Any]", sample: "pd.Series[Any]", amount: float) -> "pd.Series[Any]":
    limit = float(sample.quantile(amount))
    return values.clip(upper=limit) if amount < 0.5 else values.clip(lower=limit)


def _text(change: Callable[[str], str]) -> _Break:
    return _each(lambda values, _sample, _amount: values.map(change, na_action="ignore"))


_BREAK: dict[Kind, _Break] = {
    Kind.UNIT_CHANGE: _each(lambda values, _sample, factor: values * factor),
    Kind.AFFINE: _each(lambda values, _sample, _amount: values * 1.8 + 32),
    Kind.NULLS: _each(lambda values, _sample, _amount: pd.Series(np.nan, index=values.index, dtype=values.dtype)),
    Kind.STUCK_VALUE: _each(_stuck_at),
    Kind.STALE: _each(_stale),
    Kind.CARRY_FORWARD: _each(_carry_forward),
    Kind.SWAP: _swap,
    Kind.PERMUTATION: _permute,
    Kind.WRONG_JOIN: _permute,
    Kind.RENAMING: _text(lambda value: f"v2:{value}"),
    Kind.CASE_CHANGE: _text(str.swapcase),
    Kind.RECODING: _recode,
    Kind.SENTINEL: _each(_sentinel),
    Kind.SIGN_FLIP: _each(lambda values, _sample, _amount: -values),
    Kind.ROUNDING: _each(_round),
    Kind.NOISE: _noise,
    Kind.OFFSET: _each(lambda values, sample, amount: values + amount * float(sample.std())),
    Kind.CLIPPING: _each(_clip),
}
