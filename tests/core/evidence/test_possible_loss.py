"""Changes without worth: what an unusual value could cost at most decides whether it is an alarm."""

from dataclasses import replace

import numpy as np
import pytest

from stillsafe.core.evidence.impact import DistributionShift, FeatureImpact, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.possible_loss import PRICED_SIGNALS, minor_changes
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, reading_key

POLICY = Policy()
EVEN, UNEVEN = np.full(4, 0.25), np.array([0.55, 0.25, 0.10, 0.10])
CHEAP, DEAR = FeatureImpact(0.002, (0.003,) * 4, 0.001, (0.001,) * 4), FeatureImpact(0.1, (0.2,) * 4, 0.01, (0.01,) * 4)
IMPACT = PerformanceImpact(
    Metric.ACCURACY,
    labelled=True,
    healthy_error=0.1,
    all_permuted=0.4,
    features={"cheap": CHEAP, "dear": DEAR},
    effects={"cheap": (0.0,) * 4, "dear": (0.001, 0.0, 0.0, -0.001)},
    output_effects={"confidence": (0.01, 0.0, 0.0, -0.01), "prediction": (0.0,) * 4},
)
SHIFT = DistributionShift(
    features={"cheap": UNEVEN, "dear": UNEVEN, "unknown": UNEVEN},
    clipped_features={"cheap": UNEVEN, "dear": UNEVEN, "unknown": UNEVEN},
    healthy=dict.fromkeys(("cheap", "dear", "unknown"), EVEN),
    outputs={"confidence": UNEVEN, "prediction": EVEN},
    healthy_outputs={"confidence": EVEN, "prediction": EVEN},
    count=1_000,
    healthy_count=4_000,
)
NO_LOSS = Reading(Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.OK, Level.NONE, 0.0, 0.0, 0.02, 0.0375, 1_000)


def deviation(signal: Signal, feature: str | None = None, level: Level = Level.MODERATE) -> Reading:
    """A reading beyond its limit."""
    return Reading(signal, feature, Evidence.BAD, level, 0.32, 0.02, 0.3, None, 1_000)


def changes(
    *readings: Reading,
    genuine: tuple[str, ...] = (),
    policy: Policy = POLICY,
    impact: PerformanceImpact | None = IMPACT,
) -> set[str]:
    """Keys of the readings that are changes and no alarm."""
    by_key = {reading.key: reading for reading in (NO_LOSS, *readings)}
    minor = minor_changes(policy, impact, SHIFT, frozenset(genuine), by_key)
    assert all((r.evidence, r.level, r.is_change) == (Evidence.OK, Level.NONE, True) for r in minor.values())
    assert all(
        replace(r, evidence=Evidence.BAD, level=by_key[k].level, is_change=False) == by_key[k] for k, r in minor.items()
    )
    return set(minor)


@pytest.mark.parametrize(
    "signal", [Signal.DISTRIBUTION_CHANGE, Signal.REPEATED_VALUE_RATE, Signal.BROKEN_RELATION_RATE]
)
def test_a_feature_that_costs_nothing_is_no_alarm(signal: Signal) -> None:
    """What the study tried with it costs less than what matters; a feature that the model leans on stays an alarm."""
    cheap, dear = deviation(signal, "cheap"), deviation(signal, "dear")
    assert changes(cheap, dear) == {cheap.key}


def test_a_genuine_shift_is_priced_by_the_errors_on_such_rows() -> None:
    """Where the other features moved along, the values belong to their rows, whatever permuted ones would cost."""
    dear = deviation(Signal.DISTRIBUTION_CHANGE, "dear")
    assert changes(dear, genuine=("dear",)) == {dear.key}
    hard = replace(IMPACT, effects={**IMPACT.effects, "dear": (0.1, 0.0, 0.0, -0.1)})
    assert changes(dear, genuine=("dear",), impact=hard) == set()


def test_outputs_are_priced_by_their_rows_and_by_predictions_that_nothing_explains() -> None:
    """Another confidence on rows on which the model errs as ever is a change; moved predictions may be wrong."""
    confidence, prediction = deviation(Signal.CONFIDENCE_CHANGE), deviation(Signal.PREDICTION_CHANGE)
    assert changes(confidence) == {confidence.key}
    shift = replace(SHIFT, outputs={"confidence": EVEN, "prediction": UNEVEN})
    by_key = {reading.key: reading for reading in (NO_LOSS, prediction)}
    assert minor_changes(POLICY, IMPACT, shift, frozenset(), by_key) == {}


@pytest.mark.parametrize("signal", sorted(set(Signal) - PRICED_SIGNALS))
def test_the_other_signals_are_alarms_by_themselves(signal: Signal) -> None:
    """The mission's own metrics, refusals and model errors warn beyond their limits."""
    assert changes(deviation(signal, "cheap")) == set()


def test_nothing_is_a_minor_change_while_harm_is_done() -> None:
    """Rules that read a damaged feature are skipped, however little the model leans on it."""
    cheap = deviation(Signal.BROKEN_RELATION_RATE, "cheap")
    errors = deviation(Signal.MODEL_ERROR_RATE, level=Level.SEVERE)
    assert changes(cheap, errors) == set()


def test_damage_that_may_cost_something_together_is_an_alarm() -> None:
    """A group of damaged features is priced by the estimate of all of them, with its error."""
    cheap = deviation(Signal.BROKEN_RELATION_RATE, "cheap")
    group = replace(NO_LOSS, value=0.015, corruption=0.015, standard_error=0.004)
    by_key = {reading.key: reading for reading in (group, cheap)}
    assert minor_changes(POLICY, IMPACT, SHIFT, frozenset(), by_key) == {}
    certain = {**by_key, group.key: replace(group, standard_error=0.001)}
    assert set(minor_changes(POLICY, IMPACT, SHIFT, frozenset(), certain)) == {cheap.key}


def test_what_the_owner_wrote_or_the_study_lacks_is_an_alarm() -> None:
    """A limit of the owner's holds as it is; without a price everything unusual is an alarm."""
    cheap, unknown = (deviation(Signal.DISTRIBUTION_CHANGE, name) for name in ("cheap", "unknown"))
    assert changes(cheap, unknown) == {cheap.key}
    assert changes(cheap, impact=None) == set()
    for policy in (
        replace(POLICY, written_limits=("distribution_change_moderate",)),
        replace(POLICY, feature_limits={reading_key(Signal.DISTRIBUTION_CHANGE, "cheap"): 0.2}),
    ):
        assert changes(cheap, policy=policy) == set()
