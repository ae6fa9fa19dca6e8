"""The confidence of a prediction, one number in [0, 1].

For a classifier with probabilities it is the probability of the predicted class. Other models give a raw score without
a fixed scale, so their confidence is the rank of that score among the scores on healthy data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from stillsafe.core.evidence.shared_numbers import shared_quantiles
from stillsafe.model.estimator_kind import DeclaredKind, declared_kind

Numbers = npt.NDArray[np.float64]

QUANTILES = 101
MEDIAN = QUANTILES // 2


class ConfidenceMethod(StrEnum):
    """Source of the confidence. The first one that the estimator supports is used."""

    CLASS_PROBABILITY = "class_probability"
    """Probability of the predicted class."""
    MARGIN_RANK = "margin_rank"
    """Rank of the decision function's margin; also of an anomaly detector."""
    VOTE_SHARE = "vote_share"
    """Share of the votes for the predicted class, of an ensemble that votes by majority."""
    ENSEMBLE_SPREAD = "ensemble_spread"
    """Rank of the agreement among the members of an ensemble."""
    PREDICTION_TYPICALITY = "prediction_typicality"
    """How close a regressor's prediction is to the healthy median."""
    CALLER = "caller"
    """Sent with each answer of an external model."""
    NONE = "none"
    """Of an external classifier whose answers come without probabilities: no signal reads a confidence."""

    @property
    def is_share(self) -> bool:
        """Whether the raw score is the confidence, so that no scale is needed."""
        return self not in (
            ConfidenceMethod.MARGIN_RANK,
            ConfidenceMethod.ENSEMBLE_SPREAD,
            ConfidenceMethod.PREDICTION_TYPICALITY,
        )


@dataclass(frozen=True, slots=True)
class ConfidenceScale:
    """Converts raw scores to confidences.

    Attributes:
        method: how the raw score is computed.
        quantiles: the 0th to 100th percentile of the raw score on healthy data; empty for a share.
        of_answer: whether a probability is that of the answer, which need not be the likeliest class where a
            threshold decides; false in references of earlier versions, whose baselines have the top probability.
    """

    method: ConfidenceMethod
    quantiles: tuple[float, ...] = ()
    of_answer: bool = False

    def confidence(self, raw: Numbers) -> Numbers:
        """Raw scores to confidences in [0, 1], NaN where the raw score is NaN.

        With F the distribution function on healthy data:

        - CLASS_PROBABILITY and VOTE_SHARE: the raw score itself.
        - MARGIN_RANK: F(margin), so the widest margin has the highest confidence.
        - ENSEMBLE_SPREAD: 1 - F(spread), so the closest agreement has the highest confidence.
        - PREDICTION_TYPICALITY: with m the healthy median and d = |prediction - m|, the share of healthy
          predictions further from m, F(m - d) + 1 - F(m + d).
        """
        if self.method.is_share:
            return raw
        if self.method is ConfidenceMethod.MARGIN_RANK:
            return self._rank(raw)
        if self.method is ConfidenceMethod.ENSEMBLE_SPREAD:
            return 1 - self._rank(raw)
        median = self.quantiles[MEDIAN]
        distance = np.abs(raw - median)
        return np.clip(self._rank(median - distance) + 1 - self._rank(median + distance), 0.0, 1.0)

    def _rank(self, raw: Numbers) -> Numbers:
        """F, interpolated between the quantiles; equal healthy scores share the mean of their ranks."""
        values, positions = np.unique(np.asarray(self.quantiles), return_inverse=True)
        ranks = np.linspace(0.0, 1.0, len(self.quantiles))
        mean_ranks = np.bincount(positions, weights=ranks) / np.bincount(positions)
        raw_ranks = np.interp(raw, values, mean_ranks, left=0.0, right=1.0)
        return np.where(np.isnan(raw), np.nan, raw_ranks)


def has_probabilities(estimator: Any) -> bool:
    """Whether a model answers with probabilities: a regressor may inherit the method from what classifiers share."""
    return hasattr(estimator, "predict_proba") and not is_regressor(estimator)


def is_regressor(estimator: Any) -> bool:
    """Whether an estimator says that it is a regressor."""
    return declared_kind(estimator) is DeclaredKind.REGRESSOR


def choose_method(estimator: Any) -> ConfidenceMethod:
    """The best method that a fitted estimator supports.

    Raises:
        ValueError: a classifier with neither probabilities nor margins.
    """
    if has_probabilities(estimator):
        return ConfidenceMethod.CLASS_PROBABILITY
    if hasattr(estimator, "classes_") and not is_regressor(estimator):
        if hasattr(estimator, "decision_function"):
            return ConfidenceMethod.MARGIN_RANK
        if getattr(_innermost(estimator, None)[0], "voting", None) == "hard":
            return ConfidenceMethod.VOTE_SHARE
        raise ValueError("the classifier gives neither probabilities nor margins")
    if hasattr(estimator, "decision_function") and not is_regressor(estimator):  # an anomaly detector
        return ConfidenceMethod.MARGIN_RANK
    innermost = _innermost(estimator, None)[0]
    return ConfidenceMethod.ENSEMBLE_SPREAD if _is_ensemble(innermost) else ConfidenceMethod.PREDICTION_TYPICALITY


