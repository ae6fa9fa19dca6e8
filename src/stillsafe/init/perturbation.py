"""Perturbations: what the model loses on copies of the sample whose values were permuted, or set to one value."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.impact import FeatureImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.core.score import as_text
from stillsafe.init.scorer import Scorer
from stillsafe.init.view_extremes import view_extremes
from stillsafe.model.frame import frame
from stillsafe.model.metrics import Outcome
from stillsafe.model.model import Model
from stillsafe.monitoring.binning import BinCodes
from stillsafe.monitoring.date_values import example_date
from stillsafe.progress import Progress

MOST_ROWS, FEWEST_ROWS = 1_500, 200
MOST_CELLS = 25_000
"""Rows times features that the model predicts per kind of perturbation; above it, fewer rows are used."""
MOST_PAIRED = 12
"""Most important features, of which every two are permuted together."""
GROUP_SIZES = (3, 4, 5, 6, 8, 10, 12)
"""Sizes of the groups of most important features that are permuted together."""
FAR_SPANS = 5
"""Healthy ranges between the outermost healthy number and the number that is tried for those far outside."""
MOST_ROWS_TOGETHER = 20_000
"""Rows of one call of the model with several perturbations."""
UNSEEN_CATEGORY = "a category that nobody has seen"
UNSEEN_TIME = "1970-01-01T00:00:00"
UNIT_FACTOR = 100
"""A number in another unit is so many times as large, where the study tries that."""
DIGITS = 9
SWAP_METRICS = frozenset((Metric.ACCURACY, Metric.BALANCED_ACCURACY, Metric.RECALL, Metric.EXPECTED_COST))
"""Metrics that are a mean over rows of what each answer costs."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What the perturbations cost.

    Attributes:
        features: per feature.
        pairs: (feature, feature, loss) if both are permuted alike, for the most important features.
        groups: (features, loss) if all of a group are permuted alike.
        all_permuted: loss if all features are.
    """

    features: dict[str, FeatureImpact]
    pairs: tuple[tuple[str, str, float], ...]
    groups: tuple[tuple[tuple[str, ...], float], ...]
    all_permuted: float


KnownOutcomes = dict[bytes, dict[tuple[str, ...], Outcome]]
"""Rows -> what was changed in them -> the model's answers, shared by the metrics that study the same rows."""


class Trials(NamedTuple):
    """What a study shares with those of other metrics.

    Attributes:
        known_outcomes: the model's answers so far.
        progress: called with the activity and the share of it that is complete, in [0, 1].
    """

    known_outcomes: KnownOutcomes
    progress: Progress


class _Trial(NamedTuple):
    """One perturbation: the loss, its standard error by the rows of the study, and how much the answers changed."""

    loss: float
    error: float
    answer_change: float


