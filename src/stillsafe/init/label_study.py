"""The impact study on labelled rows of the log, with which a new baseline learns harm again.

It is refused where the labels do not allow it: too few of them, more often on some answers than on others, or where
they show that the period was not healthy.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score
from stillsafe.errors import BaselineRefused
from stillsafe.init import inspect
from stillsafe.init.impact_study import ScoredSample, study_impact
from stillsafe.init.perturbation import FEWEST_ROWS
from stillsafe.init.scorer import default_definition, scorer_of
from stillsafe.label_summary import answer_coverage
from stillsafe.model.frame import frame
from stillsafe.model.labels import parse_labels
from stillsafe.model.metrics import Numbers
from stillsafe.model.model import Model, ModelKind
from stillsafe.monitoring.baseline_labels import LabelledPeriod
from stillsafe.monitoring.columns import numbers_or_nan
from stillsafe.progress import Progress
from stillsafe.settings import Settings
from stillsafe.store.read.labels import OutcomeGroup

NO_CLEAR_ROWS = "Harm can only be learnt from rows that the log has in clear, and it hides {names}."


@dataclass(frozen=True, slots=True)
class LabelStudy:
    """Learns harm from a labelled period of the log.

    Attributes:
        model: the served model.
        settings: of the service; `[harm]` names the metrics.
        accept_contradiction: whether harm is learnt although the labels contradict a healthy period.
        progress: called with the activity and the share of it that is complete, in [0, 1].
    """

    model: Model
    settings: Settings
    accept_contradiction: bool
    progress: Progress

    def __call__(self, period: LabelledPeriod) -> PerformanceImpact:
        """The study of the period's labelled rows.

        Raises:
            BaselineRefused: the rows are too few, hidden, or biased, or show the model worse than its earlier study.
        """
        hidden_names = [spec.name for spec in self.model.features.features if spec.log.value != "keep"]
        if hidden_names:
            raise BaselineRefused(NO_CLEAR_ROWS.format(names=", ".join(hidden_names)))
        self._require_coverage(period)
        sample = labelled_sample(self.model, period)
        if len(sample.usable) < FEWEST_ROWS:
            raise BaselineRefused(_too_few(len(sample.usable)))
        sentences = list(self._contradictions(period, sample))
        if sentences and not self.accept_contradiction:
            raise BaselineRefused("The labels contradict a healthy period.", sentences)
        with inspect.suppress_warnings():
            impact = study_impact(self.model, sample, period.baseline, self.settings.harm.definitions, self.progress)
        if impact is None:
            raise BaselineRefused(_too_few(len(sample.usable)))
        return replace(impact, is_live=True, also=tuple(replace(each, is_live=True) for each in impact.also))

    def _require_coverage(self, period: LabelledPeriod) -> None:
        numbers = self.settings.policy.evidence
        count = sum(label is not None for label in period.labels)
        if count < FEWEST_ROWS:
            raise BaselineRefused(_too_few(count))
        if count < numbers.learning_min_coverage * len(period.labels):
            raise BaselineRefused(
                f"Only {count / len(period.labels):.1%} of the period's predictions have a label, and harm is learnt "
                f"from {numbers.learning_min_coverage:.0%} on: wait for more labels, or name another period."
            )
        if sentences := list(biases(self.model, period, numbers.learning_deviations)):
            raise BaselineRefused("The labels are biased, so what they show is not the model's performance.", sentences)

    def _contradictions(self, period: LabelledPeriod, sample: ScoredSample) -> Iterator[str]:
        """How the labels contradict a healthy period: against the earlier study, and one half against the other."""
        numbers, earlier = self.settings.policy.evidence, period.baseline.harm
        for definition in self.settings.harm.definitions or (default_definition(self.model),):
            definition, errors = _errors(self.model, sample, definition)
            previous = _same_metric(earlier, definition)
            if previous is not None:
                yield from worse_than_study(previous, errors, numbers.realised_loss_deviations)
            yield from halves_apart(definition, errors, numbers.learning_deviations)


def labelled_sample(model: Model, period: LabelledPeriod) -> ScoredSample:
    """The labelled rows of a period that the model takes, with its answers in the log and their labels."""
    positions = [i for i, label in enumerate(period.labels) if label is not None]
    labels = parse_labels([period.labels[i] for i in positions], model.classes)
    log, pairs = period.log_rows, zip(positions, labels, strict=True)
    clean = [(i, row, label) for i, label in pairs if (row := _clean_row(log.input_summaries[i], model.features))]
    scores = [Score(log.predictions[i], log.confidences[i], None, None) for i, _, _ in clean]
    columns = period.rows[np.array([i for i, _, _ in clean], dtype=np.intp)]
    return ScoredSample([row for _, row, _ in clean], scores, [label for _, _, label in clean], columns)


def biases(model: Model, period: LabelledPeriod, deviations: float) -> Iterator[str]:
    """How rows with a label differ from those without one: in the answers, the confidence or the predicted number."""
    has_label = np.array([label is not None for label in period.labels])
    log, answers_by_name = period.log_rows, Counter(zip(period.log_rows.predictions, has_label.tolist(), strict=True))
    values = {"confidence": numbers_or_nan(log.confidences)}
    if model.kind is ModelKind.REGRESSOR:
        values["prediction"] = np.array([math.nan if text is None else float(text) for text in log.predictions])
    else:
        groups = [
            OutcomeGroup(answer, "" if is_labelled else None, False, count, None)
            for (answer, is_labelled), count in answers_by_name.items()
        ]
        coverage = answer_coverage(groups)
        if coverage.has_bias:
            shares = ", ".join(f"{name} {share:.1%}" for name, share in coverage.shares.items())
            yield f"Some answers have a label more often than others: {shares}."
    for name, column in values.items():
        parts = [column[has_label & np.isfinite(column)], column[~has_label & np.isfinite(column)]]
        if min(map(len, parts)) < 2:
            continue
        distance = abs(float(parts[0].mean() - parts[1].mean()))
        error = math.sqrt(sum(float(part.var()) / len(part) for part in parts))
        if distance > deviations * error:
            means = f"{parts[0].mean():.3g} and {parts[1].mean():.3g}"
            yield f"The mean {name} of predictions with and without a label is {means}: more than chance."


def worse_than_study(previous: PerformanceImpact, errors: Numbers, deviations: float) -> Iterator[str]:
    """A sentence where labels show the model worse than an earlier labelled study, by more than noise explains."""
    if not previous.labelled:
        return
    loss = float(errors.mean()) - previous.healthy_error
    count = previous.row_count or len(errors)
    sampling_error = float(errors.std()) * math.sqrt(1 / len(errors) + 1 / count)
    noise = deviations * math.hypot(sampling_error, previous.effect_variation)
    if loss > noise:
        name, performance = previous.metric.phrase, previous.metric.performance
        yield (
            f"By {len(errors):,} labels the model's {name} is {performance(float(errors.mean())):.3g}, and in the "
            f"earlier study it was {performance(previous.healthy_error):.3g}: {loss:.3g} worse, and noise explains "
            f"{noise:.3g}."
        )


def halves_apart(definition: MetricDefinition, errors: Numbers, deviations: float) -> Iterator[str]:
    """A sentence where the labels of the second half differ from those of the first, by more than noise explains."""
    first, second = np.array_split(errors, 2)
    distance = abs(float(second.mean() - first.mean()))
    noise = deviations * math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    if distance > noise:
        performance = definition.metric.performance
        halves = f"{performance(float(first.mean())):.3g} and {performance(float(second.mean())):.3g}"
        yield (
            f"In the two halves of the period the {definition.metric.phrase} is {halves}: {distance:.3g} apart, and "
            f"noise explains {noise:.3g}."
        )


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What a new baseline has learnt from labels, beside what was in force before.

    Attributes:
        metric: the metric.
        labelled_row_count: rows of the log behind it.
        performance: of the model on them.
        previous_metric, previous_performance, previous_row_count: of the study before; None without one.
    """

    metric: str
    labelled_row_count: int
    performance: float
    previous_metric: str | None = None
    previous_performance: float | None = None
    previous_row_count: int | None = None

    @property
    def sentence(self) -> str:
        """The report in words."""
        text = (
            f"Harm was learnt from {self.labelled_row_count:,} labelled rows of the log: {_title(self.metric)} "
            f"{self.performance:.4g}."
        )
        if self.previous_metric is None or self.previous_performance is None:
            return f"{text} There was no study before."
        rows = f" from {self.previous_row_count:,} rows" if self.previous_row_count else ""
        return f"{text} Before, it was {_title(self.previous_metric)} {self.previous_performance:.4g}{rows}."


