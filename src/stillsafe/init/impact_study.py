"""The impact study: measure on the sample what changes of the features cost the model; `core.evidence.impact` uses it.

For each feature, its values are permuted (permutation importance), and all rows are set to a value of each of its bins.
The loss is measured against the labels. Without labels, a classifier's probabilities replace them, and a regressor's
own predictions: the loss is then the share or size of changed predictions.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.impact import FeatureImpact, LabelProfile, Metric, PerformanceImpact
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Value
from stillsafe.core.score import Score
from stillsafe.model.frame import frame, inputs_of
from stillsafe.model.model import Model, ModelKind, one_thread
from stillsafe.monitoring.binning import BinCodes, bin_codes, feature_bin_codes, one_hot
from stillsafe.monitoring.columns import Columns, output_columns
from stillsafe.monitoring.noise import chunks
from stillsafe.progress import Progress

Numbers = NDArray[np.float64]

MOST_ROWS, FEWEST_ROWS = 1_000, 200
MOST_CELLS = 25_000
"""Rows times features that the model predicts per kind of perturbation; above it, fewer rows are used."""
MOST_PAIRED = 12
"""Most important features, of which every two are permuted together."""
RIDGE_PENALTY = 100.0
LABEL_RANGES = 5
CHUNKS = 5
"""Chunks of each half of the sample."""
ASSUMED_ERROR = 0.5
"""Error of a regressor without labels, as a share of the mean absolute deviation of its predictions."""
UNSEEN_CATEGORY = "a category that nobody has seen"
UNSEEN_TIME = "1970-01-01T00:00:00"
DIGITS = 9


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Computes the error of predictions.

    Attributes:
        metric: accuracy or mean absolute error.
        classes: a classifier's classes.
        class_probabilities: (n, classes) probability that each class is the label; empty for a regressor.
        numbers: (n,) labels of a regressor; empty for a classifier.
        assumed_error: error of a regressor in addition to its distance from `numbers`.
    """

    metric: Metric
    classes: tuple[Answer, ...]
    class_probabilities: Numbers
    numbers: Numbers
    assumed_error: float = 0.0

    def errors(self, predictions: NDArray[Any], rows: NDArray[np.intp]) -> Numbers:
        """(n,) probability that each prediction is wrong, or its absolute error."""
        if self.metric is Metric.MEAN_ABSOLUTE_ERROR:
            distances = np.abs(np.asarray(predictions, np.float64) - self.numbers[rows])
            return np.asarray(np.hypot(distances, self.assumed_error))
        positions = {name: position for position, name in enumerate(self.classes)}
        columns = np.array([positions[prediction] for prediction in predictions.tolist()], dtype=np.intp)
        return np.asarray(1 - self.class_probabilities[rows, columns])


def study_impact(
    model: Model,
    rows: Sequence[Row],
    scores: Sequence[Score],
    labels: Sequence[Answer | None] | None,
    columns: Columns,
    baseline: Baseline,
    progress: Progress,
) -> PerformanceImpact | None:
    """Measure what changes of the features cost the model.

    Args:
        model: the model.
        rows: the sample.
        scores: the model's scores on the sample.
        labels: the labels, None for a label that is not a class of the model; or None without labels.
        columns: the rows as the log would hold them, for their bins.
        baseline: the baseline of the sample.
        progress: called with the activity and the share of it that is complete, in [0, 1].

    Returns:
        The impact, or None if fewer than 200 rows have a label and a score.
    """
    usable = [i for i, score in enumerate(scores) if score.error is None and (labels is None or labels[i] is not None)]
    if len(usable) < FEWEST_ROWS:
        return None
    scorer = _scorer(model, [scores[i] for i in usable], None if labels is None else [labels[i] for i in usable])
    if scorer is None:
        return None
    predictions = np.array([scores[i].prediction for i in usable], dtype=object)
    errors = scorer.errors(predictions, np.arange(len(usable)))
    codes = feature_bin_codes(columns, baseline.features, _mask(len(rows), usable))
    output_codes = _output_bin_codes(columns, baseline, usable)
    effects = _effects(baseline, codes, output_codes, errors)
    perturbation = _Perturbation(model, [rows[i] for i in usable], scorer, codes, baseline)
    features, pairs, all_permuted = perturbation.losses(progress)
    return PerformanceImpact(
        metric=scorer.metric,
        labelled=labels is not None,
        healthy_error=_rounded_float(errors.mean()),
        all_permuted=all_permuted,
        features=features,
        together=pairs,
        effects=effects.features,
        output_effects=effects.outputs,
        effects_alone=effects.without_outputs,
        effect_sd=effects.spread,
        effect_variation=effects.variation,
        truths=tuple(_label_profiles(scorer, baseline, codes, output_codes, errors)),
        answers=_mean_predictions(scorer, output_codes, predictions, baseline),
    )


