"""What damage and shifts cost, on numbers that can be reckoned by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.harm import (
    Damage,
    Estimate,
    FeatureHarm,
    Harm,
    Metric,
    Movement,
    Truth,
    distance,
    distance_noise,
    estimate,
)

HALVES = np.array([0.5, 0.5, 0.0, 0.0, 0.0])
HARM = Harm(
    Metric.ACCURACY,
    labelled=True,
    healthy_error=0.1,
    all_permuted=0.4,
    features={
        "age": FeatureHarm(0.2, (0.1, 0.3, 0.5, 0.5, None)),
        "rent": FeatureHarm(0.3, (0.3, 0.3, 0.3, 0.3, 0.3)),
    },
    together=(("age", "rent", 0.35),),
    effects={"age": (-0.1, 0.1, 0.0, 0.0, 0.0)},
    effects_alone={"age": (-0.1, 0.1, 0.0, 0.0, 0.0)},
)


def moved(**now: Any) -> Movement:
    shares = {name: np.array(values, dtype=float) for name, values in now.items()}
    whole = {name: shares.get(name, HALVES) for name in ("age", "rent")}
    return Movement(whole, whole, {"age": HALVES, "rent": HALVES}, {}, {}, 1_000, 1_000)


def damaged(**shares: float) -> dict[str, Damage]:
    return {name: Damage(share, strange=False) for name, share in shares.items()}


def test_where_nothing_moved_nothing_is_lost() -> None:
    """The healthy period costs nothing."""
    assert estimate(HARM, moved(), {}) == Estimate(0.0, 0.0)


def test_a_permuted_feature_costs_what_permuting_it_cost() -> None:
    """In proportion to the share of the rows that are damaged."""
    assert estimate(HARM, moved(), damaged(age=1.0)).damage == pytest.approx(0.2)
    assert estimate(HARM, moved(), damaged(age=0.5)).damage == pytest.approx(0.1)


def test_a_stuck_feature_costs_what_its_value_cost() -> None:
    """Values that all went to one bin cost what was lost with every row in that bin."""
    assert estimate(HARM, moved(age=[0, 1, 0, 0, 0]), damaged(age=1.0)).damage == pytest.approx(0.3)


def test_where_the_model_failed_permuting_stands_in() -> None:
    """A value on which the model could not be tried costs as much as a wrong one."""
    assert estimate(HARM, moved(age=[0, 0, 0, 0, 1]), damaged(age=1.0)).damage == pytest.approx(0.2)


def test_two_features_cost_what_both_together_cost_and_never_more_than_all() -> None:
    """Losses do not simply add up: what was tried in pairs is used, and all together are the most."""
    assert estimate(HARM, moved(), damaged(age=1.0, rent=1.0)).damage == pytest.approx(0.35)
    alone = replace(HARM, together=())
    assert estimate(alone, moved(), damaged(age=1.0, rent=1.0)).damage == pytest.approx(0.4)


def test_a_shift_costs_what_such_rows_cost_before() -> None:
    """Rows that move to where the model errs more cost more, to where it errs less are a gain."""
    assert estimate(HARM, moved(age=[0, 1, 0, 0, 0]), {}).shift == pytest.approx(0.1)
    better = estimate(HARM, moved(age=[1, 0, 0, 0, 0]), {})
    assert better.shift == pytest.approx(-0.1)
    assert better.total == 0


def test_a_gain_does_not_make_up_for_damage() -> None:
    """What is damaged is damaged, however easy the rows."""
    both = estimate(HARM, moved(age=[1, 0, 0, 0, 0]), damaged(rent=1.0))
    assert both.total == pytest.approx(0.3)


def test_a_shift_within_noise_is_not_believed() -> None:
    """Few rows, or effects that missed by as much in health, say nothing."""
    assert estimate(replace(HARM, effect_sd=1.0), moved(age=[0, 1, 0, 0, 0]), {}).shift == 0
    assert estimate(replace(HARM, effect_variation=0.2), moved(age=[0, 1, 0, 0, 0]), {}).shift == 0


def test_another_mix_of_true_answers_is_believed_where_it_explains_the_movement() -> None:
    """If late flights become common, the model errs as often as it did on late flights."""
    truths = (
        Truth(0.9, 0.05, {"age": (0.5, 0.5, 0, 0, 0), "rent": (0.9, 0.1, 0, 0, 0)}, {}),
        Truth(0.1, 0.55, {"age": (0.5, 0.5, 0, 0, 0), "rent": (0.1, 0.9, 0, 0, 0)}, {}),
    )
    healthy = {"age": HALVES, "rent": np.array([0.82, 0.18, 0, 0, 0])}
    now = {"age": HALVES, "rent": np.array([0.5, 0.5, 0, 0, 0])}  # half of either
    mixed = Movement(now, now, healthy, {}, {}, 2_000, 2_000)
    assert estimate(replace(HARM, effects={}, effects_alone={}, truths=truths), mixed, {}).shift == pytest.approx(
        0.2, abs=0.03
    )


def test_a_regressors_harm_is_a_share_of_its_usual_error() -> None:
    """An error that doubles has grown by one, in whatever unit it is measured."""
    errors = replace(
        HARM, metric=Metric.MEAN_ABSOLUTE_ERROR, healthy_error=50.0, features={"age": FeatureHarm(50.0, (50.0,) * 5)}
    )
    assert estimate(replace(errors, all_permuted=80.0), moved(), damaged(age=1.0)).damage == pytest.approx(1.0)


shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda xs: np.array(xs) / sum(xs))


@given(shares, shares)
def test_a_distance_is_a_share(one: Any, other: Any) -> None:
    """Between 0 and 1, alike in both directions, and 0 from itself."""
    assert 0 <= distance(one, other) <= 1
    assert distance(one, other) == pytest.approx(distance(other, one))
    assert distance(one, one) == 0


def test_the_noise_of_a_distance_is_what_sampling_makes() -> None:
    """On average over many samples the distance is what it is said to be, and strays no further than said."""
    draw, healthy = np.random.default_rng(0), np.array([0.5, 0.3, 0.15, 0.05])
    found = [distance(draw.multinomial(400, healthy) / 400, healthy) for _ in range(2_000)]
    mean, sd = distance_noise(healthy, 1 / 400)
    assert np.mean(found) == pytest.approx(mean, rel=0.05)
    assert np.std(found) <= sd
