"""The numbers that turn counts into evidence, each with its reason: the `evidence` section of the policy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any


def _because(default: Any, reason: str) -> Any:
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """The numbers that turn counts into evidence. They are part of the rules: no setting changes them."""

    repeat_min_distinct: int = _because(
        21, "From so many different healthy values on, a number hardly ever repeats by chance."
    )
    repeat_max_usual_rate: float = _because(
        0.1, "A number that was more common than this in the healthy period may well become the most common one."
    )
    repeat_factor: float = _because(6.0, "A number is repeated where it is so many times as common as in health.")
    repeated_row_deviations: float = _because(
        6.0, "Copies of one row are unexplained beyond so many standard errors of what its rarest value explains."
    )
    repeated_row_min_rate: float = _because(
        0.01, "Fewer copies of one row, as a share of the rows, change no reading that matters."
    )
    repeated_row_enough_others: float = _because(
        50.0,
        "Beside so many other rows, those that a window needs by default, copies are left out: the rest is judged.",
    )
    repeated_row_least_others: float = _because(
        0.01, "Beside fewer other rows, as a share, copies are no probe but the traffic itself: a feed that is dead."
    )
    repeated_row_max_agreement: float = _because(
        0.001, "Where healthy rows are equal more often than this by chance, equal rows are nothing unusual."
    )
    silence_pause_factor: float = _because(
        3.0, "An automatic limit of silence is so many times the baseline's longest pause."
    )
    silence_recheck_fraction: float = _because(
        0.5, "A silence that was judged less than this fraction of the interval ago is not judged a second time."
    )
    far_rate_min: float = _because(0.05, "Fewer values far outside the healthy range are stray values, not damage.")
    weaker_side_deviations: float = _because(
        0.5,
        "The less clear of the two directions of a broken association may miss the limit by so many standard errors.",
    )
    relation_runs: float = _because(
        3.0,
        "A break that no single run shows counts where so many runs in a row, those of a CRITICAL, show it together.",
    )
    relation_least_part: float = _because(
        0.5, "Each of these runs must show this part of what all show on average: one does not speak for several."
    )
    shift_tolerance: float = _because(
        0.4, "An intact association may appear broken by this share of the largest shift of another feature."
    )
    power_deviations: float = _because(
        6.0, "Associations show any damage where a full break would differ from health by so many standard errors."
    )
    rebuttal_deviations: float = _because(
        4.0, "They refute a suspected damage where they show less of it by so many standard errors."
    )
    shift_deviations: float = _because(
        2.0, "A shift counts for the tolerance of associations beyond so many standard deviations of its noise."
    )
    mean_prediction_deviations: float = _because(
        4.0, "A regressor's mean prediction has moved beyond so many standard errors."
    )
    untested_factor: float = _because(
        2.0, "Flipped predictions add at most so many times the loss that was measured where the damage was tested."
    )
    negligible_influence: float = _because(
        0.01,
        "A feature moves no predictions where no value that the study tried changed more answers than this, or moved "
        "them by more than this share of the healthy error.",
    )
    thin_share_max: float = _because(
        0.02, "Bins with so few of the healthy rows say nothing about many rows: what the study tried there does."
    )
    lone_shift_min: float = _because(
        0.5, "Half of a feature's values in other bins, while nothing associated with it moved, is a fault of its own."
    )
    moved_along_min: float = _because(
        0.5, "Values with hardly a healthy row are genuine where other features moved by this much of what they imply."
    )
    negligible_shift: float = _because(
        0.1, "A feature that has shifted by less costs at least as much as a permuted one, where it is damaged."
    )
    label_shift_explained_min: float = _because(
        0.3, "A label shift is accepted as the cause where it explains at least this share of the distribution shift."
    )
    impact_deviations: float = _because(4.0, "An estimated impact counts beyond so many standard errors.")
    positive_loss_share: float = _because(
        0.3, "Recall, precision or F1 beside the owner's metric is severe where it loses this share of itself."
    )
    label_shift_deviations: float = _because(
        8.0, "A label shift must explain more than chance does by so many standard deviations."
    )
    label_shift_prior_rows: float = _because(
        2.0, "Rows added to each bin of a label shift's fit, so that a rare bin does not dominate it."
    )
    association_prior_rows: float = _because(
        3.0, "Rows of chance added to every pair of bins, so that a rare pair scores low."
    )
    association_deviations: float = _because(
        6.0, "Two features are associated where their mutual information exceeds chance by so many standard deviations."
    )
    association_min_nats: float = _because(
        0.01, "Nats of mutual information below which a feature's associations are too weak to judge it by."
    )
    association_min_remaining: float = _because(
        0.25, "Share of a feature's mutual information that must remain for a reliable estimate."
    )
    association_noise_floor: float = _because(
        0.005, "Share of the mutual information below which no estimate is ever certain."
    )
    own_break_min: float = _because(
        0.02, "Smallest divisor of a broken share given the feature's own distribution, as a share of its information."
    )
    others_break_min: float = _because(
        0.2, "Smallest divisor given the other features' distributions, whose estimate is less certain."
    )
    unknown_slots_max: float = _because(
        0.2, "Where the healthy period lacks the hours of more of the rows than this, only damage is judged."
    )
    slot_prior_rows: float = _because(
        2.0, "Rows of the whole period added to the shares of each hour, so that no value is impossible at an hour."
    )
    clock_rare_share: float = _because(
        0.01, "A clock feature contradicts the clock where fewer healthy rows of that time than this had its value."
    )
    clock_claim_deviations: float = _because(
        4.0, "Whole rows come from the hour that they claim where their other features fit it better by so much."
    )
    shift_error_factor: float = _because(
        2.0, "A loss by a genuine shift counts beyond so many times the error that healthy hours show in its estimate."
    )
    possible_loss_deviations: float = _because(
        2.0, "A change is an alarm if what it could cost matters so many standard errors above the estimate."
    )
    advantage_deviations: float = _because(
        2.0, "The fallback answers where what it is expected to win is above zero by so many standard errors of that."
    )
    outlier_max_sources: float = _because(
        5.0, "A deviation of more clients than this is the service's, however many clients there are."
    )
    outlier_min_others: float = _because(
        2.0, "Two calm clients at least for each one that is left out: of two clients neither speaks for the service."
    )
    realised_loss_deviations: float = _because(
        2.5, "A realised loss counts beyond so many standard errors; three labelled runs in a row must show it."
    )
    realised_min_class_labels: float = _because(
        10.0,
        "The area under a curve of fewer labels of either kind has no reliable standard error: they wait for more.",
    )
    realised_most_waiting: float = _because(
        5_000.0, "So many labels with too few of a class wait no longer: each run would read them all again."
    )
    learning_min_coverage: float = _because(
        0.1, "With fewer labelled rows than one in ten, why these have a label matters more than what the label is."
    )
    learning_deviations: float = _because(
        4.0, "A baseline is learnt once: chance makes labels contradict it once in ten thousand times."
    )
    state_valid_intervals: float = _because(
        2.0, "A state is valid for so many intervals: one run may be late or fail before it counts as stale."
    )
    clock_tolerance_seconds: float = _because(
        3600.0, "A last run further in the future than this was recorded with a wrong clock: the state counts as stale."
    )

    def problems(self) -> Iterator[str]:
        """One sentence for each number that is not finite or below zero."""
        for f in fields(self):
            if not 0 <= getattr(self, f.name) < math.inf:
                yield f"evidence.{f.name} must be a finite number, zero or more."
