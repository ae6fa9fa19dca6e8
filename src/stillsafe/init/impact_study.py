"""The impact study: measure on the sample what changes of the features cost the model; `core.evidence.impact` uses it.

For each feature, its values are permuted (permutation importance), and all rows are set to a value of each of its bins.
The loss is measured against the labels. Without labels, a classifier's probabilities replace them, and a regressor's
own predictions: the loss is then the share or size of changed predictions.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.impact import LabelProfile, PerformanceImpact
from stillsafe.core.evidence.metric import MetricDefinition
from stillsafe.core.evidence.score_table import ScoreTable
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import Score, as_text
from stillsafe.init.perturbation import FEWEST_ROWS, KnownOutcomes, Perturbation, Trials, answer_swaps
from stillsafe.init.score_tables import healthy_answers
from stillsafe.init.scorer import Scorer, default_definition, needs_scores, scorer_of
from stillsafe.model.frame import frame
from stillsafe.model.metrics import Outcome
from stillsafe.model.model import Model
from stillsafe.monitoring.binning import BinCodes, OneHot, bin_codes, feature_bin_codes, one_hot
from stillsafe.monitoring.columns import Columns, output_columns
from stillsafe.monitoring.noise import chunks
from stillsafe.progress import Progress

Numbers = NDArray[np.float64]

RIDGE_PENALTY = 100.0
LABEL_RANGES = 5
CHUNKS = 5
ROWS_AT_ONCE = 8_000
"""Chunks of each half of the sample."""
DIGITS, ANSWER_DIGITS = 9, 5


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """The sample with the model's scores on it.

    Attributes:
        rows: the rows.
        scores: the model's scores on them.
        labels: the labels, None for a label that is not a class of the model; or None without labels.
        columns: the rows as the log would hold them, for their bins.
    """

    rows: Sequence[Row]
    scores: Sequence[Score]
    labels: Sequence[Answer | None] | None
    columns: Columns

    @property
    def usable(self) -> list[int]:
        """The rows with a score, and with a label if there are labels."""
        labels = self.labels
        return [
            i
            for i, score in enumerate(self.scores)
            if score.error is None and (labels is None or labels[i] is not None)
        ]


def study_impact(
    model: Model,
    sample: ScoredSample,
    baseline: Baseline,
    definitions: Sequence[MetricDefinition],
    progress: Progress,
) -> PerformanceImpact | None:
    """Measure what changes of the features cost the model.

    Args:
        model: the model.
        sample: the sample.
        baseline: the baseline of the sample.
        definitions: the owner's metric and further ones; without any, accuracy or the mean absolute error.
        progress: called with the activity and the share of it that is complete, in [0, 1].

    Returns:
        The impact, or None if fewer than 200 rows have a label and a score.
    """
    usable = sample.usable
    if len(usable) < FEWEST_ROWS:
        return None
    impacts: list[PerformanceImpact] = []
    with_scores = any(map(needs_scores, definitions))
    known_outcomes: KnownOutcomes = {}
    scorers: list[Scorer] = []
    for definition in definitions or (default_definition(model),):
        labels = None if sample.labels is None else [sample.labels[i] for i in usable]
        scorer = scorer_of(model, [sample.scores[i] for i in usable], labels, definition)
        scorers += [] if scorer is None else [replace(scorer, with_scores=with_scores)]
    for scorer in scorers:
        impact = _metric_impact(model, sample, baseline, scorer, Trials(known_outcomes, progress))
        definitions = [each.definition for each in scorers]
        table = _score_table(model, sample, scorer, definitions, baseline.min_count)
        impacts.append(replace(impact, score_table=table))
    return replace(impacts[0], also=tuple(impacts[1:])) if impacts else None


def study_answers(
    model: Model, sample: ScoredSample, baseline: Baseline, definitions: Sequence[MetricDefinition]
) -> PerformanceImpact | None:
    """Measure how good the answers of an external model are, which cannot score changed rows: no loss of any feature.

    Returns:
        The performance by the labels, or None without labels or with fewer than 200 rows that have one.
    """
    usable = sample.usable
    if sample.labels is None or len(usable) < FEWEST_ROWS:
        return None
    scores, labels = [sample.scores[i] for i in usable], [sample.labels[i] for i in usable]
    shares = [[*(score.probabilities or {}).values()] for score in scores]
    predictions = np.array([score.prediction for score in scores], dtype=object if model.classes else np.float64)
    outcome = Outcome(predictions, np.array(shares) if all(shares) else None)
    impacts = []
    for definition in definitions or (default_definition(model),):
        scorer = scorer_of(model, scores, labels, definition)
        if scorer is not None and (outcome.scores is not None or not needs_scores(definition)):
            errors = scorer.errors(outcome, np.arange(len(usable)))
            impacts.append(_answer_impact(sample, baseline, scorer, errors))
    return replace(impacts[0], also=tuple(impacts[1:])) if impacts else None


def _answer_impact(sample: ScoredSample, baseline: Baseline, scorer: Scorer, errors: Numbers) -> PerformanceImpact:
    """The performance of the answers by one metric."""
    usable = sample.usable
    codes = feature_bin_codes(sample.columns, baseline.features, _mask(len(sample.columns), usable))
    features = [baseline.features[name] for name in codes]
    variation = _effect_variation(one_hot(features, [*codes.values()], clip=True), errors) if codes else 0.0
    output_codes = _output_bin_codes(sample.columns, baseline, usable)
    return PerformanceImpact(
        scorer.metric,
        labelled=True,
        healthy_error=_rounded_float(errors.mean()),
        all_permuted=0.0,
        features={},
        effect_variation=_rounded_float(variation),
        truths=tuple(_label_profiles(scorer, baseline, {}, output_codes, errors)),
        definition=scorer.definition,
        row_count=len(usable),
    )


def _metric_impact(
    model: Model, sample: ScoredSample, baseline: Baseline, scorer: Scorer, trials: Trials
) -> PerformanceImpact:
    """The impact by one metric."""
    usable, columns = sample.usable, sample.columns
    rows = [sample.rows[i] for i in usable]
    outcome = scorer.outcome(model, frame(model.features, rows))
    errors = scorer.errors(outcome, np.arange(len(usable)))
    codes = feature_bin_codes(columns, baseline.features, _mask(len(columns), usable))
    output_codes = _output_bin_codes(columns, baseline, usable)
    effects = _effects(baseline, codes, output_codes, errors)
    losses = Perturbation(model, rows, scorer, codes, baseline).losses(trials)
    return PerformanceImpact(
        metric=scorer.metric,
        labelled=sample.labels is not None,
        healthy_error=_rounded_float(errors.mean()),
        all_permuted=losses.all_permuted,
        features=losses.features,
        together=losses.pairs,
        effects=effects.features,
        output_effects=effects.outputs,
        effects_alone=effects.without_outputs,
        effect_sd=effects.spread,
        effect_variation=effects.variation,
        truths=tuple(_label_profiles(scorer, baseline, codes, output_codes, errors)),
        answers=_mean_predictions(scorer, output_codes, outcome.predictions, baseline),
        definition=scorer.definition,
        groups=losses.groups,
        answer_swaps=answer_swaps(scorer, model.classes, baseline, output_codes, errors),
        answer_effects=_answer_effects(baseline, codes, output_codes),
        row_count=len(usable),
    )


def _score_table(
    model: Model, sample: ScoredSample, scorer: Scorer, definitions: Sequence[MetricDefinition], min_count: int
) -> ScoreTable | None:
    """The labelled rows by score, where the metric depends on scores."""
    if sample.labels is None or not needs_scores(scorer.definition):
        return None
    usable = sample.usable
    labels, scores = [sample.labels[i] for i in usable], [sample.scores[i] for i in usable]
    outcome = scorer.outcome(model, frame(model.features, [sample.rows[i] for i in usable]))
    answers = healthy_answers(model, scores, labels, definitions, outcome.scores, min_count)
    errors = scorer.errors(outcome, np.arange(len(usable)))
    return None if answers is None else answers.table(scorer.definition, errors)


def _output_bin_codes(columns: Columns, baseline: Baseline, usable: Sequence[int]) -> dict[str, BinCodes]:
    outputs = output_columns(columns)
    return {
        name: bin_codes(outputs[name][usable], healthy)
        for name, healthy in baseline.outputs.items()
        if name in outputs and healthy.bins is not None
    }


@dataclass(frozen=True, slots=True)
class _Effects:
    """Effect of each bin on the error: of features and outputs in one regression, and of the features alone."""

    features: dict[str, tuple[float, ...]]
    outputs: dict[str, tuple[float, ...]]
    without_outputs: dict[str, tuple[float, ...]]
    spread: float
    variation: float


def _effects(
    baseline: Baseline, codes: dict[str, BinCodes], output_codes: dict[str, BinCodes], errors: Numbers
) -> _Effects:
    """Ridge regression of the error on the bins, each a one-hot column.

    Source: A. Hoerl and R. Kennard, "Ridge regression", Technometrics 12, 1970.
    """
    features = [baseline.features[name] for name in codes]
    outputs = [baseline.outputs[name] for name in output_codes]
    table = one_hot([*features, *outputs], [*codes.values(), *output_codes.values()], clip=True)
    width = sum(healthy.bins.size for healthy in features if healthy.bins is not None)
    effects, feature_effects = _ridge(table, errors), _ridge(table[:, :width], errors)
    return _Effects(
        _split(codes, features, effects[:width]),
        _split(output_codes, outputs, effects[width:]),
        _split(codes, features, feature_effects),
        _rounded_float(_product(table, effects).std()),
        _rounded_float(_effect_variation(table, errors)),
    )


def _effect_variation(table: OneHot, errors: Numbers) -> float:
    """Error with which effects of one half of the rows predict chunks of the other half, beyond sampling noise."""
    rows = np.arange(len(errors))
    differences, sampling_variances = [], []
    for half in (rows < len(rows) // 2, rows >= len(rows) // 2):
        effects, half_mean = _ridge(table[half], errors[half]), _mean(table[half])
        for chunk in chunks(rows[~half], CHUNKS, front_loaded=True):
            estimate = errors[half].mean() + (_mean(table[chunk]) - half_mean) @ effects
            differences.append(float(estimate - errors[chunk].mean()))
            sampling_variances.append(float(errors[chunk].var() / len(chunk) + errors[half].var() / half.sum()))
    return math.sqrt(max(0.0, float(np.mean(np.square(differences)) - np.mean(sampling_variances))))


def _ridge(table: OneHot, errors: Numbers) -> Numbers:
    """Effect of each column on the errors, of which there may be several columns.

    With fewer rows than columns the same effects follow from the smaller table of the products of rows:
    (D'D + p)^-1 D' = D' (DD' + p)^-1.
    """
    rows, columns = table.shape
    centred_errors = errors - errors.mean(axis=0)
    if rows < columns:
        deviations = table - _mean(table)
        products = deviations @ deviations.T + RIDGE_PENALTY * np.eye(rows)
        return np.asarray(deviations.T @ np.linalg.solve(products, centred_errors))
    mean = _mean(table)
    # Sums of ones are exact in single precision up to 2^24, so each part of the rows is summed in it.
    gram = -rows * np.outer(mean, mean) + RIDGE_PENALTY * np.eye(columns)
    moments = np.zeros((columns, *errors.shape[1:]))
    for first in range(0, rows, ROWS_AT_ONCE):
        part = table[first : first + ROWS_AT_ONCE]
        gram += part.T @ part
        moments += part.T.astype(np.float64) @ centred_errors[first : first + ROWS_AT_ONCE]
    return np.asarray(np.linalg.solve(gram, moments))


def _mean(table: OneHot) -> Numbers:
    return np.asarray(table.mean(axis=0, dtype=np.float64))


def _product(table: OneHot, effects: Numbers) -> Numbers:
    """(n,) the sum of each row's effects."""
    parts = (table[first : first + ROWS_AT_ONCE] for first in range(0, len(table), ROWS_AT_ONCE))
    return np.concatenate([part.astype(np.float64) @ effects for part in parts])


