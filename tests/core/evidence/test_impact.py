"""Performance impact: the estimated loss, on models so small that the right answer is known."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.impact import (
    Corruption,
    DistributionShift,
    FeatureImpact,
    LabelProfile,
    Numbers,
    PerformanceImpact,
    study_with_views,
    total_variation,
    total_variation_noise,
)
from stillsafe.core.evidence.impact_estimate import estimate_impact
from stillsafe.core.evidence.metric import Metric

EVEN = np.array([0.25, 0.25, 0.25, 0.25])
LAST_BIN = np.array([0.0, 0.0, 0.0, 1.0])
WHOLE = Corruption(1.0, extreme=False)

IMPACT = PerformanceImpact(
    Metric.ACCURACY,
    labelled=True,
    healthy_error=0.1,
    all_permuted=0.4,
    features={
        "important": FeatureImpact(0.3, (0.1, 0.1, 0.1, 0.2)),
        "other": FeatureImpact(0.2, (0.05, 0.05, 0.05, None)),
        "ignored": FeatureImpact(0.0, (0.0, 0.0, 0.0, 0.0)),
    },
)
SHARES = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda parts: np.array(parts) / sum(parts))


def shift_to(
    now: Mapping[str, Numbers] | None = None,
    predictions: Numbers | None = None,
    count: int = 2_000,
    mean_difference: float = 0,
) -> DistributionShift:
    """A shift of the given features from four even bins; all other features stay healthy."""
    healthy = dict.fromkeys(IMPACT.features, EVEN)
    features = {**healthy, **(now or {})}
    outputs = {} if predictions is None else {"prediction": predictions}
    return DistributionShift(
        features, features, healthy, outputs, dict.fromkeys(outputs, EVEN), count, 10_000, mean_difference
    )


@given(SHARES, SHARES)
def test_total_variation_is_a_share(one: Numbers, other: Numbers) -> None:
    """From 0 for equal distributions to 1 for those without a common bin, the same in both directions."""
    assert total_variation(one, one) == 0
    assert 0 <= total_variation(one, other) <= 1
    assert total_variation(one, other) == total_variation(other, one)
    assert total_variation(np.append(one, EVEN * 0), np.append(one * 0, EVEN)) == pytest.approx(1)


@pytest.mark.parametrize("count", [50, 500, 5_000])
@pytest.mark.parametrize("shares", [EVEN, np.array([0.7, 0.2, 0.07, 0.03]), np.full(12, 1 / 12)])
def test_the_noise_of_total_variation_is_that_of_sampling(shares: Numbers, count: int) -> None:
    """The mean distance of a healthy sample is the predicted one, and its spread is no greater."""
    samples = np.random.default_rng(count).multinomial(count, shares, 2_000) / count
    distances = [total_variation(sample, shares) for sample in samples]
    mean, sd = total_variation_noise(shares, 1 / count)
    assert np.mean(distances) == pytest.approx(mean, rel=0.1)
    assert np.std(distances) < 1.1 * sd


@given(SHARES, st.floats(0, 1))
def test_intact_features_without_a_shift_cost_nothing(predictions: Numbers, share: float) -> None:
    """Without corruption and shift there is no loss; nor by corruption of a feature that the model ignores."""
    assert estimate_impact(IMPACT, shift_to(), {}).total == 0
    assert estimate_impact(IMPACT, shift_to(predictions=predictions), {}).total == 0
    assert estimate_impact(IMPACT, shift_to(), {"ignored": Corruption(share, extreme=False)}).total == 0
    assert estimate_impact(IMPACT, shift_to(), {"of another version": Corruption(share, extreme=False)}).total == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_loss_is_proportional_to_the_share(one: float, other: float) -> None:
    """A column on the wrong rows costs the loss of the study, in proportion to the share of these rows."""
    losses = [
        estimate_impact(IMPACT, shift_to(), {"important": Corruption(share, extreme=False)}).corruption
        for share in (one, other)
    ]
    assert losses == pytest.approx([0.3 * one, 0.3 * other])


def test_values_in_one_bin_cost_the_loss_of_that_bin() -> None:
    """A missing or stuck column costs its loss in the study, and less than a permuted one where that was so."""
    whole = estimate_impact(IMPACT, shift_to({"important": LAST_BIN}), {"important": WHOLE})
    half_shift = shift_to({"important": (EVEN + LAST_BIN) / 2})
    half = estimate_impact(IMPACT, half_shift, {"important": Corruption(0.5, extreme=False)})
    assert whole.corruption == pytest.approx(0.2)
    assert half.corruption == pytest.approx(0.1)


def test_a_value_on_which_the_model_fails_costs_as_much_as_a_permuted_one() -> None:
    """Where the study has no loss of a bin, that of the permuted column is used."""
    estimate = estimate_impact(IMPACT, shift_to({"other": LAST_BIN}), {"other": WHOLE})
    assert estimate.corruption == pytest.approx(0.2)


def test_two_corrupted_features_cost_no_more_than_all_of_them() -> None:
    """Losses add up to that of all features at most, and to the loss of the pair where it was studied."""
    corruptions = {"important": WHOLE, "other": WHOLE}
    assert estimate_impact(IMPACT, shift_to(), corruptions).corruption == pytest.approx(0.4)
    paired_impact = replace(IMPACT, together=(("important", "other", 0.35), ("important", "ignored", 0.9)))
    assert estimate_impact(paired_impact, shift_to(), corruptions).corruption == pytest.approx(0.35)
    half = dict.fromkeys(corruptions, Corruption(0.5, extreme=False))
    assert estimate_impact(paired_impact, shift_to(), half).corruption == pytest.approx(0.175)


def test_an_error_is_a_share_of_the_healthy_one() -> None:
    """A regressor's loss is the growth of its error, whatever the unit."""
    for unit in (1e-6, 1.0, 1e6):
        features = {name: FeatureImpact(feature.permuted * unit, ()) for name, feature in IMPACT.features.items()}
        impact = PerformanceImpact(Metric.MEAN_ABSOLUTE_ERROR, True, 0.1 * unit, 0.4 * unit, features)
        assert estimate_impact(impact, shift_to(), {"important": WHOLE}).corruption == pytest.approx(3)


