"""How sure a model is of an answer, as one number in [0, 1].

A classifier with probabilities says so itself. Anything else gives a raw score whose meaning is relative, so
its confidence is a rank among the same scores on healthy data: comparable over time, and never made up.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

QUANTILES = 101
MEDIAN = QUANTILES // 2


class ConfidenceMethod(StrEnum):
    """Where the confidence comes from; the best one that the estimator offers is used."""

    CLASS_PROBABILITY = "class_probability"
    MARGIN_RANK = "margin_rank"
    ENSEMBLE_SPREAD = "ensemble_spread"
    PREDICTION_TYPICALITY = "prediction_typicality"


@dataclass(frozen=True, slots=True)
class ConfidenceScale:
    """What turns raw scores into confidences.

    Attributes:
        method: how the raw score is made.
        quantiles: the 0th to 100th percentile of the raw score on healthy data; empty for CLASS_PROBABILITY.
    """

    method: ConfidenceMethod
    quantiles: tuple[float, ...] = ()

    def confidence(self, raw: Numbers) -> Numbers:
        """Raw scores to confidences in [0, 1], NaN where the raw score is NaN.

        With F the distribution function on healthy data:

        - CLASS_PROBABILITY: the raw score itself, the top class's probability.
        - MARGIN_RANK: F(margin), so the widest margin is the surest.
        - ENSEMBLE_SPREAD: 1 - F(spread), so agreement among the members is the surest.
        - PREDICTION_TYPICALITY: with m the healthy median and d = |prediction - m|, the share of healthy
          predictions further from it, F(m - d) + 1 - F(m + d).
        """
        if self.method is ConfidenceMethod.CLASS_PROBABILITY:
            return raw
        if self.method is ConfidenceMethod.MARGIN_RANK:
            return self._rank(raw)
        if self.method is ConfidenceMethod.ENSEMBLE_SPREAD:
            return 1 - self._rank(raw)
        median = self.quantiles[MEDIAN]
        distance = np.abs(raw - median)
        return np.clip(self._rank(median - distance) + 1 - self._rank(median + distance), 0.0, 1.0)

    def _rank(self, raw: Numbers) -> Numbers:
        """F: interpolated between the quantiles; where many healthy scores are equal, the middle of their ranks."""
        values, place = np.unique(np.asarray(self.quantiles), return_inverse=True)
        ranks = np.linspace(0.0, 1.0, len(self.quantiles))
        middle = np.bincount(place, weights=ranks) / np.bincount(place)
        ranked = np.interp(raw, values, middle, left=0.0, right=1.0)
        return np.where(np.isnan(raw), np.nan, ranked)


def choose_method(estimator: Any) -> ConfidenceMethod:
    """The best method that a fitted estimator offers.

    Raises:
        ValueError: a classifier that gives neither probabilities nor margins.
    """
    if hasattr(estimator, "predict_proba"):
        return ConfidenceMethod.CLASS_PROBABILITY
    if hasattr(estimator, "classes_"):
        if hasattr(estimator, "decision_function"):
            return ConfidenceMethod.MARGIN_RANK
        raise ValueError("the classifier gives neither probabilities nor margins")
    innermost = _unwrapped(estimator, None)[0]
    return ConfidenceMethod.ENSEMBLE_SPREAD if _is_ensemble(innermost) else ConfidenceMethod.PREDICTION_TYPICALITY


def raw_confidence(estimator: Any, inputs: Any) -> tuple[ConfidenceMethod, Numbers]:
    """The method, and one raw score per row, before any scale.

    CLASS_PROBABILITY: the top class's probability. MARGIN_RANK: |d| of a binary decision function, the top minus
    the second of several. ENSEMBLE_SPREAD: standard deviation of the members' predictions.
    PREDICTION_TYPICALITY: the prediction.

    Raises:
        ValueError: see `choose_method`.
    """
    method = choose_method(estimator)
    match method:
        case ConfidenceMethod.CLASS_PROBABILITY:
            return method, top_probability(np.asarray(estimator.predict_proba(inputs), dtype=np.float64))
        case ConfidenceMethod.MARGIN_RANK:
            return method, margin(np.asarray(estimator.decision_function(inputs), dtype=np.float64))
        case ConfidenceMethod.ENSEMBLE_SPREAD:
            return method, _spread(*_unwrapped(estimator, inputs))
        case ConfidenceMethod.PREDICTION_TYPICALITY:
            return method, np.asarray(estimator.predict(inputs), dtype=np.float64)


def scale_from(estimator: Any, healthy: Any) -> ConfidenceScale:
    """The scale of an estimator, from inputs of a healthy period.

    Raises:
        ValueError: no healthy row has a finite score, or see `choose_method`.
    """
    method, raw = raw_confidence(estimator, healthy)
    if method is ConfidenceMethod.CLASS_PROBABILITY:
        return ConfidenceScale(method)
    finite = raw[np.isfinite(raw)]
    if not len(finite):
        raise ValueError("no healthy row has a finite score")
    return ConfidenceScale(method, tuple(np.quantile(finite, np.linspace(0.0, 1.0, QUANTILES)).tolist()))


def top_probability(probabilities: Numbers) -> Numbers:
    """The greatest of each row's probabilities."""
    return np.asarray(probabilities.max(axis=1))


def margin(decisions: Numbers) -> Numbers:
    """How far each row lies from the boundary, or its first class from its second."""
    if decisions.ndim == 1:
        return np.abs(decisions)
    if decisions.shape[1] == 1:
        return np.abs(decisions[:, 0])
    best = np.partition(decisions, decisions.shape[1] - 2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def _unwrapped(estimator: Any, inputs: Any) -> tuple[Any, Any]:
    """The estimator that does the work inside searches, target transformations and pipelines, and what it is given.

    With None as inputs nothing is transformed.
    """
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "regressor_"):
            estimator = estimator.regressor_
        elif hasattr(estimator, "named_steps"):
            inputs = inputs if inputs is None else transformed(estimator, inputs)
            estimator = estimator.steps[-1][1]
        else:
            return estimator, inputs


def transformed(pipeline: Any, inputs: Any) -> Any:
    """What a pipeline's last step is given."""
    for _, step in pipeline.steps[:-1]:
        inputs = inputs if step is None or step == "passthrough" else step.transform(inputs)
    return inputs


def _is_ensemble(estimator: Any) -> bool:
    """Whether the members each predict the target. Boosted stages, kept in an array, only do so together."""
    members = getattr(estimator, "estimators_", None)
    return isinstance(members, list) and len(members) > 1 and all(hasattr(m, "predict") for m in members)


def _spread(ensemble: Any, inputs: Any) -> Numbers:
    chosen = getattr(ensemble, "estimators_features_", None)
    # Members fitted on bare arrays warn about named columns, and bagged ones each know some columns only.
    named = hasattr(ensemble.estimators_[0], "feature_names_in_")
    plain = inputs if named or not hasattr(inputs, "to_numpy") else inputs.to_numpy()
    answers = [
        member.predict(plain if chosen is None or named else plain[:, chosen[number]])
        for number, member in enumerate(ensemble.estimators_)
    ]
    return np.asarray(np.std(np.asarray(answers, dtype=np.float64), axis=0))