def _answer_effects(
    baseline: Baseline, codes: dict[str, BinCodes], output_codes: dict[str, BinCodes]
) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Per feature and bin, the difference in each prediction bin's share, other things equal: ridge regression."""
    predictions = baseline.outputs.get("prediction")
    if predictions is None or predictions.bins is None or "prediction" not in output_codes or not codes:
        return {}
    features = [baseline.features[name] for name in codes]
    table = one_hot(features, list(codes.values()), clip=True)
    answers = np.eye(predictions.bins.size)[output_codes["prediction"].astype(np.intp)]
    effects, split, start = np.round(_ridge(table, answers), ANSWER_DIGITS), {}, 0
    for name, healthy in zip(codes, features, strict=True):
        size = healthy.bins.size if healthy.bins is not None else 0
        split[name] = tuple(tuple(row) for row in effects[start : start + size].tolist())
        start += size
    return split


def _split(names: Iterable[str], parts: Sequence[FeatureBaseline], numbers: Numbers) -> dict[str, tuple[float, ...]]:
    split, start = {}, 0
    for name, part in zip(names, parts, strict=True):
        size = part.bins.size if part.bins is not None else 0
        split[name] = tuple(_rounded_float(number) for number in numbers[start : start + size].tolist())
        start += size
    return split


