"""Baseline noise: the associations of a healthy period, and how far its chunks deviate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.signals import Evidence, Signal
from stillsafe.init import infer
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.noise import baseline_noise, chunks, joint_table
from stillsafe.monitoring.profile import profile_features
from stillsafe.monitoring.tally import tally
from stillsafe.store.codec import dumps, to_document
from tests.core.healthy import START
from tests.monitoring.related import FEATURES, by_key, classifier, machines

ASSOCIATED_NAMES = {"load", "heat", "vibration", "humidity", "tint", "site"}


def columns(table: pd.DataFrame) -> Columns:
    """Unscored rows as the log would hold them."""
    schema = infer.describe(table).schema
    none = [None] * len(table)
    return reference_columns(schema, infer.rows_of(table, schema), none, none, salt="s")


def healthy_of(table: pd.DataFrame) -> tuple[Columns, Baseline]:
    """Rows and their baseline."""
    rows = columns(table)
    return rows, reference_baseline(rows, infer.describe(table).schema, model_version="1", at=START)


def sample(count: int, seed: int) -> pd.DataFrame:
    """Features of machines."""
    return machines(count, seed)[list(FEATURES)]


def independent(count: int, seed: int, width: int = 5) -> pd.DataFrame:
    """Columns without associations."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame({f"x{at}": draw.normal(size=count) for at in range(width)})


def test_the_joint_table_has_only_associated_features() -> None:
    """Each of them, in order of name, with the rows of every bin; the independent feature is not in it."""
    rows, healthy = healthy_of(sample(2_000, 1))
    joint = healthy.joint
    assert joint is not None
    assert joint.features == tuple(sorted(ASSOCIATED_NAMES))
    sizes = [feature.bins.size for name in joint.features if (feature := healthy.features[name]).bins is not None]
    assert [len(row) for row in joint.counts] == list(range(sum(sizes), 0, -1))
    diagonal = [row[0] for row in joint.counts]
    assert sum(diagonal) == len(rows) * len(sizes)
    assert sum(map(sum, joint.counts)) == len(rows) * len(sizes) * (len(sizes) + 1) // 2
    assert all(0 < sd < 10 for sd in joint.row_sd)


def test_numbers_far_outside_count_in_the_outermost_bins() -> None:
    """A baseline with the bins of an earlier one counts outliers with the outermost ordinary numbers."""
    table = sample(1_000, 2)
    schema = infer.describe(table).schema
    previous = profile_features(columns(table), schema)
    odd = table.assign(load=np.where(np.arange(len(table)) < 50, 1e6, table["load"]))
    joint = joint_table(columns(odd), profile_features(columns(odd), schema, previous))
    assert joint is not None
    bins, start = previous["load"].bins, 0
    for name in joint.features[: joint.features.index("load")]:
        other_bins = previous[name].bins
        start += other_bins.size if other_bins is not None else 0
    assert bins is not None
    diagonal = [row[0] for row in joint.counts][start : start + bins.size]
    assert diagonal[bins.below] == diagonal[bins.above] == 0
    assert sum(diagonal) == 1_000


@pytest.mark.parametrize("table", [sample(199, 3), independent(3_000, 3), sample(3_000, 3)[["load"]]])
def test_without_rows_or_associations_there_is_no_joint_table(table: pd.DataFrame) -> None:
    """Too few rows, no associations, or one feature by itself."""
    rows, healthy = healthy_of(table)
    assert healthy.joint is None
    assert healthy.offset == {}
    assert not baseline_noise(rows, infer.describe(table).schema, healthy).offset


def test_a_wide_table_keeps_the_most_associated_features() -> None:
    """Its size is limited, and the most associated features stay in it."""
    draw = np.random.default_rng(4)
    hidden_numbers = draw.normal(size=600)
    strength = np.linspace(3.0, 0.8, 60)
    table = pd.DataFrame(
        {f"x{at:02}": weight * hidden_numbers + draw.normal(size=600) for at, weight in enumerate(strength)}
    )
    rows = columns(table)
    joint = joint_table(rows, profile_features(rows, infer.describe(table).schema))
    assert joint is not None
    assert 10 < len(joint.features) < 60
    assert len(joint.counts) <= 400
    numbers = {int(name[1:]) for name in joint.features}
    assert set(range(10)) <= numbers
    assert np.mean(list(numbers)) < 29.5


