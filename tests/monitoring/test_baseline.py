"""Baselines: from healthy periods only, unchanging, and with the variation of healthy traffic."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from stillsafe.core.baseline import BaselineSource
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.core.state import State
from stillsafe.errors import BaselineRefused, ConfigurationError
from stillsafe.monitoring import baseline
from stillsafe.monitoring.columns import Columns, DictionaryColumn
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.baselines import active_baseline, all_baselines
from stillsafe.store.read.requests import first_healthy_rows
from tests.monitoring.conftest import START, STEP, Service, lose, settings


def test_the_first_predictions_make_a_baseline(bare_service: Service) -> None:
    """`create` uses the requested number of healthy predictions, and the version is monitored from then on."""
    bare_service.make_baseline(500)
    with database.reading(bare_service.engine) as connection:
        active = active_baseline(connection, "1")
    assert active is not None
    assert (active.source, active.sample_size, active.confidence_count) == (BaselineSource.FIRST, 500, 500)
    assert active.avg_confidence == pytest.approx(0.85, abs=0.01)
    assert active.low_confidence_rate == pytest.approx(0.10, abs=0.01)
    assert set(active.features) == {"size", "floor", "lift", "town"}


def test_too_few_predictions_are_refused_with_the_number(bare_service: Service) -> None:
    """A baseline of fewer rows than requested is not made silently."""
    bare_service.send(300)
    with pytest.raises(BaselineRefused, match=r"300 healthy predictions .* requires 400"):
        baseline.create(bare_service.engine, bare_service.settings, baseline.HealthyPeriod(400), at=START)
    with pytest.raises(BaselineRefused, match="at least 200"):
        baseline.create(bare_service.engine, bare_service.settings, baseline.HealthyPeriod(100), at=START)


def test_a_period_that_contradicts_itself_is_refused(bare_service: Service) -> None:
    """Halves that deviate from one another are refused with the numbers, unless a person accepts it."""
    bare_service.send(500)
    bare_service.send(500, start=START + STEP, change=lose("town", 0.5))
    with pytest.raises(BaselineRefused, match=r"contradicts itself") as refusal:
        baseline.create(
            bare_service.engine, bare_service.settings, baseline.HealthyPeriod(1000), at=START + timedelta(hours=1)
        )
    assert any("town is missing in 50.0%" in sentence for sentence in refusal.value.evidence)
    new_baseline = baseline.create(
        bare_service.engine,
        bare_service.settings,
        baseline.HealthyPeriod(first=1000, accept_contradiction=True),
        at=START + timedelta(hours=1),
    )
    assert new_baseline.variation["missing_rate:town"] > 0.2


def test_a_bypassed_period_is_not_healthy(bare_service: Service) -> None:
    """A span in which the fallback answered is refused."""
    bare_service.send(400)
    bare_service.send(100, model_error="raised ValueError")
    with pytest.raises(BaselineRefused, match="answered by the fallback"):
        baseline.create(
            bare_service.engine,
            bare_service.settings,
            baseline.HealthyPeriod(since=START, until=START + STEP),
            at=START + timedelta(hours=1),
        )


def test_a_span_counts_its_refusals(bare_service: Service) -> None:
    """A baseline of a span of time has the number of requests refused in it."""
    bare_service.send(400)
    bare_service.refuse(20)
    new_baseline = baseline.create(
        bare_service.engine,
        bare_service.settings,
        baseline.HealthyPeriod(since=START, until=START + STEP),
        at=START + STEP,
    )
    assert (new_baseline.source, new_baseline.refusal_count) == (BaselineSource.SPAN, 20)
    assert new_baseline.longest_pause_seconds == pytest.approx(1.5, abs=0.1)


def test_one_baseline_is_active_and_any_can_be(bare_service: Service) -> None:
    """A new baseline takes over; an older one can be activated again; an unknown one is refused."""
    bare_service.send(600)
    first = baseline.create(bare_service.engine, bare_service.settings, baseline.HealthyPeriod(300), at=START + STEP)
    second = baseline.create(
        bare_service.engine, bare_service.settings, baseline.HealthyPeriod(600), at=START + 2 * STEP
    )
    with database.reading(bare_service.engine) as connection:
        assert [r.baseline.baseline_id for r in all_baselines(connection) if r.active] == [second.baseline_id]
    baseline.activate(bare_service.engine, first.baseline_id)
    with database.reading(bare_service.engine) as connection:
        assert [r.baseline.baseline_id for r in all_baselines(connection) if r.active] == [first.baseline_id]
    with pytest.raises(BaselineRefused, match="baseline list"):
        baseline.activate(bare_service.engine, "nonsense")


def test_variation_is_what_sampling_does_not_explain(bare_service: Service) -> None:
    """Steady traffic varies by nearly nothing; a confidence that changes from hour to hour has that variation."""
    bare_service.make_baseline(1000)
    for hour in range(10):
        bare_service.send(100, start=START + timedelta(hours=hour), confidence=0.75 if hour % 2 else 0.85)
    swinging = baseline.create(
        bare_service.engine,
        bare_service.settings,
        baseline.HealthyPeriod(since=START, until=START + timedelta(days=1)),
        at=START + timedelta(days=1),
    )
    with database.reading(bare_service.engine) as connection:
        steady = all_baselines(connection)[-1].baseline
    assert steady.variation.get("avg_confidence", 0.0) < 0.01
    assert swinging.variation["avg_confidence"] == pytest.approx(0.05, abs=0.01)


def test_a_reference_monitors_a_version_from_its_first_request(bare_service: Service, tmp_path: Path) -> None:
    """The reference file becomes an active baseline once, and again only for another version."""
    rows: list[Row] = [{"size": float(i), "floor": 1, "lift": True, "town": "A"} for i in range(300)]
    schema = bare_service.settings.schema_of_features
    columns = baseline.reference_columns(schema, rows, [0.9] * 300, ["1"] * 300, salt="")
    new_baseline = baseline.reference_baseline(columns, schema, model_version="1", at=START)
    (tmp_path / "reference.json").write_text(json.dumps({"baseline": to_document(new_baseline)}))
    for _ in range(2):
        baseline.ensure_reference(bare_service.engine, bare_service.settings)
    with database.reading(bare_service.engine) as connection:
        assert active_baseline(connection, "1") == new_baseline
        assert len(all_baselines(connection)) == 1


def test_a_reference_never_replaces_a_baseline_from_the_log(service: Service, tmp_path: Path) -> None:
    """A reference that appears later is stored, and the active baseline stays active."""
    schema = service.settings.schema_of_features
    rows: list[Row] = [{"size": 1.0, "floor": 1, "lift": True, "town": "A"}] * 100
    columns = baseline.reference_columns(schema, rows, [0.9] * 100, ["1"] * 100, salt="")
    new_baseline = baseline.reference_baseline(columns, schema, model_version="1", at=START)
    (tmp_path / "reference.json").write_text(json.dumps({"baseline": to_document(new_baseline)}))
    baseline.ensure_reference(service.engine, service.settings)
    with database.reading(service.engine) as connection:
        active = active_baseline(connection, "1")
    assert active is not None
    assert active.source is BaselineSource.FIRST


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"baseline": {}}', "not json"])
def test_a_broken_reference_is_one_clear_error(bare_service: Service, tmp_path: Path, text: str) -> None:
    """The error names the file and the remedy."""
    (tmp_path / "reference.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"reference\.json: .* `stillsafe init`"):
        baseline.ensure_reference(bare_service.engine, bare_service.settings)


def test_rows_without_confidence_make_a_baseline_of_inputs(bare_service: Service) -> None:
    """Without any confidence the confidence statistics are unknown, not zero."""
    rows: list[Row] = [{"size": 1.0, "floor": 1, "lift": True, "town": "A"}] * 100
    schema = bare_service.settings.schema_of_features
    columns = baseline.reference_columns(schema, rows, [None] * 100, ["1"] * 100, salt="")
    new_baseline = baseline.reference_baseline(columns, schema, model_version="1", at=START)
    assert new_baseline.avg_confidence is None
    assert new_baseline.confidence_sd is None
    assert all(math.isfinite(value) for value in new_baseline.variation.values())


def test_degraded_rows_are_never_first_healthy_ones(service: Service) -> None:
    """Neither bypassed rows nor those of deviating runs count among the first N."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    assert service.state() is State.DEGRADED
    with database.reading(service.engine) as connection:
        assert len(first_healthy_rows(connection, "1", 100_000)) == 2000
    assert settings(Path(service.settings.folder)) == service.settings


