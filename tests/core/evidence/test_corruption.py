"""Corruption: the corrupted features are named and no others, and a genuine shift corrupts nothing."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.corruption import Diagnosis, Limits, Suspicion, diagnose
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.core.schema import FeatureType
from tests.core.evidence.rows import (
    BINS,
    FIRST,
    INDEPENDENT,
    NAMES,
    SECOND,
    THIRD,
    Codes,
    baseline_of,
    draw_rows,
    permute,
    tally_of,
)

HEALTHY = draw_rows(4_000, 0)
BASELINE = baseline_of(HEALTHY)
LIMITS = Limits(z=4.5, least_share=0.15)


def shift_of(rows: Codes, baseline: Baseline = BASELINE) -> DistributionShift:
    """The distributions of a window and of the baseline."""
    shift = distribution_shift(baseline, tally_of(rows, HEALTHY))
    assert shift is not None
    return shift


def diagnosis_of(rows: Codes, suspicion: Suspicion | None = None, baseline: Baseline = BASELINE) -> Diagnosis:
    """The corrupted features of a window."""
    shift = shift_of(rows, baseline)
    return diagnose(baseline, tally_of(rows, HEALTHY), shift, suspicion or Suspicion(), LIMITS)


def shares_of(rows: Codes, suspicion: Suspicion | None = None) -> dict[str, float]:
    """The corrupted features of a window, with the share of corrupted values."""
    return {name: corruption.share for name, corruption in diagnosis_of(rows, suspicion).corruptions.items()}


def with_code(rows: Codes, column: int, code: int, share: float = 1.0) -> Codes:
    """The rows with one code in a column, from the first row on."""
    changed_rows = rows.copy()
    changed_rows[: round(share * len(rows)), column] = code
    return changed_rows


@pytest.mark.parametrize("column", [FIRST, SECOND, THIRD])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_permuted_column_is_named_with_its_share(column: int, share: float) -> None:
    """Broken associations point at both ends; the end that explains them all is the corrupted one."""
    shares = shares_of(permute(draw_rows(3_000, 6), column, share=share))
    assert shares == {NAMES[column]: pytest.approx(share, abs=0.15)}


def test_a_permuted_column_without_associations_is_not_detectable() -> None:
    """It contradicts no other column, so nothing is reported."""
    diagnosis = diagnosis_of(permute(draw_rows(3_000, 6), INDEPENDENT))
    assert not diagnosis.corruptions
    assert not diagnosis.associations["independent"].detectable


@pytest.mark.parametrize("rows", [100, 300, 1_000])
def test_healthy_rows_are_not_corrupted(rows: int) -> None:
    """Of 40 healthy windows none has a corrupted feature."""
    pool = draw_rows(40 * rows, 10)
    assert not any(diagnosis_of(pool[start : start + rows]).corruptions for start in range(0, len(pool), rows))


def selected_rows() -> Codes:
    """Intact rows, most of them with small values of the first feature."""
    rows = draw_rows(12_000, 4)
    odds = np.array([0.9, 0.5, 0.1, 0.05])[rows[:, FIRST]]
    return rows[np.random.default_rng(6).random(len(rows)) < odds]


def test_a_genuine_shift_corrupts_nothing() -> None:
    """Rows selected by one feature keep their associations."""
    assert shift_of(selected_rows()).clipped_features["first"][0] > 0.4
    assert not diagnosis_of(selected_rows()).corruptions


def test_a_shift_elsewhere_raises_the_limit() -> None:
    """The association table fits shifted rows less well, so a feature's limit grows with the shift of the others."""
    stuck_rows = with_code(draw_rows(2_000, 7), FIRST, 0)
    assert diagnosis_of(stuck_rows).associations["first"].limit < LIMITS.least_share + 0.02
    assert diagnosis_of(selected_rows()).associations["independent"].limit > LIMITS.least_share + 0.05


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_columns_joined_wrongly_together_have_alternatives(share: float) -> None:
    """Either side keeps its associations in itself, so the diagnosis names each with its share as the alternative."""
    diagnosis = diagnosis_of(permute(draw_rows(3_000, 9), FIRST, SECOND, share=share))
    sides = {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)}
    assert sides == {frozenset({"first", "second"}), frozenset({"third"})}
    shares = [each.share for side in (diagnosis.corruptions, diagnosis.alternatives) for each in side.values()]
    assert shares == pytest.approx([share] * 3, abs=0.15)
    assert diagnosis.alternatives_to("first") == diagnosis.alternatives_to("second") == {"third"}
    assert diagnosis.alternatives_to("third") == {"first", "second"}
    assert diagnosis.alternatives_to("independent") == frozenset()


def test_a_shifted_side_has_no_alternatives() -> None:
    """Columns joined wrongly keep their distributions, so a stuck column is the corrupted one."""
    diagnosis = diagnosis_of(with_code(draw_rows(2_000, 11), SECOND, 3))
    assert set(diagnosis.corruptions) == {"second"}
    assert not diagnosis.alternatives


