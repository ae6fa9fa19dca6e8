"""What a change would cost this model, tried out on the sample: the knowledge that `core.harm` estimates with.

Each feature is sent to the wrong rows, and set for all rows to a value of each of its bins, and the model is asked
again. Where true answers are known they say what is lost; where not, the model's own probabilities stand in for them,
and a regressor's own answers: then a lost answer is one that has changed.
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
from stillsafe.core.evidence.impact import FeatureHarm, Harm, Metric, Truth
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureType, Row, Value
from stillsafe.model.model import Model, ModelKind, Score, frame, inputs_of, one_thread
from stillsafe.monitoring.columns import Codes, Columns, binned_columns, codes, onehot, output_columns

Numbers = NDArray[np.float64]

MOST_ROWS, FEWEST_ROWS = 1_000, 200
MOST_CELLS = 25_000  # rows times features that are asked about per kind of trial, before fewer rows are taken
MOST_PAIRED = 12  # features, of which every two are tried together
STIFFNESS = 100.0  # rows' worth of evidence against any effect: the ridge's penalty
TRUTH_RANGES = 5
STRETCHES = 5  # of each half of the sample
OWN_ERROR = 0.5  # of the answers' mean absolute deviation: what stands in for the unknown error of a regressor
UNSEEN = "a category that nobody has seen"
DIGITS = 9

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what answers are worth.

    Attributes:
        metric: of which kind.
        classes: a classifier's answers.
        chances: (n, classes) probability that each answer is right; empty of a regressor.
        numbers: (n,) true answers of a regressor; empty of a classifier.
        error_added: what a regressor's error is more than its distance from `numbers`.
    """

    metric: Metric
    classes: tuple[Answer, ...]
    chances: Numbers
    numbers: Numbers
    error_added: float = 0.0

    def errors(self, answers: NDArray[Any], rows: NDArray[np.intp]) -> Numbers:
        """(n,) chance that each answer is wrong, or how far off it is."""
        if self.metric is Metric.MEAN_ABSOLUTE_ERROR:
            apart = np.abs(np.asarray(answers, np.float64) - self.numbers[rows])
            return np.asarray(np.hypot(apart, self.error_added))
        places = {answer: place for place, answer in enumerate(self.classes)}
        found = np.array([places[answer] for answer in answers.tolist()], dtype=np.intp)
        return np.asarray(1 - self.chances[rows, found])


def weigh(
    model: Model,
    rows: Sequence[Row],
    scores: Sequence[Score],
    truth: Sequence[Answer | None] | None,
    found: Columns,
    baseline: Baseline,
    tell: Tell,
) -> Harm | None:
    """Try the model out.

    Args:
        model: the model.
        rows: the sample.
        scores: the model's scores on it.
        truth: true answers, None where one is no answer of the model's; or None without labels.
        found: the rows as the log would hold them, for their bins.
        baseline: made of them.
        tell: told the share that is done, in [0, 1].

    Returns:
        What was learnt, or None where too few rows can be judged.
    """
    known = [i for i, score in enumerate(scores) if score.error is None and (truth is None or truth[i] is not None)]
    if len(known) < FEWEST_ROWS:
        return None
    judge = _judge(model, [scores[i] for i in known], None if truth is None else [truth[i] for i in known])
    if judge is None:
        return None
    every = np.arange(len(known))
    answers = np.array([scores[i].prediction for i in known], dtype=object)
    errors = judge.errors(answers, every)
    binned = binned_columns(found, baseline.features, _flags(len(rows), known))
    outputs = _binned_outputs(found, baseline, known)
    effects = _effects(baseline, binned, outputs, errors)
    trial = _Trial(model, [rows[i] for i in known], judge, binned, baseline, tell)
    features, together, all_permuted = trial.losses()
    return Harm(
        metric=judge.metric,
        labelled=truth is not None,
        healthy_error=_plain(errors.mean()),
        all_permuted=all_permuted,
        features=features,
        together=together,
        effects=effects.features,
        output_effects=effects.outputs,
        effects_alone=effects.alone,
        effect_sd=effects.spread,
        effect_variation=effects.variation,
        truths=tuple(_truths(judge, baseline, binned, outputs, errors)),
        answers=_typical_answers(judge, outputs, answers, baseline),
    )


