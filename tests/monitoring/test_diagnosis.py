"""Diagnoses on a real service: the corrupted features are named and no others, and a genuine shift corrupts nothing."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.evidence.corruption import Diagnosis, Limits, Suspicion, diagnose
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.init import infer
from stillsafe.model.model import ModelKind
from stillsafe.monitoring import baseline as baselines
from stillsafe.monitoring.tally import tally
from tests.core.healthy import START
from tests.monitoring.related import POLICY, Service, classifier, columns_of, machines, permute
from tests.monitoring.related import service as service_of

LIMITS = Limits(4.5, POLICY.broken_relation_rate_moderate)
GROUPS = (("load", "heat", "vibration"), ("humidity", "tint", "site"))
ASSOCIATED_NAMES = tuple(name for group in GROUPS for name in group)


@pytest.fixture(scope="module")
def service() -> Service:
    return classifier()


def shift_of(service: Service, table: pd.DataFrame) -> DistributionShift:
    """The distributions of a window and of the baseline."""
    shift = distribution_shift(service.baseline, service.tally(table))
    assert shift is not None
    return shift


def diagnosis_of(service: Service, table: pd.DataFrame, suspicion: Suspicion | None = None) -> Diagnosis:
    """The corrupted features of a window, given what the values themselves suggest."""
    shift = shift_of(service, table)
    return diagnose(service.baseline, service.tally(table), shift, suspicion or Suspicion(), LIMITS)


def select_by(name: str, *, seed: int = 3, count: int = 800) -> pd.DataFrame:
    """Intact machines, more of them with large values of one feature."""
    pool = machines(6 * count, seed)
    draw = np.random.default_rng(seed)
    odds = pool[name].fillna(pool[name].mean()).rank().to_numpy() ** 3
    return pool.iloc[draw.choice(len(pool), count, replace=False, p=odds / odds.sum())]


@pytest.mark.parametrize("name", ASSOCIATED_NAMES)
def test_a_column_on_the_wrong_rows_is_named_and_no_other(service: Service, name: str) -> None:
    """Broken associations point at both ends; the end that explains them all is the corrupted one."""
    diagnosis = diagnosis_of(service, permute(machines(800, 6), name))
    assert set(diagnosis.corruptions) == {name}
    assert diagnosis.corruptions[name].share == pytest.approx(1, abs=0.2)
    assert not diagnosis.corruptions[name].extreme


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_the_share_of_corrupted_rows_is_measured(service: Service, share: float) -> None:
    """The corrupted share is the share of rows that were joined wrongly."""
    diagnosis = diagnosis_of(service, permute(machines(2_000, 7), "load", share=share))
    assert set(diagnosis.corruptions) == {"load"}
    assert diagnosis.corruptions["load"].share == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("pair", [("load", "humidity"), ("heat", "tint"), ("vibration", "site")])
def test_two_columns_of_different_groups_are_both_named(service: Service, pair: tuple[str, str]) -> None:
    """A wrong join of columns that are not associated corrupts both."""
    assert set(diagnosis_of(service, permute(machines(1_000, 8), *pair)).corruptions) == set(pair)


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("pair", [pair for group in GROUPS for pair in combinations(group, 2)])
def test_columns_joined_wrongly_together_have_alternatives(
    service: Service, pair: tuple[str, str], share: float
) -> None:
    """Each side keeps its associations: it is named with its share or as the alternative, and no other group is."""
    diagnosis = diagnosis_of(service, permute(machines(1_500, 9), *pair, share=share))
    other_side = frozenset(next(group for group in map(frozenset, GROUPS) if group > set(pair)) - set(pair))
    assert {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)} == {frozenset(pair), other_side}
    shares = [each.share for side in (diagnosis.corruptions, diagnosis.alternatives) for each in side.values()]
    assert shares == pytest.approx([share] * 3, abs=0.15)
    assert all(diagnosis.alternatives_to(name) == other_side for name in pair)
    assert all(diagnosis.alternatives_to(name) == set(pair) for name in other_side)


@pytest.mark.parametrize("pairs", [(("load", "heat"), ("humidity", "tint")), (("load",), ("tint", "site"))])
def test_two_wrong_joins_have_alternatives_each(service: Service, pairs: tuple[tuple[str, ...], ...]) -> None:
    """Joins that have broken with different features are ambiguous one by one, whatever else is corrupted."""
    table = machines(1_500, 9)
    for number, pair in enumerate(pairs):
        table = permute(table.sample(frac=1, random_state=number), *pair)
    diagnosis = diagnosis_of(service, table)
    sides = {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)}
    assert frozenset.union(*sides) == frozenset(ASSOCIATED_NAMES)
    assert all(len(set(group) & side) in (1, 2) for group in GROUPS for side in sides)
    assert not set(diagnosis.corruptions) & set(diagnosis.alternatives)


def test_a_certain_corruption_leaves_a_wrong_join_its_alternatives(service: Service) -> None:
    """A site that is stuck is certain, as its distribution shows; the pair of the other group stays ambiguous."""
    diagnosis = diagnosis_of(service, permute(machines(1_500, 9), "load", "heat").assign(site="mine"))
    sides = {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)}
    assert sides == {frozenset({"load", "heat", "site"}), frozenset({"vibration", "site"})}
    assert diagnosis.alternatives_to("site") == frozenset()


def test_of_two_features_associated_only_with_one_another_either_may_be_corrupted(service: Service) -> None:
    """The window does not show which of them is on the wrong rows, so each is the alternative to the other."""
    pair, tables = ["load", "heat"], (machines(3_000, 2), permute(machines(800, 22), "load"))
    schema = infer.describe(tables[0][pair]).schema
    healthy, now = (
        columns_of(schema, infer.rows_of(table[pair], schema), service.model.score(service.rows(table)))
        for table in tables
    )
    baseline = baselines.reference_baseline(healthy, schema, model_version="1", at=START)
    window_tally = tally(now, baseline, 0)
    shift = distribution_shift(baseline, window_tally)
    assert shift is not None
    diagnosis = diagnose(baseline, window_tally, shift, Suspicion(), LIMITS)
    assert {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)} == {
        frozenset({"load"}),
        frozenset({"heat"}),
    }


@pytest.mark.parametrize("name", ASSOCIATED_NAMES)
def test_a_feature_associated_with_another_group_is_on_the_right_rows(name: str) -> None:
    """Where the load depends on the site, the association with the other group shows which features are intact."""
    heavier = 5.0
    diagnosis = diagnosis_of(
        service_of(ModelKind.CLASSIFIER, heavier=heavier), permute(machines(1_000, 6, heavier), name)
    )
    assert set(diagnosis.corruptions) == {name}
    assert not diagnosis.alternatives


def test_the_only_shifted_distribution_is_that_of_the_corrupted_feature(service: Service) -> None:
    """Columns joined wrongly keep their distributions, so a stuck site has no alternatives."""
    diagnosis = diagnosis_of(service, machines(800, 19).assign(site="mine"))
    assert set(diagnosis.corruptions) == {"site"}
    assert not diagnosis.alternatives


def test_columns_permuted_separately_have_no_alternatives(service: Service) -> None:
    """Two columns on different wrong rows contradict one another too, which the third does not explain."""
    table = permute(machines(1_000, 20), "load")
    table["heat"] = table["heat"].to_numpy()[::-1]
    diagnosis = diagnosis_of(service, table)
    assert len({"load", "heat", "vibration"} & diagnosis.corruptions.keys()) == 2
    assert not diagnosis.alternatives


def test_absent_values_are_corrupted_on_either_side(service: Service) -> None:
    """A column that is missing is so whichever side of a wrong join is true, and has no alternatives."""
    table = permute(machines(1_000, 21), "load", "heat").assign(tint=np.nan)
    diagnosis = diagnosis_of(service, table, Suspicion(absent={"tint": 1.0}))
    assert {frozenset(diagnosis.corruptions), frozenset(diagnosis.alternatives)} == {
        frozenset({"vibration", "tint"}),
        frozenset({"load", "heat", "tint"}),
    }
    assert not diagnosis.alternatives_to("tint")
    assert not diagnosis.alternatives_to("humidity")


@pytest.mark.parametrize("name", ["load", "vibration", "humidity", "tint"])
def test_a_genuine_shift_corrupts_nothing(service: Service, name: str) -> None:
    """Other machines, each of them intact."""
    table = select_by(name)
    assert table[name].mean() > machines(2_000, 2)[name].mean() + 0.4 * machines(2_000, 2)[name].std()
    assert not diagnosis_of(service, table).corruptions


@pytest.mark.parametrize("rows", [50, 200, 1_000])
def test_healthy_rows_are_not_corrupted(service: Service, rows: int) -> None:
    """Of 40 healthy windows none has a corrupted feature."""
    pool = machines(40 * rows, 10)
    assert not any(diagnosis_of(service, pool.iloc[at : at + rows]).corruptions for at in range(0, len(pool), rows))


def test_half_missing_is_half_corrupted(service: Service) -> None:
    """The share of missing values is the share of corruption, and the partners are not named."""
    table = machines(800, 11)
    table.loc[: len(table) // 2, "heat"] = np.nan
    diagnosis = diagnosis_of(service, table, Suspicion(absent={"heat": 0.5}))
    assert set(diagnosis.corruptions) == {"heat"}
    assert diagnosis.corruptions["heat"].share >= 0.5


def test_columns_corrupted_on_different_rows_have_each_its_own_share(service: Service) -> None:
    """One on the first half of the rows, its partner on the second: half of each, although no row is intact."""
    table = permute(machines(2_000, 17), "load", share=0.5)
    table = permute(table.iloc[::-1].reset_index(drop=True), "heat", share=0.5)
    diagnosis = diagnosis_of(service, table)
    assert {"load", "heat"} == set(diagnosis.corruptions)
    assert all(corruption.share == pytest.approx(0.5, abs=0.15) for corruption in diagnosis.corruptions.values())


def test_a_shift_elsewhere_raises_the_limit(service: Service) -> None:
    """The association table fits shifted rows less well; a feature's own shift raises no limit of its own."""
    shifted_rows = select_by("load")
    wrong_rows = permute(machines(1_000, 18), "load").assign(load=lambda rows: rows["load"] * 1.5)
    limits = [each.limit for each in diagnosis_of(service, shifted_rows).associations.values()]
    assert min(limits) > LIMITS.least_share + 0.02
    assert diagnosis_of(service, wrong_rows).associations["load"].limit < LIMITS.least_share + 0.02


