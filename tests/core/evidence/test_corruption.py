"""Damage: the features that are to blame are named, those beside them are not, and what is sound stays sound."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.evidence.corruption import Diagnosis, diagnose, movement
from stillsafe.core.evidence.impact import Movement
from stillsafe.init import infer
from stillsafe.model.model import ModelKind
from stillsafe.monitoring import baseline as baselines
from stillsafe.monitoring.columns import tally
from tests.core.healthy import START
from tests.core.related import FEATURES, POLICY, Service, classifier, logged, machines, permuted
from tests.core.related import service as service_of

Z = 4.5
GROUPS = (("load", "heat", "vibration"), ("humidity", "tint", "site"))
RELATED = tuple(name for group in GROUPS for name in group)


@pytest.fixture(scope="module")
def service() -> Service:
    return classifier()


def moved(service: Service, table: pd.DataFrame) -> Movement:
    """Where the values lie."""
    found = movement(service.baseline, service.tally(table))
    assert found is not None
    return found


def diagnosed(
    service: Service,
    table: pd.DataFrame,
    suspected: Mapping[str, float] | None = None,
    repeated: Mapping[str, float] | None = None,
    outside: Mapping[str, float] | None = None,
) -> Diagnosis:
    """What is damaged, given what the values themselves suggest."""
    counted = service.tally(table)
    known = movement(service.baseline, counted)
    assert known is not None
    least = POLICY.broken_relation_rate_moderate
    return diagnose(service.baseline, counted, known, suspected or {}, repeated or {}, outside or {}, Z, least)


def chosen_by(name: str, *, seed: int = 3, count: int = 800) -> pd.DataFrame:
    """Sound machines, more of them with large values of one feature."""
    pool = machines(6 * count, seed)
    draw = np.random.default_rng(seed)
    odds = pool[name].fillna(pool[name].mean()).rank().to_numpy() ** 3
    return pool.iloc[draw.choice(len(pool), count, replace=False, p=odds / odds.sum())]


def test_shares_are_shares(service: Service) -> None:
    """Each feature's and each output's shares sum to one, now and in health, and strays count inside for relations."""
    table = machines(500, 4)
    table.loc[:99, "load"] = 1e6
    table.loc[100:199, "load"] = -1e6
    found = moved(service, table)
    for shares in (found.features, found.inside, found.healthy, found.outputs, found.healthy_outputs):
        assert all(column.sum() == pytest.approx(1) for column in shares.values())
    bins = service.baseline.features["load"].bins
    assert bins is not None
    assert found.features["load"][[bins.below, bins.above]].tolist() == [0.2, 0.2]
    assert found.inside["load"][[bins.below, bins.above]].tolist() == [0, 0]
    assert found.inside["load"][0] > 0.2
    assert found.inside["load"][bins.ordinary - 1] > 0.2
    assert set(found.features) == set(FEATURES)


def test_without_bins_nothing_is_said_to_have_moved(service: Service) -> None:
    """A baseline of an older version, or an empty window, has no movement."""
    features = {name: replace(f, bins=None, bin_counts=()) for name, f in service.baseline.features.items()}
    counted = service.tally(machines(100, 5))
    assert movement(replace(service.baseline, features=features), counted) is None
    assert movement(service.baseline, replace(counted, features={})) is None


@pytest.mark.parametrize("name", RELATED)
def test_a_column_on_the_wrong_rows_is_named_and_none_beside_it(service: Service, name: str) -> None:
    """Broken relations point at both ends; the end that explains them all is the damaged one."""
    found = diagnosed(service, permuted(machines(800, 6), name))
    assert set(found.damaged) == {name}
    assert found.damaged[name].share == pytest.approx(1, abs=0.2)
    assert not found.damaged[name].strange


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_the_share_of_damaged_rows_is_told(service: Service, share: float) -> None:
    """Half of the rows joined wrongly is half of the damage."""
    found = diagnosed(service, permuted(machines(2_000, 7), "load", share=share))
    assert set(found.damaged) == {"load"}
    assert found.damaged["load"].share == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("pair", [("load", "humidity"), ("heat", "tint"), ("vibration", "site")])
def test_two_columns_of_different_groups_are_both_named(service: Service, pair: tuple[str, str]) -> None:
    """A wrong join of columns that have nothing to do with one another damages both."""
    assert set(diagnosed(service, permuted(machines(1_000, 8), *pair)).damaged) == set(pair)


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("pair", [pair for group in GROUPS for pair in combinations(group, 2)])
def test_columns_joined_wrongly_together_look_like_what_they_left(
    service: Service, pair: tuple[str, str], share: float
) -> None:
    """Each side is whole in itself: either is named with its share in place of the other, nothing of another group."""
    found = diagnosed(service, permuted(machines(1_500, 9), *pair, share=share))
    left = frozenset(next(group for group in map(frozenset, GROUPS) if group > set(pair)) - set(pair))
    assert {frozenset(found.damaged), frozenset(found.otherwise)} == {frozenset(pair), left}
    shares = [one.share for side in (found.damaged, found.otherwise) for one in side.values()]
    assert shares == pytest.approx([share] * 3, abs=0.15)
    assert all(found.instead_of(name) == left for name in pair)
    assert all(found.instead_of(name) == set(pair) for name in left)


def test_of_two_that_go_only_with_one_another_either_may_be_damaged(service: Service) -> None:
    """Which of them left its rows cannot be seen, and neither is preferred for nothing."""
    pair, tables = ["load", "heat"], (machines(3_000, 2), permuted(machines(800, 22), "load"))
    schema = infer.describe(tables[0][pair]).schema
    healthy, now = (
        logged(schema, infer.rows_of(table[pair], schema), service.model.score(service.rows(table))) for table in tables
    )
    baseline = baselines.reference_baseline(healthy, schema, model_version="1", at=START)
    counted = tally(now, baseline, 0)
    known = movement(baseline, counted)
    assert known is not None
    found = diagnose(baseline, counted, known, {}, {}, {}, Z, POLICY.broken_relation_rate_moderate)
    assert {frozenset(found.damaged), frozenset(found.otherwise)} == {frozenset({"load"}), frozenset({"heat"})}


@pytest.mark.parametrize("name", RELATED)
def test_what_still_goes_with_others_is_on_the_right_rows(name: str) -> None:
    """Where the load depends on the site, a group's sound members are known by going with the other group."""
    heavier = 5.0
    found = diagnosed(service_of(ModelKind.CLASSIFIER, heavier=heavier), permuted(machines(1_000, 6, heavier), name))
    assert set(found.damaged) == {name}
    assert not found.otherwise