class _Trial:
    """The model asked about changed rows."""

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        judge: _Judge,
        binned: dict[str, Codes],
        baseline: Baseline,
        tell: Tell,
    ) -> None:
        names = model.features.names
        most = max(FEWEST_ROWS, min(MOST_ROWS, MOST_CELLS // len(names)))
        draw = np.random.default_rng(0)
        self.chosen = np.sort(draw.permutation(len(rows))[:most])
        self.wrong = draw.permutation(len(self.chosen))
        self.model, self.judge, self.baseline, self.binned, self.tell = model, judge, baseline, binned, tell
        self.every = rows
        self.rows = [rows[i] for i in self.chosen.tolist()]
        self.table = frame(model.features, self.rows)
        self.healthy = float(judge.errors(self._ask(self.table), self.chosen).mean())

    def losses(self) -> tuple[dict[str, FeatureHarm], tuple[tuple[str, str, float], ...], float]:
        """Per feature, per two of the most important ones, and of all together."""
        names = self.model.features.names
        permuted = {name: self._permuted((name,)) for name in names}
        features = {}
        for number, name in enumerate(names):
            before = self.baseline.features.get(name)
            at = tuple(self._at(name, before)) if before is not None and name in self.binned else ()
            features[name] = FeatureHarm(permuted[name], at)
            self.tell(number / len(names))
        important = sorted(sorted(names, key=lambda name: -permuted[name])[:MOST_PAIRED])
        together = tuple((one, other, self._permuted((one, other))) for one, other in combinations(important, 2))
        return features, together, self._permuted(tuple(names))

    def _permuted(self, names: Sequence[str]) -> float:
        """Loss with the values of some features on the wrong rows, the same ones for all of them."""
        table = self.table.copy()
        for name in names:
            table[name] = self.table[name].array[self.wrong]
        return self._loss(lambda: table) or 0.0

    def _at(self, name: str, before: FeatureBaseline) -> Iterator[float | None]:
        for value in _values_of(name, before, self.binned[name], self.every, self.model):
            yield self._loss(partial(frame, self.model.features, [{**row, name: value} for row in self.rows]))

    def _loss(self, table: Callable[[], Any]) -> float | None:
        """None where the model fails, or where no table can hold such a value."""
        try:
            answers = self._ask(table())
            loss = float(self.judge.errors(answers, self.chosen).mean()) - self.healthy
        except Exception:  # noqa: BLE001 - somebody else's code, asked odd things on purpose
            return None
        return _plain(loss) if math.isfinite(loss) else None

    def _ask(self, table: Any) -> NDArray[Any]:
        estimator = self.model.estimator
        with one_thread():
            return np.asarray(estimator.predict(inputs_of(estimator, table)))


def _values_of(name: str, before: FeatureBaseline, binned: Codes, rows: Sequence[Row], model: Model) -> Iterator[Value]:
    """A value of each bin, as a request would bring it: the middle one of those seen."""
    bins = before.bins
    if bins is None:
        return
    spec = next(spec for spec in model.features.features if spec.name == name)
    middle = _middle(name, binned, rows)
    for place in range(bins.ordinary):
        yield middle.get(place, next(iter(middle.values()), None))
    if bins.lowest is None:
        yield middle.get(bins.below, next(iter(middle.values()), None))
        yield UNSEEN
    elif spec.type is FeatureType.BOOLEAN or before.minimum is None or before.maximum is None:
        yield from (None, None)
    else:
        span = (before.maximum - before.minimum) or max(1.0, abs(before.maximum))
        ends = (before.minimum - span, before.maximum + span)
        yield from (int(end) if spec.type is FeatureType.INTEGER else end for end in ends)
    yield None


def _middle(name: str, binned: Codes, rows: Sequence[Row]) -> dict[int, Value]:
    """Per bin with rows, the middle of its values."""
    values: dict[int, list[Any]] = {}
    for place, row in zip(binned.tolist(), rows, strict=True):
        if row[name] is not None:
            values.setdefault(place, []).append(row[name])
    return {place: sorted(seen)[len(seen) // 2] for place, seen in sorted(values.items())}


def _judge(model: Model, scores: Sequence[Score], truth: Sequence[Answer | None] | None) -> _Judge | None:
    none = np.empty(0)
    if model.kind is ModelKind.REGRESSOR:
        told = [score.prediction for score in scores] if truth is None else truth
        numbers = np.array(told, dtype=np.float64)
        # Without labels the error is unknown; that of a model which explains half of the answers' spread stands in.
        added = 0.0 if truth is not None else OWN_ERROR * float(np.abs(numbers - np.median(numbers)).mean())
        return _Judge(Metric.MEAN_ABSOLUTE_ERROR, (), none, numbers, added)
    if truth is not None:
        chances = np.array([[float(answer == true) for answer in model.classes] for true in truth])
    else:
        if any(score.probabilities is None for score in scores):
            return None
        chances = np.array([list((score.probabilities or {}).values()) for score in scores], dtype=np.float64)
    return _Judge(Metric.ACCURACY, model.classes, chances, none)


def _binned_outputs(found: Columns, baseline: Baseline, known: Sequence[int]) -> dict[str, Codes]:
    outputs = output_columns(found)
    return {
        name: codes(outputs[name][known], before)
        for name, before in baseline.outputs.items()
        if name in outputs and before.bins is not None
    }


@dataclass(frozen=True, slots=True)
class _Effects:
    """How much the error differs by bin, other things equal: with the outputs, and from the features alone."""

    features: dict[str, tuple[float, ...]]
    outputs: dict[str, tuple[float, ...]]
    alone: dict[str, tuple[float, ...]]
    spread: float
    variation: float


def _effects(baseline: Baseline, binned: dict[str, Codes], outputs: dict[str, Codes], errors: Numbers) -> _Effects:
    """Ridge regression of the error on the bins, each a column of ones and zeros.

    Source: A. Hoerl and R. Kennard, "Ridge regression", Technometrics 12, 1970.
    """
    features = [baseline.features[name] for name in binned]
    results = [baseline.outputs[name] for name in outputs]
    table = onehot([*features, *results], [*binned.values(), *outputs.values()], inside=True).astype(np.float64)
    width = sum(before.bins.size for before in features if before.bins is not None)
    whole, alone = _ridge(table, errors), _ridge(table[:, :width], errors)
    return _Effects(
        _split(binned, features, whole[:width]),
        _split(outputs, results, whole[width:]),
        _split(binned, features, alone),
        _plain(((table - table.mean(axis=0)) @ whole).std()),
        _plain(_mispredicted(table, errors)),
    )


def _mispredicted(table: Numbers, errors: Numbers) -> float:
    """How far effects learnt in one half of the rows miss the mean error of stretches of the other, beyond sampling."""
    rows = np.arange(len(errors))
    missed, sampling = [], []
    for learnt in (rows < len(rows) // 2, rows >= len(rows) // 2):
        effects, usual = _ridge(table[learnt], errors[learnt]), table[learnt].mean(axis=0)
        for stretch in np.array_split(rows[~learnt], STRETCHES):
            predicted = errors[learnt].mean() + (table[stretch].mean(axis=0) - usual) @ effects
            missed.append(float(predicted - errors[stretch].mean()))
            sampling.append(float(errors[stretch].var() / len(stretch) + errors[learnt].var() / learnt.sum()))
    return math.sqrt(max(0.0, float(np.mean(np.square(missed)) - np.mean(sampling))))


def _ridge(table: Numbers, errors: Numbers) -> Numbers:
    centred = table - table.mean(axis=0)
    penalised = centred.T @ centred + STIFFNESS * np.eye(table.shape[1])
    return np.asarray(np.linalg.solve(penalised, centred.T @ (errors - errors.mean())))


def _split(names: Iterable[str], parts: Sequence[FeatureBaseline], numbers: Numbers) -> dict[str, tuple[float, ...]]:
    split, start = {}, 0
    for name, part in zip(names, parts, strict=True):
        size = part.bins.size if part.bins is not None else 0
        split[name] = tuple(_plain(number) for number in numbers[start : start + size].tolist())
        start += size
    return split


def _truths(
    judge: _Judge, baseline: Baseline, binned: dict[str, Codes], outputs: dict[str, Codes], errors: Numbers
) -> Iterator[Truth]:
    """The rows by true answer, each weighted by its chance; a regressor's by ranges of equally many."""
    if judge.metric is Metric.ACCURACY:
        weights = judge.chances
    else:
        cuts = np.unique(np.quantile(judge.numbers, np.linspace(0, 1, TRUTH_RANGES + 1)[1:-1]))
        weights = np.eye(len(cuts) + 1)[np.searchsorted(cuts, judge.numbers)]
    for weight in weights.T:
        total = float(weight.sum())
        if total <= 0:
            continue
        yield Truth(
            _plain(total / len(weight)),
            _plain(weight @ errors / total),
            {name: _weighted(column, baseline.features[name], weight) for name, column in binned.items()},
            {name: _weighted(column, baseline.outputs[name], weight) for name, column in outputs.items()},
        )


def _weighted(column: Codes, before: FeatureBaseline, weight: Numbers) -> tuple[float, ...]:
    size = before.bins.size if before.bins is not None else 0
    shares = np.bincount(column, weights=weight, minlength=size) / weight.sum()
    return tuple(_plain(share) for share in shares.tolist())


def _typical_answers(
    judge: _Judge, outputs: dict[str, Codes], answers: NDArray[Any], baseline: Baseline
) -> tuple[float, ...]:
    if judge.metric is Metric.ACCURACY or "prediction" not in outputs:
        return ()
    bins, numbers = baseline.outputs["prediction"].bins, answers.astype(np.float64)
    places = range(bins.ordinary if bins is not None else 0)
    means = [numbers[outputs["prediction"] == place] for place in places]
    return tuple(_plain(values.mean()) if len(values) else _plain(numbers.mean()) for values in means)


def _flags(count: int, chosen: Sequence[int]) -> NDArray[np.bool_]:
    flags = np.zeros(count, dtype=np.bool_)
    flags[list(chosen)] = True
    return flags


def _plain(number: Any) -> float:
    return round(float(number), DIGITS)
