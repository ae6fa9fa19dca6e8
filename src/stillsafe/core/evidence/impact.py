"""Performance impact: what a change is likely to cost this model, estimated without labels from a study made at `init`.

Two kinds of change cost differently:

    corruption            a feature's values no longer belong to their rows. The study measured that cost on labelled
                          rows: each feature permuted, and set to each of its bins for all rows (permutation
                          importance: L. Breiman, "Random forests", Machine Learning 45, 2001). See `corruption_loss`.
    distribution shift    other rows arrive than before, each of them intact. The model then errs on them as it did on
                          such rows in the study: by bin, confidence and prediction, other things equal (ridge
                          regression of the error on the bins), or by label where label shift explains the change
                          better (Z. Lipton, Y.-X. Wang and A. Smola, "Detecting and correcting for label shift with
                          black box predictors", 2018). See `shift_loss`.

A classifier's loss is the accuracy lost, in [-1, 1]. A regressor's loss is the mean absolute error gained, in the unit
of the prediction; `impact_estimate` gives it as a share of the healthy error.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreTable

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureImpact:
    """The loss if all values of one feature are corrupted.

    Attributes:
        permuted: loss if its values belong to other rows.
        at: per bin, loss if every row has a value of that bin; None where the model fails.
        permuted_error: standard error of `permuted` by the rows of the study; 0 in an older document.
        at_errors: the same of `at`, bin by bin; empty in an older document.
        most_changed: of all values that the study tried, the largest share of answers that one changed; of a
            regressor the largest mean distance by which one moved them. None in an older document.
        scaled_loss: loss if its numbers are a hundred times as large; None where that was not tried.
        view_of: of a view, the feature that it belongs to and that was changed; None of a feature itself.
    """

    permuted: float
    at: tuple[float | None, ...]
    permuted_error: float = 0.0
    at_errors: tuple[float | None, ...] = ()
    most_changed: float | None = None
    scaled_loss: float | None = None
    view_of: str | None = None


@dataclass(frozen=True, slots=True)
class LabelProfile:
    """The healthy rows with one label, or with labels in one range.

    Attributes:
        share: of the healthy rows, in [0, 1].
        error: the model's mean error on them.
        features, outputs: per feature or output, the share of these rows in each bin.
        label: of a classifier, the label as text; None in a document of an older version.
    """

    share: float
    error: float
    features: Mapping[str, tuple[float, ...]]
    outputs: Mapping[str, tuple[float, ...]]
    label: str | None = None


@dataclass(frozen=True, slots=True)
class PerformanceImpact:
    """Results of the impact study at `init`. Stored with the baseline.

    Attributes:
        metric: how losses are measured.
        labelled: whether labels were available; otherwise the model's own probabilities were used instead.
        healthy_error: mean error on the healthy sample.
        all_permuted: loss if the values of all features belong to other rows.
        features: per feature.
        together: (feature, feature, loss) if both are permuted alike, for the most important features.
        effects, output_effects: per feature or output and bin, the difference in error, other things equal.
        effects_alone: the same from the features alone, for rows without a prediction.
        effect_sd: standard deviation of one row's summed effects.
        effect_variation: standard deviation, from chunk to chunk of the healthy period and beyond sampling, of the
            error that the effects fail to predict.
        truths: the rows by label.
        answers: per bin of the prediction, a regressor's typical prediction; empty of a classifier.
        shift_error: loss that the estimate for a genuine shift wrongly reports on healthy rows (`SlotTable`).
        definition: the metric as the owner defines it; None in a document of an older version.
        also: the results by further metrics.
        groups: (features, loss) if all of a group are permuted alike: the most important features, more and more.
        answer_swaps: of a classifier, per bin of the prediction the loss of a row that is given each of the answers in
            place of its own; empty where the metric does not depend on the answers alone.
        answer_effects: per feature and bin, the difference in each prediction bin's share, other things equal.
        row_count: labelled rows behind the healthy error; 0 in a document of an older version.
        is_live: whether these rows are of the log, and not of the sample at `init`.
        score_table: of a metric of scores, the rows by label and score; None where labels cannot judge it.
    """

    metric: Metric
    labelled: bool
    healthy_error: float
    all_permuted: float
    features: Mapping[str, FeatureImpact]
    together: tuple[tuple[str, str, float], ...] = ()
    effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    output_effects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effects_alone: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    effect_sd: float = 0.0
    effect_variation: float = 0.0
    truths: tuple[LabelProfile, ...] = ()
    answers: tuple[float, ...] = ()
    shift_error: float = 0.0
    definition: MetricDefinition | None = None
    also: tuple["PerformanceImpact", ...] = ()
    groups: tuple[tuple[tuple[str, ...], float], ...] = ()
    answer_swaps: tuple[tuple[float, ...], ...] = ()
    answer_effects: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    row_count: int = 0
    is_live: bool = False
    score_table: ScoreTable | None = None

    @property
    def needs_scores(self) -> bool:
        """Whether the metric depends on scores, and not on the model's answers alone."""
        return self.metric.uses_probabilities or (self.definition is not None and self.definition.threshold is not None)

    def served_name(self, name: str) -> str:
        """The feature that the model takes: of a view the one that it belongs to."""
        feature = self.features.get(name)
        return name if feature is None or feature.view_of is None else feature.view_of

    def with_views(self, names: Collection[str]) -> frozenset[str]:
        """Some features or views with everything that shows the same features."""
        served_names = {self.served_name(name) for name in names}
        return frozenset({*names, *served_names, *(n for n in self.features if self.served_name(n) in served_names)})


