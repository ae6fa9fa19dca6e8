"""Association: broken associations are separated from genuine shifts, with the right share of rows."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.association import (
    AssociationNoise,
    AssociationTable,
    BrokenAssociation,
    WindowAssociation,
    baseline_association_table,
    broken_association,
    pmi_sums,
    row_broken_shares,
    solo_change,
    window_association,
)
from tests.core.evidence.rows import (
    BINS,
    FIRST,
    INDEPENDENT,
    NAMES,
    ORDINARY,
    SECOND,
    THIRD,
    Codes,
    baseline_of,
    draw_rows,
    one_hot,
    permute,
    table_of,
)

NONE, ONES = np.zeros(len(NAMES)), np.ones(len(NAMES))
NO_NOISE = AssociationNoise(NONE, ONES, NONE)
HEALTHY = draw_rows(4_000, 0)
TABLE = table_of(HEALTHY)
ROWS = st.lists(st.lists(st.integers(0, BINS.size - 1), min_size=4, max_size=4), min_size=1, max_size=40).map(np.array)


def window_of(table: AssociationTable, rows: Codes) -> WindowAssociation:
    """The mean PMI of a window."""
    bins = one_hot(rows)
    return window_association(table, bins.mean(axis=0), pmi_sums(table, bins.T @ bins), len(rows))


def broken_in(table: AssociationTable, rows: Codes, without: Collection[int] = ()) -> BrokenAssociation:
    """A window's broken shares where healthy ones are zero and do not vary."""
    return broken_association(table, window_of(table, rows), NO_NOISE, without)


def test_only_associated_features_are_associated() -> None:
    """The independent feature is associated with none, the others with one another; no feature with itself."""
    pairs = {(a, b) for a in range(3) for b in range(3) if a != b}
    assert set(zip(*(axis.tolist() for axis in np.nonzero(TABLE.is_associated)), strict=True)) == pairs


@pytest.mark.parametrize("count", [200, 1_000, 5_000])
def test_chance_is_hardly_ever_taken_for_an_association(count: int) -> None:
    """Of 60 samples of four independent features, few have any association, whatever their size."""
    samples = (np.random.default_rng(seed).integers(0, ORDINARY, (count, 4)) for seed in range(60))
    assert sum(bool(table_of(rows).is_associated.any()) for rows in samples) <= 1


@given(ROWS)
def test_any_counts_make_finite_scores(rows: Codes) -> None:
    """Empty bins and single rows leave no NaN; the PMI is symmetric, and zero within a feature."""
    table = table_of(rows)
    for numbers in (table.pmi, table.expected_pmi, table.mutual_information, table.pmi_variance, table.shares):
        assert np.isfinite(numbers).all()
    assert np.allclose(table.pmi, table.pmi.T)
    assert not table.blocks(np.abs(table.pmi)).diagonal().any()
    assert (table.pmi_variance >= 0).all()
    result = broken_in(table, rows)
    for numbers in (result.share, result.deviations, result.most_deviations, result.power):
        assert np.isfinite(numbers).all()


@given(ROWS, ROWS)
def test_pmi_sums_add_up(rows: Codes, other_rows: Codes) -> None:
    """The sums of two windows are the sum of both: a window may be counted in any batches and in any order."""
    first, second = one_hot(rows), one_hot(other_rows)
    total = pmi_sums(TABLE, first.T @ first + second.T @ second)
    parts = np.array(pmi_sums(TABLE, first.T @ first)) + np.array(pmi_sums(TABLE, second.T @ second))
    assert np.allclose(total, parts, atol=1e-5)
    assert len(total) == len(NAMES) * (len(NAMES) - 1) // 2


def test_the_healthy_rows_themselves_show_their_expectation() -> None:
    """Observed and expected PMI are equal on the rows of the table, which other rows fit less by its optimism."""
    window = window_of(TABLE, HEALTHY)
    assert np.allclose(window.observed_pmi, TABLE.mutual_information, atol=1e-6)
    assert np.allclose(window.from_own[TABLE.is_associated], window.observed_pmi[TABLE.is_associated], atol=1e-6)
    assert np.allclose(broken_in(replace(TABLE, optimism=np.zeros((4, 4))), HEALTHY).share, 0, atol=1e-5)
    assert (broken_in(TABLE, HEALTHY).share <= 0).all()


