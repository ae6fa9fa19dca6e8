"""The expected advantage of the fallback: prices, damage, and the cases in which it is not known."""

from dataclasses import replace
from typing import Any

import pytest

from stillsafe.core.evidence.advantage import (
    advantage_margin,
    best_price,
    expected_advantage,
    is_priced,
    run_advantage,
)
from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.evidence.noise_limit import z_limit
from stillsafe.core.policy import Bypass, FallbackPrice, Policy
from stillsafe.core.signals import METRIC_SIGNALS, Evidence, Level, Reading, Signal

PRICES = (FallbackPrice(("a", "b"), 0.80), FallbackPrice(("c",), 0.75), FallbackPrice((), 0.60))
POLICY = Policy(bypass=Bypass.WHEN_IT_PAYS, fallback_prices=PRICES, model_score=0.90)
LOSS = Signal.ESTIMATED_ACCURACY_LOSS


def estimate(corruption: float | None, level: Level = Level.SEVERE) -> Reading:
    """An estimated loss whose damage part is given."""
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    return Reading(LOSS, None, evidence, level, corruption or 0.1, 0.0, 0.02, 0.0375, 500, corruption=corruption)


def damage(feature: str, evidence: Evidence = Evidence.BAD) -> Reading:
    """A reading that names a feature as with_part."""
    level = Level.MODERATE if evidence is Evidence.BAD else Level.NONE
    return Reading(Signal.MISSING_RATE, feature, evidence, level, 0.4, 0.0, 0.05, None, 500)


@pytest.mark.parametrize(
    ("damaged_features", "score"),
    [((), 0.80), (("d",), 0.80), (("a",), 0.75), (("b", "c"), 0.60), (("a", "b", "c"), 0.60)],
)
def test_the_best_list_that_reads_no_damaged_feature_is_priced(damaged_features: tuple[str, ...], score: float) -> None:
    """A list is usable if it reads no with_part feature; the default reads none."""
    price = best_price(PRICES, damaged_features)
    assert price is not None
    assert price.score == score


def test_without_a_usable_price_there_is_none() -> None:
    """Where all priced lists read a damaged feature and the default has no price, nothing is known."""
    assert best_price(PRICES[:1], ("a",)) is None
    assert expected_advantage(replace(POLICY, fallback_prices=PRICES[:1]), 0.3, ("a",)) is None


@pytest.mark.parametrize(
    ("corruption", "damaged_features", "advantage"), [(0.15, (), 0.05), (0.15, ("a",), 0.0), (0, (), -0.1)]
)
def test_the_advantage_is_the_damage_minus_the_models_lead(
    corruption: float, damaged_features: tuple[str, ...], advantage: float
) -> None:
    """The fallback wins what the damage costs, and loses what the model is better by in health."""
    assert expected_advantage(POLICY, corruption, damaged_features) == pytest.approx(advantage)


def test_an_advantage_is_unknown_without_damage_or_scores() -> None:
    """Unknown is not zero."""
    assert expected_advantage(POLICY, None, ()) is None
    assert expected_advantage(replace(POLICY, model_score=None), 0.3, ()) is None


@pytest.mark.parametrize(
    ("readings", "pays"),
    [
        ((estimate(0.15),), True),
        ((estimate(0.05),), False),
        ((estimate(0.15), damage("a")), False),
        ((estimate(0.16), damage("a")), True),
        ((estimate(0.15), damage("a", Evidence.OK)), True),
        ((estimate(0.30, Level.MODERATE),), False),
        ((estimate(0.0, Level.NONE),), False),
        ((estimate(None),), True),
    ],
)
def test_a_run_has_an_advantage_where_what_matters_is_lost_and_more_is_won(
    readings: tuple[Reading, ...], pays: bool
) -> None:
    """At least the severe loss; the run's own damage counts; an unknown damage part counts as an advantage."""
    assert run_advantage(POLICY, readings, ())[0] is pays


def test_damage_of_the_incident_so_far_counts_in_a_run() -> None:
    """A feature that was damaged a run ago cannot answer now."""
    pays, advantage = run_advantage(POLICY, (estimate(0.15),), ("a",))
    assert pays is False
    assert advantage == pytest.approx(0.0)


@pytest.mark.parametrize("evidence", [None, Evidence.INSUFFICIENT])
def test_a_run_without_an_estimate_says_nothing(evidence: Evidence | None) -> None:
    """Neither for nor against the fallback."""
    readings = () if evidence is None else (replace(estimate(0.3), evidence=evidence, level=Level.NONE),)
    assert run_advantage(POLICY, readings, ()) == (None, None)


