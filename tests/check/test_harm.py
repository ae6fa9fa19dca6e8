"""Laws of the findings about harm: what is estimated, what the reference does not know, what accuracy cannot see."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stillsafe.check.findings import Finding
from stillsafe.check.harm import harm_findings
from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.evidence.impact import LabelProfile, PerformanceImpact
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.settings import Settings, parse

AUC = MetricDefinition(Metric.AUC, 1)


def settings(harm: dict[str, Any]) -> Settings:
    model = {"file": "m.skops", "sha256": "0" * 64, "version": "1"}
    features = [{"name": "size", "type": "numeric"}]
    document = {
        "service": {"name": "s"},
        "model": model,
        "fallback": {"default": 0},
        "features": features,
        "harm": harm,
    }
    return parse(document, folder=Path("/"))


def reference(metric: Metric, definition: MetricDefinition | None, shares: tuple[float, ...] = (0.5, 0.5)) -> Baseline:
    impact = PerformanceImpact(
        metric,
        labelled=True,
        healthy_error=0.1,
        all_permuted=0.4,
        features={},
        truths=tuple(LabelProfile(share, 0.1, {}, {}) for share in shares),
        definition=definition,
    )
    return Baseline(
        "r",
        "1",
        datetime(2026, 1, 1, tzinfo=UTC),
        BaselineSource.REFERENCE,
        100,
        0,
        None,
        None,
        None,
        None,
        harm=impact,
    )


def messages(harm: dict[str, Any], baseline: Baseline) -> list[Finding]:
    return list(harm_findings(settings(harm), baseline))


def test_a_reference_without_a_study_is_said() -> None:
    """Nothing is estimated then, and that is no mistake."""
    assert "not estimated" in messages({}, replace(reference(Metric.AUC, AUC), harm=None))[0].message


def test_a_metric_that_the_reference_does_not_know_is_said_with_the_command() -> None:
    """The owner changed `[harm]`: what a failure costs in the new metric has to be studied first."""
    finding = messages({"metric": "recall", "positive": 1}, reference(Metric.AUC, AUC))[0]
    assert "--refresh" in finding.message
    other_class = messages({"metric": "auc", "positive": 0}, reference(Metric.AUC, AUC))[0]
    assert "--refresh" in other_class.message


@pytest.mark.parametrize("definition", [None, MetricDefinition(Metric.ACCURACY)])
def test_what_accuracy_cannot_see_is_said(definition: MetricDefinition | None) -> None:
    """A rare class under accuracy is a warning, of an older reference as well; under another metric it is none."""
    rare = messages({}, reference(Metric.ACCURACY, definition, (0.01, 0.99)))
    assert "1.0%" in rare[-1].message
    assert len(messages({}, reference(Metric.ACCURACY, definition, (0.3, 0.7)))) == 1
    assert len(messages({"metric": "auc", "positive": 1}, reference(Metric.AUC, AUC, (0.01, 0.99)))) == 1


def test_a_study_without_scores_says_that_labels_do_not_judge_it() -> None:
    """What an older reference lacks is named with the command; one that has the scores says nothing of it."""
    old = reference(Metric.AUC, AUC)
    assert old.harm is not None
    assert "labels do not judge AUC" in messages({}, old)[0].message
    table = ScoreTable(ScoreOrigin.PROBABILITY, "1", ("0", "1"), (0.5,))
    assert "labels" not in messages({}, replace(old, harm=replace(old.harm, score_table=table)))[0].message
    assert "labels" not in messages({}, replace(old, harm=replace(old.harm, labelled=False)))[0].message
