"""Every reading can be computed again: by pandas from the rows, and by a calculator from the steps."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import Evidence, Reading, Signal
from stillsafe.core.window import Window
from stillsafe.model.frame import frame
from stillsafe.monitoring.run_detail import derive
from tests.core.healthy import a_window
from tests.monitoring.formulas import as_documents, check_reading, reading_document
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline, window_of
from tests.monitoring.related import FEATURES, POLICY, Service, classifier, machines, permute, regressor

ROWS = 500
HALF = np.arange(ROWS) < ROWS // 2


def _damages() -> dict[str, pd.DataFrame]:
    healthy = machines(ROWS, 6)
    pool = machines(6_000, 3)
    odds = pool["load"].rank().to_numpy() ** 3
    heavier = np.random.default_rng(3).choice(len(pool), ROWS, replace=False, p=odds / odds.sum())
    return {
        "healthy": healthy,
        "missing": healthy.assign(heat=healthy["heat"].mask(HALF)),
        "all missing": healthy.assign(load=np.nan),
        "another unit": healthy.assign(load=healthy["load"] * 5),
        "stuck": healthy.assign(humidity=55.5),
        "a new category": healthy.assign(site=healthy["site"].where(HALF, "moon")),
        "on the wrong rows": permute(healthy, "load"),
        "two on the wrong rows": permute(healthy, "load", "humidity"),
        "half on the wrong rows": permute(healthy, "humidity", share=0.6),
        "other machines": pool.iloc[heavier].reset_index(drop=True),
    }


DAMAGES = _damages()


def derivation_documents(
    service: Service, window: Window, policy: Any = POLICY
) -> tuple[dict[str, Reading], dict[str, list[dict[str, Any]]]]:
    """The readings of a window and how each came about, by key."""
    readings = read_signals(policy, service.baseline, window)
    steps = derive(policy, service.baseline, window, readings)
    return {reading.key: reading for reading in readings}, {key: as_documents(each) for key, each in steps.items()}


def rows_by_bin(values: pd.Series, profile: FeatureBaseline) -> list[int]:
    """Rows in each of the baseline's bins, as a person counts them with pandas."""
    bins = profile.bins
    assert bins is not None
    if bins.lowest is None:
        counts = [int((values == category).sum()) for category in bins.categories]
        is_rare = values.isin(list(profile.category_counts)) & ~values.isin(list(bins.categories))
        unseen = int(values.notna().sum()) - sum(counts) - int(is_rare.sum())
        return [*counts, int(is_rare.sum()), unseen, int(values.isna().sum())]
    cells = pd.cut(values.astype(float), [-np.inf, *bins.edges, np.inf])
    return [*cells.value_counts(sort=False).tolist(), 0, 0, int(values.isna().sum())]


def _event_count(table: pd.DataFrame, signal: Signal, name: str, profile: FeatureBaseline) -> int:
    values = table[name]
    match signal:
        case Signal.MISSING_RATE:
            return int(values.isna().sum())
        case Signal.UNSEEN_CATEGORY_RATE:
            return int((values.notna() & ~values.isin(list(profile.category_counts))).sum())
        case Signal.OUT_OF_RANGE_RATE:
            return int(((values < profile.minimum) | (values > profile.maximum)).sum())
    raise AssertionError(signal)


def _check_counts(table: pd.DataFrame, service: Service, reading: Reading, steps: Mapping[str, Any]) -> None:
    """The counts of one reading are those that pandas finds in the rows."""
    baseline, name = service.baseline, reading.feature
    scores = service.model.score(service.rows(table))
    confidences = pd.Series([score.confidence for score in scores], dtype=float)
    match reading.signal:
        case Signal.AVG_CONFIDENCE:
            assert steps["confidence_sum"] == pytest.approx(confidences.sum())
            assert steps["variance"] == pytest.approx(confidences.var(ddof=0), abs=1e-9)
        case Signal.LOW_CONFIDENCE_RATE:
            assert steps["event_count"] == (confidences < steps["threshold"]).sum()
        case Signal.CONFIDENCE_CHANGE:
            assert steps["window_count"].tolist() == rows_by_bin(confidences, baseline.outputs["confidence"])
        case Signal.PREDICTION_CHANGE if service.model.classes:
            answers = pd.Series([score.text for score in scores])
            assert steps["window_count"].tolist() == rows_by_bin(answers, baseline.outputs["prediction"])
        case Signal.REPEATED_VALUE_RATE if name is not None:
            assert steps["number_count"] == table[name].value_counts().max()
            assert (table[name] == steps["number"]).sum() == steps["number_count"]
        case Signal.DISTRIBUTION_CHANGE if name is not None:
            assert steps["window_count"].tolist() == rows_by_bin(table[name], baseline.features[name])
        case Signal.BROKEN_RELATION_RATE if name is not None:
            _check_relation(table, service, name, steps)
        case _ if name is not None:
            assert steps["event_count"] == _event_count(table, reading.signal, name, baseline.features[name])
            assert steps["count"] == (len(table) if reading.signal is Signal.MISSING_RATE else table[name].count())