def learning_report(baseline: Baseline, previous: PerformanceImpact | None) -> LearningReport | None:
    """What a baseline learnt from labels of the log; None of one that carries an earlier study over."""
    harm = baseline.harm
    if harm is None or not harm.is_live:
        return None
    own = harm.metric.value, harm.row_count, harm.metric.performance(harm.healthy_error)
    if previous is None:
        return LearningReport(*own)
    return LearningReport(
        *own, previous.metric.value, previous.metric.performance(previous.healthy_error), previous.row_count or None
    )


def _title(metric: str) -> str:
    return metric.replace("_", " ")


def _too_few(count: int) -> str:
    return f"{count} labelled rows are too few to learn harm from; at least {FEWEST_ROWS} are needed."


def _clean_row(text: str, schema: Schema) -> Row | None:
    document: Any = json.loads(text)
    row = schema.validate(document) if isinstance(document, dict) else None
    return row if isinstance(row, dict) else None


def _errors(model: Model, sample: ScoredSample, definition: MetricDefinition) -> tuple[MetricDefinition, Numbers]:
    """The metric with its class, and the share of each usable row in its error, in the order of the log."""
    usable = sample.usable
    labels: Sequence[Answer | None] = [(sample.labels or ())[i] for i in usable]
    scorer = scorer_of(model, [sample.scores[i] for i in usable], labels, definition)
    if scorer is None:
        return definition, np.zeros(1)
    with inspect.suppress_warnings():
        outcome = scorer.outcome(model, frame(model.features, [sample.rows[i] for i in usable]))
    return scorer.definition, scorer.errors(outcome, np.arange(len(usable)))


def _same_metric(impact: PerformanceImpact | None, definition: MetricDefinition) -> PerformanceImpact | None:
    """The part of a study that measured the same; of a document of an older version, the same metric."""
    parts = () if impact is None else (impact, *impact.also)
    for part in parts:
        if part.definition == definition or (part.definition is None and part.metric is definition.metric):
            return part
    return None
