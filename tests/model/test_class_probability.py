"""Log loss and areas with several classes: those of scikit-learn, from new scores of the labelled rows."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import LogMode, Row, Schema
from stillsafe.label_intake import LabelItem, take_in
from stillsafe.model.class_probability import MOST_ROWS_OF_PERIOD, area_metrics, with_areas
from stillsafe.model.confidence import scale_from
from stillsafe.model.frame import frame
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.performance_report import performance_report
from stillsafe.store import database
from tests.monitoring.conftest import START, STEP, Service, bare_service

__all__ = ["bare_service"]
CLASSES: tuple[Answer, ...] = ("1", "2", "3")


def test_the_figures_are_scikit_learns() -> None:
    """One versus rest and macro, with about the interval that resampling shows."""
    random = np.random.default_rng(7)
    probabilities = random.dirichlet((1, 1, 0.5), 600)
    labels = [int(random.choice(3, p=row)) for row in probabilities]
    metrics = area_metrics(labels, probabilities)
    assert metrics["log_loss"].value == pytest.approx(log_loss(labels, probabilities))
    area = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert metrics["roc_auc"].value == pytest.approx(area)
    precision = average_precision_score(np.eye(3)[labels], probabilities, average="macro")
    assert metrics["pr_auc"].value == pytest.approx(precision)
    picks = random.integers(0, 600, (200, 600))
    areas = [roc_auc_score(np.array(labels)[pick], probabilities[pick], multi_class="ovr") for pick in picks]
    reach = (metrics["roc_auc"].high or 0) - metrics["roc_auc"].value
    assert reach == pytest.approx(1.96 * float(np.std(areas)), rel=0.25)


def test_without_a_label_of_each_class_there_is_no_area() -> None:
    """It is not defined; the log loss is. Without rows there is nothing."""
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    assert area_metrics([0, 1], probabilities).keys() == {"log_loss"}
    assert area_metrics([], probabilities[:0]) == {}


def floor_model(service: Service) -> Model:
    """A model of three classes that follows the floor."""
    schema = service.settings.schema_of_features
    rows: list[Row] = [{"size": 50.0 + i % 7, "floor": i % 10, "lift": True, "town": "A"} for i in range(300)]
    table = frame(schema, rows)
    columns = ColumnTransformer([("numbers", StandardScaler(), ["size", "floor"])])
    truths = [str(1 + i % 10 // 4) for i in range(300)]
    estimator = make_pipeline(columns, LogisticRegression(max_iter=2_000)).fit(table, truths)
    return Model("1", ModelKind.CLASSIFIER, CLASSES, schema, estimator, scale_from(estimator, table))


def test_the_report_has_them_where_the_model_can_score_again(bare_service: Service) -> None:
    """Of the model's answers, and of all where the fallback gave none; other versions and hidden features have none."""
    later = START + timedelta(days=1)
    bare_service.send(200)
    bare_service.send(50, start=later, model_error="raised ValueError")
    bare_service.send(50, start=later)
    model = floor_model(bare_service)
    with database.writing(bare_service.engine) as connection:
        items = [LabelItem(f"p{number}", None, str(1 + number % 3)) for number in range(1, 301)]
        take_in(connection, items, later + STEP)
        now = later + 2 * STEP
        periods = performance_report(connection, bare_service.settings, CLASSES, now, has_probabilities=True)
        with_both, only_model = with_areas(connection, periods, model)[:2]
        hashed_schema = Schema(tuple(replace(spec, log=LogMode.HASH) for spec in model.features.features))
        for other in (replace(model, features=hashed_schema), replace(model, version="2"), replace(model, classes=())):
            assert with_areas(connection, periods, other) == periods
    names = {"log_loss", "roc_auc", "pr_auc"}
    for period, is_whole in ((with_both, False), (only_model, True)):
        performance = period.performance
        assert performance.model is not None
        assert performance.overall is not None
        assert names <= performance.model.metrics.keys()
        assert (names <= performance.overall.metrics.keys()) is is_whole
    assert only_model.performance.label_count == 200 < MOST_ROWS_OF_PERIOD