def test_a_span_with_deviating_runs_is_not_healthy(service: Service) -> None:
    """A period with deviating monitoring runs is refused, unless a person accepts it."""
    service.step()
    service.step(change=lose("town", 0.1))
    engine, service_settings, now = service.engine, service.settings, service.now
    with pytest.raises(BaselineRefused, match="1 monitoring runs deviated"):
        baseline.create(engine, service_settings, baseline.HealthyPeriod(since=START, until=now), at=now)
    new_baseline = baseline.create(
        engine, service_settings, baseline.HealthyPeriod(since=START, until=now, accept_contradiction=True), at=now
    )
    assert new_baseline.sample_size == 600


def test_a_burst_before_anything_changed_is_left_out(service: Service) -> None:
    """One deviating run leaves the state NORMAL, and its rows are not in the next baseline."""
    service.step()
    service.step(change=lose("town", 1.0))
    service.step()
    new_baseline = baseline.create(service.engine, service.settings, baseline.HealthyPeriod(2600), at=service.now)
    assert new_baseline.features["town"].missing_count == 0


def credit_rows(count: int, seed: int) -> Columns:
    """Rows of credit data: skewed numbers and small counts, and features that hardly go with one another."""
    draw = np.random.default_rng(seed)
    wealth = draw.normal(size=count)
    income = np.exp(8.6 + 0.5 * (0.35 * wealth + draw.normal(size=count)))
    use = np.clip(draw.beta(0.5, 1.2, count) - 0.1 * wealth, 0, None)
    late = draw.poisson(np.exp(-1.5 + 1.2 * use))
    ratio = np.exp(-1.2 + draw.normal(size=count) - 0.25 * (np.log(income) - 8.6))
    numbers = {
        "income": np.where(draw.random(count) < 0.2, np.nan, income),
        "age": np.round(52 + 15 * (0.3 * wealth + 0.95 * draw.normal(size=count))),
        "ratio": ratio,
        "lines": draw.poisson(np.exp(2 + 0.3 * wealth)),
        "loans": draw.poisson(np.exp(-0.1 + 0.4 * wealth)),
        "use": use,
        "late": late,
        "very_late": draw.binomial(late, 0.3),
    }
    none = np.zeros(count, dtype=np.bool_)
    return Columns(
        (),
        np.clip(1 - 0.4 * use + draw.normal(0, 0.05, count), 0.5, 1),
        none,
        none,
        DictionaryColumn.of(["0"] * count),
        {name: column.astype(np.float64) for name, column in numbers.items()},
        {},
        ~none,
    )


