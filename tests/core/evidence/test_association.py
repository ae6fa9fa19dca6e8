"""Relations: what is broken is told from what has only moved, in numbers that are right."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.association import (
    Broken,
    Numbers,
    Seen,
    Tables,
    agreement,
    alone,
    broken,
    look,
    row_shares,
    tables,
    tables_of,
)
from stillsafe.core.evidence.bins import STRANGE, Bins
from tests.core.related import classifier

NAMES = ("first", "second", "third", "apart")
ORDINARY = 4
SIZES = [ORDINARY + STRANGE] * len(NAMES)
FIRST, SECOND, THIRD, APART = range(4)


def drawn(count: int, seed: int) -> Numbers:
    """(count, 4) bins: three features that mostly agree with a hidden one, and one apart."""
    draw = np.random.default_rng(seed)
    hidden = draw.integers(0, ORDINARY, count)
    columns = [np.where(draw.random(count) < 0.7, hidden, draw.integers(0, ORDINARY, count)) for _ in range(3)]
    return np.stack([*columns, draw.integers(0, ORDINARY, count)], axis=1).astype(np.float64)


def ones(codes: Numbers) -> Numbers:
    """(n, B) a one for each bin."""
    return np.concatenate([np.eye(size)[codes[:, at].astype(int)] for at, size in enumerate(SIZES)], axis=1)


def learnt(codes: Numbers) -> Tables:
    """The scores of healthy rows."""
    table = ones(codes)
    return tables(NAMES, SIZES, table.T @ table)


def seen_in(found: Tables, codes: Numbers) -> Seen:
    """What a window shows."""
    table = ones(codes)
    return look(found, table.mean(axis=0), agreement(found, table.T @ table), len(codes))


def judged(found: Tables, codes: Numbers, without: Collection[int] = ()) -> Broken:
    """A window's broken shares where health shows none and does not vary."""
    none = np.zeros(len(NAMES))
    return broken(found, seen_in(found, codes), none, np.ones(len(NAMES)), none, without)


def spoilt(codes: Numbers, *columns: int, share: float = 1.0) -> Numbers:
    """Some columns on the wrong rows."""
    changed, count = codes.copy(), round(share * len(codes))
    order = np.random.default_rng(5).permutation(count)
    for column in columns:
        changed[:count, column] = codes[:count, column][order]
    return changed


HEALTHY = drawn(4_000, 0)
FOUND = learnt(HEALTHY)
COUNTS = st.lists(st.lists(st.integers(0, ORDINARY + STRANGE - 1), min_size=4, max_size=4), min_size=1, max_size=40)


def test_only_what_belongs_together_is_related() -> None:
    """The feature apart is related to none, the others to one another; nothing is related to itself."""
    together = {(a, b) for a in range(3) for b in range(3) if a != b}
    assert set(zip(*(axis.tolist() for axis in np.nonzero(FOUND.related)), strict=True)) == together


@pytest.mark.parametrize("count", [200, 1_000, 5_000])
def test_chance_is_hardly_ever_taken_for_a_relation(count: int) -> None:
    """Of 60 samples of four unrelated features, few have any relation, whatever their size."""
    draws = (np.random.default_rng(seed).integers(0, ORDINARY, (count, 4)) for seed in range(60))
    assert sum(bool(learnt(codes.astype(np.float64)).related.any()) for codes in draws) <= 1


@given(COUNTS)
def test_any_counts_make_finite_scores(rows: list[list[int]]) -> None:
    """Empty bins and single rows leave no NaN; the table is symmetric, and zero within a feature."""
    found = learnt(np.array(rows, dtype=np.float64))
    for table in (found.score, found.given, found.strength, found.spread, found.shares):
        assert np.isfinite(table).all()
    assert np.allclose(found.score, found.score.T)
    assert not found.blocks(np.abs(found.score)).diagonal().any()
    assert (found.spread >= 0).all()
    shown = judged(found, np.array(rows))
    assert all(np.isfinite(numbers).all() for numbers in (shown.share, shown.deviations, shown.clearest, shown.power))


