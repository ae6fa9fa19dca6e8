"""What goes wrong upstream, as the benchmark makes it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks.detection.damage import (
    AMOUNTS,
    ASIDE_KINDS,
    OF_NUMBERS,
    OF_WORDS,
    Damage,
    Kind,
    apply_damage,
    half_of,
)
from benchmarks.detection.data import Half

DRAW = np.random.default_rng(3)
SAMPLE = pd.DataFrame(
    {
        "age": DRAW.normal(40, 10, 1000),
        "income": DRAW.lognormal(8, 1, 1000),
        "town": DRAW.choice(["Ulm", "Bonn", "Trier"], 1000).astype(object),
        "street": DRAW.choice(["High", "Low"], 1000).astype(object),
        "label": DRAW.integers(0, 2, 1000),
    }
)
RUN = SAMPLE.iloc[100:600].set_axis(range(500))


def damaged_run(
    kind: Kind, *features: str, amount: float | None = None, share: float = 1.0, chance: int = 1
) -> pd.DataFrame:
    strength = AMOUNTS.get(kind, (0.0,))[0] if amount is None else amount
    return apply_damage(RUN, Damage(kind, features, strength, share, 5), SAMPLE, np.random.default_rng(chance))


def features_for(kind: Kind) -> tuple[str, ...]:
    if kind in OF_NUMBERS:
        return ("age",)
    if kind in OF_WORDS:
        return ("town",)
    return ("age", "income") if kind in (Kind.SWAP, Kind.WRONG_JOIN) else ("income",)


@pytest.mark.parametrize("kind", Kind)
def test_a_failure_touches_its_features_only(kind: Kind) -> None:
    """Neither other features nor the labels change, the types stay, and chance is seeded."""
    features = features_for(kind)
    damaged_rows = damaged_run(kind, *features)
    for name in RUN:
        same = damaged_rows[name].equals(RUN[name])
        assert same == (name not in features), name
        assert damaged_rows[name].dtype == RUN[name].dtype
    assert damaged_rows.equals(damaged_run(kind, *features))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SWAP])
def test_half_of_the_rows(kind: Kind) -> None:
    """A failure of half of the rows leaves the other half as it was."""
    features = features_for(kind)
    name: Any = features[0]
    unchanged_share = (damaged_run(kind, *features, share=0.5)[name] == RUN[name]).mean()
    assert 0.4 < unchanged_share < 0.9


def test_a_wrong_join_keeps_its_group_together() -> None:
    """The joined columns stay true to each other."""
    damaged_rows = damaged_run(Kind.WRONG_JOIN, "age", "town")
    original_pairs = set(zip(RUN["age"], RUN["town"], strict=True))
    assert set(zip(damaged_rows["age"], damaged_rows["town"], strict=True)) == original_pairs
    assert set(zip(damaged_rows["age"], damaged_rows["street"], strict=True)) != set(
        zip(RUN["age"], RUN["street"], strict=True)
    )


def test_a_new_coding_stays_the_same_from_run_to_run() -> None:
    """Re-encoded categories are permuted once, not in every run anew, and no new one appears."""
    first, second = damaged_run(Kind.RECODING, "town", chance=1), damaged_run(Kind.RECODING, "town", chance=2)
    assert first.equals(second)
    assert set(first["town"]) == set(RUN["town"])


def test_the_benchmark_keeps_a_third_of_the_kinds_aside() -> None:
    """A stream is seen only if neither its data nor its kind is aside."""
    assert len(ASIDE_KINDS) * 3 >= len(Kind)
    assert half_of(Kind.NULLS, Half.DESIGN) is Half.DESIGN
    assert half_of(Kind.NULLS, Half.HOLDOUT) is Half.HOLDOUT
    assert half_of(next(iter(ASIDE_KINDS)), Half.DESIGN) is Half.HOLDOUT
