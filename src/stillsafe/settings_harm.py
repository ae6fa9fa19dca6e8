"""The section `[harm]` of `stillsafe.toml`: how the owner measures the model's performance."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.settings_sections import FixedAnswer, Number, Section, Words, error_at

MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "recall",
    "precision",
    "f1",
    "auc",
    "log_loss",
    "expected_cost",
    "mean_absolute_error",
    "mean_squared_error",
    "mape",
]
Cost = Annotated[Number, Field(ge=0)]


class Harm(Section):
    """The metric by which the model's loss is estimated, and how much of it matters."""

    metric: MetricName | None = None
    """The performance metric; by default accuracy, or a regressor's mean absolute error. See `docs/signals.md`."""
    also: Words = ()
    """Further metrics whose loss is estimated too; the one that is worst for its limit is reported."""
    positive: FixedAnswer = None
    """The class that recall, precision, F1 and AUC are about; by default the rarer one of two."""
    threshold: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """The probability from which your system takes a row for positive; by default as the model predicts."""
    moderate: Annotated[Number, Field(gt=0)] | None = None
    """Loss of `metric`, in its own unit, from which an estimate is a deviation: 0.02 of AUC, 3.5 of a cost."""
    severe: Annotated[Number, Field(gt=0)] | None = None
    """Loss of `metric`, in its own unit, from which it is severe."""
    costs: dict[str, dict[str, Cost]] = Field(default_factory=dict)
    """Of `expected_cost`: the cost of each error, by label and prediction: `{yes = {no = 50.0}, no = {yes = 1.0}}`."""
    fallback_cost: Cost = 0.0
    """Of `expected_cost`: what each answer of the fallback costs in addition to its errors."""
    no_answer_cost: Cost = 0.0
    """Of `expected_cost`: what it costs to give no answer."""

    @model_validator(mode="after")
    def _check(self) -> "Harm":
        names = [metric.value for metric in Metric]
        if unknown := [name for name in self.also if name not in names]:
            raise error_at(f"{unknown[0]!r} is no metric; there are: {', '.join(names)}", "also")
        if self.also and self.metric is None:
            raise error_at("`also` needs `metric`, the first one", "also")
        if "expected_cost" in (self.metric, *self.also) and not any(any(row.values()) for row in self.costs.values()):
            raise error_at("`expected_cost` needs `costs`, with a cost above zero", "costs", alternatives=[("metric",)])
        if self.moderate is not None and self.severe is not None and self.moderate > self.severe:
            raise error_at("`moderate` must not exceed `severe`", "moderate")
        return self

    @property
    def definitions(self) -> tuple[MetricDefinition, ...]:
        """The owner's metric and the further ones; empty if the owner names none."""
        names = [] if self.metric is None else [self.metric, *self.also]
        return tuple(metric_definition(Metric(name), self.model_dump()) for name in dict.fromkeys(names))


def metric_definition(metric: Metric, section: dict[str, Any]) -> MetricDefinition:
    """A metric as a section `[harm]` defines it; only what the metric depends on."""
    if metric.is_regression:
        return MetricDefinition(metric)
    is_cost = metric is Metric.EXPECTED_COST
    threshold = None if metric.uses_probabilities else section.get("threshold")
    is_about_positive = metric.has_positive_class or threshold is not None
    return MetricDefinition(
        metric,
        section.get("positive") if is_about_positive else None,
        threshold,
        tuple((label, answer, cost) for label, row in section.get("costs", {}).items() for answer, cost in row.items())
        if is_cost
        else (),
        section.get("fallback_cost", 0.0) if is_cost else 0.0,
        section.get("no_answer_cost", 0.0) if is_cost else 0.0,
    )