@given(COUNTS, COUNTS)
def test_agreement_adds_up(one: list[list[int]], other: list[list[int]]) -> None:
    """Two windows agree together as much as each by itself: counting may be cut anywhere, and in any order."""
    first, second = ones(np.array(one)), ones(np.array(other))
    both = agreement(FOUND, first.T @ first + second.T @ second)
    apart = np.array(agreement(FOUND, first.T @ first)) + np.array(agreement(FOUND, second.T @ second))
    assert np.allclose(both, apart, atol=1e-5)
    assert len(both) == len(NAMES) * (len(NAMES) - 1) // 2


def test_the_healthy_rows_themselves_show_what_is_expected_of_them() -> None:
    """Seen and expected are one number on the rows that the table was made of, in either direction."""
    shown = seen_in(FOUND, HEALTHY)
    assert np.allclose(shown.seen, FOUND.strength, atol=1e-6)
    assert np.allclose(shown.from_own[FOUND.related], shown.seen[FOUND.related], atol=1e-6)
    assert np.allclose(judged(FOUND, HEALTHY).share, 0, atol=1e-5)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("column", [FIRST, SECOND, THIRD])
def test_the_share_of_rows_on_the_wrong_row_is_measured(column: int, share: float) -> None:
    """The broken share is the share of spoilt rows; its partners show less of it, the feature apart nothing."""
    shown = judged(FOUND, spoilt(drawn(3_000, 1), column, share=share))
    assert shown.share[column] == pytest.approx(share, abs=0.12)
    partners = [other for other in (FIRST, SECOND, THIRD) if other != column]
    assert max(shown.share[partners]) < 0.8 * shown.share[column]
    assert shown.share[APART] == shown.deviations[APART] == shown.power[APART] == 0


def test_the_partners_are_whole_once_the_damaged_one_is_set_aside() -> None:
    """Nothing stays broken without the relations of the feature that broke them."""
    window = spoilt(drawn(3_000, 2), SECOND)
    shown = judged(FOUND, window, {SECOND})
    assert np.abs(shown.share).max() < 0.1
    assert np.abs(shown.deviations).max() < 5


def test_a_group_that_moved_together_is_whole_in_itself() -> None:
    """Two columns that came from the same wrong rows still go with one another, and not with the third."""
    shown = judged(FOUND, spoilt(drawn(3_000, 3), FIRST, SECOND), {THIRD})
    assert np.abs(shown.share[[FIRST, SECOND]]).max() < 0.1
    assert judged(FOUND, spoilt(drawn(3_000, 3), FIRST, SECOND)).share[THIRD] > 0.8


def test_a_genuine_shift_breaks_nothing() -> None:
    """Rows chosen by one feature move it far, and all that goes with it along."""
    rows = drawn(12_000, 4)
    mixed = np.random.default_rng(6).random(len(rows)) < np.array([0.9, 0.5, 0.1, 0.02])[rows[:, FIRST].astype(int)]
    shifted = rows[mixed]
    assert abs(shifted[:, FIRST].mean() - rows[:, FIRST].mean()) > 0.5
    shown = judged(FOUND, shifted)
    assert shown.share[[FIRST, SECOND, THIRD]].max() < 0.15
    share, power = alone(FOUND, seen_in(FOUND, shifted), FIRST)
    assert power > 6
    assert abs(share) < 0.15


def test_a_feature_that_changed_by_itself_is_alone() -> None:
    """One column stuck at a value, while the others stay as they were."""
    window = drawn(3_000, 7)
    window[:, FIRST] = 0
    share, power = alone(FOUND, seen_in(FOUND, window), FIRST)
    assert power > 6
    assert share == pytest.approx(1, abs=0.1)


def test_more_rows_show_more() -> None:
    """The same break is clearer, and could be seen better, in a larger window."""
    small, large = (judged(FOUND, spoilt(drawn(count, 8), FIRST)) for count in (100, 1_600))
    assert large.power[FIRST] > 2 * small.power[FIRST]
    assert large.deviations[FIRST] > 2 * small.deviations[FIRST]


