"""How an estimated loss came about: its parts add up, and each part is what the study measured."""

from dataclasses import replace

import numpy as np
import pytest

from stillsafe.core.evidence.impact_part import ImpactKind
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import Reading
from stillsafe.init import impact_study
from stillsafe.monitoring.run_detail import derive
from stillsafe.progress import no_progress
from tests.core.healthy import a_window
from tests.monitoring.formulas import as_documents, check_reading, reading_document
from tests.monitoring.related import POLICY, Service, classifier, machines, permute, regressor

SERVICES = {"estimated_accuracy_loss": classifier(), "estimated_error_growth": regressor()}


def derived_estimate(service: Service, key: str, table: object) -> tuple[Reading, list[dict[str, object]]]:
    """The estimated loss of a window, and how it came about."""
    window = a_window(service.tally(table), silent_seconds=0.0)  # type: ignore[arg-type] # a data frame
    readings = read_signals(POLICY, service.baseline, window)
    reading = next(each for each in readings if each.key == key)
    return reading, as_documents(derive(POLICY, service.baseline, window, readings)[key])


@pytest.mark.parametrize("key", SERVICES)
def test_damage_and_its_parts_add_up(key: str) -> None:
    """What each damaged feature costs, and what they cost together, is the damage part of the estimate."""
    table = permute(machines(600, 6), "load").assign(humidity=55.5)
    reading, documents = derived_estimate(SERVICES[key], key, table)
    steps = check_reading(documents, reading_document(reading))
    names = {steps[name] for name in steps if name.startswith("feature_")}
    assert names == {"load", "humidity"}
    assert steps["damage"] == pytest.approx((steps["study"] + steps["movement"]) / steps["unit"])
    assert reading.corruption == pytest.approx(steps["damage"], abs=2e-6)
    damage = sum(part.loss for part in reading.parts if part.kind is not ImpactKind.SHIFT)
    assert damage == pytest.approx(reading.corruption, abs=5e-6)


@pytest.mark.parametrize("key", SERVICES)
def test_a_shift_within_noise_costs_nothing_and_says_why(key: str) -> None:
    """The sum of the effects, the noise that it must exceed, and the zero that follows are all printed."""
    reading, documents = derived_estimate(SERVICES[key], key, machines(600, 6))
    steps = check_reading(documents, reading_document(reading))
    assert reading.value == 0
    assert abs(steps["shift_sum"]) <= max(steps["shift_noise"], steps["shift_doubt"])


def test_a_damaged_value_costs_what_that_value_cost_at_init() -> None:
    """A stuck number is priced by the loss that the study measured where every row had a value of that bin."""
    service = classifier()
    reading, documents = derived_estimate(service, "estimated_accuracy_loss", machines(600, 6).assign(humidity=75.0))
    steps = check_reading(documents, reading_document(reading))
    assert steps["feature_1"] == "humidity"
    assert steps["excess_1"].argmax() == np.argmax(steps["window_share_1"])
    assert steps["loss_1"] == pytest.approx(steps["share_1"] * steps["tried_1"][steps["excess_1"].argmax()], rel=0.05)


def test_rows_without_predictions_are_derived_from_their_features() -> None:
    """Bypassed rows without a shadow score have no outputs, and the estimate rests on the features alone."""
    service = classifier()
    tally = replace(service.tally(machines(600, 6, heavier=9.0)), outputs={}, confidence_count=0)
    window = a_window(tally, silent_seconds=0.0)
    readings = read_signals(POLICY, service.baseline, window)
    (reading,) = [each for each in readings if each.key == "estimated_accuracy_loss"]
    documents = as_documents(derive(POLICY, service.baseline, window, readings)[reading.key])
    steps = check_reading(documents, reading_document(reading))
    assert "prediction" not in {steps.get(f"shift_of_{number}") for number in (1, 2, 3)}


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.RECALL, Metric.LOG_LOSS])
def test_a_loss_in_the_owners_metric_can_be_computed_again(metric: Metric) -> None:
    """Whatever the metric, the derivation ends in the reading, and names the metric's own study."""
    service, sample = classifier(), machines(1_500, 2)
    rows = service.rows(sample)
    scores, labels = service.model.score(rows), sample["fails"].tolist()
    study_sample = impact_study.ScoredSample(rows, scores, labels, service.columns(sample))
    definitions = [MetricDefinition(metric, positive="yes"), MetricDefinition(Metric.ACCURACY)]
    harm = impact_study.study_impact(service.model, study_sample, service.baseline, definitions, no_progress)
    service = replace(service, baseline=replace(service.baseline, harm=harm))
    for table in (permute(machines(600, 6), "load", "humidity"), machines(600, 6)):
        window = a_window(service.tally(table), silent_seconds=0.0)
        readings = read_signals(POLICY, service.baseline, window)
        estimates = {each.key: each for each in readings if each.key.startswith("estimated_")}
        assert estimates.keys() == {"estimated_metric_loss", "estimated_accuracy_loss"}
        derivations = derive(POLICY, service.baseline, window, readings)
        for key, reading in estimates.items():
            steps = check_reading(as_documents(derivations[key]), reading_document(reading))
            assert steps["moderate_limit"] == reading.moderate_limit