@dataclass(frozen=True, slots=True)
class Corruption:
    """The corruption of one feature.

    Attributes:
        share: of its values, in [0, 1].
        extreme: whether values are beyond all that the study tried.
        is_constant: whether they are one number.
    """

    share: float
    extreme: bool
    is_constant: bool = False


@dataclass(frozen=True, slots=True)
class DistributionShift:
    """The distributions of features and outputs in the window and in health, as shares by bin.

    Attributes:
        features, healthy: per feature.
        clipped_features: per feature that no clock determines, with numbers far outside counted in the outermost
            ordinary bins.
        outputs, healthy_outputs: per output that both window and baseline have.
        count, healthy_count: rows.
        mean_difference: distance of a regressor's mean prediction from the healthy mean beyond noise, 0 or more.
    """

    features: Mapping[str, Numbers]
    clipped_features: Mapping[str, Numbers]
    healthy: Mapping[str, Numbers]
    outputs: Mapping[str, Numbers]
    healthy_outputs: Mapping[str, Numbers]
    count: int
    healthy_count: int
    mean_difference: float = 0.0

    @property
    def variance_factor(self) -> float:
        """Sampling variance of a share's difference, per unit of p (1 - p)."""
        return 1 / self.count + 1 / max(self.healthy_count, 1)


def total_variation(now: Numbers, healthy: Numbers) -> float:
    """Total variation distance of two distributions, in [0, 1]: the share of rows in another bin."""
    return float(0.5 * np.abs(now - healthy).sum())


def total_variation_noise(healthy: Numbers, variance_factor: float) -> tuple[float, float]:
    """Mean and standard deviation (an upper bound) of the total variation distance that sampling alone makes.

    Half the sum of absolute normal deviates, each of variance p (1 - p) times the factor.
    """
    variance = np.clip(healthy, 0.0, 1.0) * (1 - np.clip(healthy, 0.0, 1.0)) * variance_factor
    return float(0.5 * math.sqrt(2 / math.pi) * np.sqrt(variance).sum()), float(0.5 * math.sqrt(variance.sum()))


def study_with_views(impact: PerformanceImpact, views: Mapping[str, str]) -> PerformanceImpact:
    """A study with views that it has not tried: damage to one costs what damage to its feature does.

    Args:
        impact: the study, with the further metrics that it has.
        views: the name of each view -> its feature.
    """
    new_features = {
        name: replace(impact.features[of], at=(), at_errors=(), view_of=of)
        for name, of in views.items()
        if name not in impact.features and of in impact.features
    }
    also = tuple(study_with_views(each, views) for each in impact.also)
    return replace(impact, features={**impact.features, **new_features}, also=also)
