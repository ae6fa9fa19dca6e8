"""Harm: what a change costs, on models so small that the right answer is known."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.impact import (
    Damage,
    FeatureHarm,
    Harm,
    Metric,
    Movement,
    Numbers,
    Truth,
    distance,
    distance_noise,
    estimate,
)
from stillsafe.store.codec import from_document, to_document

EVEN = np.array([0.25, 0.25, 0.25, 0.25])
GAP = np.array([0.0, 0.0, 0.0, 1.0])  # all values in one bin
WHOLE = Damage(1.0, strange=False)

HARM = Harm(
    Metric.ACCURACY,
    labelled=True,
    healthy_error=0.1,
    all_permuted=0.4,
    features={
        "leant_on": FeatureHarm(0.3, (0.1, 0.1, 0.1, 0.2)),
        "other": FeatureHarm(0.2, (0.05, 0.05, 0.05, None)),
        "ignored": FeatureHarm(0.0, (0.0, 0.0, 0.0, 0.0)),
    },
)
SHARES = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda parts: np.array(parts) / sum(parts))


def movement(
    now: Mapping[str, Numbers] | None = None, outputs: Numbers | None = None, count: int = 2_000, mean_answer: float = 0
) -> Movement:
    """Healthy values in four even bins but for the given ones."""
    healthy = dict.fromkeys(HARM.features, EVEN)
    features = {**healthy, **(now or {})}
    told = {} if outputs is None else {"prediction": outputs}
    return Movement(features, features, healthy, told, dict.fromkeys(told, EVEN), count, 10_000, mean_answer)


@given(SHARES, SHARES)
def test_a_distance_is_a_share(one: Numbers, other: Numbers) -> None:
    """From 0 for what is alike to 1 for what has no bin in common, the same in both directions."""
    assert distance(one, one) == 0
    assert 0 <= distance(one, other) <= 1
    assert distance(one, other) == distance(other, one)
    assert distance(np.append(one, EVEN * 0), np.append(one * 0, EVEN)) == pytest.approx(1)


@pytest.mark.parametrize("count", [50, 500, 5_000])
@pytest.mark.parametrize("shares", [EVEN, np.array([0.7, 0.2, 0.07, 0.03]), np.full(12, 1 / 12)])
def test_the_noise_of_a_distance_is_what_sampling_makes(shares: Numbers, count: int) -> None:
    """The mean distance of a healthy sample is the one foretold, and its spread is no greater."""
    draws = np.random.default_rng(count).multinomial(count, shares, 2_000) / count
    distances = [distance(draw, shares) for draw in draws]
    mean, sd = distance_noise(shares, 1 / count)
    assert np.mean(distances) == pytest.approx(mean, rel=0.1)
    assert np.std(distances) < 1.1 * sd


@given(SHARES, st.floats(0, 1))
def test_what_is_sound_and_has_not_moved_costs_nothing(outputs: Numbers, share: float) -> None:
    """No damage and no movement, no harm; nor by damage to what the model ignores."""
    assert estimate(HARM, movement(), {}).total == 0
    assert estimate(HARM, movement(outputs=outputs), {}).total == 0
    assert estimate(HARM, movement(), {"ignored": Damage(share, strange=False)}).total == 0
    assert estimate(HARM, movement(), {"of another version": Damage(share, strange=False)}).total == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_damage_never_costs_less(one: float, other: float) -> None:
    """A column on the wrong rows costs what was tried out, in proportion to the share of them."""
    losses = [estimate(HARM, movement(), {"leant_on": Damage(share, strange=False)}).damage for share in (one, other)]
    assert losses == pytest.approx([0.3 * one, 0.3 * other])


def test_values_in_one_place_cost_what_was_tried_there() -> None:
    """A column lost or stuck costs what it did at `init`, and less than one on the wrong rows where that was so."""
    stuck = estimate(HARM, movement({"leant_on": GAP}), {"leant_on": WHOLE})
    half = estimate(HARM, movement({"leant_on": (EVEN + GAP) / 2}), {"leant_on": Damage(0.5, strange=False)})
    assert stuck.damage == pytest.approx(0.2)
    assert half.damage == pytest.approx(0.1)


def test_a_value_on_which_the_model_fails_costs_as_much_as_a_wrong_one() -> None:
    """Where nothing could be tried, the loss of a permuted column stands in."""
    assert estimate(HARM, movement({"other": GAP}), {"other": WHOLE}).damage == pytest.approx(0.2)


def test_two_damaged_features_cost_no_more_than_all_of_them() -> None:
    """Losses add up to what was lost with all features permuted at most, and to what the two lost where tried."""
    damaged = {"leant_on": WHOLE, "other": WHOLE}
    assert estimate(HARM, movement(), damaged).damage == pytest.approx(0.4)
    tried = replace(HARM, together=(("leant_on", "other", 0.35), ("leant_on", "ignored", 0.9)))
    assert estimate(tried, movement(), damaged).damage == pytest.approx(0.35)
    half = dict.fromkeys(damaged, Damage(0.5, strange=False))
    assert estimate(tried, movement(), half).damage == pytest.approx(0.175)


def test_an_error_is_told_as_a_share_of_the_healthy_one() -> None:
    """A regressor's loss is by how much its error grew, whatever its unit."""
    for unit in (1e-6, 1.0, 1e6):
        features = {name: FeatureHarm(known.permuted * unit, ()) for name, known in HARM.features.items()}
        wide = Harm(Metric.MEAN_ABSOLUTE_ERROR, True, 0.1 * unit, 0.4 * unit, features)
        assert estimate(wide, movement(), {"leant_on": WHOLE}).damage == pytest.approx(3)


