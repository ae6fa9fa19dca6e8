"""Derivations: their steps, in an order in which they can be computed, in words that a person knows."""

import math

import pytest

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.measures import measure_run
from stillsafe.core.evidence.noise_limit import rate_noise_limit
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import SIGNALS, Signal, Subject, Unit
from stillsafe.monitoring.derivation import RATE_WORDS, Step, bin_labels, count_steps, evaluated_steps, measures_by_key
from tests.core.healthy import a_window
from tests.monitoring.formulas import as_documents, check_reading, reading_document
from tests.monitoring.related import POLICY, classifier, machines


def test_a_formula_gives_its_step_a_value() -> None:
    """Numbers stay as they are, columns are computed element by element, and words stay words."""
    steps = (
        Step("column", (1.0, 2.0, 6.0), "counted"),
        Step("label", ("a", "b", "c"), "names"),
        Step("share", None, "of all", "column / sum(column)"),
        Step("largest", 5.0, "a value that the formula replaces", "max(share)"),
        Step("level", None, "a word", "'high' if largest > 0.5 else 'low'"),
    )
    values = {step.name: step.value for step in evaluated_steps(steps)}
    assert values["share"] == pytest.approx((1 / 9, 2 / 9, 6 / 9))
    assert values["largest"] == pytest.approx(2 / 3)
    assert (values["label"], values["level"]) == (("a", "b", "c"), "high")
    assert isinstance(values["largest"], float)


def test_the_noise_of_a_rate_is_that_of_the_rules() -> None:
    """The printed way to the noise limit ends at the limit that the rules apply."""
    service, window = classifier(), a_window(classifier().tally(machines(300, 5)), silent_seconds=0.0)
    run = measure_run(POLICY, service.baseline, window)
    readings = {reading.key: reading for reading in read_signals(POLICY, service.baseline, window)}
    measure = measures_by_key(run.measures)["missing_rate:vibration"]
    steps = evaluated_steps(count_steps(POLICY, run, measure, readings[measure.key]))
    step_values = check_reading(as_documents(steps), reading_document(readings[measure.key]))
    variation = service.baseline.variation.get(measure.key, 0.0)
    limit = rate_noise_limit(run.z, measure.sample_count, measure.reference, measure.healthy_count, variation)
    assert math.isclose(step_values["noise"], limit, rel_tol=1e-9)


def test_every_rate_has_its_words() -> None:
    """A rate says what it counts and of what; others have derivations of their own, as those of clients do."""
    others = {Signal.AVG_CONFIDENCE, Signal.BROKEN_RELATION_RATE, Signal.SOURCE_DEVIATION}
    rates = {signal for signal, row in SIGNALS.items() if row.unit in (Unit.SHARE, Unit.SCORE)} - others
    assert RATE_WORDS.keys() == {signal for signal in rates if SIGNALS[signal].metric is None and not _is_loss(signal)}


def _is_loss(signal: Signal) -> bool:
    return signal.value.startswith("estimated_") and SIGNALS[signal].subject is Subject.OUTPUT


@pytest.mark.parametrize(
    ("bins", "labels"),
    [
        (Bins((1.0, 2.5), 0.0, 9.0), ("up to 1", "1 to 2.5", "above 2.5", "far below", "far above", "missing")),
        (Bins((), 0.0, 9.0), ("all", "far below", "far above", "missing")),
        (Bins(categories=("a", "b")), ("a", "b", "rare", "unseen", "missing")),
    ],
)
def test_each_bin_has_a_label(bins: Bins, labels: tuple[str, ...]) -> None:
    """As many labels as bins, the special ones last."""
    profile = FeatureBaseline(FeatureType.NUMERIC, 10, 0, bins=bins)
    assert bin_labels(profile) == labels
    assert len(labels) == bins.size
