"""The model's answers for synthetic rows: `init` stores them, and each start compares its own with them.

A library that is upgraded later may answer otherwise without any error. The rows are made from the schema, from healthy
ranges that the reference file shows anyway, and from a seed; none is a row of the sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Value
from stillsafe.core.score import Score
from stillsafe.model.compiled.equivalence import edge_cases
from stillsafe.model.model import Model
from stillsafe.model.probe_rows import allowed_numbers, healthy_values
from stillsafe.model.reference import ProbeAnswers, Reference

PROBE_ROWS = 60
"""Each row reaches another part of the model; more would make the reference file of a wide model large."""
GROUP_ROWS = 20
"""Rows whose predictions are stored as one mean: as many as may show a value by default (`min_count`)."""
SEED, EXTREME_SHARE = 2, 0.1
TOLERANCE = 1e-5
"""Allowed difference of a number, relative to max(1, |number|): models that add thousands of 32-bit numbers round so.

No decision depends on less, and a change of a library's rules moves answers by far more.
"""


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """How a model's answers differ from stored ones.

    Attributes:
        row_count: synthetic rows that were compared.
        changed_count: rows whose answer differs by more than rounding.
        largest_difference: of any number, relative to max(1, |number|); infinite where a class or a failure differs.
    """

    row_count: int
    changed_count: int
    largest_difference: float


def probe_answers(model: Model, reference: Reference) -> ProbeAnswers:
    """The answers of a model for new synthetic rows within its schema."""
    random = Random(SEED)  # noqa: S311 - the same every time
    columns = [_column(spec, reference.profile(spec), random) for spec in model.features.features]
    return _answers(model, tuple(model.features.names), tuple(zip(*columns, strict=True)))


def answers_again(model: Model, probes: ProbeAnswers) -> ProbeAnswers:
    """The answers of a model for the rows of earlier answers."""
    return _answers(model, probes.names, probes.rows)


def compare(old: ProbeAnswers, new: ProbeAnswers) -> AnswerChange:
    """Compare two sets of answers for the same rows."""
    differences = [_difference(old, new, row) for row in range(len(old.rows))]
    changed_count = sum(difference > TOLERANCE for difference in differences)
    return AnswerChange(len(differences), changed_count, max(differences, default=0.0))


def _column(spec: FeatureSpec, profile: FeatureBaseline | None, random: Random) -> list[Value]:
    """Values of one feature: most are healthy ones or numbers between them, a few are extreme, missing or unseen."""
    healthy = healthy_values(spec, profile)
    if not healthy and spec.type in (FeatureType.NUMERIC, FeatureType.INTEGER):
        healthy = allowed_numbers(spec, [spec.minimum, spec.maximum, 0.0, 1.0])
    extremes = edge_cases(spec, profile)
    values: list[Value] = []
    for _ in range(PROBE_ROWS):
        if extremes and (not healthy or random.random() < EXTREME_SHARE):
            values.append(random.choice(extremes))
        else:
            values.append(_between(spec, random.choice(healthy), random.choice(healthy), random.random()))
    return values


def _between(spec: FeatureSpec, one: Value, other: Value, share: float) -> Value:
    """A number between two others; of other values the first."""
    if spec.type not in (FeatureType.NUMERIC, FeatureType.INTEGER):
        return one
    number = float(one or 0) + share * (float(other or 0) - float(one or 0))
    return round(number) if spec.type is FeatureType.INTEGER else number


def _answers(model: Model, names: tuple[str, ...], rows: tuple[tuple[Answer | None, ...], ...]) -> ProbeAnswers:
    scores, _ = model.score_with_failures([dict(zip(names, row, strict=True)) for row in rows])
    return ProbeAnswers(
        names,
        rows,
        _predictions(model, scores),
        tuple(score.confidence for score in scores),
        tuple(_probabilities(score) for score in scores),
    )


def _predictions(model: Model, scores: Sequence[Score]) -> tuple[Answer | None, ...]:
    """The classes; of a regressor, for each row the mean of its group, since a prediction may be a label."""
    predictions = [score.prediction for score in scores]
    if model.classes:
        return tuple(predictions)
    groups = [predictions[start : start + GROUP_ROWS] for start in range(0, len(predictions), GROUP_ROWS)]
    means = [_mean([float(each) for each in group if each is not None]) for group in groups]
    return tuple(None if each is None else mean for group, mean in zip(groups, means, strict=True) for each in group)


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / max(len(numbers), 1)


def _probabilities(score: Score) -> tuple[float, ...]:
    return tuple((score.probabilities or {}).values())


def _difference(old: ProbeAnswers, new: ProbeAnswers, row: int) -> float:
    """The largest difference between two answers for one row."""
    predictions = old.predictions[row], new.predictions[row]
    probabilities = old.probabilities[row], new.probabilities[row]
    numbers = [(old.confidences[row], new.confidences[row]), *_pairs(*probabilities)]
    if isinstance(predictions[0], float) and isinstance(predictions[1], float):
        numbers.append((predictions[0], predictions[1]))
    elif predictions[0] != predictions[1] and not _is_tie(*probabilities):
        return math.inf
    return max(_relative_difference(*pair) for pair in numbers)


def _pairs(one: Sequence[float], other: Sequence[float]) -> list[tuple[float | None, float | None]]:
    return list(zip(one, other, strict=True)) if len(one) == len(other) else [(None, 0.0)]


def _is_tie(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two classes are equally probable, so that rounding decides between them."""
    return all(len(each) > 1 and abs(sorted(each)[-1] - sorted(each)[-2]) <= TOLERANCE for each in (one, other))


def _relative_difference(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other) / max(1.0, abs(one), abs(other))