def _label_profiles(
    scorer: Scorer, baseline: Baseline, codes: dict[str, BinCodes], output_codes: dict[str, BinCodes], errors: Numbers
) -> Iterator[LabelProfile]:
    """Profiles of the rows by label, weighted by its probability; of a regressor by ranges with equally many rows."""
    if scorer.labels.classes:
        weights = scorer.labels.shares
    else:
        cuts = np.unique(np.quantile(scorer.labels.numbers, np.linspace(0, 1, LABEL_RANGES + 1)[1:-1]))
        weights = np.eye(len(cuts) + 1)[np.searchsorted(cuts, scorer.labels.numbers)]
    classes = scorer.labels.classes
    names = map(as_text, classes) if classes else repeat(None, weights.shape[1])
    for name, weight in zip(names, weights.T, strict=True):
        total = float(weight.sum())
        if total <= 0:
            continue
        yield LabelProfile(
            _rounded_float(total / len(weight)),
            _rounded_float(weight @ errors / total),
            {name: _bin_shares(column, baseline.features[name], weight) for name, column in codes.items()},
            {name: _bin_shares(column, baseline.outputs[name], weight) for name, column in output_codes.items()},
            name,
        )


def _bin_shares(column: BinCodes, healthy: FeatureBaseline, weight: Numbers) -> tuple[float, ...]:
    size = healthy.bins.size if healthy.bins is not None else 0
    shares = np.bincount(column, weights=weight, minlength=size) / weight.sum()
    return tuple(_rounded_float(share) for share in shares.tolist())


def _mean_predictions(
    scorer: Scorer, output_codes: dict[str, BinCodes], predictions: NDArray[Any], baseline: Baseline
) -> tuple[float, ...]:
    """A regressor's mean prediction per ordinary bin of the predictions; empty for a classifier."""
    if scorer.labels.classes or "prediction" not in output_codes:
        return ()
    bins, numbers = baseline.outputs["prediction"].bins, predictions.astype(np.float64)
    codes = range(bins.ordinary if bins is not None else 0)
    groups = [numbers[output_codes["prediction"] == code] for code in codes]
    return tuple(_rounded_float(group.mean() if len(group) else numbers.mean()) for group in groups)


def _mask(count: int, positions: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=np.bool_)
    mask[list(positions)] = True
    return mask


def _rounded_float(number: Any) -> float:
    return round(float(number), DIGITS)