def test_only_the_estimates_are_priced_and_only_where_it_should_pay() -> None:
    """Limits that the owner wrote, model errors and other signals bypass at once, and so does everything unpriced."""
    assert all(is_priced(POLICY, signal.value) for signal in METRIC_SIGNALS.values())
    others = {signal.value for signal in Signal} - {signal.value for signal in METRIC_SIGNALS.values()}
    assert not any(is_priced(POLICY, key) for key in others)
    changes: tuple[dict[str, Any], ...] = (
        {"bypass": Bypass.ALWAYS},
        {"model_score": None},
        {"fallback_prices": ()},
        {"written_limits": (f"{LOSS}_severe",)},
        {"harm_severe": 0.1},
    )
    for change in changes:
        assert not is_priced(replace(POLICY, **change), LOSS)
    assert is_priced(replace(POLICY, written_limits=(f"{LOSS}_moderate",)), LOSS)


def test_a_loss_by_another_metric_than_that_of_the_prices_is_not_compared() -> None:
    """Points of recall are no points of AUC, so the advantage is unknown, which counts as one."""
    by_metric = replace(estimate(0.05), signal=Signal.ESTIMATED_METRIC_LOSS, metric="auc")
    assert run_advantage(replace(POLICY, metric="auc"), (by_metric,), ())[0] is False
    assert run_advantage(replace(POLICY, metric="recall"), (by_metric,), ()) == (True, None)
    assert run_advantage(replace(POLICY, metric="auc"), (estimate(0.05),), ()) == (True, None)
    assert run_advantage(replace(POLICY, metric="accuracy"), (estimate(0.05),), ())[0] is False


def relation(feature: str, share: float, noise: float) -> Reading:
    """A reading of broken relations that shows that share."""
    signal, numbers = Signal.BROKEN_RELATION_RATE, (share, 0.0, 0.15, None, 500)
    return Reading(signal, feature, Evidence.BAD, Level.MODERATE, *numbers, noise=noise)


@pytest.mark.parametrize(("error", "pays"), [(None, True), (0.0, True), (0.02, True), (0.03, False)])
def test_an_advantage_within_its_error_is_none(error: float | None, *, pays: bool) -> None:
    """Five points are expected to be won; a price of an older version has no error, and any advantage counts."""
    policy = replace(POLICY, fallback_prices=(FallbackPrice((), 0.80, error),))
    assert run_advantage(policy, (estimate(0.15),), ())[0] is pays
    assert run_advantage(policy, (estimate(0.15),), ())[1] == pytest.approx(0.05)


def test_the_margin_has_the_errors_of_price_study_and_share() -> None:
    """Each adds its own; a relation adds what its noise is worth at the loss of a damaged row."""
    policy = replace(POLICY, fallback_prices=(FallbackPrice((), 0.8, 0.03),))
    uncertain = replace(estimate(0.15), standard_error=0.04)
    assert advantage_margin(policy, (uncertain,), uncertain, ()) == pytest.approx(2 * 0.05)
    with_part = replace(uncertain, parts=(ImpactPart(ImpactKind.DAMAGE, "c", 0.5, 0.15),))
    readings = (with_part, relation("c", 0.5, 0.2))
    z = z_limit(policy.false_alarm_rate, len(readings))
    assert advantage_margin(policy, readings, with_part, ("c",)) == pytest.approx(
        2 * (0.05**2 + (0.06 / z) ** 2) ** 0.5
    )
    assert advantage_margin(policy, (with_part, damage("c")), with_part, ("c",)) == pytest.approx(2 * 0.05)
    assert advantage_margin(POLICY, readings, with_part, ("c",)) == 0
    strict = replace(policy, evidence=replace(policy.evidence, advantage_deviations=3.0))
    assert advantage_margin(strict, (uncertain,), uncertain, ()) == pytest.approx(3 * 0.05)


@pytest.mark.parametrize(("movement", "pays"), [(0.0, True), (0.1, True), (0.19, False), (0.3, False)])
def test_predictions_that_moved_for_no_tried_cause_are_no_price(movement: float, *, pays: bool) -> None:
    """A season moves them as well: a bypass must pay without all that rests on the movement alone."""
    policy = replace(POLICY, fallback_prices=(FallbackPrice((), 0.80, 0.01),))
    parts = (
        ImpactPart(ImpactKind.DAMAGE, "c", 1.0, 0.3 - movement),
        ImpactPart(ImpactKind.MOVEMENT, None, 0.5, movement),
    )
    assert run_advantage(policy, (replace(estimate(0.3), parts=parts),), ())[0] is pays
