"""Harm is learnt again from labelled rows of the log, and refused where their labels do not allow it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.schema import LogMode, Schema
from stillsafe.core.score import as_text
from stillsafe.errors import BaselineRefused
from stillsafe.init.label_study import LabelStudy, LearningReport, learning_report
from stillsafe.monitoring.baseline_labels import LabelledPeriod
from stillsafe.progress import no_progress
from stillsafe.store.codec import dumps
from stillsafe.store.read.requests import LogRows
from tests.core.healthy import START
from tests.monitoring.conftest import settings
from tests.monitoring.related import Service, classifier, machines, regressor

COUNT = 2_000


def period(
    service: Service, table: pd.DataFrame, has_label: Sequence[bool] | None = None, labels: Sequence[Any] | None = None
) -> LabelledPeriod:
    """A period of the log with these rows, and the true labels of some of them."""
    rows, count = service.rows(table), len(table)
    scores = service.model.score(rows)
    log = LogRows(
        range(1, count + 1), [START] * count, [dumps(row) for row in rows], [score.text for score in scores],
        [score.confidence for score in scores], [False] * count, [None] * count,
    )  # fmt: skip
    texts = [as_text(label) for label in (table[service.truth].tolist() if labels is None else labels)]
    has_labels = [True] * count if has_label is None else has_label
    visible_labels = [text if is_labelled else None for text, is_labelled in zip(texts, has_labels, strict=True)]
    return LabelledPeriod(log, visible_labels, service.columns(table), service.baseline)


def learn(service: Service, labelled: LabelledPeriod, folder: Path, *, accept: bool = False) -> PerformanceImpact:
    """The study of a period."""
    return LabelStudy(service.model, settings(folder), accept, no_progress)(labelled)


@pytest.mark.parametrize("service", [classifier(), regressor()], ids=["classifier", "regressor"])
def test_a_healthy_period_teaches_what_init_would_learn(service: Service, tmp_path: Path) -> None:
    """Error, row count and the features that the model leans on follow from the labelled rows; a part is enough."""
    table = machines(COUNT, 12)
    has_label = (np.random.default_rng(1).random(COUNT) < 0.5).tolist()
    impact, earlier = learn(service, period(service, table, has_label), tmp_path), service.baseline.harm
    assert earlier is not None
    assert impact.is_live
    assert impact.row_count == sum(has_label)
    assert impact.healthy_error == pytest.approx(earlier.healthy_error, rel=0.2)
    losses = {name: each.permuted for name, each in impact.features.items()}
    assert set(sorted(losses, key=lambda name: -losses[name])[:2]) == {"load", "humidity"}
    report = learning_report(replace(service.baseline, harm=impact), earlier)
    assert report is not None
    assert (report.labelled_row_count, report.previous_row_count) == (sum(has_label), earlier.row_count)
    assert f"{sum(has_label):,} labelled rows" in report.sentence
    assert "Before, it was" in report.sentence
    assert learning_report(service.baseline, earlier) is None


@pytest.mark.parametrize("service", [classifier(), regressor()], ids=["classifier", "regressor"])
def test_a_model_that_labels_show_worse_is_refused(service: Service, tmp_path: Path) -> None:
    """A world that has changed would become the healthy one; only a person may accept that."""
    table = machines(COUNT, 13)
    truth = table[service.truth].tolist()
    draw = np.random.default_rng(2)
    if service is classifier():
        labels = [{"yes": "no", "no": "yes"}[each] if draw.random() < 0.1 else each for each in truth]
    else:
        labels = [each + draw.normal(0, 4) for each in truth]
    worse = period(service, table, labels=labels)
    with pytest.raises(BaselineRefused, match="contradict a healthy period") as refusal:
        learn(service, worse, tmp_path)
    assert "worse, and noise explains" in refusal.value.evidence[0]
    earlier = service.baseline.harm
    assert earlier is not None
    assert learn(service, worse, tmp_path, accept=True).healthy_error > 1.1 * earlier.healthy_error


def test_halves_with_another_truth_are_refused(tmp_path: Path) -> None:
    """A period whose labels change in its middle contradicts itself, also where nothing was studied before."""
    service, table = classifier(), machines(COUNT, 14)
    late = np.arange(COUNT) >= COUNT // 2
    swap = late & (np.random.default_rng(3).random(COUNT) < 0.15)
    labels = np.where(swap, np.where(table.fails == "yes", "no", "yes"), table.fails).tolist()
    without_study = replace(service, baseline=replace(service.baseline, harm=None))
    with pytest.raises(BaselineRefused) as refusal:
        learn(service, period(without_study, table, labels=labels), tmp_path)
    assert "In the two halves of the period the accuracy is" in refusal.value.evidence[0]


def test_few_labels_are_refused_even_if_a_contradiction_is_accepted(tmp_path: Path) -> None:
    """Fewer than 200 labelled rows, or one in ten, teach nothing."""
    service, table = classifier(), machines(COUNT, 15)
    first = [i < 199 for i in range(COUNT)]
    with pytest.raises(BaselineRefused, match=r"^199 labelled rows are too few .* 200"):
        learn(service, period(service, table, first), tmp_path, accept=True)
    wide = pd.concat([table, machines(COUNT, 16)], ignore_index=True)
    with pytest.raises(BaselineRefused, match=r"^Only 7.5% of the period's predictions have a label"):
        learn(service, period(service, wide, [i % 40 < 3 for i in range(2 * COUNT)]), tmp_path, accept=True)


def test_biased_labels_are_refused(tmp_path: Path) -> None:
    """Labels that come for one answer, for sure answers or for high numbers show another performance."""
    service, table = classifier(), machines(COUNT, 17)
    scores = service.model.score(service.rows(table))
    cases = {
        "Some answers have a label more often": [score.prediction == "no" for score in scores],
        "The mean confidence of predictions": [(score.confidence or 0) > 0.9 for score in scores],
    }
    for sentence, has_label in cases.items():
        with pytest.raises(BaselineRefused, match="biased") as refusal:
            learn(service, period(service, table, has_label), tmp_path)
        assert any(each.startswith(sentence) for each in refusal.value.evidence)
    numbers = [score.prediction for score in regressor().model.score(regressor().rows(table))]
    has_label = [isinstance(number, float) and number > 100 for number in numbers]
    with pytest.raises(BaselineRefused, match="biased") as refusal:
        learn(regressor(), period(regressor(), table, has_label), tmp_path)
    assert any(each.startswith("The mean prediction") for each in refusal.value.evidence)


def test_rows_that_the_log_hides_cannot_be_studied(tmp_path: Path) -> None:
    """A feature that is hashed or dropped cannot be permuted."""
    service, table = classifier(), machines(300, 18)
    specs = tuple(replace(s, log=LogMode.HASH) if s.name == "site" else s for s in service.schema.features)
    model = replace(service.model, features=Schema(specs))
    with pytest.raises(BaselineRefused, match="it hides site"):
        learn(replace(service, model=model), period(service, table), tmp_path)


def test_without_an_earlier_study_the_report_names_none() -> None:
    """There is nothing to compare with."""
    assert LearningReport("accuracy", 2_000, 0.9).sentence == (
        "Harm was learnt from 2,000 labelled rows of the log: accuracy 0.9. There was no study before."
    )


def test_the_numbers_of_a_period_are_the_policys(tmp_path: Path) -> None:
    """With another coverage or another number of deviations the same labels teach."""
    service, table = classifier(), machines(COUNT, 18)
    own_settings, few = settings(tmp_path), period(service, table, [i % 40 < 5 for i in range(COUNT)])
    for name, number, labelled in (
        ("learning_min_coverage", 0.2, few),
        ("learning_deviations", 0.0, period(service, table)),
    ):
        study = LabelStudy(service.model, own_settings, False, no_progress)
        assert study(labelled).is_live
        numbers: dict[str, Any] = {name: number}
        evidence = replace(own_settings.policy.evidence, **numbers)
        other_policy = replace(own_settings.policy, evidence=evidence)
        strict_settings = own_settings.model_copy(update={"policy": other_policy})
        with pytest.raises(BaselineRefused):
            LabelStudy(service.model, strict_settings, False, no_progress)(labelled)
