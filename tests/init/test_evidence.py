"""What the whole of the evidence says of a small world in which everything is known: damage, shift, harm, noise."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision
from stillsafe.core.signals import DAMAGE, FAILURE, Evidence, Level, Reading, Signal
from stillsafe.monitoring.summarize import tally
from stillsafe.serving.model import ModelKind
from stillsafe.store.documents import dumps, from_document, to_document
from tests.init.related import Related, people, service

LOSS = {ModelKind.CLASSIFIER: Signal.ESTIMATED_ACCURACY_LOSS, ModelKind.REGRESSOR: Signal.ESTIMATED_ERROR_GROWTH}
Damaged = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


@pytest.fixture(scope="module")
def classifier() -> Related:
    return service(ModelKind.CLASSIFIER)


@pytest.fixture(scope="module")
def regressor() -> Related:
    return service(ModelKind.REGRESSOR)


@pytest.fixture(scope="module", params=list(ModelKind))
def either(request: pytest.FixtureRequest, classifier: Related, regressor: Related) -> Related:
    return classifier if request.param is ModelKind.CLASSIFIER else regressor


def bad(decision: Decision) -> dict[str, Reading]:
    return {reading.key: reading for reading in decision.readings if reading.evidence is Evidence.BAD}


def loss(decision: Decision, of: Related) -> Reading:
    return next(reading for reading in decision.readings if reading.signal is LOSS[of.model.kind])


def permuted(*names: str) -> Damaged:
    def change(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        order = draw.permutation(len(table))
        return table.assign(**{name: table[name].to_numpy()[order] for name in names})

    return change


def broken(count: int, seed: int, change: Damaged) -> pd.DataFrame:
    return change(people(count, seed), np.random.default_rng(seed))


@pytest.mark.parametrize(("rows", "runs"), [(50, 150), (200, 100), (500, 60), (2000, 20)])
def test_healthy_rows_hardly_ever_deviate(either: Related, rows: int, runs: int) -> None:
    """At most one healthy run in a hundred has any deviating reading, from 50 to 2,000 rows; none is severe."""
    decisions = [either.judge(people(rows, 1_000 + seed)) for seed in range(runs)]
    assert sum(bool(bad(decision)) for decision in decisions) <= max(1, runs // 100)
    assert not any(r.level is Level.SEVERE for decision in decisions for r in decision.readings)


@pytest.mark.parametrize("name", ["income", "rent", "age"])
def test_a_permuted_column_is_named_and_its_partners_are_not(either: Related, name: str) -> None:
    """A permuted column keeps its distribution; what it loses is its relations, and only it is to blame."""
    found = bad(either.judge(broken(800, 7, permuted(name))))
    relations = {key.partition(":")[2] for key in found if key.startswith(Signal.BROKEN_RELATION_RATE)}
    assert relations == {name}
    assert f"{Signal.DISTRIBUTION_CHANGE}:{name}" not in found


def test_columns_joined_to_the_wrong_rows_are_found_together(classifier: Related) -> None:
    """Two columns that moved together are both found, or all that they no longer go with."""
    found = bad(classifier.judge(broken(1_000, 8, permuted("income", "age"))))
    relations = {key.partition(":")[2] for key in found if key.startswith(Signal.BROKEN_RELATION_RATE)}
    assert relations in ({"income", "age"}, {"rent", "region"}, {"rent"})


@pytest.mark.parametrize("name", ["income", "rent"])
def test_a_genuine_shift_breaks_no_relation(either: Related, name: str) -> None:
    """Other people, each of them sound: the distribution moves, and what goes together still does."""
    world = people(4_000, 9)
    richer = world[world[name] > world[name].quantile(0.7)].iloc[:800]
    found = bad(either.judge(richer))
    assert f"{Signal.DISTRIBUTION_CHANGE}:{name}" in found
    assert not any(key.startswith(Signal.BROKEN_RELATION_RATE) for key in found)
    assert not either.judge(richer).damaged_features


HARMFUL: dict[str, Damaged] = {
    "permuted": permuted("income"),
    "missing": lambda table, _: table.assign(income=np.nan),
    "stuck": lambda table, _: table.assign(income=float(table["income"].iloc[0])),
    "in cents": lambda table, _: table.assign(income=table["income"] * 100),
    "sentinel": lambda table, _: table.assign(income=-999.0),
    "of the row before": lambda table, _: table.assign(income=np.roll(table["income"].to_numpy(), 3)),
}


@pytest.mark.parametrize("damage", HARMFUL)
def test_damage_to_what_the_model_leans_on_is_severe(either: Related, damage: str) -> None:
    """The estimate is severe where the truth is, and no less than half of it."""
    table = broken(800, 10, HARMFUL[damage])
    read, true = loss(either.judge(table), either), either.loss(table)
    assert true > (read.severe_limit or 0)
    assert read.level is Level.SEVERE
    assert read.value is not None
    assert read.value > true / 2 or read.value > 0.3


@pytest.mark.parametrize("change", [permuted("noise"), lambda table, _: table.assign(noise=np.nan)])
def test_damage_that_the_model_does_not_feel_is_never_severe(either: Related, change: Damaged) -> None:
    """A broken column that the model ignores is no reason to do without the model."""
    decision = either.judge(broken(800, 11, change))
    assert not any(reading.level is Level.SEVERE for reading in decision.readings)
    assert (loss(decision, either).value or 0) < 0.02


def test_the_estimate_follows_the_share_that_is_damaged(classifier: Related) -> None:
    """Half of the rows damaged costs about half."""

    def half(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
        whole = permuted("income")(table, draw)
        return table.assign(income=np.where(np.arange(len(table)) % 2, table["income"], whole["income"]))

    whole = loss(classifier.judge(broken(2_000, 12, permuted("income"))), classifier).value or 0
    partly = loss(classifier.judge(broken(2_000, 12, half)), classifier).value or 0
    assert 0.3 * whole < partly < 0.7 * whole


def test_only_failure_is_severe_where_harm_is_known(classifier: Related) -> None:
    """With harm learnt at `init`, a change by itself is at most moderate; without, it is judged by its size."""
    table = broken(800, 13, lambda rows, _: rows.assign(income=np.nan, rent=np.nan))
    severe = {r.signal for r in classifier.judge(table).readings if r.level is Level.SEVERE}
    assert severe
    assert severe <= FAILURE
    bare = replace(classifier.baseline, harm=None)
    assert Signal.MISSING_RATE in {
        r.signal for r in classifier.judge(table, of=bare).readings if r.level is Level.SEVERE
    }


def test_a_baseline_of_an_older_version_is_read_as_before(classifier: Related) -> None:
    """Without bins, joint table and harm there is no reading that needs them."""
    features = {
        name: replace(feature, bins=None, bin_counts=(), distinct_count=0, frequent=())
        for name, feature in classifier.baseline.features.items()
    }
    old = replace(classifier.baseline, features=features, outputs={}, joint=None, harm=None, offset={})
    signals = {reading.signal for reading in classifier.judge(people(500, 14), of=old).readings}
    assert signals == {
        Signal.AVG_CONFIDENCE,
        Signal.LOW_CONFIDENCE_RATE,
        Signal.MISSING_RATE,
        Signal.UNSEEN_CATEGORY_RATE,
        Signal.OUT_OF_RANGE_RATE,
        Signal.REFUSAL_RATE,
        Signal.MODEL_ERROR_RATE,
        Signal.SILENCE_SECONDS,
    }


def test_what_was_learnt_survives_the_store(either: Related) -> None:
    """A baseline written as JSON and read back judges alike, to the byte."""
    again = from_document(Baseline, to_document(either.baseline))
    table = broken(300, 15, permuted("income"))
    assert dumps(to_document(either.judge(table, of=again))) == dumps(to_document(either.judge(table)))


def test_the_order_of_rows_is_irrelevant(either: Related) -> None:
    """The same rows in another order give the same window, to the byte."""
    table = broken(400, 16, permuted("rent"))
    windows = [
        dumps(to_document(tally(either.columns(rows), either.baseline, 0)))
        for rows in (table, table.sample(frac=1, random_state=1))
    ]
    assert windows[0] == windows[1]


def test_without_labels_the_model_stands_in_for_the_truth() -> None:
    """Damage to what the model leans on is severe without a single label, too; and the harm says what it rests on."""
    blind = service(ModelKind.CLASSIFIER, labelled=False)
    assert blind.baseline.harm is not None
    assert not blind.baseline.harm.labelled
    assert loss(blind.judge(broken(800, 17, permuted("income"))), blind).level is Level.SEVERE
    assert loss(blind.judge(people(800, 18)), blind).level is Level.NONE


def test_the_damaged_features_are_the_ones_that_fallback_rules_must_not_read(classifier: Related) -> None:
    """Signals of damage name features, signals of mere change do not."""
    decision = classifier.judge(broken(800, 19, permuted("income")))
    named = {r.feature for r in decision.readings if r.evidence is Evidence.BAD and r.signal in DAMAGE}
    assert named == {"income"}