def test_the_optimism_of_a_table_is_what_other_rows_fit_less() -> None:
    """Over many small tables, other healthy rows miss the expected PMI by the optimism, on average."""
    losses, optimism = [], []
    for seed in range(60):
        table = table_of(draw_rows(300, 100 + seed))
        window = window_of(table, draw_rows(3_000, 500 + seed))
        losses.append((window.from_own - window.observed_pmi)[FIRST, SECOND])
        optimism.append(table.optimism[FIRST, SECOND])
    assert np.mean(losses) == pytest.approx(np.mean(optimism), rel=0.35)


def test_a_small_table_needs_a_clearer_break() -> None:
    """The noise of the baseline's own rows counts: a window as large as the baseline is worth half of its rows."""
    window = draw_rows(1_000, 14)
    small, large = (window_of(table_of(draw_rows(count, 15)), window) for count in (1_000, 100_000))
    assert small.effective_count == pytest.approx(500)
    assert large.effective_count == pytest.approx(990, rel=0.01)
    ratio = small.standard_error[FIRST] / large.standard_error[FIRST]
    assert ratio == pytest.approx(np.sqrt(990 / 500), rel=0.1)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("column", [FIRST, SECOND, THIRD])
def test_the_share_of_rows_on_the_wrong_row_is_measured(column: int, share: float) -> None:
    """The broken share is the share of permuted rows; its partners show less of it, the independent feature nothing."""
    result = broken_in(TABLE, permute(draw_rows(3_000, 1), column, share=share))
    assert result.share[column] == pytest.approx(share, abs=0.12)
    partners = [other for other in (FIRST, SECOND, THIRD) if other != column]
    assert max(result.share[partners]) < 0.8 * result.share[column]
    assert result.share[INDEPENDENT] == result.deviations[INDEPENDENT] == result.power[INDEPENDENT] == 0


def test_the_partners_are_intact_without_the_corrupted_one() -> None:
    """No association stays broken without those of the feature that broke them."""
    result = broken_in(TABLE, permute(draw_rows(3_000, 2), SECOND), {SECOND})
    assert np.abs(result.share).max() < 0.1
    assert np.abs(result.deviations).max() < 5


def test_columns_from_the_same_wrong_rows_keep_their_association() -> None:
    """Two columns that came from the same wrong rows are associated with one another, and not with the third."""
    rows = permute(draw_rows(3_000, 3), FIRST, SECOND)
    assert np.abs(broken_in(TABLE, rows, {THIRD}).share[[FIRST, SECOND]]).max() < 0.1
    assert broken_in(TABLE, rows).share[THIRD] > 0.8


def test_a_genuine_shift_breaks_nothing() -> None:
    """Rows selected by one feature shift it far, and every feature associated with it."""
    rows = draw_rows(12_000, 4)
    selection = np.random.default_rng(6).random(len(rows)) < np.array([0.9, 0.5, 0.1, 0.02])[rows[:, FIRST]]
    shifted_rows = rows[selection]
    assert abs(shifted_rows[:, FIRST].mean() - rows[:, FIRST].mean()) > 0.5
    assert broken_in(TABLE, shifted_rows).share[[FIRST, SECOND, THIRD]].max() < 0.15
    share, power = solo_change(TABLE, window_of(TABLE, shifted_rows), FIRST)
    assert power > 6
    assert abs(share) < 0.15


def test_a_feature_that_changed_by_itself_is_a_solo_change() -> None:
    """One column is stuck at a value, while the others stay as they were."""
    rows = draw_rows(3_000, 7)
    rows[:, FIRST] = 0
    share, power = solo_change(TABLE, window_of(TABLE, rows), FIRST)
    assert power > 6
    assert share == pytest.approx(1, abs=0.1)


def test_more_rows_show_more() -> None:
    """The same break is clearer, and would be easier to detect, in a larger window."""
    small, large = (broken_in(TABLE, permute(draw_rows(count, 8), FIRST)) for count in (100, 1_600))
    assert large.power[FIRST] > 2 * small.power[FIRST]
    assert large.deviations[FIRST] > 2 * small.deviations[FIRST]