def test_a_prediction_shift_has_a_cost() -> None:
    """For values beyond all that the study tried, the shift of the predictions determines the loss."""
    extreme = {"ignored": Corruption(1.0, extreme=True)}
    assert estimate_impact(IMPACT, shift_to(predictions=EVEN), extreme).corruption == 0
    assert 0.3 < estimate_impact(IMPACT, shift_to(predictions=LAST_BIN), extreme).corruption <= 0.75
    assert estimate_impact(IMPACT, shift_to(predictions=LAST_BIN), {"ignored": WHOLE}).corruption == 0


def test_a_distant_mean_prediction_costs_about_its_distance() -> None:
    """A regressor that predicts a thousand too much errs by about a thousand."""
    features = {name: FeatureImpact(0.0, ()) for name in IMPACT.features}
    impact = PerformanceImpact(Metric.MEAN_ABSOLUTE_ERROR, True, 1.0, 0.0, features, answers=(1.0, 2.0, 3.0, 4.0))
    shift = shift_to(predictions=EVEN, mean_difference=1_000)
    estimate = estimate_impact(impact, shift, {"important": Corruption(1.0, extreme=True)})
    assert estimate.corruption == pytest.approx(1_000, rel=0.01)


EFFECTS = replace(
    IMPACT,
    effects_alone={"important": (-0.1, -0.1, 0.0, 0.2)},
    effects={"important": (-0.1, -0.1, 0.0, 0.2)},
    output_effects={"prediction": (0.0, 0.0, 0.0, 0.3)},
    effect_sd=0.1,
)


def test_a_shift_costs_or_gains_by_the_error_on_such_rows() -> None:
    """The error of other rows is the one that such rows had in the study."""
    worse = estimate_impact(EFFECTS, shift_to({"important": LAST_BIN}), {})
    better = estimate_impact(EFFECTS, shift_to({"important": LAST_BIN[::-1]}), {})
    assert worse.corruption == 0
    assert worse.total == pytest.approx(0.2)
    assert better.shift == pytest.approx(-0.1)
    assert better.total == 0


def test_predictions_count_where_there_are_any() -> None:
    """With the model's predictions they count as well; without, only the features."""
    estimate = estimate_impact(EFFECTS, shift_to({"important": LAST_BIN}, predictions=LAST_BIN), {})
    assert estimate.shift == pytest.approx(0.2 + 0.225)


def test_a_shift_for_the_better_does_not_offset_corruption() -> None:
    """The loss by corruption stays the same."""
    estimate = estimate_impact(EFFECTS, shift_to({"important": LAST_BIN[::-1]}), {"other": WHOLE})
    assert estimate.shift < 0
    assert estimate.total == estimate.corruption == pytest.approx(0.2)


def test_corrupted_values_are_no_shift() -> None:
    """The values of a corrupted feature do not count as a shift."""
    assert estimate_impact(EFFECTS, shift_to({"important": LAST_BIN}), {"important": WHOLE}).shift == 0


def test_predictions_on_corrupted_values_are_no_shift() -> None:
    """They shifted because of the corruption, whose loss is counted already."""
    assert estimate_impact(EFFECTS, shift_to(predictions=LAST_BIN), {}).shift > 0
    assert estimate_impact(EFFECTS, shift_to(predictions=LAST_BIN), {"important": WHOLE}).shift == 0


