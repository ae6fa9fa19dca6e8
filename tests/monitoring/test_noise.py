"""What a healthy period shows by itself: its relations, and how far they and the distributions wobble."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.signals import Evidence, Signal
from stillsafe.init import infer
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.columns import Columns, tally
from stillsafe.monitoring.noise import joint_of, wobble
from stillsafe.monitoring.profile import profile
from stillsafe.store.codec import dumps, to_document
from tests.core.healthy import START
from tests.core.related import FEATURES, by_key, classifier, machines

RELATED = {"load", "heat", "vibration", "humidity", "tint", "site"}


def columns(table: pd.DataFrame) -> Columns:
    """Unscored rows as the log would hold them."""
    schema = infer.describe(table).schema
    none = [None] * len(table)
    return reference_columns(schema, infer.rows_of(table, schema), none, none, salt="s")


def healthy_of(table: pd.DataFrame) -> tuple[Columns, Baseline]:
    """Rows and the baseline made of them."""
    found = columns(table)
    return found, reference_baseline(found, infer.describe(table).schema, model_version="1", at=START)


def sample(count: int, seed: int) -> pd.DataFrame:
    """Features of machines."""
    return machines(count, seed)[list(FEATURES)]


def unrelated(count: int, seed: int, width: int = 5) -> pd.DataFrame:
    """Columns that have nothing to do with one another."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame({f"x{at}": draw.normal(size=count) for at in range(width)})


def test_the_joint_table_holds_the_related_features_only() -> None:
    """Each of them, in order of name, with the rows that every bin was seen on; chatter is no relation."""
    found, healthy = healthy_of(sample(2_000, 1))
    joint = healthy.joint
    assert joint is not None
    assert joint.features == tuple(sorted(RELATED))
    sizes = [feature.bins.size for name in joint.features if (feature := healthy.features[name]).bins is not None]
    assert [len(row) for row in joint.counts] == list(range(sum(sizes), 0, -1))
    diagonal = [row[0] for row in joint.counts]
    assert sum(diagonal) == len(found) * len(sizes)
    assert sum(map(sum, joint.counts)) == len(found) * len(sizes) * (len(sizes) + 1) // 2
    assert all(0 < sd < 10 for sd in joint.row_sd)


def test_numbers_far_outside_are_counted_inside() -> None:
    """A later baseline with the known bins of an earlier one counts strays with the outermost ordinary numbers."""
    table = sample(1_000, 2)
    schema = infer.describe(table).schema
    known = profile(columns(table), schema)
    odd = table.assign(load=np.where(np.arange(len(table)) < 50, 1e6, table["load"]))
    joint = joint_of(columns(odd), profile(columns(odd), schema, known))
    assert joint is not None
    bins, start = known["load"].bins, 0
    for name in joint.features[: joint.features.index("load")]:
        before = known[name].bins
        start += before.size if before is not None else 0
    assert bins is not None
    diagonal = [row[0] for row in joint.counts][start : start + bins.size]
    assert diagonal[bins.below] == diagonal[bins.above] == 0
    assert sum(diagonal) == 1_000


@pytest.mark.parametrize("table", [sample(199, 3), unrelated(3_000, 3), sample(3_000, 3)[["load"]]])
def test_without_rows_or_relations_there_is_no_joint_table(table: pd.DataFrame) -> None:
    """Too few rows, nothing that belongs together, or one feature by itself."""
    found, healthy = healthy_of(table)
    assert healthy.joint is None
    assert healthy.offset == {}
    assert not wobble(found, healthy).offset


def test_a_wide_table_keeps_the_most_related_features() -> None:
    """Its size is bounded: what goes together most closely stays in."""
    draw = np.random.default_rng(4)
    hidden = draw.normal(size=600)
    strength = np.linspace(3.0, 0.8, 60)
    table = pd.DataFrame({f"x{at:02}": weight * hidden + draw.normal(size=600) for at, weight in enumerate(strength)})
    found = columns(table)
    joint = joint_of(found, profile(found, infer.describe(table).schema))
    assert joint is not None
    assert 10 < len(joint.features) < 60
    assert len(joint.counts) <= 400
    kept = {int(name[1:]) for name in joint.features}
    assert set(range(10)) <= kept
    assert np.mean(list(kept)) < 29.5


