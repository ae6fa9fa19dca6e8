"""How a healthy period wobbles."""

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.core.signals import Signal
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from tests.core.healthy import START

NAMES = ("first", "second", "third")
SCHEMA = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC) for name in NAMES))


def baseline(rows: int, *, season: float = 0.0) -> Baseline:
    """Two related features and one that is related to none; with a season, the third drifts through the period."""
    draw = np.random.default_rng(rows)
    first = draw.normal(0, 1, rows)
    second = first + draw.normal(0, 0.3, rows)
    third = draw.normal(0, 1, rows) + season * np.sin(np.linspace(0, 6.3, rows))
    snapshots: list[Row] = [
        dict(zip(NAMES, map(float, row), strict=True)) for row in zip(first, second, third, strict=True)
    ]
    confidences = np.clip(draw.normal(0.8, 0.1, rows), 0, 1).tolist()
    found = reference_columns(SCHEMA, snapshots, confidences, ["yes"] * rows, salt="salt")
    return reference_baseline(found, SCHEMA, model_version="1", at=START)


def test_only_related_features_are_kept_together() -> None:
    """The joint table holds the two that go together, and counts every row once."""
    joint = baseline(2_000).joint
    assert joint is not None
    assert joint.features == ("first", "second")
    diagonal = sum(row[0] for row in joint.counts)
    assert diagonal == 2 * 2_000
    assert all(sd > 0 for sd in joint.row_sd)


def test_too_few_rows_make_no_table() -> None:
    """Below two hundred rows nothing can be said of what goes together."""
    assert baseline(150).joint is None


def test_noise_of_relations_is_measured_on_rows_the_table_has_not_seen() -> None:
    """Healthy stretches show a small share, which is what later windows are compared with."""
    made = baseline(2_000)
    for name in ("first", "second"):
        assert abs(made.offset[f"{Signal.BROKEN_RELATION_RATE}:{name}"]) < 0.2


def test_a_season_widens_what_is_usual() -> None:
    """A feature that moves through the healthy period by itself is allowed to go on doing so; the others are not."""
    key = f"{Signal.DISTRIBUTION_CHANGE}:third"
    calm, seasonal = baseline(2_000), baseline(2_000, season=1.5)
    assert seasonal.variation[key] > 0.2
    assert calm.variation.get(key, 0.0) < 0.05
    assert seasonal.variation.get(f"{Signal.DISTRIBUTION_CHANGE}:first", 0.0) < 0.05


@pytest.mark.parametrize("rows", [60, 300, 3_000])
def test_the_same_rows_make_the_same_baseline(rows: int) -> None:
    """There is no chance in it."""
    assert baseline(rows) == baseline(rows)