def test_answers_that_have_changed_cost_something() -> None:
    """Values beyond anything that was tried are judged by the answers that they moved."""
    strange = {"ignored": Damage(1.0, strange=True)}
    assert estimate(HARM, movement(outputs=EVEN), strange).damage == 0
    flipped = estimate(HARM, movement(outputs=GAP), strange).damage
    assert 0.3 < flipped <= 0.75
    assert estimate(HARM, movement(outputs=GAP), {"ignored": WHOLE}).damage == 0


def test_a_mean_answer_far_off_costs_about_as_far() -> None:
    """A regressor that answers a thousand too much errs by about a thousand."""
    features = {name: FeatureHarm(0.0, ()) for name in HARM.features}
    wide = Harm(Metric.MEAN_ABSOLUTE_ERROR, True, 1.0, 0.0, features, answers=(1.0, 2.0, 3.0, 4.0))
    moved = movement(outputs=EVEN, mean_answer=1_000)
    assert estimate(wide, moved, {"leant_on": Damage(1.0, strange=True)}).damage == pytest.approx(1_000, rel=0.01)


EFFECTS = replace(
    HARM,
    effects_alone={"leant_on": (-0.1, -0.1, 0.0, 0.2)},
    effects={"leant_on": (-0.1, -0.1, 0.0, 0.2)},
    output_effects={"prediction": (0.0, 0.0, 0.0, 0.3)},
    effect_sd=0.1,
)


def test_a_shift_to_where_the_model_is_weak_costs_and_one_to_where_it_is_strong_gains() -> None:
    """The error of other rows is the one that such rows had in the sample."""
    worse = estimate(EFFECTS, movement({"leant_on": GAP}), {})
    better = estimate(EFFECTS, movement({"leant_on": GAP[::-1]}), {})
    assert worse.damage == 0
    assert worse.total == pytest.approx(0.2)
    assert better.shift == pytest.approx(-0.1)
    assert better.total == 0


def test_what_the_answers_say_of_a_shift_counts_where_there_are_any() -> None:
    """With the model's answers the shift is judged by them too; without, by the features alone."""
    with_answers = estimate(EFFECTS, movement({"leant_on": GAP}, outputs=GAP), {}).shift
    assert with_answers == pytest.approx(0.2 + 0.225)


def test_a_shift_for_the_better_does_not_make_up_for_damage() -> None:
    """The damage stays as costly."""
    both = estimate(EFFECTS, movement({"leant_on": GAP[::-1]}), {"other": WHOLE})
    assert both.shift < 0
    assert both.total == both.damage == pytest.approx(0.2)