def test_variation_in_health_lowers_the_deviations() -> None:
    """An association that varies from chunk to chunk needs a clearer break."""
    window = window_of(TABLE, permute(draw_rows(1_000, 9), FIRST, share=0.3))
    steady, varying = (
        broken_association(TABLE, window, AssociationNoise(NONE, ONES, variation)).deviations
        for variation in (NONE, NONE + 0.1)
    )
    assert varying[FIRST] < steady[FIRST] / 2


def test_only_a_break_in_both_directions_counts() -> None:
    """A loss that its own values, or those of the others, explain does not count; the clearer direction is kept too."""
    window = window_of(TABLE, permute(draw_rows(1_000, 11), FIRST))
    whole = broken_association(TABLE, window, NO_NOISE)
    for explained_window in (
        replace(window, from_own=window.observed_pmi),
        replace(window, from_others=window.observed_pmi),
    ):
        result = broken_association(TABLE, explained_window, NO_NOISE)
        assert max(result.share[FIRST], result.deviations[FIRST]) <= 0
        assert 0 < result.most_deviations[FIRST] <= whole.most_deviations[FIRST]


def test_the_healthy_offset_is_subtracted() -> None:
    """A share that health shows too leaves no share and no deviation."""
    window = window_of(TABLE, permute(draw_rows(2_000, 12), FIRST, share=0.4))
    offset = broken_association(TABLE, window, NO_NOISE).share
    result = broken_association(TABLE, window, AssociationNoise(offset, ONES, NONE))
    assert abs(result.share[FIRST]) < 0.05
    assert abs(result.deviations[FIRST]) < 1


def test_rare_pairs_score_low() -> None:
    """Of two pairs with the same lift the more frequent one scores higher: a single row is no association."""
    few, many = draw_rows(40, 13), np.repeat(draw_rows(40, 13), 100, axis=0)
    assert np.abs(table_of(few).pmi).max() < 0.5 * np.abs(table_of(many).pmi).max()


def test_the_shares_of_single_rows_average_to_that_of_the_window() -> None:
    """The share of each row, on other rows than the table's: about 0 in health, larger on the wrong rows."""
    rows = draw_rows(4_000, 10)
    healthy, wrong = (
        row_broken_shares(TABLE, one_hot(codes).astype(np.float32))
        for codes in (rows, permute(rows, FIRST, SECOND, THIRD))
    )
    assert healthy.shape == (4_000, 4)
    assert np.abs(healthy.mean(axis=0)).max() < 0.1
    assert wrong.mean(axis=0)[FIRST] > healthy.mean(axis=0)[FIRST]


def _without_bins(baseline: Baseline, name: str) -> Baseline:
    features = dict(baseline.features)
    features[name] = replace(features[name], bins=None)
    return replace(baseline, features=features)


def test_a_baseline_without_a_complete_joint_table_has_no_association_table() -> None:
    """No table, a table of one feature, one that does not fit its bins, or a feature without bins."""
    healthy = baseline_of(HEALTHY)
    joint = healthy.joint
    assert joint is not None
    assert baseline_association_table(healthy) is not None
    assert baseline_association_table(replace(healthy, joint=None)) is None
    assert baseline_association_table(replace(healthy, joint=replace(joint, counts=joint.counts[1:]))) is None
    assert baseline_association_table(replace(healthy, joint=replace(joint, features=joint.features[:1]))) is None
    assert baseline_association_table(_without_bins(healthy, joint.features[0])) is None


def test_the_stored_triangle_is_the_whole_table() -> None:
    """The table from a baseline is the one of its rows, to the last bit."""
    table = baseline_association_table(baseline_of(HEALTHY))
    assert table is not None
    assert table.features == TABLE.features
    assert np.array_equal(table.pmi, TABLE.pmi)
    assert np.array_equal(table.is_associated, TABLE.is_associated.T)
    assert [shares.sum() for shares in np.split(table.shares, table.starts[1:])] == pytest.approx([1] * len(NAMES))
