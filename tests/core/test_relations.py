"""Relations between two features of four bins each, in worlds where they are equal, or have nothing in common."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from stillsafe.core import relations
from stillsafe.core.bins import STRANGE
from stillsafe.core.relations import Broken, Numbers, Tables

ORDINARY, SIZE = 4, 4 + STRANGE
Codes = NDArray[np.int64]


def onehot(codes: Sequence[Codes]) -> NDArray[np.float32]:
    table = np.zeros((len(codes[0]), SIZE * len(codes)), dtype=np.float32)
    for number, column in enumerate(codes):
        table[np.arange(len(column)), SIZE * number + column] = 1
    return table


def counts(codes: Sequence[Codes]) -> Numbers:
    table = onehot(codes)
    return np.asarray(table.T @ table, dtype=np.float64)


def related(rows: int, seed: int) -> list[Codes]:
    """The second nearly always equals the first; the third is anything."""
    draw = np.random.default_rng(seed)
    first = draw.integers(0, ORDINARY, rows)
    second = np.where(draw.random(rows) < 0.9, first, draw.integers(0, ORDINARY, rows))
    return [first, second, draw.integers(0, ORDINARY, rows)]


@pytest.fixture(scope="module")
def found() -> Tables:
    return relations.tables(["a", "b", "c"], [SIZE] * 3, counts(related(4_000, 1)))


def judged(found: Tables, codes: Sequence[Codes]) -> Broken:
    table, none = onehot(codes), np.zeros(3)
    row_sd = relations.row_shares(found, onehot(related(2_000, 2))).std(axis=0)
    sums = relations.agreement(found, counts(codes))
    seen = relations.look(found, table.mean(axis=0).astype(np.float64), sums, len(table))
    return relations.broken(found, seen, none, row_sd, none)


def test_only_more_than_chance_is_a_relation(found: Tables) -> None:
    """Two equal features are related, one that is anything is related to none, and none to itself."""
    assert found.related.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    assert found.strength[0, 1] > 0.5


def test_healthy_rows_break_nothing(found: Tables) -> None:
    """On rows of the same world the share is about zero, and within noise."""
    shown = judged(found, related(500, 3))
    assert np.all(np.abs(shown.share) < 0.1)
    assert np.all(shown.deviations < 4)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_is_that_of_the_rows_that_are_broken(found: Tables, share: float) -> None:
    """Permuting a column on part of the rows breaks its relation on that part."""
    first, second, third = related(4_000, 4)
    draw = np.random.default_rng(5)
    hit = draw.random(len(first)) < share
    second = np.where(hit, draw.permutation(second), second)
    assert judged(found, [first, second, third]).share[1] == pytest.approx(share, abs=0.08)


def test_a_genuine_shift_breaks_nothing(found: Tables) -> None:
    """Where one value has become common, and what goes with it has come along, nothing is broken."""
    first, second, third = related(6_000, 6)
    chosen = (first == 2) | (np.arange(len(first)) % 7 == 0)
    shown = judged(found, [first[chosen], second[chosen], third[chosen]])
    assert np.all(shown.share < 0.1)


def test_a_stuck_column_has_left_the_others_behind(found: Tables) -> None:
    """A column that is always the same breaks all of its relations: the others have not moved along."""
    first, _, third = related(1_000, 7)
    shown = judged(found, [first, np.full(1_000, 2), third])
    assert shown.share[1] > 0.8
    assert shown.deviations[1] > 6


def test_alone_tells_a_shift_from_a_column_that_changed_by_itself(found: Tables) -> None:
    """0 where the others moved along, 1 where they did not."""
    first, second, third = related(6_000, 8)
    chosen = first == 3
    for codes, expected in (
        ([first[chosen], second[chosen], third[chosen]], 0.0),
        ([np.full(6_000, 3), second, third], 1.0),
    ):
        table = onehot(codes)
        sums = relations.agreement(found, counts(codes))
        seen = relations.look(found, table.mean(axis=0).astype(np.float64), sums, len(table))
        share, power = relations.alone(found, seen, 0)
        assert share == pytest.approx(expected, abs=0.1)
        assert power > 10


def test_set_aside_relations_are_not_judged_by(found: Tables) -> None:
    """Without the only partner there is nothing to see, and nothing is said."""
    first, second, third = related(1_000, 9)
    table, none = onehot([first, second, third]), np.zeros(3)
    sums = relations.agreement(found, counts([first, second, third]))
    seen = relations.look(found, table.mean(axis=0).astype(np.float64), sums, len(table))
    shown = relations.broken(found, seen, none, np.ones(3), none, without=[0])
    assert shown.power[1] == 0
    assert shown.share[1] == 0