def test_a_distribution_that_alone_has_moved_tells_what_is_damaged(service: Service) -> None:
    """Columns joined wrongly keep their distributions: a stuck site is stuck, whatever else it was at odds with."""
    found = diagnosed(service, machines(800, 19).assign(site="mine"))
    assert set(found.damaged) == {"site"}
    assert not found.otherwise


def test_no_other_side_explains_columns_that_went_apart(service: Service) -> None:
    """Two columns each on wrong rows of their own contradict one another too, which the third cannot have done."""
    table = permuted(machines(1_000, 20), "load")
    table["heat"] = table["heat"].to_numpy()[::-1]
    found = diagnosed(service, table)
    assert len({"load", "heat", "vibration"} & found.damaged.keys()) == 2
    assert not found.otherwise


def test_what_the_values_show_is_damaged_on_either_side(service: Service) -> None:
    """A column that is missing is so whichever side of a wrong join is believed, and nothing stands in its place."""
    table = permuted(machines(1_000, 21), "load", "heat").assign(tint=np.nan)
    found = diagnosed(service, table, suspected={"tint": 1.0})
    assert {frozenset(found.damaged), frozenset(found.otherwise)} == {
        frozenset({"vibration", "tint"}),
        frozenset({"load", "heat", "tint"}),
    }
    assert not found.instead_of("tint")
    assert not found.instead_of("humidity")


@pytest.mark.parametrize("name", ["load", "vibration", "humidity", "tint"])
def test_a_genuine_shift_damages_nothing(service: Service, name: str) -> None:
    """Other machines, each of them sound."""
    table = chosen_by(name)
    assert table[name].mean() > machines(2_000, 2)[name].mean() + 0.4 * machines(2_000, 2)[name].std()
    assert not diagnosed(service, table).damaged