def test_damaged_values_say_nothing_about_a_shift() -> None:
    """What a feature's values would mean if they were true counts for nothing once they are not."""
    assert estimate(EFFECTS, movement({"leant_on": GAP}), {"leant_on": WHOLE}).shift == 0


def test_answers_to_damaged_values_say_nothing_about_a_shift() -> None:
    """They have moved because of the damage, which is costed already."""
    assert estimate(EFFECTS, movement(outputs=GAP), {}).shift > 0
    assert estimate(EFFECTS, movement(outputs=GAP), {"leant_on": WHOLE}).shift == 0


@pytest.mark.parametrize("count", [50, 500, 5_000])
def test_sampling_noise_is_no_shift(count: int) -> None:
    """Of 300 healthy windows hardly any is said to be worse, or better, than health."""
    draws = np.random.default_rng(count).multinomial(count, EVEN, 300) / count
    spread = float(np.std(EFFECTS.effects["leant_on"]))
    known = replace(EFFECTS, effect_sd=spread)
    assert sum(estimate(known, movement({"leant_on": draw}, count=count), {}).shift != 0 for draw in draws) <= 1


def test_effects_that_varied_in_health_are_believed_less() -> None:
    """What the effects missed from stretch to stretch they may miss again."""
    moved = movement({"leant_on": (3 * EVEN + GAP) / 4})
    assert estimate(EFFECTS, moved, {}).shift == pytest.approx(0.05)
    assert estimate(replace(EFFECTS, effect_variation=0.1), moved, {}).shift == 0


RARE, USUAL = np.array([0.1, 0.1, 0.1, 0.7]), np.array([0.3, 0.3, 0.3, 0.1])
MIXED = replace(
    HARM,
    truths=tuple(
        Truth(share, error, dict.fromkeys(HARM.features, tuple(shares.tolist())), {})
        for share, error, shares in ((0.75, 0.05, USUAL), (0.25, 0.25, RARE))
    ),
)


def test_a_mix_of_true_answers_that_the_model_is_bad_at_costs_what_they_cost() -> None:
    """More of the answers on which the model errs: the error gained is theirs, wherever it shows."""
    for rare in (0.25, 0.4, 0.7, 0.9):
        now = dict.fromkeys(HARM.features, (1 - rare) * USUAL + rare * RARE)
        assert estimate(MIXED, movement(now), {}).shift == pytest.approx((rare - 0.25) * 0.2, abs=0.01)


def test_a_movement_that_no_mix_explains_is_put_down_to_none() -> None:
    """One feature moved elsewhere, and the others not along: other answers are not why."""
    assert estimate(MIXED, movement({"leant_on": GAP[::-1]}), {}).shift == 0


def test_no_mix_for_the_better_hides_a_shift_for_the_worse() -> None:
    """Fewer of the answers on which the model errs is no reason to believe less in what the features say."""
    now = dict.fromkeys(HARM.features, USUAL)
    known = replace(MIXED, effects_alone={"leant_on": (0.9, 0.0, 0.0, 0.0)}, effect_sd=0.1)
    assert estimate(known, movement(now), {}).shift == pytest.approx(0.045)


@given(
    st.dictionaries(st.sampled_from(sorted(HARM.features)), SHARES),
    st.dictionaries(st.sampled_from(sorted(HARM.features)), st.builds(Damage, st.floats(0, 1), st.booleans())),
    SHARES | st.none(),
    st.sampled_from([HARM, EFFECTS, MIXED]),
)
def test_any_window_has_a_finite_cost(
    now: dict[str, Numbers], damaged: dict[str, Damage], outputs: Numbers | None, harm: Harm
) -> None:
    """From nothing to everything: the accuracy lost to damage lies in [0, 1], whatever has moved."""
    found = estimate(harm, movement(now, outputs), damaged)
    assert 0 <= found.damage <= 1
    assert np.isfinite(found.shift)
    assert found.total >= found.damage


@pytest.mark.parametrize("harm", [HARM, EFFECTS, MIXED])
def test_what_was_learnt_survives_the_store(harm: Harm) -> None:
    """Written as a document and read back it is the same."""
    assert from_document(Harm, to_document(harm)) == harm