def test_what_varies_in_health_proves_less() -> None:
    """A relation that wobbles from stretch to stretch needs a clearer break."""
    shown = seen_in(FOUND, spoilt(drawn(1_000, 9), FIRST, share=0.3))
    none, sd = np.zeros(4), np.ones(4)
    calm, wobbly = (broken(FOUND, shown, none, sd, variation).deviations for variation in (none, none + 0.1))
    assert wobbly[FIRST] < calm[FIRST] / 2


def test_only_what_is_broken_in_both_directions_is_broken() -> None:
    """A loss that its own values, or those of the others, explain away does not count; the clearer one is kept too."""
    shown = seen_in(FOUND, spoilt(drawn(1_000, 11), FIRST))
    none, sd = np.zeros(4), np.ones(4)
    whole = broken(FOUND, shown, none, sd, none)
    for excused in (replace(shown, from_own=shown.seen), replace(shown, from_others=shown.seen)):
        found = broken(FOUND, excused, none, sd, none)
        assert found.share[FIRST] == found.deviations[FIRST] == 0
        assert 0 < found.clearest[FIRST] <= whole.clearest[FIRST]


def test_what_healthy_rows_show_on_average_counts_as_nothing() -> None:
    """A share that health shows too is taken off, and leaves no deviation."""
    shown = seen_in(FOUND, spoilt(drawn(2_000, 12), FIRST, share=0.4))
    none, sd = np.zeros(4), np.ones(4)
    usual = broken(FOUND, shown, none, sd, none).share
    found = broken(FOUND, shown, usual, sd, none)
    assert abs(found.share[FIRST]) < 0.05
    assert abs(found.deviations[FIRST]) < 1


def test_rare_pairs_prove_little() -> None:
    """Of two pairs with the same lift, the one seen more often scores higher: a single row is no relation."""
    few, many = drawn(40, 13), np.repeat(drawn(40, 13), 100, axis=0)
    assert np.abs(learnt(few).score).max() < 0.5 * np.abs(learnt(many).score).max()


def test_the_rows_shares_average_to_the_windows() -> None:
    """The share of each row, on other rows than the table's: about 0 in health, about 1 on the wrong rows."""
    window = drawn(4_000, 10)
    healthy, wrong = (
        row_shares(FOUND, ones(codes).astype(np.float32)) for codes in (window, spoilt(window, FIRST, SECOND, THIRD))
    )
    assert healthy.shape == (4_000, 4)
    assert np.abs(healthy.mean(axis=0)).max() < 0.1
    assert wrong.mean(axis=0)[FIRST] > healthy.mean(axis=0)[FIRST]


def _bare(baseline: Baseline, name: str) -> Baseline:
    features = dict(baseline.features)
    features[name] = replace(features[name], bins=None)
    return replace(baseline, features=features)


def test_a_baseline_without_a_whole_joint_table_has_no_scores() -> None:
    """No table, a table of one feature, one that does not fit its bins, or a feature without bins: no scores."""
    healthy = classifier().baseline
    joint = healthy.joint
    assert joint is not None
    assert tables_of(healthy) is not None
    assert tables_of(replace(healthy, joint=None)) is None
    assert tables_of(replace(healthy, joint=replace(joint, counts=joint.counts[1:]))) is None
    assert tables_of(replace(healthy, joint=replace(joint, features=joint.features[:1]))) is None
    assert tables_of(_bare(healthy, joint.features[0])) is None


def test_the_stored_triangle_is_the_whole_table() -> None:
    """Each feature's shares are those of its own bins, and every two of them are scored alike both ways."""
    healthy = classifier().baseline
    found = tables_of(healthy)
    assert found is not None
    for at, name in enumerate(found.features):
        feature: FeatureBaseline = healthy.features[name]
        bins = feature.bins or Bins()
        mine = found.shares[found.starts[at] : found.starts[at] + found.sizes[at]]
        assert mine.sum() == pytest.approx(1)
        assert mine[bins.missing] == pytest.approx(feature.missing_rate)
    assert np.array_equal(found.related, found.related.T)