def test_large_values_that_keep_their_associations_are_intact(service: Service) -> None:
    """Machines of a rare kind are out of range and keep their associations: a genuine shift."""
    pool = machines(40_000, 12)
    heaviest = pool.nlargest(800, "load")
    diagnosis = diagnosis_of(service, heaviest, Suspicion(out_of_range={"load": 0.3}))
    assert "load" in diagnosis.intact
    assert "load" not in diagnosis.corruptions
    other_diagnosis = diagnosis_of(
        service, machines(800, 13).assign(load=heaviest["load"].to_numpy()), Suspicion(repeated_number={"load": 0.9})
    )
    assert "load" not in other_diagnosis.intact
    assert "load" in other_diagnosis.corruptions


def test_values_far_outside_are_extreme(service: Service) -> None:
    """A changed unit is extreme: the impact study tried no such numbers. A few outliers are no corruption."""
    in_grams = diagnosis_of(service, machines(800, 14).assign(load=lambda rows: rows["load"] * 1_000))
    assert in_grams.corruptions["load"].extreme
    assert in_grams.corruptions["load"].share > 0.9
    few = machines(800, 14)
    few.loc[:7, "load"] = 1e9
    assert "load" not in diagnosis_of(service, few).corruptions


def test_without_a_joint_table_only_values_count(service: Service) -> None:
    """What is missing, unseen or far outside is corrupted as far as it is; associations are not reported."""
    bare = replace(service, baseline=replace(service.baseline, joint=None))
    table = permute(machines(800, 15), "heat").assign(load=lambda rows: rows["load"] * 1_000, humidity=np.nan)
    diagnosis = diagnosis_of(bare, table, Suspicion(absent={"humidity": 1.0}))
    assert set(diagnosis.corruptions) == {"load", "humidity"}
    assert diagnosis.corruptions["humidity"].share == 1
    assert not diagnosis.associations
    assert not diagnosis.intact


def test_every_associated_feature_is_reported(service: Service) -> None:
    """Each feature of the joint table has its share and its limit, corrupted or not."""
    diagnosis = diagnosis_of(service, permute(machines(800, 16), "load"))
    assert set(diagnosis.associations) == set(ASSOCIATED_NAMES)
    assert all(each.limit >= LIMITS.least_share for each in diagnosis.associations.values())