class _Perturbation:
    """Scores the model on perturbed rows."""

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        scorer: _Scorer,
        codes: dict[str, BinCodes],
        baseline: Baseline,
    ) -> None:
        names = model.features.names
        most = max(FEWEST_ROWS, min(MOST_ROWS, MOST_CELLS // len(names)))
        random = np.random.default_rng(0)
        self.row_numbers = np.sort(random.permutation(len(rows))[:most])
        self.permutation = random.permutation(len(self.row_numbers))
        self.model, self.scorer, self.baseline, self.codes = model, scorer, baseline, codes
        self.all_rows = rows
        self.rows = [rows[i] for i in self.row_numbers.tolist()]
        self.table = frame(model.features, self.rows)
        self.healthy_error = float(scorer.errors(self._predict(self.table), self.row_numbers).mean())

    def losses(self, progress: Progress) -> tuple[dict[str, FeatureImpact], tuple[tuple[str, str, float], ...], float]:
        """The losses per feature, per pair of the most important features, and of all features together."""
        names = self.model.features.names
        losses = {name: self._permutation_loss((name,)) for name in names}
        features = {}
        for number, name in enumerate(names):
            healthy = self.baseline.features.get(name)
            bin_losses = tuple(self._bin_losses(name, healthy)) if healthy is not None and name in self.codes else ()
            features[name] = FeatureImpact(losses[name], bin_losses)
            progress("Measuring the impact of each feature", number / len(names))
        important = sorted(sorted(names, key=lambda name: -losses[name])[:MOST_PAIRED])
        pairs = tuple((one, other, self._permutation_loss((one, other))) for one, other in combinations(important, 2))
        return features, pairs, self._permutation_loss(tuple(names))

    def _permutation_loss(self, names: Sequence[str]) -> float:
        """Loss if the values of some features are permuted, all with the same permutation."""
        table = self.table.copy()
        for name in names:
            table[name] = self.table[name].array[self.permutation]
        return self._loss(lambda: table) or 0.0

    def _bin_losses(self, name: str, healthy: FeatureBaseline) -> Iterator[float | None]:
        for value in _bin_values(name, healthy, self.codes[name], self.all_rows, self.model):
            yield self._loss(partial(frame, self.model.features, [{**row, name: value} for row in self.rows]))

    def _loss(self, table: Callable[[], Any]) -> float | None:
        """The loss on a table; None if the model fails, or if a column cannot hold the value."""
        try:
            predictions = self._predict(table())
            loss = float(self.scorer.errors(predictions, self.row_numbers).mean()) - self.healthy_error
        except Exception:  # noqa: BLE001 - third-party code, called with unusual values on purpose
            return None
        return _rounded_float(loss) if math.isfinite(loss) else None

    def _predict(self, table: Any) -> NDArray[Any]:
        estimator = self.model.estimator
        with one_thread():
            return np.asarray(estimator.predict(inputs_of(estimator, table)))


def _bin_values(
    name: str, healthy: FeatureBaseline, codes: BinCodes, rows: Sequence[Row], model: Model
) -> Iterator[Value]:
    """A value of each bin, as a request would carry it: the median of the sample's values in the bin."""
    bins = healthy.bins
    if bins is None:
        return
    spec = next(spec for spec in model.features.features if spec.name == name)
    medians = _medians(name, codes, rows)
    for code in range(bins.ordinary):
        yield medians.get(code, next(iter(medians.values()), None))
    if bins.lowest is None:
        yield medians.get(bins.below, next(iter(medians.values()), None))
        yield unseen_value(spec, healthy)
    elif spec.type is FeatureType.BOOLEAN or healthy.minimum is None or healthy.maximum is None:
        yield from (None, None)
    else:
        span = (healthy.maximum - healthy.minimum) or max(1.0, abs(healthy.maximum))
        ends = (healthy.minimum - span, healthy.maximum + span)
        yield from (int(end) if spec.type is FeatureType.INTEGER else end for end in ends)
    yield None


def unseen_value(spec: FeatureSpec, healthy: FeatureBaseline) -> Value:
    """A value that the healthy period does not contain: of whole codes the least unused one, if possible in between."""
    if spec.type is FeatureType.DATE:
        return UNSEEN_TIME
    if spec.type is not FeatureType.INTEGER:
        return UNSEEN_CATEGORY
    codes = {int(float(code)) for code in healthy.category_counts}
    return next((code for code in range(min(codes), max(codes)) if code not in codes), max(codes) + 1)


def _medians(name: str, codes: BinCodes, rows: Sequence[Row]) -> dict[int, Value]:
    """Bin -> median of its values, for bins with values."""
    values: dict[int, list[Any]] = {}
    for code, row in zip(codes.tolist(), rows, strict=True):
        if row[name] is not None:
            values.setdefault(code, []).append(row[name])
    return {code: sorted(bin_values)[len(bin_values) // 2] for code, bin_values in sorted(values.items())}


def _scorer(model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None) -> _Scorer | None:
    none = np.empty(0)
    if model.kind is ModelKind.REGRESSOR:
        numbers = np.array([s.prediction for s in scores] if labels is None else labels, dtype=np.float64)
        # Without labels the error is unknown, so we assume a model that explains half of the spread.
        assumed_error = ASSUMED_ERROR * float(np.abs(numbers - np.median(numbers)).mean()) if labels is None else 0.0
        return _Scorer(Metric.MEAN_ABSOLUTE_ERROR, (), none, numbers, assumed_error)
    if labels is not None:
        probabilities = np.array([[float(name == label) for name in model.classes] for label in labels])
    else:
        if any(score.probabilities is None for score in scores):
            return None
        probabilities = np.array([list((score.probabilities or {}).values()) for score in scores], dtype=np.float64)
    return _Scorer(Metric.ACCURACY, model.classes, probabilities, none)


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
    table = one_hot([*features, *outputs], [*codes.values(), *output_codes.values()], clip=True).astype(np.float64)
    width = sum(healthy.bins.size for healthy in features if healthy.bins is not None)
    effects, feature_effects = _ridge(table, errors), _ridge(table[:, :width], errors)
    return _Effects(
        _split(codes, features, effects[:width]),
        _split(output_codes, outputs, effects[width:]),
        _split(codes, features, feature_effects),
        _rounded_float(((table - table.mean(axis=0)) @ effects).std()),
        _rounded_float(_effect_variation(table, errors)),
    )


def _effect_variation(table: Numbers, errors: Numbers) -> float:
    """Error with which effects of one half of the rows predict chunks of the other half, beyond sampling noise."""
    rows = np.arange(len(errors))
    differences, sampling_variances = [], []
    for half in (rows < len(rows) // 2, rows >= len(rows) // 2):
        effects, half_mean = _ridge(table[half], errors[half]), table[half].mean(axis=0)
        for chunk in chunks(rows[~half], CHUNKS, front_loaded=True):
            estimate = errors[half].mean() + (table[chunk].mean(axis=0) - half_mean) @ effects
            differences.append(float(estimate - errors[chunk].mean()))
            sampling_variances.append(float(errors[chunk].var() / len(chunk) + errors[half].var() / half.sum()))
    return math.sqrt(max(0.0, float(np.mean(np.square(differences)) - np.mean(sampling_variances))))


def _ridge(table: Numbers, errors: Numbers) -> Numbers:
    deviations = table - table.mean(axis=0)
    penalized_gram = deviations.T @ deviations + RIDGE_PENALTY * np.eye(table.shape[1])
    return np.asarray(np.linalg.solve(penalized_gram, deviations.T @ (errors - errors.mean())))


def _split(names: Iterable[str], parts: Sequence[FeatureBaseline], numbers: Numbers) -> dict[str, tuple[float, ...]]:
    split, start = {}, 0
    for name, part in zip(names, parts, strict=True):
        size = part.bins.size if part.bins is not None else 0
        split[name] = tuple(_rounded_float(number) for number in numbers[start : start + size].tolist())
        start += size
    return split


def _label_profiles(
    scorer: _Scorer, baseline: Baseline, codes: dict[str, BinCodes], output_codes: dict[str, BinCodes], errors: Numbers
) -> Iterator[LabelProfile]:
    """Profiles of the rows by label, weighted by its probability; of a regressor by ranges with equally many rows."""
    if scorer.metric is Metric.ACCURACY:
        weights = scorer.class_probabilities
    else:
        cuts = np.unique(np.quantile(scorer.numbers, np.linspace(0, 1, LABEL_RANGES + 1)[1:-1]))
        weights = np.eye(len(cuts) + 1)[np.searchsorted(cuts, scorer.numbers)]
    for weight in weights.T:
        total = float(weight.sum())
        if total <= 0:
            continue
        yield LabelProfile(
            _rounded_float(total / len(weight)),
            _rounded_float(weight @ errors / total),
            {name: _bin_shares(column, baseline.features[name], weight) for name, column in codes.items()},
            {name: _bin_shares(column, baseline.outputs[name], weight) for name, column in output_codes.items()},
        )


def _bin_shares(column: BinCodes, healthy: FeatureBaseline, weight: Numbers) -> tuple[float, ...]:
    size = healthy.bins.size if healthy.bins is not None else 0
    shares = np.bincount(column, weights=weight, minlength=size) / weight.sum()
    return tuple(_rounded_float(share) for share in shares.tolist())


def _mean_predictions(
    scorer: _Scorer, output_codes: dict[str, BinCodes], predictions: NDArray[Any], baseline: Baseline
) -> tuple[float, ...]:
    """A regressor's mean prediction per ordinary bin of the predictions; empty for a classifier."""
    if scorer.metric is Metric.ACCURACY or "prediction" not in output_codes:
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
