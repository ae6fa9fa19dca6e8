"""Metrics of scores judged by labels: from the log with two classes, by new scores with more, with a replay."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.core.signals import Evidence, Level
from stillsafe.core.state import State
from stillsafe.init.score_tables import HealthyAnswers
from stillsafe.label_intake import LabelItem, take_in
from stillsafe.model.label_scores import LabelJudge, RowAnswer, score_errors
from stillsafe.monitoring import run
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.requests import RequestTable, request_ids, request_rows
from stillsafe.store.write.baselines import insert_baseline, mark_active
from tests.monitoring.conftest import STEP, Service, settings
from tests.monitoring.test_label_evidence import DAY, loss_reading, newest_run, tally

SITES = ("0", "1", "2")


def label_of(confidence: float, random: Random, *, is_drifted: bool) -> str:
    """`1` is likelier with a higher confidence, and in the other world it is not."""
    share = 0.5 if is_drifted else min(1.0, max(0.0, 0.5 + 5 * (confidence - 0.85)))
    return "1" if random.random() < share else "0"


def log_impact() -> PerformanceImpact:
    """The area under the curve of a healthy model, all of whose answers are `1`."""
    random = Random(1)
    confidences = [min(1.0, max(0.0, random.gauss(0.85, 0.05))) for _ in range(3_000)]
    labels = [label_of(each, random, is_drifted=False) for each in confidences]
    table = ScoreTable(ScoreOrigin.PROBABILITY, "1", ("0", "1"), (0.8, 0.83, 0.85, 0.87, 0.9))
    return impact_of(MetricDefinition(Metric.AUC, 1), table, [RowAnswer("1", each) for each in confidences], labels)


def impact_of(
    definition: MetricDefinition, table: ScoreTable, answers: Sequence[RowAnswer], labels: Sequence[str]
) -> PerformanceImpact:
    """The study of healthy rows."""
    rows = [LabelJudge(table).row_score(*pair) for pair in zip(labels, answers, strict=True)]
    errors = score_errors(definition.metric, [row for row in rows if row is not None])
    impact = PerformanceImpact(definition.metric, True, float(np.mean(errors)), 0.4, {}, definition=definition)
    return replace(
        impact, row_count=len(rows), score_table=HealthyAnswers(answers, labels, table).table(definition, errors)
    )


def use(service: Service, impact: PerformanceImpact) -> None:
    """The baseline gets this study. Nights are silent."""
    service.settings = settings(Path(service.settings.folder), policy={"silence": 0})
    with database.writing(service.engine) as connection:
        baseline = active_baseline(connection, "1")
        assert baseline is not None
        with_study = replace(baseline, baseline_id="with-study", harm=impact)
        insert_baseline(connection, with_study)
        mark_active(connection, with_study)


def log_of_step(service: Service) -> list[dict[str, object]]:
    """The rows of the last ten minutes, in order."""
    with database.reading(service.engine) as connection:
        ids = request_ids(connection, RequestTable.PREDICTIONS, service.now - STEP, service.now, "1")
        return request_rows(connection, RequestTable.PREDICTIONS, ids)


def bring(service: Service, labels: dict[str, str]) -> None:
    """Labels arrive a day later, and the next run reads them."""
    service.now += DAY
    with database.writing(service.engine) as connection:
        take_in(connection, [LabelItem(name, None, text) for name, text in labels.items()], service.now)


def assert_replays(service: Service, score: ShadowScorer) -> None:
    """Every run recounts to what it stored."""
    log_format = LogFormat.of(service.settings)
    result = replay(service.engine, from_logs=True, log_format=log_format, model_version="1", score=score)
    assert (result.difference, result.not_recounted) == (None, {})


def test_the_ranking_is_judged_from_the_log(service: Service) -> None:
    """Labels of the surer half only, a day late: calm in health, and CRITICAL after three nights of another world."""
    use(service, log_impact())
    random = Random(2)
    for is_drifted in (False, False, True, True, True):
        service.step(600)
        rows = [row for row in log_of_step(service) if float(str(row["confidence_score"])) >= 0.85]
        names = {
            str(row["prediction_id"]): label_of(float(str(row["confidence_score"])), random, is_drifted=is_drifted)
            for row in rows
        }
        bring(service, names)
        service.run()
        labels, reading = tally(newest_run(service)), loss_reading(newest_run(service))
        assert labels is not None
        assert reading is not None
        assert (reading.metric, reading.level is Level.SEVERE) == ("auc", is_drifted)
        assert sum(group[2] for group in labels.group_coverage) == len(names) == labels.model.count
        shares = {group: (predictions, count) for group, predictions, count in labels.group_coverage}
        assert [shares.get(each, (0, 0))[1] for each in (0, 1, 2)] == [0, 0, 0]
        assert all(0 < shares[each][1] <= shares[each][0] for each in (3, 4, 5))
    assert service.state() is State.DEGRADED
    assert_replays(service, service.score)


def test_too_few_labels_of_a_class_wait_for_more(service: Service) -> None:
    """Rows are read again until both classes have ten labels."""
    use(service, log_impact())
    for positives in (5, 4, 3):
        service.step(600)
        names = [str(row["prediction_id"]) for row in log_of_step(service)]
        bring(service, {name: "1" if number < positives else "0" for number, name in enumerate(names[:60])})
        service.run()
    reading, labels = loss_reading(newest_run(service)), tally(newest_run(service))
    assert labels is not None
    assert reading is not None
    assert (labels.model.count, labels.model.least_class_count) == (180, 12)
    assert reading.evidence is not Evidence.INSUFFICIENT
    assert_replays(service, service.score)


def chances(row: Row) -> dict[str, float]:
    """What a model of three classes gives: by the floor."""
    favourite = int(row["floor"] or 0) % 3
    return {name: 0.8 if number == favourite else 0.1 for number, name in enumerate(SITES)}


def scorer(rows: Sequence[Row]) -> list[Score]:
    """The model of three classes."""
    return [Score("1", 0.85, chances(row), None) for row in rows]


def test_several_classes_are_scored_again(service: Service) -> None:
    """A log loss needs the probability of the label, which the log lacks; a replay scores the same rows."""
    random = Random(3)
    floors = [random.randint(0, 9) for _ in range(3_000)]
    answers = [RowAnswer("1", 0.85, chances({"floor": floor})) for floor in floors]
    labels = [str(floor % 3) if random.random() < 0.8 else random.choice(SITES) for floor in floors]
    table = ScoreTable(ScoreOrigin.MODEL, "2", SITES, (0.5,))
    use(service, impact_of(MetricDefinition(Metric.LOG_LOSS), table, answers, labels))
    levels = []
    for right in (0.8, 0.4):
        service.step(300)
        floors_by_name = {str(row["prediction_id"]): row["input_summary"] for row in log_of_step(service)}
        truths = {}
        for name, text in floors_by_name.items():
            document = json.loads(str(text))
            truths[name] = str(document["floor"] % 3) if random.random() < right else random.choice(SITES)
        bring(service, truths)
        run.run(service.engine, service.settings, now=service.now, score=scorer)
        reading, labels_of_run = loss_reading(newest_run(service)), tally(newest_run(service))
        assert reading is not None
        assert labels_of_run is not None
        assert labels_of_run.rescored_count == labels_of_run.model.count == 300
        assert labels_of_run.group_coverage == ((1, 300, 300),)
        levels.append(reading.level)
    assert levels == [Level.NONE, Level.SEVERE]
    assert_replays(service, scorer)
    log_format = LogFormat.of(service.settings)
    result = replay(service.engine, from_logs=True, log_format=log_format, model_version="2", score=scorer)
    assert len(result.not_recounted) == 2


@pytest.mark.parametrize("score", [None, scorer])
def test_without_features_several_classes_are_not_judged(service: Service, score: ShadowScorer | None) -> None:
    """Where rows cannot be scored, their labels are counted as unknown."""
    answers = [RowAnswer("1", 0.85, chances({"floor": floor})) for floor in range(300)]
    table = ScoreTable(ScoreOrigin.MODEL, "2", SITES, (0.5,))
    use(service, impact_of(MetricDefinition(Metric.LOG_LOSS), table, answers, ["1"] * 300))
    service.step(150)
    bring(service, {str(row["prediction_id"]): "1" for row in log_of_step(service)})
    run.run(service.engine, service.settings, now=service.now, score=score)
    labels = tally(newest_run(service))
    assert labels is not None
    assert (labels.model.count, labels.unknown_count) == ((0, 150) if score is None else (150, 0))