@pytest.mark.parametrize("rows", [50, 200, 1_000])
def test_healthy_rows_damage_nothing(service: Service, rows: int) -> None:
    """Of 40 healthy windows none has a damaged feature."""
    pool = machines(40 * rows, 10)
    assert not any(diagnosed(service, pool.iloc[at : at + rows]).damaged for at in range(0, len(pool), rows))


def test_what_the_values_say_is_believed_where_the_relations_agree(service: Service) -> None:
    """Half of a column missing is half of it damaged; its partners are not blamed for it."""
    table = machines(800, 11)
    table.loc[: len(table) // 2, "heat"] = np.nan
    found = diagnosed(service, table, suspected={"heat": 0.5})
    assert set(found.damaged) == {"heat"}
    assert found.damaged["heat"].share >= 0.5


def test_columns_damaged_on_different_rows_have_each_its_own_share(service: Service) -> None:
    """One on the first half of the rows, its partner on the second: half of each, although no row is whole."""
    table = permuted(machines(2_000, 17), "load", share=0.5)
    table = permuted(table.iloc[::-1].reset_index(drop=True), "heat", share=0.5)
    found = diagnosed(service, table)
    assert {"load", "heat"} == set(found.damaged)
    assert all(damage.share == pytest.approx(0.5, abs=0.15) for damage in found.damaged.values())


def test_more_is_asked_of_a_break_while_others_shift(service: Service) -> None:
    """The tables fit shifted rows less well; a feature's own movement excuses nothing."""
    shifted, alone = (
        chosen_by("load"),
        permuted(machines(1_000, 18), "load").assign(load=lambda rows: rows["load"] * 1.5),
    )
    least = POLICY.broken_relation_rate_moderate
    assert all(limit > least + 0.02 for _, limit, _ in diagnosed(service, shifted).relations.values())
    assert diagnosed(service, alone).relations["load"][1] < least + 0.02


def test_large_values_with_which_all_else_moved_along_are_sound(service: Service) -> None:
    """Machines of a kind that was rare are beyond the usual, and belong together: a shift, whatever it looks like."""
    pool = machines(40_000, 12)
    heaviest = pool.nlargest(800, "load")
    found = diagnosed(service, heaviest, outside={"load": 0.3})
    assert "load" in found.sound
    assert "load" not in found.damaged
    swapped = diagnosed(service, machines(800, 13).assign(load=heaviest["load"].to_numpy()), repeated={"load": 0.9})
    assert "load" not in swapped.sound
    assert "load" in swapped.damaged


def test_values_far_outside_are_strange(service: Service) -> None:
    """A unit that changed takes numbers where the model was never tried; a few strays are no damage at all."""
    in_grams = diagnosed(service, machines(800, 14).assign(load=lambda rows: rows["load"] * 1_000))
    assert in_grams.damaged["load"].strange
    assert in_grams.damaged["load"].share > 0.9
    few = machines(800, 14)
    few.loc[:7, "load"] = 1e9
    assert "load" not in diagnosed(service, few).damaged


def test_without_a_joint_table_the_values_alone_tell(service: Service) -> None:
    """What is missing, unseen or far outside is damaged as far as it is; nothing is said about relations."""
    bare = replace(service, baseline=replace(service.baseline, joint=None))
    table = permuted(machines(800, 15), "heat").assign(load=lambda rows: rows["load"] * 1_000, humidity=np.nan)
    found = diagnosed(bare, table, suspected={"humidity": 1.0})
    assert set(found.damaged) == {"load", "humidity"}
    assert found.damaged["humidity"].share == 1
    assert not found.relations
    assert not found.sound


def test_every_related_feature_is_told_about(service: Service) -> None:
    """Each feature of the joint table has its share and its limit, damaged or not."""
    found = diagnosed(service, permuted(machines(800, 16), "load"))
    assert set(found.relations) == set(RELATED)
    assert all(limit >= POLICY.broken_relation_rate_moderate for _, limit, _ in found.relations.values())