def test_a_steady_period_has_hardly_any_noise() -> None:
    """Rows from one distribution vary by next to nothing beyond sampling, and break no association."""
    _, healthy = healthy_of(sample(4_000, 5))
    shares = {key: value for key, value in healthy.offset.items() if key.startswith(Signal.BROKEN_RELATION_RATE)}
    assert {key.partition(":")[2] for key in shares} == ASSOCIATED_NAMES
    assert max(abs(value) for value in shares.values()) < 0.1
    share_variation = [healthy.variation.get(f"{Signal.BROKEN_RELATION_RATE}:{name}", 0.0) for name in ASSOCIATED_NAMES]
    shift_variation = [healthy.variation.get(f"{Signal.DISTRIBUTION_CHANGE}:{name}", 0.0) for name in FEATURES]
    assert max(share_variation) < 0.1
    assert max(shift_variation) < 0.05


def test_a_varying_period_widens_the_limits() -> None:
    """The same shift deviates from a steady period, and not from one whose loads varied as much from day to day."""
    steady, varying = sample(3_000, 6), sample(3_000, 6)
    days = np.repeat(np.array([-25.0, 20.0, -10.0, 30.0, -20.0, 25.0, 0.0, -25.0, 20.0, 10.0]), 300)
    varying["load"] += days
    key = f"{Signal.DISTRIBUTION_CHANGE}:load"
    results = []
    for table in (steady, varying):
        _, healthy = healthy_of(table)
        day = sample(600, 7).assign(load=lambda rows: rows["load"] + 20)
        results.append(
            (healthy.variation.get(key, 0.0), by_key(healthy, tally(columns(day), healthy, 0))[key].evidence)
        )
    assert results[1][0] > 0.1 > results[0][0]
    assert [evidence for _, evidence in results] == [Evidence.BAD, Evidence.OK]


def test_an_association_that_comes_and_goes_varies() -> None:
    """Chunks in which a column does not belong to its rows raise the variation of its association."""
    table = sample(4_000, 8)
    loose = table.copy()
    draw = np.random.default_rng(8)
    for start in range(0, 4_000, 800):
        part = loose.loc[start : start + 399, "tint"].to_numpy()
        loose.loc[start : start + 399, "tint"] = draw.permutation(part)
    key = f"{Signal.BROKEN_RELATION_RATE}:tint"
    steady, varying = (healthy_of(rows)[1].variation.get(key, 0.0) for rows in (table, loose))
    assert varying > max(0.1, 3 * steady)


def test_a_table_of_few_rows_fits_other_rows_less() -> None:
    """The offset of healthy rows is larger the fewer rows the association table was made of."""
    few, many = (np.mean(list(healthy_of(sample(count, 12))[1].offset.values())) for count in (400, 4_000))
    assert few > 2 * many > 0


def test_the_noise_of_a_row_predicts_that_of_a_window() -> None:
    """No healthy window shows much more, since it is measured on rows that the table was not made of."""
    service = classifier()
    joint = service.baseline.joint
    assert joint is not None
    bare, size = replace(service.baseline, variation={}, offset={}), 300
    pool = machines(40 * size, 9)
    windows = [by_key(bare, service.tally(pool.iloc[at : at + size])) for at in range(0, len(pool), size)]
    for name, sd in zip(joint.features, joint.row_sd, strict=True):
        shares = [readings[f"{Signal.BROKEN_RELATION_RATE}:{name}"].value or 0.0 for readings in windows]
        assert max(shares) < 5 * sd / np.sqrt(size)


def test_outputs_have_noise_too() -> None:
    """The variation of confidences and predictions is measured where there are any, and can be stored."""
    service = classifier()
    keys = {Signal.CONFIDENCE_CHANGE.value, Signal.PREDICTION_CHANGE.value}
    drifting = machines(2_000, 10).sort_values("load", ignore_index=True)
    rows = service.columns(drifting)
    healthy = reference_baseline(rows, service.schema, model_version="1", at=START)
    assert keys <= set(healthy.variation)
    assert all(value > 0.1 for key, value in healthy.variation.items() if key in keys)
    assert dumps(to_document(baseline_noise(rows, service.schema, healthy)))


def test_the_same_rows_make_the_same_baseline() -> None:
    """Byte for byte, since nothing is random."""
    texts = [dumps(to_document(healthy_of(sample(1_500, 11))[1])) for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("front_loaded", [False, True])
@pytest.mark.parametrize(("row_count", "count"), [(10, 3), (1_003, 10), (50, 1), (7, 7)])
def test_chunks_are_consecutive_and_of_equal_length(row_count: int, count: int, front_loaded: bool) -> None:
    """Every row is in one chunk, in order, and their lengths differ by one at most."""
    rows = np.arange(100, 100 + row_count)
    parts = chunks(rows, count, front_loaded=front_loaded)
    lengths = [len(part) for part in parts]
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert len(parts) == count
    assert max(lengths) - min(lengths) <= 1
    if front_loaded:
        assert lengths == sorted(lengths, reverse=True)
