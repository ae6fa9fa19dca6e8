"""The loss by corruption: what was tried, held between tried groups, and what the moved predictions show beyond it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.corruption_loss import corruption_loss, touched_share
from stillsafe.core.evidence.impact import Corruption, DistributionShift, FeatureImpact, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import EVIDENCE

EVEN = np.array([0.5, 0.5, 0.0, 0.0, 0.0])
HEALTHY_ANSWERS = np.array([0.99, 0.01, 0.0, 0.0, 0.0])
WHOLE = Corruption(1.0, extreme=False)
NO_LOSS = FeatureImpact(0.0, (0.0,) * 5, most_changed=0.02)
IMPACT = PerformanceImpact(
    Metric.ACCURACY,
    labelled=True,
    healthy_error=0.01,
    all_permuted=0.0,
    features={"a": NO_LOSS, "b": NO_LOSS, "ignored": replace(NO_LOSS, most_changed=0.0)},
    answer_swaps=((0.0, 0.98, 0.0, 0.0, 0.0), (0.2, 0.0, 0.0, 0.0, 0.0), *((0.0,) * 5 for _ in range(3))),
)


def shift_of(answers: Mapping[int, float]) -> DistributionShift:
    """A window in which no feature's distribution has shifted, with these shares of the predictions."""
    now = np.array([answers.get(code, 0.0) for code in range(5)])
    features = dict.fromkeys(IMPACT.features, EVEN)
    return DistributionShift(
        features, features, features, {"prediction": now}, {"prediction": HEALTHY_ANSWERS}, 500, 10_000
    )


def test_two_features_that_cost_nothing_alone_cost_what_the_moved_answers_show() -> None:
    """Where nearly all answers have flipped, the loss is that of the swapped answers, and never zero."""
    loss = corruption_loss(IMPACT, shift_of({0: 0.02, 1: 0.98}), {"a": WHOLE, "b": WHOLE}, EVIDENCE)
    assert loss.study == 0
    assert loss.movement == pytest.approx(0.95, abs=0.03)


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_no_more_answers_move_than_the_damage_touches(one: float, other: float) -> None:
    """The loss by moved answers is at most that of the rows of both features together."""
    corruptions = {"a": Corruption(one, extreme=False), "b": Corruption(other, extreme=False)}
    loss = corruption_loss(IMPACT, shift_of({0: 0.02, 1: 0.98}), corruptions, EVIDENCE)
    assert loss.movement <= 0.98 * min(1.0, one + other) + 1e-9


def test_a_feature_that_moves_no_answers_has_moved_none() -> None:
    """The model ignores it, so moved answers have another cause; one feature alone moves what it moved in the study."""
    shift = shift_of({0: 0.02, 1: 0.98})
    assert corruption_loss(IMPACT, shift, {"ignored": WHOLE}, EVIDENCE).total == 0
    assert corruption_loss(IMPACT, shift, {"a": WHOLE}, EVIDENCE).total == pytest.approx(0.98 * 0.02, abs=1e-6)


def test_answers_that_intact_features_explain_are_no_movement() -> None:
    """Rows that truly belong to the other class move the answers too."""
    shift = shift_of({0: 0.51, 1: 0.49})
    shares = np.array([0.02, 0.98, 0.0, 0.0, 0.0])
    shift = replace(shift, clipped_features={**shift.clipped_features, "intact": shares})
    shift = replace(shift, healthy={**shift.healthy, "intact": EVEN})
    effects = {"intact": ((0.5, -0.5, 0.0, 0.0, 0.0), (-0.5, 0.5, 0.0, 0.0, 0.0), *((0.0,) * 5 for _ in range(3)))}
    corruptions = {"a": WHOLE, "b": WHOLE}
    full_movement = corruption_loss(IMPACT, shift, corruptions, EVIDENCE).movement
    rest_movement = corruption_loss(replace(IMPACT, answer_effects=effects), shift, corruptions, EVIDENCE).movement
    assert full_movement > 0.4
    assert rest_movement < 0.05


def test_an_older_study_caps_the_movement_by_what_it_tried() -> None:
    """A document without the change of the answers is judged as before."""
    old = replace(IMPACT, features={name: FeatureImpact(0.01, (0.01,) * 5) for name in "ab"}, all_permuted=0.02)
    loss = corruption_loss(old, shift_of({0: 0.02, 1: 0.98}), {"a": WHOLE, "b": WHOLE}, EVIDENCE)
    assert loss.total == pytest.approx(2 * 0.02)


def test_tried_groups_bound_the_sum() -> None:
    """At least the loss of a tried group that is corrupted, at most that of one that contains all the corruption."""
    features = {name: FeatureImpact(0.1, (), most_changed=0.2) for name in IMPACT.features}
    impact = replace(IMPACT, features=features, all_permuted=0.5)
    shift = shift_of({0: 0.99, 1: 0.01})
    corruptions = dict.fromkeys(IMPACT.features, WHOLE)
    more = replace(impact, groups=((("a", "b", "ignored"), 0.42),))
    less = replace(impact, groups=((("a", "b", "ignored", "more"), 0.15),))
    assert corruption_loss(impact, shift, corruptions, EVIDENCE).study == pytest.approx(0.3)
    assert corruption_loss(more, shift, corruptions, EVIDENCE).study == pytest.approx(0.42)
    assert corruption_loss(less, shift, corruptions, EVIDENCE).study == pytest.approx(0.15)


def test_the_standard_error_is_that_of_the_tried_losses() -> None:
    """In proportion to the share, and in quadrature over features."""
    features = {name: FeatureImpact(0.1, (), permuted_error=0.03, most_changed=0.2) for name in "ab"}
    impact = replace(IMPACT, features=features, all_permuted=0.5)
    half = dict.fromkeys("ab", Corruption(0.5, extreme=False))
    loss = corruption_loss(impact, shift_of({0: 0.99, 1: 0.01}), half, EVIDENCE)
    assert loss.standard_error == pytest.approx(0.015 * np.sqrt(2))


def test_views_of_one_feature_are_one_damage() -> None:
    """A stuck date moves its lag and its weekday: the costlier counts once, and its rows are touched once."""
    features = {
        "date": FeatureImpact(0.3, (), most_changed=0.5),
        "date (lag)": FeatureImpact(0.3, (), most_changed=0.5, view_of="date"),
        "date (weekday)": FeatureImpact(0.3, (0.1,) * 5, most_changed=0.5, view_of="date"),
        "b": FeatureImpact(0.2, (), most_changed=0.5),
    }
    impact = replace(IMPACT, features=features, all_permuted=0.9, together=(("b", "date", 0.6),))
    healthy = dict.fromkeys(features, EVEN)
    shift = replace(shift_of({0: 0.99, 1: 0.01}), features=healthy, clipped_features=healthy, healthy=healthy)
    views = {"date (lag)": WHOLE, "date (weekday)": Corruption(0.5, extreme=False)}
    loss = corruption_loss(impact, shift, views, EVIDENCE)
    assert loss.study == pytest.approx(0.3)
    assert loss.features == {"date (lag)": pytest.approx(0.3)}
    assert touched_share(impact, views, EVIDENCE) == pytest.approx(0.5)
    with_other = corruption_loss(impact, shift, {**views, "b": WHOLE}, EVIDENCE)
    assert with_other.study == pytest.approx(0.6)
    assert impact.with_views(["date (lag)"]) == {"date", "date (lag)", "date (weekday)"}