def test_a_healthy_shuffle_never_contradicts_itself() -> None:
    """Of sixty shuffles of six small samples none does: most did while the noise of the first half did not count."""
    for seed in range(6):
        rows = credit_rows(1_603, seed)
        schema = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC, required=False) for name in rows.numbers))
        for shuffle in range(10):
            order = np.random.default_rng((seed, shuffle)).permutation(len(rows))
            numbers = {name: column[order] for name, column in rows.numbers.items()}
            shuffled_rows = replace(rows, confidences=rows.confidences[order], numbers=numbers)
            assert baseline.contradictions(shuffled_rows, schema, Policy(), START) == []


def test_a_broken_half_contradicts_itself() -> None:
    """A column that belongs to other rows in the second half is found, where its association is strong enough."""
    rows = credit_rows(1_603, 7)
    schema = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC, required=False) for name in rows.numbers))
    debt = rows.numbers["lines"] * 3.0 + np.random.default_rng(1).normal(0, 4, len(rows))
    healthy = replace(rows, numbers={**rows.numbers, "age": debt})
    assert baseline.contradictions(healthy, schema, Policy(), START) == []
    debt = debt.copy()
    debt[801:] = np.random.default_rng(2).permutation(debt[801:])
    broken_rows = replace(rows, numbers={**rows.numbers, "age": debt})
    assert any("does not fit" in sentence for sentence in baseline.contradictions(broken_rows, schema, Policy(), START))
