"""What an owner does not have watched leaves no trace in what remains."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence import association
from stillsafe.core.evidence.watch import watched_part
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.core.signals import Evidence
from stillsafe.core.window import Tally, Window
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.tally import tally
from tests.init.services import NOW

NAMES = ("a", "b", "c", "d")


def schema_of(names: tuple[str, ...]) -> Schema:
    """Numeric features."""
    return Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC, required=False) for name in names))


def rows_of(count: int, seed: int, *, shuffle: str | None = None, null: str | None = None) -> list[Row]:
    """Rows whose features all go with one another; one may be shuffled, another missing."""
    random = np.random.default_rng(seed)
    common = random.normal(size=count)
    table = {name: common + 0.4 * random.normal(size=count) for name in NAMES}
    if shuffle is not None:
        table[shuffle] = random.permutation(table[shuffle])
    return [{name: None if name == null else float(table[name][i]) for name in NAMES} for i in range(count)]


def counts_of(rows: list[Row], names: tuple[str, ...], baseline: Baseline | None) -> tuple[Baseline, Tally]:
    """A baseline of the rows, or the given one, and the rows' counts."""
    confidences: list[float | None] = [0.5 + 0.4 * (i % 10) / 10 for i in range(len(rows))]
    predictions: list[str | None] = ["yes" if i % 3 else "no" for i in range(len(rows))]
    visible_rows: list[Row] = [{name: row[name] for name in names} for row in rows]
    columns = reference_columns(schema_of(names), visible_rows, confidences, predictions, salt="")
    if baseline is None:
        baseline = reference_baseline(columns, schema_of(names), model_version="1", at=NOW)
    return baseline, tally(columns, baseline, 0)


def test_what_remains_is_as_if_the_feature_did_not_exist() -> None:
    """Joint counts, PMI sums and features equal those of the same rows without the column."""
    rest = ("a", "c", "d")
    whole, whole_tally = counts_of(rows_of(3_000, 1), NAMES, None)
    other, other_tally = counts_of(rows_of(3_000, 1), rest, None)
    baseline, counts = watched_part(whole, whole_tally, ("b",))
    assert baseline.features == other.features
    assert counts.features == other_tally.features
    assert baseline.joint is not None
    assert other.joint is not None
    assert (baseline.joint.features, baseline.joint.counts) == (other.joint.features, other.joint.counts)
    assert counts.agreement == pytest.approx(other_tally.agreement)
    assert association.baseline_association_table(baseline) is not None
    assert watched_part(whole, whole_tally, ()) == (whole, whole_tally)


def test_fewer_than_two_features_have_no_associations() -> None:
    """Without a pair there is no joint table."""
    whole, whole_tally = counts_of(rows_of(3_000, 1), NAMES, None)
    baseline, counts = watched_part(whole, whole_tally, ("a", "b", "c"))
    assert (baseline.joint, counts.agreement, [*baseline.features]) == (None, (), ["d"])
    baseline, counts = watched_part(replace(whole, joint=None), whole_tally, ("a",))
    assert (baseline.joint, counts.agreement) == (None, ())


@pytest.mark.parametrize("fault", ["shuffle", "null"])
def test_a_fault_of_an_unwatched_feature_is_no_evidence(fault: str, tmp_path: Path) -> None:
    """Watched, a fault deviates; unwatched, no reading does, also not of the features that go with it."""
    del tmp_path
    baseline, _ = counts_of(rows_of(3_000, 1), NAMES, None)
    _, counts = counts_of(rows_of(800, 2, **{fault: "b"}), NAMES, baseline)
    window = Window(NOW, NOW, "1", counts, counts)
    readings = read_signals(Policy(), baseline, window)
    assert any(reading.evidence is Evidence.BAD and reading.feature == "b" for reading in readings)
    other_readings = read_signals(Policy(unwatched_features=("b",)), baseline, window)
    assert not any(reading.feature == "b" for reading in other_readings)
    assert not [reading.key for reading in other_readings if reading.evidence is Evidence.BAD]


def test_a_limit_of_one_feature_holds_for_it_alone() -> None:
    """A higher limit silences one feature's signal; the severe limit is never below it."""
    baseline, _ = counts_of(rows_of(3_000, 1), NAMES, None)
    _, counts = counts_of([{**row, "b": None, "c": None} for row in rows_of(800, 2)], NAMES, baseline)
    window = Window(NOW, NOW, "1", counts, counts)
    policy = Policy(feature_limits={"missing_rate:b": 1.0})
    readings = {reading.key: reading for reading in read_signals(policy, baseline, window)}
    assert readings["missing_rate:b"].evidence is Evidence.OK
    assert readings["missing_rate:b"].moderate_limit == 1.0
    assert readings["missing_rate:b"].severe_limit == 1.0
    assert readings["missing_rate:c"].evidence is Evidence.BAD