def _check_relation(table: pd.DataFrame, service: Service, name: str, steps: Mapping[str, Any]) -> None:
    """The observed mean PMI with each partner is the mean over the rows of the PMI of their two bins."""
    joint = service.baseline.joint
    assert joint is not None
    sizes = [service.baseline.features[each].bins.size for each in joint.features]  # type: ignore[union-attr] # have bins
    upper = np.zeros((sum(sizes), sum(sizes)))
    upper[np.triu_indices(sum(sizes))] = np.concatenate([np.array(row, dtype=float) for row in joint.counts])
    counts = pd.DataFrame(upper + np.triu(upper, 1).T)
    starts = dict(zip(joint.features, np.cumsum([0, *sizes]).tolist(), strict=False))
    size, prior = dict(zip(joint.features, sizes, strict=True)), POLICY.evidence.association_prior_rows
    own = counts.iloc[starts[name] : starts[name] + size[name]]
    rows = np.diag(own.iloc[:, starts[name] : starts[name] + size[name]]).sum()
    for partner, observed_pmi in zip(steps["partner"], steps["observed"], strict=True):
        block = own.iloc[:, starts[partner] : starts[partner] + size[partner]].to_numpy()
        pair_counts = pd.crosstab(_bin_codes(table, service, name), _bin_codes(table, service, partner))
        singles = [
            np.diag(counts.iloc[starts[n] : starts[n] + size[n], starts[n] : starts[n] + size[n]])
            for n in (name, partner)
        ]
        pmi = np.log((block + prior) / (np.outer(*singles) / rows + prior))
        cells = pmi[np.ix_(pair_counts.index.to_numpy(int), pair_counts.columns.to_numpy(int))]
        mean = float((pair_counts.to_numpy() * cells).sum()) / len(table)
        assert observed_pmi == pytest.approx(mean, abs=1e-6), (name, partner)


def _bin_codes(table: pd.DataFrame, service: Service, name: str) -> pd.Series:
    profile = service.baseline.features[name]
    bins = profile.bins
    assert bins is not None
    if bins.lowest is None:
        positions = {category: index for index, category in enumerate(bins.categories)}
        codes = table[name].map(positions)
        return codes.where(codes.notna() | table[name].isna(), bins.above).fillna(bins.missing).astype(int)
    cells = pd.cut(table[name].astype(float), [-np.inf, *bins.edges, np.inf], labels=False)
    return cells.fillna(bins.missing).astype(int)