@pytest.mark.parametrize("count", [50, 500, 5_000])
def test_sampling_noise_is_no_shift(count: int) -> None:
    """Of 300 healthy windows hardly any has a loss or a gain."""
    samples = np.random.default_rng(count).multinomial(count, EVEN, 300) / count
    impact = replace(EFFECTS, effect_sd=float(np.std(EFFECTS.effects["important"])))
    losses = [estimate_impact(impact, shift_to({"important": sample}, count=count), {}).shift for sample in samples]
    assert sum(loss != 0 for loss in losses) <= 1


def test_effects_that_varied_in_health_count_less() -> None:
    """An error that the effects missed from chunk to chunk they may miss again."""
    shift = shift_to({"important": (3 * EVEN + LAST_BIN) / 4})
    assert estimate_impact(EFFECTS, shift, {}).shift == pytest.approx(0.05)
    assert estimate_impact(replace(EFFECTS, effect_variation=0.1), shift, {}).shift == 0


RARE, COMMON = np.array([0.1, 0.1, 0.1, 0.7]), np.array([0.3, 0.3, 0.3, 0.1])
BY_LABEL = replace(
    IMPACT,
    truths=tuple(
        LabelProfile(share, error, dict.fromkeys(IMPACT.features, tuple(shares.tolist())), {})
        for share, error, shares in ((0.75, 0.05, COMMON), (0.25, 0.25, RARE))
    ),
)


def test_a_label_shift_costs_the_error_on_these_labels() -> None:
    """More rows of a label on which the model errs cost the error on them, in all features alike."""
    for rare in (0.25, 0.4, 0.7, 0.9):
        now = dict.fromkeys(IMPACT.features, (1 - rare) * COMMON + rare * RARE)
        assert estimate_impact(BY_LABEL, shift_to(now), {}).shift == pytest.approx((rare - 0.25) * 0.2, abs=0.01)


def test_a_shift_that_no_mix_of_labels_explains_is_no_label_shift() -> None:
    """One feature shifted, and the others did not: another mix of labels is not the cause."""
    assert estimate_impact(BY_LABEL, shift_to({"important": LAST_BIN[::-1]}), {}).shift == 0


def test_a_label_shift_for_the_better_hides_no_shift_for_the_worse() -> None:
    """Fewer rows of a label on which the model errs leave the loss by the features as it is."""
    now = dict.fromkeys(IMPACT.features, COMMON)
    impact = replace(BY_LABEL, effects_alone={"important": (0.9, 0.0, 0.0, 0.0)}, effect_sd=0.1)
    assert estimate_impact(impact, shift_to(now), {}).shift == pytest.approx(0.045)


@given(
    st.dictionaries(st.sampled_from(sorted(IMPACT.features)), SHARES),
    st.dictionaries(st.sampled_from(sorted(IMPACT.features)), st.builds(Corruption, st.floats(0, 1), st.booleans())),
    SHARES | st.none(),
    st.sampled_from([IMPACT, EFFECTS, BY_LABEL]),
)
def test_any_window_has_a_finite_loss(
    now: dict[str, Numbers],
    corruptions: dict[str, Corruption],
    predictions: Numbers | None,
    impact: PerformanceImpact,
) -> None:
    """The accuracy lost to corruption is in [0, 1], whatever has shifted."""
    estimate = estimate_impact(impact, shift_to(now, predictions), corruptions)
    assert 0 <= estimate.corruption <= 1
    assert np.isfinite(estimate.shift)
    assert estimate.total >= estimate.corruption


def test_damage_to_a_view_that_was_never_tried_costs_what_its_feature_does() -> None:
    """Not nothing: a baseline of the log may have views that the study of `init` lacks; those it has stay as tried."""
    earlier_study = replace(
        IMPACT, features={**IMPACT.features, "other (lag)": FeatureImpact(0.1, (), view_of="other")}
    )
    study = study_with_views(
        earlier_study, {"important (hour)": "important", "other (lag)": "other", "lost (hour)": "lost"}
    )
    assert study.features["other (lag)"] == earlier_study.features["other (lag)"]
    assert "lost (hour)" not in study.features
    assert study.features["important (hour)"].view_of == "important"
    even = shift_to({})
    now, healthy = ({**part, "important (hour)": EVEN} for part in (even.features, even.healthy))
    shift = replace(even, features=now, healthy=healthy)
    by_view, by_feature = (
        estimate_impact(impact, shift, {name: WHOLE})
        for impact, name in ((study, "important (hour)"), (IMPACT, "important"))
    )
    assert by_view.corruption == by_feature.corruption > 0
    assert study_with_views(IMPACT, {}) == IMPACT