class Perturbation:
    """Scores the model on perturbed rows.

    Args:
        model: the model.
        rows: the sample; only part of it is perturbed.
        scorer: of the same rows.
        codes: per feature, the bin of each row.
        baseline: of the same rows.
    """

    def __init__(
        self, model: Model, rows: Sequence[Row], scorer: Scorer, codes: dict[str, BinCodes], baseline: Baseline
    ) -> None:
        names = model.features.names
        most = max(FEWEST_ROWS, min(MOST_ROWS, MOST_CELLS // len(names)))
        random = np.random.default_rng(0)
        self.row_numbers, self.weights = scorer.studied_rows(most, random)
        self.permutation = random.permutation(len(self.row_numbers))
        self.model, self.scorer, self.baseline, self.codes = model, scorer, baseline, codes
        self.all_rows = rows
        self.rows = [rows[i] for i in self.row_numbers.tolist()]
        self.table = frame(model.features, self.rows)
        self.known_outcomes: dict[tuple[str, ...], Outcome] = {}
        self.healthy_outcome = scorer.outcome(model, self.table)
        self.healthy_errors = scorer.errors(self.healthy_outcome, self.row_numbers, self.weights)

    def losses(self, trials: Trials) -> Losses:
        """The losses per feature, per pair and group of the most important features, and of all features together."""
        self.known_outcomes = trials.known_outcomes.setdefault(self.row_numbers.tobytes(), {})
        names = self.model.features.names
        self._answer_permutations(names)
        permuted = {name: self._permuted((name,)) for name in names}
        features = {}
        for number, name in enumerate(names):
            features[name] = self._feature_impact(name, permuted[name])
            trials.progress("Measuring the impact of each feature", number / len(names))
        for name, each in self.baseline.features.items():
            if each.view is not None and each.view.of in features and name in self.codes:
                features[name] = self._feature_impact(name, permuted[each.view.of])
                most = max(features[name].most_changed or 0.0, features[each.view.of].most_changed or 0.0)
                features[each.view.of] = replace(features[each.view.of], most_changed=most)
        ranking = sorted(names, key=lambda name: -permuted[name].loss)[:MOST_PAIRED]
        pairs = tuple((*pair, self._permuted(pair).loss) for pair in combinations(sorted(ranking), 2))
        groups = tuple(
            (tuple(sorted(ranking[:size])), self._permuted(ranking[:size]).loss)
            for size in GROUP_SIZES
            if size <= len(ranking) and size < len(names)
        )
        return Losses(features, pairs, groups, self._permuted(tuple(names)).loss)

    def _feature_impact(self, name: str, permuted: _Trial) -> FeatureImpact:
        """The losses of a feature, or of a view: then the feature that it belongs to is changed."""
        healthy = self.baseline.features.get(name)
        bin_trials = list(self._bin_trials(name, healthy)) if healthy is not None and name in self.codes else []
        view = None if healthy is None else healthy.view
        return FeatureImpact(
            permuted.loss,
            tuple(None if trial is None else trial.loss for trial in bin_trials),
            permuted.error,
            tuple(None if trial is None else trial.error for trial in bin_trials),
            max(trial.answer_change for trial in (permuted, *bin_trials) if trial is not None),
            self._scaled_loss(name, healthy) if view is None else None,
            None if view is None else view.of,
        )

    def _permuted(self, names: Sequence[str]) -> _Trial:
        """Some features permuted, all with the same permutation."""
        change = ("permuted", *sorted(names))
        if change in self.known_outcomes:
            return self._trial(None, change) or _Trial(0.0, 0.0, 0.0)
        table = self.table.copy(deep=False)
        for name in names:
            table[name] = self.table[name].array[self.permutation]
        return self._trial(table, change) or _Trial(0.0, 0.0, 0.0)

    def _bin_trials(self, name: str, healthy: FeatureBaseline) -> Iterator[_Trial | None]:
        """All rows set to a value of each bin; None where the model fails, or where a column cannot hold the value."""
        values = list(_bin_values(name, healthy, self.codes[name], self.all_rows, self.model))
        served_name = name if healthy.view is None else healthy.view.of
        columns = [self._column(served_name, value) for value in values]
        changes = [("set", name, str(number)) for number in range(len(columns))]
        # Many models fail on missing values, so these are tried alone.
        present = zip(changes, columns, values, strict=True)
        columns_together = {c: each for c, each, value in present if value is not None and each is not None}
        self._answer_together({change: (served_name, column) for change, column in columns_together.items()})
        for change, column in zip(changes, columns, strict=True):
            if column is None:
                yield None
            elif change in self.known_outcomes:
                yield self._trial(None, change)
            else:
                table = self.table.copy(deep=False)
                table[served_name] = column
                yield self._trial(table, change)

    def _column(self, name: str, value: Value) -> Any:
        """A column of one value; None where a column of this feature cannot hold it."""
        spec = next(spec for spec in self.model.features.features if spec.name == name)
        try:
            return frame(Schema((spec,)), [{name: value}])[name].array.repeat(len(self.table))
        except Exception:  # noqa: BLE001 - a column of whole numbers holds no missing value
            return None

    def _answer_permutations(self, names: Sequence[str]) -> None:
        """Have the model answer the permutations of several features in one call."""
        size = max(1, MOST_ROWS_TOGETHER // len(self.table))
        for first in range(0, len(names), size):
            part = names[first : first + size]
            self._answer_together(
                {("permuted", name): (name, self.table[name].array[self.permutation]) for name in part}
            )

    def _answer_together(self, columns: dict[tuple[str, ...], tuple[str, Any]]) -> None:
        """Have the model answer all new columns in one call, which takes less time than one each.

        If it fails on one of them, nothing is known yet, and each is tried alone.

        Args:
            columns: change -> the feature and its column.
        """
        import pandas as pd

        new = {change: column for change, column in columns.items() if change not in self.known_outcomes}
        if len(new) < 2:
            return
        table, count = pd.concat([self.table] * len(new), ignore_index=True), len(self.table)
        for name in {name for name, _ in new.values()}:
            values = np.tile(self.table[name].to_numpy(), len(new))
            for number, (each, column) in enumerate(new.values()):
                if each == name:
                    values[number * count : (number + 1) * count] = np.asarray(column)
            table[name] = pd.Series(values, dtype=self.table[name].dtype).array
        try:
            outcome = self.scorer.outcome(self.model, table)
        except Exception:  # noqa: BLE001 - third-party code, called with unusual values on purpose
            return
        for number, change in enumerate(new):
            rows = slice(number * count, (number + 1) * count)
            scores = None if outcome.scores is None else outcome.scores[rows]
            self.known_outcomes[change] = Outcome(outcome.predictions[rows], scores)

    def _scaled_loss(self, name: str, healthy: FeatureBaseline | None) -> float | None:
        """The loss if all numbers of a feature come in another unit, by a metric that no mean over answers shows."""
        is_number = healthy is not None and healthy.bins is not None and healthy.bins.lowest is not None
        if not is_number or self.scorer.metric in SWAP_METRICS or self.scorer.metric.is_regression:
            return None
        table = self.table.copy(deep=False)
        try:
            table[name] = self.table[name] * UNIT_FACTOR
        except Exception:  # noqa: BLE001 - a column of booleans has no unit
            return None
        trial = self._trial(table, ("scaled", name))
        return None if trial is None else trial.loss

    def _trial(self, table: Any, change: tuple[str, ...]) -> _Trial | None:
        """The loss on a table that was changed so; None if the model fails."""
        try:
            outcome = self.known_outcomes.get(change) or self.scorer.outcome(self.model, table)
            self.known_outcomes[change] = outcome
            differences = self.scorer.errors(outcome, self.row_numbers, self.weights) - self.healthy_errors
        except Exception:  # noqa: BLE001 - third-party code, called with unusual values on purpose
            return None
        loss, error = float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))
        answer_change = self._answer_change(outcome)
        if not math.isfinite(loss + error + answer_change):
            return None
        return _Trial(rounded_float(loss), rounded_float(error), rounded_float(answer_change))

    def _answer_change(self, outcome: Outcome) -> float:
        """Share of the answers that differ from the healthy ones, or their mean distance."""
        healthy, now = self.healthy_outcome.predictions, outcome.predictions
        if self.scorer.labels.classes:
            return float(np.mean(healthy != now))
        return float(np.abs(np.asarray(now, np.float64) - np.asarray(healthy, np.float64)).mean())


def answer_swaps(
    scorer: Scorer,
    classes: Sequence[Answer],
    baseline: Baseline,
    output_codes: dict[str, BinCodes],
    errors: NDArray[np.float64],
) -> tuple[tuple[float, ...], ...]:
    """Per bin of the prediction, the loss of its rows if each of the answers is given in place of the model's.

    Empty of a regressor, and where the metric is no mean over the answers.
    """
    predictions = baseline.outputs.get("prediction")
    is_mean = scorer.metric in SWAP_METRICS and scorer.definition.threshold is None
    if not is_mean or predictions is None or predictions.bins is None or "prediction" not in output_codes:
        return ()
    bins, rows = predictions.bins, np.arange(len(errors))
    position = {text: code for code, text in enumerate(bins.categories)}
    # An answer that the sample lacks counts as unseen.
    columns = [position.get(as_text(answer), bins.above) for answer in classes]
    counts = np.maximum(np.bincount(output_codes["prediction"], minlength=bins.size), 1)
    swaps = np.zeros((bins.size, bins.size))
    for answer, column in zip(classes, columns, strict=True):
        differences = scorer.errors(Outcome(np.full(len(errors), answer, dtype=object)), rows) - errors
        sums = np.bincount(output_codes["prediction"], weights=differences, minlength=bins.size)
        swaps[:, column] += sums / counts / columns.count(column)
    return tuple(tuple(rounded_float(loss) for loss in row) for row in swaps.tolist())


def _bin_values(
    name: str, healthy: FeatureBaseline, codes: BinCodes, rows: Sequence[Row], model: Model
) -> Iterator[Value]:
    """A value of each bin, as a request would carry it: the median of the sample's values in the bin."""
    bins = healthy.bins
    if bins is None:
        return
    view = healthy.view
    spec = next(spec for spec in model.features.features if spec.name == (name if view is None else view.of))
    medians = _medians(spec.name, codes, rows)
    for code in range(bins.ordinary):
        yield medians.get(code, next(iter(medians.values()), None))
    if view is not None:
        yield from view_extremes(view, spec, [row[spec.name] for row in rows])
    elif bins.lowest is None:
        yield medians.get(bins.below, next(iter(medians.values()), None))
        yield unseen_value(spec, healthy)
    elif spec.type is FeatureType.BOOLEAN or healthy.minimum is None or healthy.maximum is None:
        yield from (None, None)
    else:
        span = FAR_SPANS * ((healthy.maximum - healthy.minimum) or max(1.0, abs(healthy.maximum)))
        ends = (healthy.minimum - span, healthy.maximum + span)
        yield from (int(end) if spec.type is FeatureType.INTEGER else end for end in ends)
    yield None


def unseen_value(spec: FeatureSpec, healthy: FeatureBaseline) -> Value:
    """A value that the healthy period does not contain: of whole codes the least unused one, if possible in between."""
    if spec.type is FeatureType.DATE:
        return example_date(spec, UNSEEN_TIME)
    if spec.type is not FeatureType.INTEGER:
        return UNSEEN_CATEGORY
    codes = {int(float(code)) for code in healthy.category_counts}
    return next((code for code in range(min(codes), max(codes)) if code not in codes), max(codes) + 1)


def _medians(name: str, codes: BinCodes, rows: Sequence[Row]) -> dict[int, Value]:
    """Bin -> median of its values, for bins with values."""
    numbers = [row[name] for row in rows]
    if {*map(type, numbers)} <= {float, int, type(None)}:
        return _number_medians(numbers, codes)
    values: dict[int, list[Any]] = {}
    for code, row in zip(codes.tolist(), rows, strict=True):
        if row[name] is not None:
            values.setdefault(code, []).append(row[name])
    return {code: sorted(bin_values)[len(bin_values) // 2] for code, bin_values in sorted(values.items())}


def _number_medians(values: Sequence[Any], codes: BinCodes) -> dict[int, Value]:
    present = np.flatnonzero([value is not None for value in values])
    numbers, present_codes = np.array([values[i] for i in present.tolist()], dtype=np.float64), codes[present]
    order = np.lexsort((numbers, present_codes))
    bins, starts, sizes = np.unique(present_codes[order], return_index=True, return_counts=True)
    middles = present[order[starts + sizes // 2]] if len(bins) else present
    return {code: values[row] for code, row in zip(bins.tolist(), middles.tolist(), strict=True)}


def rounded_float(number: Any) -> float:
    """A number with as many digits as the study stores."""
    return round(float(number), DIGITS)