def test_absent_values_are_corrupted_on_either_side() -> None:
    """A column that is missing is so whichever side of a wrong join is true, and has no alternatives."""
    rows = with_code(permute(draw_rows(3_000, 12), FIRST, SECOND), INDEPENDENT, BINS.missing)
    diagnosis = diagnosis_of(rows, Suspicion(absent={"independent": 1.0}))
    sides = {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)}
    assert sides == {frozenset({"first", "second", "independent"}), frozenset({"third", "independent"})}
    assert diagnosis.alternatives_to("independent") == frozenset()


def test_half_missing_is_half_corrupted() -> None:
    """The share of absent values is the share of corruption, and the partners are not named."""
    rows = with_code(draw_rows(2_000, 13), THIRD, BINS.missing, 0.5)
    assert shares_of(rows, Suspicion(absent={"third": 0.5})) == {"third": pytest.approx(0.5, abs=0.1)}


@pytest.mark.parametrize("kind", ["repeated_number", "out_of_range"])
def test_unusual_values_that_keep_their_associations_are_intact(kind: str) -> None:
    """A number that repeats or is out of range is a genuine shift if the associated features changed with it."""
    rows = draw_rows(30_000, 14)
    similar_rows = rows[rows[:, FIRST] == 0]
    diagnosis = diagnosis_of(similar_rows, _suspicion(kind, {"first": 1.0}))
    assert diagnosis.intact == {"first"}
    assert not diagnosis.corruptions


def test_a_repeated_number_that_breaks_associations_is_corrupted() -> None:
    """The same values, but the other features did not change with them."""
    diagnosis = diagnosis_of(with_code(draw_rows(2_000, 14), FIRST, 0), Suspicion(repeated_number={"first": 0.75}))
    assert not diagnosis.intact
    assert diagnosis.corruptions["first"].share == pytest.approx(1, abs=0.3)


def test_values_far_outside_are_extreme() -> None:
    """A changed unit corrupts all values and is extreme; a few outliers are no corruption."""
    corruption = diagnosis_of(with_code(draw_rows(2_000, 15), FIRST, BINS.above)).corruptions["first"]
    assert corruption.extreme
    assert corruption.share > 0.9
    assert not diagnosis_of(with_code(draw_rows(2_000, 15), FIRST, BINS.above, 0.01)).corruptions


def test_without_a_joint_table_only_values_count() -> None:
    """What is absent or far outside is corrupted as far as it is; associations are not reported."""
    rows = with_code(permute(draw_rows(2_000, 16), SECOND), FIRST, BINS.below)
    rows = with_code(rows, THIRD, BINS.missing)
    suspicion = Suspicion(absent={"third": 1.0})
    diagnosis = diagnosis_of(rows, suspicion, replace(BASELINE, joint=None))
    assert {name: each.share for name, each in diagnosis.corruptions.items()} == {
        "first": pytest.approx(1, abs=0.3),
        "third": 1,
    }
    assert not diagnosis.associations
    assert not diagnosis.intact


def test_every_feature_of_the_joint_table_is_reported() -> None:
    """Each has its share and its limit, corrupted or not."""
    diagnosis = diagnosis_of(permute(draw_rows(800, 17), FIRST))
    assert set(diagnosis.associations) == set(NAMES)
    assert all(each.limit >= LIMITS.least_share for each in diagnosis.associations.values())


def test_a_category_is_never_far_outside() -> None:
    """Categories have no range, so rare ones are no corruption by themselves."""
    bins = replace(BINS, edges=(), lowest=None, highest=None, categories=("a", "b", "c", "d"))
    category = FeatureBaseline(
        FeatureType.CATEGORY, len(HEALTHY), 0, bins=bins, bin_counts=BASELINE.features["first"].bin_counts
    )
    baseline = replace(BASELINE, features={**BASELINE.features, "first": category}, joint=None)
    assert not diagnosis_of(with_code(draw_rows(2_000, 18), FIRST, BINS.above), baseline=baseline).corruptions


def _suspicion(kind: str, shares: Mapping[str, float]) -> Suspicion:
    return replace(Suspicion(), **{kind: shares})


def test_a_feature_that_moves_far_alone_is_corrupted() -> None:
    """All values in one bin, as of another unit, while what is associated with them stays: no population does that."""
    healthy_rows = draw_rows(1_000, 1)
    lone_rows = with_code(healthy_rows, FIRST, 1)
    assert NAMES[FIRST] in shares_of(lone_rows)
    genuine_rows = draw_rows(20_000, 2)
    genuine_rows = genuine_rows[genuine_rows[:, FIRST] == 1][:1_000]
    assert not shares_of(genuine_rows)
    assert not shares_of(with_code(healthy_rows, INDEPENDENT, 1))