def test_a_steady_period_hardly_wobbles() -> None:
    """Rows that are all drawn from one world vary by next to nothing beyond sampling, and break no relation."""
    _, healthy = healthy_of(sample(4_000, 5))
    relations = {key: value for key, value in healthy.offset.items() if key.startswith(Signal.BROKEN_RELATION_RATE)}
    assert {key.partition(":")[2] for key in relations} == RELATED
    assert max(abs(value) for value in relations.values()) < 0.1
    wobbly = [healthy.variation.get(f"{Signal.BROKEN_RELATION_RATE}:{name}", 0.0) for name in RELATED]
    moving = [healthy.variation.get(f"{Signal.DISTRIBUTION_CHANGE}:{name}", 0.0) for name in FEATURES]
    assert max(wobbly) < 0.1
    assert max(moving) < 0.05


def test_a_period_that_wobbles_allows_for_it() -> None:
    """Where loads rise and fall from day to day, as much is no deviation; where they were steady, it is."""
    steady, restless = sample(3_000, 6), sample(3_000, 6)
    days = np.repeat(np.array([-25.0, 20.0, -10.0, 30.0, -20.0, 25.0, 0.0, -25.0, 20.0, 10.0]), 300)
    restless["load"] += days
    key = f"{Signal.DISTRIBUTION_CHANGE}:load"
    told = []
    for table in (steady, restless):
        _, healthy = healthy_of(table)
        day = sample(600, 7).assign(load=lambda rows: rows["load"] + 20)
        told.append((healthy.variation.get(key, 0.0), by_key(healthy, tally(columns(day), healthy, 0))[key].evidence))
    assert told[1][0] > 0.1 > told[0][0]
    assert [evidence for _, evidence in told] == [Evidence.BAD, Evidence.OK]


def test_a_relation_that_comes_and_goes_wobbles() -> None:
    """Stretches on which a column did not belong to its rows make its relation less to be relied on."""
    table = sample(4_000, 8)
    loose = table.copy()
    draw = np.random.default_rng(8)
    for start in range(0, 4_000, 800):
        part = loose.loc[start : start + 399, "tint"].to_numpy()
        loose.loc[start : start + 399, "tint"] = draw.permutation(part)
    key = f"{Signal.BROKEN_RELATION_RATE}:tint"
    calm, wobbly = (healthy_of(rows)[1].variation.get(key, 0.0) for rows in (table, loose))
    assert wobbly > max(0.1, 3 * calm)


def test_a_table_of_few_rows_fits_other_rows_less() -> None:
    """Healthy rows that a table has not seen seem broken to it, the more so the fewer it was made of: that is told."""
    few, many = (np.mean(list(healthy_of(sample(count, 12))[1].offset.values())) for count in (400, 4_000))
    assert few > 2 * many > 0


def test_the_noise_of_a_row_foretells_that_of_a_window() -> None:
    """It is measured on rows that the table has not seen: no healthy window shows much more than it."""
    service = classifier()
    joint = service.baseline.joint
    assert joint is not None
    bare, size = replace(service.baseline, variation={}, offset={}), 300
    pool = machines(40 * size, 9)
    windows = [by_key(bare, service.tally(pool.iloc[at : at + size])) for at in range(0, len(pool), size)]
    for name, sd in zip(joint.features, joint.row_sd, strict=True):
        shares = [readings[f"{Signal.BROKEN_RELATION_RATE}:{name}"].value or 0.0 for readings in windows]
        assert max(shares) < 5 * sd / np.sqrt(size)


def test_outputs_wobble_too() -> None:
    """The variation of confidences and answers is measured where there are any, and every number is storable."""
    service = classifier()
    known = {Signal.CONFIDENCE_CHANGE.value, Signal.PREDICTION_CHANGE.value}
    drifting = machines(2_000, 10).sort_values("load", ignore_index=True)
    found = service.columns(drifting)
    healthy = reference_baseline(found, service.schema, model_version="1", at=START)
    assert known <= set(healthy.variation)
    assert all(value > 0.1 for key, value in healthy.variation.items() if key in known)
    assert dumps(to_document(wobble(found, healthy)))


def test_the_same_rows_make_the_same_baseline() -> None:
    """Nothing is drawn by chance: byte for byte."""
    made = [dumps(to_document(healthy_of(sample(1_500, 11))[1])) for _ in range(2)]
    assert made[0] == made[1]