def raw_confidence(estimator: Any, inputs: Any) -> tuple[ConfidenceMethod, Numbers]:
    """The method, and one raw score per row before scaling.

    CLASS_PROBABILITY: the top class's probability. MARGIN_RANK: |d| of a binary decision function, the top minus
    the second of several. ENSEMBLE_SPREAD: standard deviation of the members' predictions.
    VOTE_SHARE: the share of the votes for the class with most. PREDICTION_TYPICALITY: the prediction.

    Raises:
        ValueError: see `choose_method`.
    """
    method = choose_method(estimator)
    match method:
        case ConfidenceMethod.CLASS_PROBABILITY:
            return method, top_probability(np.asarray(estimator.predict_proba(inputs), dtype=np.float64))
        case ConfidenceMethod.MARGIN_RANK:
            return method, margin(np.asarray(estimator.decision_function(inputs), dtype=np.float64))
        case ConfidenceMethod.VOTE_SHARE:
            return method, _vote_share(*_innermost(estimator, inputs))
        case ConfidenceMethod.ENSEMBLE_SPREAD:
            return method, _spread(*_innermost(estimator, inputs))
        case _:
            return method, np.asarray(estimator.predict(inputs), dtype=np.float64)


def prediction_scale(predictions: Numbers, min_count: int) -> ConfidenceScale:
    """The scale of a regressor whose healthy predictions alone are known; see `scale_from`."""
    quantiles = shared_quantiles(np.sort(predictions), QUANTILES, min_count)
    return ConfidenceScale(ConfidenceMethod.PREDICTION_TYPICALITY, tuple(quantiles.tolist()))


def scale_from(estimator: Any, healthy: Any, min_count: int = 1) -> ConfidenceScale:
    """Measure the scale of an estimator on healthy inputs.

    Args:
        estimator: fitted.
        healthy: the inputs.
        min_count: rows that a quantile stands for: above 1 it is a round number among those around it, because the
            prediction of a single row may be its label.

    Raises:
        ValueError: no healthy row has a finite score, or see `choose_method`.
    """
    method, raw = raw_confidence(estimator, healthy)
    if method.is_share:
        return ConfidenceScale(method, of_answer=True)
    finite = raw[np.isfinite(raw)]
    if not len(finite):
        raise ValueError("no healthy row has a finite score")
    if min_count > 1:
        return ConfidenceScale(method, tuple(shared_quantiles(np.sort(finite), QUANTILES, min_count).tolist()))
    return ConfidenceScale(method, tuple(np.quantile(finite, np.linspace(0.0, 1.0, QUANTILES)).tolist()))


def top_probability(probabilities: Numbers) -> Numbers:
    """The largest probability of each row."""
    return np.asarray(probabilities.max(axis=1))


def answer_probability(predictions: Any, probabilities: Numbers, classes: Sequence[Any]) -> Numbers:
    """(n,) the probability of each answer; of an answer that is no class, the largest of its row."""
    positions = {name: position for position, name in enumerate(classes)}
    columns = np.array([positions.get(answer, -1) for answer in predictions.tolist()], np.intp)
    answers = probabilities[np.arange(len(columns)), columns]
    return np.where(columns < 0, top_probability(probabilities), answers) if (columns < 0).any() else answers


def margin(decisions: Numbers) -> Numbers:
    """Distance of each row from the decision boundary; with several classes, the top score minus the second."""
    if decisions.ndim == 1:
        return np.abs(decisions)
    if decisions.shape[1] == 1:
        return np.abs(decisions[:, 0])
    best = np.partition(decisions, decisions.shape[1] - 2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def _innermost(estimator: Any, inputs: Any) -> tuple[Any, Any]:
    """The estimator inside searches, target transformations and pipelines, and its transformed inputs.

    Inputs of None stay None.
    """
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "regressor_"):
            estimator = estimator.regressor_
        elif hasattr(estimator, "named_steps"):
            inputs = inputs if inputs is None else transform_inputs(estimator, inputs)
            estimator = estimator.steps[-1][1]
        else:
            return estimator, inputs


def transform_inputs(pipeline: Any, inputs: Any) -> Any:
    """The inputs of a pipeline's last step."""
    for _, step in pipeline.steps[:-1]:
        inputs = inputs if step is None or step == "passthrough" else step.transform(inputs)
    return inputs


def _is_ensemble(estimator: Any) -> bool:
    """Whether each member predicts the target. Boosting keeps its stages in an array: only their sum predicts it."""
    members = getattr(estimator, "estimators_", None)
    return isinstance(members, list) and len(members) > 1 and all(hasattr(m, "predict") for m in members)


def _vote_share(ensemble: Any, inputs: Any) -> Numbers:
    votes = np.asarray(ensemble.transform(inputs))  # (n, members) positions of classes
    weights = np.ones(votes.shape[1]) if ensemble.weights is None else np.asarray(ensemble._weights_not_none, float)
    shares = [(votes == position) @ weights for position in range(len(ensemble.classes_))]
    return np.asarray(np.max(shares, axis=0) / weights.sum())


def _spread(ensemble: Any, inputs: Any) -> Numbers:
    subsets = getattr(ensemble, "estimators_features_", None)
    # Members fitted on arrays warn about column names, and bagged members take a subset of the columns.
    has_names = hasattr(ensemble.estimators_[0], "feature_names_in_")
    plain = inputs if has_names or not hasattr(inputs, "to_numpy") else inputs.to_numpy()
    predictions = [
        member.predict(plain if subsets is None or has_names else plain[:, subsets[number]])
        for number, member in enumerate(ensemble.estimators_)
    ]
    return np.asarray(np.std(np.asarray(predictions, dtype=np.float64), axis=0))
