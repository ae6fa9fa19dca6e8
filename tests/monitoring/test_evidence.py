"""The readings that need more than counts: relations, distributions, repeated numbers, and the estimated harm."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import decide
from stillsafe.core.evidence.impact import FeatureImpact, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import EvidencePolicy, Policy, evidence_reasons
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import FAILURE, Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity
from stillsafe.core.window import Tally, Window
from stillsafe.model.model import ModelKind
from stillsafe.monitoring.tally import tally
from stillsafe.store.codec import dumps, from_document, to_document
from tests.core.healthy import a_window

from .hours import MONDAY, Traffic, hourly_baseline, window_of
from .related import LEANT_ON, Service, bad, by_key, classifier, columns_of, machines, permute, regressor, unusual
from .related import service as service_of

HARM = {ModelKind.CLASSIFIER: Signal.ESTIMATED_ACCURACY_LOSS, ModelKind.REGRESSOR: Signal.ESTIMATED_ERROR_GROWTH}
NEW = {
    Signal.REPEATED_VALUE_RATE,
    Signal.BROKEN_RELATION_RATE,
    Signal.DISTRIBUTION_CHANGE,
    Signal.CONFIDENCE_CHANGE,
    Signal.PREDICTION_CHANGE,
    *HARM.values(),
}
Change = Callable[[pd.DataFrame], pd.DataFrame]
CORRUPTIONS: dict[str, Callable[[str], Change]] = {
    "missing": lambda name: lambda rows: rows.assign(**{name: np.nan}),
    "constant": lambda name: lambda rows: rows.assign(**{name: rows[name].median()}),
    "times a thousand": lambda name: lambda rows: rows.assign(**{name: rows[name] * 1_000}),
}


@pytest.fixture(scope="module", params=list(ModelKind))
def service(request: pytest.FixtureRequest) -> Service:
    return classifier() if request.param is ModelKind.CLASSIFIER else regressor()


def harm(readings: dict[str, Reading], service: Service) -> Reading:
    """The estimated loss."""
    return readings[HARM[service.model.kind]]


def windows(service: Service, size: int, count: int) -> list[Tally]:
    """Healthy windows, scored once and drawn from one pool without asking the model again."""
    pool = service.rows(machines(min(size * count, 20_000), 20))
    scores = service.model.score(pool)
    draw, tallies = np.random.default_rng(size), []
    for _ in range(count):
        at = draw.choice(len(pool), size, replace=False).tolist()
        columns = columns_of(service.schema, [pool[i] for i in at], [scores[i] for i in at])
        tallies.append(tally(columns, service.baseline, 0))
    return tallies


@pytest.mark.parametrize(("size", "count"), [(50, 200), (200, 200), (500, 100), (2_000, 30)])
def test_healthy_windows_practically_never_deviate(service: Service, size: int, count: int) -> None:
    """At most one in a hundred has any deviating reading, and none a severe one, from 50 to 2,000 rows."""
    reading_sets = [by_key(service.baseline, window_tally) for window_tally in windows(service, size, count)]
    assert sum(bool(bad(readings)) for readings in reading_sets) <= max(1, count // 100)
    assert not any(reading.level is Level.SEVERE for readings in reading_sets for reading in readings.values())
    estimates = [harm(readings, service).value or 0.0 for readings in reading_sets]
    assert np.mean(estimates) < 0.01


@pytest.mark.parametrize("name", LEANT_ON)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_permuted_column_costs_what_it_truly_costs(service: Service, name: str, share: float) -> None:
    """It is named, others only in its place; the estimate is severe, within a factor of two of the labelled loss."""
    healthy = machines(1_000, 21)
    spoilt = permute(healthy, name, share=share)
    readings = service.read(spoilt)
    relations = {reading.feature: reading.instead_of for reading in readings.values() if _is_broken(reading)}
    assert name in relations
    assert all(alternatives == (name,) for other, alternatives in relations.items() if other != name)
    assert not any(key.startswith(Signal.DISTRIBUTION_CHANGE) for key in bad(readings))
    loss_reading, true = harm(readings, service), service.loss(spoilt, healthy)
    assert loss_reading.level is Level.SEVERE
    assert loss_reading.value is not None
    assert true / 2 < loss_reading.value < 2 * true


@pytest.mark.parametrize("name", ["heat", "vibration", "tint", "site", "chatter"])
def test_a_permuted_column_that_the_model_ignores_costs_nothing(service: Service, name: str) -> None:
    """It may be found, and nothing about it is more than moderate, where its group goes with another one."""
    heavier = 5.0
    service = service_of(service.model.kind, heavier=heavier)
    readings = service.read(permute(machines(800, 22, heavier), name))
    assert all(reading.level is not Level.SEVERE for reading in readings.values())
    assert harm(readings, service).value == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("pair", [("load", "heat"), ("load", "vibration"), ("humidity", "tint"), ("humidity", "site")])
def test_columns_joined_wrongly_together_cost_what_the_worse_side_costs(
    service: Service, pair: tuple[str, str]
) -> None:
    """The larger harm counts, although the column that they left costs nothing; each reading names the other side."""
    healthy = machines(1_000, 40)
    spoilt = permute(healthy, *pair)
    readings = service.read(spoilt)
    loss_reading, true = harm(readings, service), service.loss(spoilt, healthy)
    assert loss_reading.level is Level.SEVERE
    assert loss_reading.value is not None
    assert true / 2 < loss_reading.value < 2 * true
    alternatives = {reading.feature: reading.instead_of for reading in readings.values() if _is_broken(reading)}
    left = next(name for name in alternatives if name not in pair)
    assert alternatives == {pair[0]: (left,), pair[1]: (left,), left: tuple(sorted(pair))}


def test_the_fallback_leans_on_neither_side_of_a_wrong_join(service: Service) -> None:
    """Three runs make it CRITICAL; the incident says either, and whatever may be damaged is not leant on."""
    memory, start = Memory(), a_window(service.tally(machines(500, 41)))
    for run in range(3):
        spoilt = service.tally(permute(machines(500, 42 + run), "load", "heat"))
        end = start.end + run * timedelta(minutes=10)
        decision = decide(Policy(), service.baseline, replace(a_window(spoilt), end=end), memory)
        memory = decision.memory
    assert decision.severity is Severity.CRITICAL
    assert decision.damaged_features == ("heat", "load", "vibration")
    assert "Either vibration or heat and load are damaged: the data does not show which." in decision.reason


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("name", LEANT_ON)
def test_a_ruined_column_that_the_model_leans_on_is_severe(service: Service, name: str, kind: str) -> None:
    """Missing, constant or in another unit: the estimate is severe as the truth is, within a factor of two of it."""
    healthy = machines(1_000, 23)
    corrupt_rows = CORRUPTIONS[kind](name)(healthy)
    loss_reading, true = harm(service.read(corrupt_rows), service), service.loss(corrupt_rows, healthy)
    assert loss_reading.level is Level.SEVERE
    assert loss_reading.value is not None
    assert true / 2 < loss_reading.value < 2 * true


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_ruined_column_that_the_model_ignores_is_never_severe(service: Service, kind: str) -> None:
    """It is unusual, an alarm or a change, and no reason to do without the model."""
    readings = service.read(CORRUPTIONS[kind]("tint")(machines(800, 24)))
    assert unusual(readings)
    assert all(reading.level is not Level.SEVERE for reading in readings.values())


def test_other_sound_rows_break_no_relation(service: Service) -> None:
    """More loaded machines: distributions move, relations hold, no feature counts as damaged, nothing is severe."""
    readings = service.read(machines(4_000, 25).nlargest(800, "load"))
    assert f"{Signal.DISTRIBUTION_CHANGE}:load" in unusual(readings)
    assert not any(_is_broken(reading) for reading in readings.values())
    assert all(reading.level is not Level.SEVERE for reading in readings.values())


def test_only_failure_is_severe_where_harm_is_known(service: Service) -> None:
    """Where harm can be estimated no reading of mere change even has a severe limit; where not, change stands in."""
    corrupt_rows = machines(500, 26).assign(load=np.nan, humidity=1e9)
    readings = service.read(corrupt_rows)
    assert {r.signal for r in readings.values() if r.level is Level.SEVERE} == {HARM[service.model.kind]}
    assert all(r.severe_limit is None for r in readings.values() if r.signal not in FAILURE)
    unknown = by_key(replace(service.baseline, harm=None), service.tally(corrupt_rows))
    assert {"missing_rate:load", "out_of_range_rate:humidity"} <= {
        key for key, reading in unknown.items() if reading.level is Level.SEVERE
    }


def test_without_harm_a_broken_relation_is_judged_by_its_share() -> None:
    """Where nobody knows what it costs, a column wholly on the wrong rows is severe, and some rows are moderate."""
    service = classifier()
    unknown = replace(service.baseline, harm=None)
    whole, some = (
        by_key(unknown, service.tally(permute(machines(1_500, 27), "load", share=share))) for share in (1.0, 0.35)
    )
    key = f"{Signal.BROKEN_RELATION_RATE}:load"
    assert (whole[key].level, some[key].level) == (Level.SEVERE, Level.MODERATE)


def test_a_number_that_repeats_deviates_unless_all_else_goes_with_it() -> None:
    """A default filled in deviates, and a number that was always usual does not."""
    service = classifier()
    key = f"{Signal.REPEATED_VALUE_RATE}:load"
    table = machines(800, 28)
    table.loc[:399, "load"] = 45.0
    reading = service.read(table)[key]
    assert reading.evidence is Evidence.BAD
    assert reading.value == pytest.approx(0.5)
    load = service.baseline.features["load"]
    for share in (0.5, 0.09):
        usual = replace(load, frequent=((45.0, round(share * load.value_count)), *load.frequent))
        usual_baseline = replace(service.baseline, features={**service.baseline.features, "load": usual})
        assert by_key(usual_baseline, service.tally(table))[key].evidence is Evidence.OK


def test_few_different_numbers_may_repeat() -> None:
    """A feature with a handful of values repeats by nature: there is no such reading of it."""
    service = classifier()
    few = {name: replace(f, distinct_count=5) for name, f in service.baseline.features.items()}
    readings = by_key(replace(service.baseline, features=few), service.tally(machines(200, 29)))
    assert not any(reading.signal is Signal.REPEATED_VALUE_RATE for reading in readings.values())


@pytest.mark.parametrize("kind", ["one number", "beyond the range"])
def test_unusual_values_in_step_with_all_else_are_no_deviation(kind: str) -> None:
    """Machines of one very heavy kind: their loads are unusual, their heat goes with them. The value is reported."""
    service = classifier()
    heavy = machines(60_000, 30).nlargest(900, "load")
    healthy = service.baseline
    if kind == "beyond the range":
        narrow = replace(healthy.features["load"], maximum=float(heavy["load"].quantile(0.4)))
        healthy = replace(healthy, features={**healthy.features, "load": narrow})
        key = f"{Signal.OUT_OF_RANGE_RATE}:load"
    else:
        heavy = heavy.assign(load=np.where(heavy["load"] < heavy["load"].median(), heavy["load"].min(), heavy["load"]))
        key = f"{Signal.REPEATED_VALUE_RATE}:load"
    window_tally = tally(service.columns(heavy), healthy, 0)
    reading = by_key(healthy, window_tally)[key]
    assert reading.value == pytest.approx(0.5, abs=0.15)
    assert (reading.evidence, reading.level, reading.moderate_limit, reading.severe_limit) == (
        Evidence.OK,
        Level.NONE,
        None,
        None,
    )
    unrelated_tally = tally(service.columns(machines(900, 31).assign(load=heavy["load"].to_numpy())), healthy, 0)
    assert by_key(healthy, unrelated_tally)[key].evidence is Evidence.BAD


def test_a_distribution_is_compared_with_what_sampling_makes_of_it() -> None:
    """The reference of a change is the distance that noise alone makes: larger in a smaller window."""
    service = classifier()
    small, large = (service.read(machines(count, 32))[f"{Signal.DISTRIBUTION_CHANGE}:load"] for count in (60, 2_000))
    assert (small.reference or 0) > 2 * (large.reference or 0) > 0
    assert 0 <= (large.value or 0) <= 1
    assert (small.moderate_limit or 0) >= (large.moderate_limit or 0)


def test_more_sure_answers_are_a_change_too() -> None:
    """A unit error makes a linear model surer: the whole distribution of confidences tells it from health."""
    service = classifier()
    readings = service.read(machines(600, 33).assign(load=lambda rows: rows["load"] * 1_000))
    assert {Signal.CONFIDENCE_CHANGE, Signal.PREDICTION_CHANGE} <= bad(readings)
    assert (readings[Signal.AVG_CONFIDENCE].value or 0) > (readings[Signal.AVG_CONFIDENCE].reference or 0)


def test_too_few_new_rows_are_no_evidence(service: Service) -> None:
    """Below the fewest rows every reading that needs bins is listed and says so."""
    readings = service.read(permute(machines(20, 34), "load"))
    new_readings = [reading for reading in readings.values() if reading.signal in NEW]
    assert new_readings
    assert all(reading.evidence is Evidence.INSUFFICIENT and reading.value is None for reading in new_readings)


def test_rows_that_nobody_scored_are_judged_by_their_inputs(service: Service) -> None:
    """Without confidences and answers the estimate rests on the features alone, and still finds damage severe."""
    rows = service.rows(permute(machines(800, 35), "load"))
    silent = [replace(score, prediction=None, confidence=None) for score in service.model.score(rows)]
    readings = by_key(service.baseline, tally(columns_of(service.schema, rows, silent), service.baseline, 0))
    assert readings[Signal.PREDICTION_CHANGE].evidence is Evidence.INSUFFICIENT
    assert harm(readings, service).level is Level.SEVERE


def _old(healthy: Baseline) -> Baseline:
    features = {
        name: replace(feature, bins=None, bin_counts=(), distinct_count=0, frequent=())
        for name, feature in healthy.features.items()
    }
    return replace(
        healthy,
        features=features,
        outputs={},
        joint=None,
        offset={},
        harm=None,
        prediction_mean=None,
        prediction_sd=None,
        variation={},
    )


@pytest.mark.parametrize("load", [None, 45.0, 1e6])
def test_a_baseline_of_an_older_version_gives_the_readings_it_gave(load: float | None) -> None:
    """None of the new signals is listed, and the old ones are the same whether the window counted bins or not."""
    service = classifier()
    old = _old(service.baseline)
    columns = service.columns(machines(400, 36).assign(load=np.nan if load is None else load))
    window_tally = tally(columns, old, 0)
    readings = by_key(old, window_tally)
    assert not {reading.signal for reading in readings.values()} & NEW
    assert not window_tally.agreement
    assert by_key(old, tally(columns, service.baseline, 0)) == readings
    document = to_document(old)
    for name in ("outputs", "prediction_mean", "prediction_sd", "joint", "offset", "harm"):
        del document[name]
    for feature in document["features"].values():
        for name in ("bins", "bin_counts", "distinct_count", "frequent"):
            del feature[name]
    assert by_key(from_document(Baseline, document), window_tally) == readings


def test_the_order_of_rows_is_irrelevant(service: Service) -> None:
    """The same rows in another order make the same tally and the same decision, byte for byte."""
    table = permute(machines(500, 37), "humidity")
    documents = set()
    for seed in range(4):
        window_tally = service.tally(table.sample(frac=1, random_state=seed))
        decision = decide(Policy(), service.baseline, a_window(window_tally), Memory())
        documents.add(dumps(to_document(window_tally)) + dumps(to_document(decision)))
    assert len(documents) == 1


@pytest.mark.parametrize(
    "change", [lambda rows: rows, lambda rows: permute(rows, "load"), CORRUPTIONS["missing"]("load")]
)
def test_a_stored_baseline_judges_alike(service: Service, change: Change) -> None:
    """Bins, joint table and harm survive the store: the same window, the same readings, byte for byte."""
    again = from_document(Baseline, to_document(service.baseline))
    assert again == service.baseline
    columns = service.columns(change(machines(400, 38)))
    fresh, restored_tally = (tally(columns, healthy, 0) for healthy in (service.baseline, again))
    assert dumps(to_document(fresh)) == dumps(to_document(restored_tally))
    readings = [
        dumps([to_document(r) for r in by_key(healthy, fresh).values()]) for healthy in (service.baseline, again)
    ]
    assert readings[0] == readings[1]


def test_a_stored_tally_is_judged_alike(service: Service) -> None:
    """What a run stored is enough to recompute its readings."""
    window_tally = service.tally(permute(machines(400, 39), "load", "tint"))
    assert by_key(service.baseline, from_document(Tally, to_document(window_tally))) == by_key(
        service.baseline, window_tally
    )


def _is_broken(reading: Reading) -> bool:
    return reading.signal is Signal.BROKEN_RELATION_RATE and reading.evidence is Evidence.BAD


def eventful_tables() -> Iterator[pd.DataFrame]:
    """Windows in which something happens: a default filled in, a wrong join, outages, units, outliers, other labels."""
    healthy = machines(800, 28)
    early, outlier = np.arange(800) < 400, np.arange(800) < 80
    yield healthy.assign(load=np.where(early, 45.0, healthy["load"]))
    yield healthy.assign(load=np.where(early, np.nan, healthy["load"]), humidity=90.0)
    yield healthy.assign(load=np.where(outlier, 1e6, healthy["load"]))
    yield healthy.assign(load=1_000 * healthy["load"])
    yield permute(machines(60, 7), "load", share=0.6)
    yield permute(healthy, "load", share=0.6).assign(load=lambda rows: np.where(outlier, np.nan, rows["load"]))
    pool = machines(8_000, 25)
    yield pd.concat([pool[pool["fails"] == "yes"].head(100), pool[pool["fails"] == "no"].head(700)])
    yield healthy.assign(load=pool[pool["load"] > 55]["load"].head(800).to_numpy())


def demanding_baseline(service: Service) -> Baseline:
    """A service's baseline with a longest pause, a known error of a shift's estimate, and recall beside its metric."""
    assert service.baseline.harm is not None
    harm = replace(service.baseline.harm, shift_error=0.0001)
    if service.model.kind is ModelKind.CLASSIFIER:
        harm = replace(harm, also=(replace(harm, metric=Metric.RECALL),))
    return replace(service.baseline, longest_pause_seconds=400.0, harm=harm)


def hourly_windows() -> Iterator[tuple[Baseline, Window]]:
    """Windows against a baseline with slots: half of the rows from another hour, and from hours that it lacks."""
    traffic, later = Traffic(), MONDAY + timedelta(days=14)
    baseline = hourly_baseline(traffic.rows(MONDAY, 5, 40, 1))
    bins = len(baseline.features["size"].bin_counts)
    size_impact = FeatureImpact(0.3, (0.2,) * bins)
    baseline = replace(baseline, harm=PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.3, {"size": size_impact}))
    morning, evening = (
        traffic.rows(later + timedelta(hours=hour), 1 / 24, 400, seed) for hour, seed in ((6, 2), (18, 3))
    )
    is_stale = np.arange(len(morning)) % 2 == 0
    numbers = {name: np.where(is_stale, evening.numbers[name], column) for name, column in morning.numbers.items()}
    for rows in (replace(morning, numbers=numbers), traffic.rows(later + timedelta(days=4, hours=18), 0.5, 40, 4)):
        yield baseline, window_of(rows, baseline)


@cache
def eventful_windows() -> list[tuple[Baseline, Window]]:
    """These windows of all services; where no hour matters, after a silence that is judged."""
    timeless = [
        (demanding_baseline(service), replace(a_window(service.tally(table)), silent_seconds=1_000.0))
        for service in (classifier(), regressor())
        for table in eventful_tables()
    ]
    return [*timeless, *hourly_windows()]


RECORD = {"load": (1.0, 1.0)}
"""Two runs before in which the load no longer went with the others."""


def all_readings(policy: Policy) -> list[tuple[Reading, ...]]:
    """The readings of the windows, each long and soon after the last run, and after two that showed a break."""
    return [
        read_signals(policy, composed_baseline(baseline, window.slot_counts, policy.evidence), window, seconds, RECORD)
        for baseline, window in eventful_windows()
        for seconds in (None, 290.0)
    ]


@cache
def usual_readings() -> list[tuple[Reading, ...]]:
    """Those by the usual numbers."""
    return all_readings(Policy())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a prior of no rows divides by zero
@pytest.mark.parametrize(
    "name",
    sorted(
        name
        # Studies of older releases have the factor of what they tried: see test_corruption_loss. Rows are compared with
        # the clock when a window is counted, by the usual share: see test_clock_agreement. Outliers are searched there
        # as well: see test_outliers. Labels have readings of their own: see test_realised_loss; what is learnt from
        # them is decided when a baseline is made: see test_label_study. What an advantage must exceed decides who
        # answers, and no reading: see test_advantage.
        for name in evidence_reasons().keys()
        - {"state_valid_intervals", "clock_tolerance_seconds", "untested_factor", "clock_rare_share"}
        - {"advantage_deviations"}
        - {"outlier_max_sources", "outlier_min_others", "learning_deviations", "learning_min_coverage"}
        - {"realised_loss_deviations", "realised_min_class_labels", "realised_most_waiting"}
        if not name.startswith("repeated_row")  # these count windows: see test_repeated_rows
    ),
)
def test_every_number_of_the_evidence_policy_decides(name: str) -> None:
    """The readings follow the numbers of the policy that they are given, all of them: no other number stands in."""
    usual = usual_readings()
    extremes: list[dict[str, Any]] = [{name: 0}, {name: 1_000_000}]
    policies = [Policy(evidence=replace(EvidencePolicy(), **numbers)) for numbers in extremes]
    assert any(all_readings(policy) != usual for policy in policies)