@pytest.mark.parametrize("service", [classifier(), regressor()], ids=["classifier", "regressor"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_reading_can_be_computed_again(service: Service, damage: str) -> None:
    """Each formula gives its step, each derivation its reading, and pandas the counts that they start from."""
    table = DAMAGES[damage]
    readings, derivations = derivation_documents(service, a_window(service.tally(table), silent_seconds=0.0))
    assert derivations.keys() == readings.keys()
    for key, reading in readings.items():
        steps = check_reading(derivations[key], reading_document(reading))
        if reading.evidence is not Evidence.INSUFFICIENT and reading.signal is not Signal.SILENCE_SECONDS:
            assert {"value", "reference", "moderate_limit", "severe_limit", "distance"} <= steps.keys() or (
                reading.moderate_limit is None
            )
            _check_counts(table, service, reading, steps)


def test_the_damages_reach_every_signal_of_features_and_outputs() -> None:
    """The examples of this file leave no signal of the rows without a deviation."""
    deviating = set()
    for table in DAMAGES.values():
        for service in (classifier(), regressor()):
            readings, _ = derivation_documents(service, a_window(service.tally(table), silent_seconds=0.0))
            deviating |= {reading.signal for reading in readings.values() if reading.evidence is Evidence.BAD}
    assert deviating >= {
        Signal.AVG_CONFIDENCE,
        Signal.MISSING_RATE,
        Signal.UNSEEN_CATEGORY_RATE,
        Signal.OUT_OF_RANGE_RATE,
        Signal.REPEATED_VALUE_RATE,
        Signal.BROKEN_RELATION_RATE,
        Signal.DISTRIBUTION_CHANGE,
        Signal.CONFIDENCE_CHANGE,
        Signal.PREDICTION_CHANGE,
        Signal.ESTIMATED_ACCURACY_LOSS,
        Signal.ESTIMATED_ERROR_GROWTH,
    }


def test_the_signals_of_the_traffic_can_be_computed_again() -> None:
    """Refusals, model errors, repeated rows and silence follow from the counts of the window."""
    service = classifier()
    tally = replace(service.tally(DAMAGES["healthy"]), refusal_count=80, model_error_count=30, repeated_count=0)
    tally = replace(tally, prediction_count=tally.prediction_count + 300, repeated_count=300)
    policy = replace(POLICY, silence_seconds=600.0)
    readings, derivations = derivation_documents(service, a_window(tally, silent_seconds=700.0), policy)
    events = {"refusal_rate": 80, "model_error_rate": 30, "repeated_row_rate": 300}
    for key in (*events, "silence_seconds"):
        assert readings[key].evidence is Evidence.BAD
        steps = check_reading(derivations[key], reading_document(readings[key]))
        assert steps.get("event_count") == events.get(key)
    service = replace(service, baseline=replace(service.baseline, longest_pause_seconds=400.0))
    readings, derivations = derivation_documents(service, a_window(tally, silent_seconds=1300.0))
    steps = check_reading(derivations["silence_seconds"], reading_document(readings["silence_seconds"]))
    assert steps["moderate_limit"] == 1200


def test_an_estimate_is_derived_from_what_init_tried() -> None:
    """The derivation names the damaged feature, its share, and the loss that the study measured bin by bin."""
    service = classifier()
    readings, derivations = derivation_documents(
        service, a_window(service.tally(DAMAGES["another unit"]), silent_seconds=0.0)
    )
    steps = check_reading(derivations["estimated_accuracy_loss"], reading_document(readings["estimated_accuracy_loss"]))
    harm = service.baseline.harm
    assert harm is not None
    assert steps["feature_1"] == "load"
    bin_losses = [harm.features["load"].permuted if loss is None else loss for loss in harm.features["load"].at]
    assert steps["tried_1"].tolist() == bin_losses
    assert any(step["name"] == "loss_1" and step["formula"] for step in derivations["estimated_accuracy_loss"])


def test_an_owners_limit_and_a_limit_of_noise_say_where_they_come_from() -> None:
    """A limit is the larger one of an effect, whose origin is named, and noise."""
    service = classifier()
    policy = replace(POLICY, feature_limits={"missing_rate:heat": 0.001}, written_limits=("missing_rate_severe",))
    window = a_window(service.tally(DAMAGES["missing"]), silent_seconds=0.0)
    readings, derivations = derivation_documents(service, window, policy)
    reading, steps = readings["missing_rate:heat"], derivations["missing_rate:heat"]
    step_values = check_reading(steps, reading_document(reading))
    assert step_values["moderate_limit"] == pytest.approx(step_values["noise"], abs=1e-6)
    assert step_values["severe_limit"] == POLICY.missing_rate_severe
    effects = [step["meaning"] for step in steps if step["name"].endswith("_effect")]
    assert all(meaning.endswith("of the settings") for meaning in effects)
    assert reading.noise == pytest.approx(step_values["noise"], abs=1e-6)


def test_too_few_rows_say_how_many_are_needed() -> None:
    """An inconclusive reading says what it lacks."""
    service = classifier()
    window = a_window(service.tally(DAMAGES["healthy"].head(20)), silent_seconds=0.0)
    readings, derivations = derivation_documents(service, window)
    reading = readings["missing_rate:heat"]
    assert reading.evidence is Evidence.INSUFFICIENT
    steps = {step["name"]: step["value"] for step in derivations["missing_rate:heat"]}
    assert (steps["window_count"], steps["min_predictions"]) == (20, POLICY.min_predictions)
    assert frame(service.schema, service.rows(DAMAGES["healthy"])).shape == (ROWS, len(FEATURES))


@pytest.mark.parametrize("fault", ["none", "day for night", "wrong hour"])
def test_a_run_is_derived_from_the_baseline_of_its_own_hours(fault: str) -> None:
    """Where a baseline knows the hours, the references of a derivation are those of the window's hours."""
    traffic = Traffic()
    baseline = hourly_baseline(traffic.rows(MONDAY, 14, 20, 1))
    rows = traffic.rows(MONDAY + timedelta(days=15, hours=3), 0.25, 60, 2)
    if fault == "day for night":
        rows = replace(traffic.rows(MONDAY + timedelta(days=15, hours=15), 0.25, 60, 2), times=rows.times)
    if fault == "wrong hour":
        numbers = {**rows.numbers, "hour": (rows.numbers["hour"] + 9) % 24} if "hour" in rows.numbers else rows.numbers
        rows = replace(rows, numbers=numbers)
    window = window_of(rows, baseline)
    assert window.slot_counts
    slot_baseline = composed_baseline(baseline, window.slot_counts)
    readings = read_signals(POLICY, slot_baseline, window)
    derivations = derive(POLICY, slot_baseline, window, readings)
    for reading in readings:
        steps = check_reading(as_documents(derivations[reading.key]), reading_document(reading))
        if reading.key == "distribution_change:size":
            assert steps["window_count"].sum() == len(rows)
    bad = {reading.key for reading in readings if reading.evidence is Evidence.BAD}
    assert bool(bad) is (fault != "none")


def test_a_change_without_alarm_says_what_it_may_cost() -> None:
    """An unusual value of a feature that the model ignores is a change: its possible loss is below what matters."""
    service, healthy = classifier(), DAMAGES["healthy"]
    window = a_window(service.tally(healthy.assign(chatter=healthy["chatter"] + 2.0)), silent_seconds=0.0)
    readings, derivations = derivation_documents(service, window)
    reading = readings["distribution_change:chatter"]
    assert reading.is_change
    steps = check_reading(derivations[reading.key], reading_document(reading))
    assert steps["distance"] > steps["moderate_limit"]
    assert steps["possible_loss"] < steps["loss_limit"] == POLICY.estimated_accuracy_loss_moderate
