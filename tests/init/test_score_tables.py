"""The study keeps its labelled rows by score, so that labels can judge metrics of scores later."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import AnswerTally, GroupCoverage, LabelTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.realised_loss import realised_readings
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable, healthy_part
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import LogMode, Schema
from stillsafe.core.signals import Evidence, Level, Reading
from stillsafe.core.window import Tally, Window
from stillsafe.init import infer
from stillsafe.init.score_tables import HealthyAnswers, _edges, healthy_answers
from stillsafe.init.scorer import scorer_of
from stillsafe.model.frame import frame
from stillsafe.model.label_scores import LabelJudge, RowAnswer, score_errors, score_sums
from stillsafe.model.metrics import Labels, Numbers, Outcome, row_errors
from stillsafe.model.model import Model, ModelKind
from tests.monitoring.related import machines, model_of

COLUMNS = ["load", "humidity"]
AUC, LOG_LOSS = MetricDefinition(Metric.AUC), MetricDefinition(Metric.LOG_LOSS)
AT_A_FIFTH = MetricDefinition(Metric.RECALL, threshold=0.2)
TRAINING, SAMPLE = machines(1_000, 1), machines(1_500, 2)
ROWS = infer.rows_of(SAMPLE[COLUMNS], infer.describe(SAMPLE[COLUMNS]).schema)


def served_model(estimator: Any, truth: str, classes: tuple[Answer, ...]) -> Model:
    """A model of machines."""
    fitted_estimator = estimator.fit(TRAINING[COLUMNS], TRAINING[truth])
    return model_of(fitted_estimator, ModelKind.CLASSIFIER, infer.describe(SAMPLE[COLUMNS]).schema, classes, ROWS)


def tables(model: Model, truth: str, definitions: Sequence[MetricDefinition]) -> list[tuple[ScoreTable | None, float]]:
    """The table and the error of each metric."""
    scores, labels = model.score(ROWS), SAMPLE[truth].tolist()
    scorers = [scorer_of(model, scores, labels, each) for each in definitions]
    results = []
    for scorer in scorers:
        assert scorer is not None
        outcome = replace(scorer, with_scores=True).outcome(model, frame(model.features, ROWS))
        own = [each.definition for each in scorers if each is not None]
        answers = healthy_answers(model, scores, labels, own, outcome.scores)
        errors = scorer.errors(outcome, np.arange(len(ROWS)))
        table = None if answers is None else answers.table(scorer.definition, errors)
        results.append((table, float(errors.mean())))
        if table is not None:
            assert healthy_part(table, scorer.definition, 0.0, ()).mean == 0.0
            assert table.row_counts().sum() == len(ROWS)
    return results


def test_probabilities_of_two_classes_come_from_the_log() -> None:
    """Every metric of scores has a table with the same ranges, among whose edges is the owner's threshold."""
    model = served_model(LogisticRegression(), "fails", ("no", "yes"))
    definitions = [replace(each, positive="yes") for each in (AUC, AT_A_FIFTH)]
    auc, recall, loss = (table for table, _ in tables(model, "fails", [*definitions, LOG_LOSS]))
    assert auc is not None
    assert recall is not None
    assert loss is not None
    assert auc.origin is ScoreOrigin.PROBABILITY
    assert auc.edges == recall.edges == loss.edges
    assert 0.2 in auc.edges
    assert sum(loss.error_sums) / len(ROWS) == pytest.approx(0.27, abs=0.1)
    assert {answer for _, answer, stratum, _ in recall.cells if stratum >= auc.edges.index(0.2) + 1} == {"yes"}


def test_a_margin_has_ranks_and_no_probabilities() -> None:
    """Of a support vector machine the ranking can be judged, and neither log loss nor a threshold of probability."""
    model = served_model(LinearSVC(random_state=0), "fails", ("no", "yes"))
    [(table, _)] = tables(model, "fails", [replace(AUC, positive="yes")])
    assert table is not None
    assert table.origin is ScoreOrigin.RANK


def test_several_classes_are_scored_again() -> None:
    """Where the log shows every feature; else nothing is judged by scores."""
    model = served_model(LogisticRegression(max_iter=1_000), "site", ("coast", "hall", "mine", "roof"))
    (auc, _), (loss, error) = tables(model, "site", [replace(AUC, positive="roof"), LOG_LOSS])
    assert auc is not None
    assert loss is not None
    assert auc.origin is ScoreOrigin.MODEL
    assert sum(loss.error_sums) / len(ROWS) == pytest.approx(error, abs=1e-6)
    hidden_specs = tuple(replace(spec, log=LogMode.HASH) for spec in model.features.features)
    assert tables(replace(model, features=Schema(hidden_specs)), "site", [LOG_LOSS])[0][0] is None


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=300),
    st.integers(2, 20),
    st.sampled_from([None, 0.2]),
    st.randoms(use_true_random=False),
)
def test_no_range_shows_a_few_rows(scores: list[float], min_count: int, threshold: float | None, draw: Any) -> None:
    """Between two edges that are not the owner's lie at least so many scores; a threshold is always an edge."""
    numbers, positive = np.array(scores), np.array([draw.random() < 0.3 for _ in scores])
    edges = _edges(numbers, positive, [replace(AUC, positive="yes", threshold=threshold)], min_count)
    assert (threshold is None) or threshold in edges
    if threshold is None and edges:
        assert np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1).min() >= min_count


def test_a_metric_of_answers_needs_no_table() -> None:
    """Its healthy error is known from the answers."""
    model = served_model(LogisticRegression(), "fails", ("no", "yes"))
    assert tables(model, "fails", [MetricDefinition(Metric.ACCURACY)])[0][0] is None


RANKING = MetricDefinition(Metric.AUC, "yes")
METRICS = (RANKING, LOG_LOSS, MetricDefinition(Metric.RECALL, "yes", 0.3))
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
POLICY = Policy()
EDGES = (*np.round(np.linspace(0.02, 0.98, 49), 6).tolist(),)
CLASSES: tuple[Answer, ...] = ("no", "yes")


def draw(count: int, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Scores, and whether the label is positive, as often as the score says."""
    random = np.random.default_rng(seed)
    scores = random.beta(0.6, 1.4, count)
    return scores, (random.random(count) < scores).astype(float)


def row_shares(definition: MetricDefinition, scores: Numbers, positive: Numbers) -> Numbers:
    """The share of each row in the error."""
    labels = Labels(CLASSES, np.column_stack([1 - positive, positive]), np.empty(0))
    answers = np.where(scores >= 0.5, "yes", "no").astype(object)
    return row_errors(definition, Outcome(answers, np.column_stack([1 - scores, scores])), labels)


def table_of(definition: MetricDefinition, scores: Numbers, positive: Numbers) -> ScoreTable:
    """The table of these rows."""
    ranges, errors = np.searchsorted(EDGES, scores, side="right"), row_shares(definition, scores, positive)
    limit = 0.5 if definition.threshold is None else definition.threshold
    names = zip(positive, scores >= limit, ranges.tolist(), strict=True)
    cells = Counter(("yes" if y else "no", "yes" if p else "no", stratum) for y, p, stratum in names)
    sums, squares = (tuple(np.bincount(ranges, errors**power, len(EDGES) + 1).tolist()) for power in (1, 2))
    counts = tuple((*cell, n) for cell, n in sorted(cells.items()))
    return ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), EDGES, counts, sums, squares)


def coverage(shares: dict[int, tuple[int, int]]) -> tuple[GroupCoverage, ...]:
    """Predictions and labels of each group."""
    return tuple((group, *counts) for group, counts in sorted(shares.items()))


def baseline(impact: PerformanceImpact) -> Baseline:
    """A healthy period with this study."""
    return Baseline("b", "1", AT, BaselineSource.REFERENCE, 4_000, 0, None, None, None, None, harm=impact)


@pytest.mark.parametrize("definition", METRICS)
def test_labels_of_some_scores_are_compared_with_healthy_rows_of_these_scores(definition: MetricDefinition) -> None:
    """Where only low risks get a label, the healthy error is that of low risks: its mean, its variance and its rows."""
    scores, positive = draw(20_000)
    table = table_of(definition, scores, positive)
    is_selected = scores < 0.62
    limit = int(np.searchsorted(EDGES, 0.62, side="right"))
    groups = coverage({group: (50, 50 if group < limit else 0) for group in range(table.range_count)})
    whole = float(row_shares(definition, scores, positive).mean())
    part = healthy_part(table, definition, whole, groups)
    own = row_shares(definition, scores[is_selected], positive[is_selected])
    assert part.mean == pytest.approx(float(own.mean()), abs=0.004)
    assert part.variance == pytest.approx(float(own.var()), rel=0.05, abs=1e-6)
    assert part.count == pytest.approx(int(is_selected.sum()), rel=0.05)
    assert abs(part.mean - whole) > 0.01


@pytest.mark.parametrize("definition", METRICS)
def test_an_even_coverage_changes_nothing(definition: MetricDefinition) -> None:
    """All labels, a third of each group, or no groups: the error of all healthy rows, however the scores have moved."""
    scores, positive = draw(5_000, 1)
    table = table_of(definition, scores, positive)
    whole = float(row_shares(definition, scores, positive).mean())
    uneven_scores = coverage({group: (3 * group + 3, group + 1) for group in range(table.range_count)})
    for groups in ((), uneven_scores, coverage({4: (300, 100)})):
        part = healthy_part(table, definition, whole, groups)
        assert part.mean == pytest.approx(whole)
        assert part.count == pytest.approx(5_000)
    assert part.variance == pytest.approx(float(row_shares(definition, scores, positive).var()), rel=0.05)


def scored_world(count: int, seed: int, loss: float = 0.0) -> list[tuple[float, bool]]:
    """Rows of a score and a label that is as likely as the score; a share of the labels is that of another row."""
    random = Random(seed)
    rows = []
    for _ in range(count):
        score = random.betavariate(0.7, 1.6)
        truth = random.betavariate(0.7, 1.6) if random.random() < loss else score
        rows.append((score, random.random() < truth))
    return rows


def scored_impact(definition: MetricDefinition = RANKING) -> PerformanceImpact:
    """The study of 4,000 healthy rows."""
    rows = scored_world(4_000, 1)
    edges = tuple(round(edge / 20, 6) for edge in range(1, 20))
    empty_table = ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), edges)
    labels = ["yes" if is_yes else "no" for _, is_yes in rows]
    answers = HealthyAnswers([scored_answer(score) for score, _ in rows], labels, empty_table)
    judge, metric = LabelJudge(empty_table, definition.threshold), definition.metric
    scored_rows = [judge.row_score(*pair) for pair in zip(labels, answers.answers, strict=True)]
    present = [row for row in scored_rows if row is not None]
    if metric.uses_probabilities:
        errors = score_errors(metric, present)
    else:
        errors = np.array([float(row.answer != ("yes" if row.is_positive else "no")) for row in present])
    table = answers.table(definition, errors)
    impact = PerformanceImpact(metric, True, float(errors.mean()), 0.4, {}, definition=definition, row_count=4_000)
    return replace(impact, score_table=table)


def scored_answer(score: float) -> RowAnswer:
    """As the log has it."""
    return RowAnswer("yes" if score >= 0.5 else "no", max(score, 1 - score))


def scored_reading(impact: PerformanceImpact, rows: list[tuple[float, bool]], most: float = 1.0) -> Reading:
    """The reading of a run in which rows with a score up to `most` have got a label."""
    table = impact.score_table
    assert table is not None
    assert impact.definition is not None
    judge = LabelJudge(table, impact.definition.threshold)
    scored_rows = [(judge.row_score("yes" if is_yes else "no", scored_answer(score)), score) for score, is_yes in rows]
    own = [row for row, score in scored_rows if row is not None and score <= most]
    groups = Counter(row.group for row, _ in scored_rows if row is not None)
    labels = Counter(row.group for row in own)
    outcomes = Counter(("yes" if row.is_positive else "no", row.answer) for row in own)
    sums = score_sums(impact.metric, own) if impact.metric.uses_probabilities else ()
    cells = tuple((*cell, count) for cell, count in sorted(outcomes.items()))
    coverage = tuple((group, groups[group], labels[group]) for group in sorted(groups))
    tally = LabelTally(AT, AT, len(rows), model=AnswerTally(len(own), cells, *sums), group_coverage=coverage)
    [reading] = realised_readings(POLICY, baseline(impact), Window(AT, AT, "1", Tally(), Tally(), labels=tally))
    return reading


SCORED_IMPACTS = {
    "auc": scored_impact(),
    "log loss": scored_impact(MetricDefinition(Metric.LOG_LOSS)),
    "accuracy at 0.3": scored_impact(MetricDefinition(Metric.ACCURACY, "yes", 0.3)),
}


@pytest.mark.parametrize("name", SCORED_IMPACTS)
@pytest.mark.parametrize("most", [1.0, 0.6])
def test_metrics_of_scores_are_calm_in_health_and_severe_in_another_world(name: str, most: float) -> None:
    """Also where only low scores get a label; three severe runs in a row make CRITICAL, so one in a hundred may err."""
    severe = [
        scored_reading(SCORED_IMPACTS[name], scored_world(250, seed), most).level is Level.SEVERE for seed in range(100)
    ]
    assert sum(severe) <= 3
    bad = [scored_reading(SCORED_IMPACTS[name], scored_world(800, seed, 0.8), most) for seed in range(10)]
    assert sum(reading.level is Level.SEVERE for reading in bad) >= (10 if most == 1.0 else 8)
    assert {reading.metric for reading in bad} == {SCORED_IMPACTS[name].metric.value}


def test_an_area_waits_for_labels_of_both_classes() -> None:
    """Nine of one class are too few to judge a ranking, however many the others are."""
    rows = [(score, is_yes) for score, is_yes in scored_world(600, 5) if not is_yes]
    assert scored_reading(SCORED_IMPACTS["auc"], [*rows, *[(0.1, True)] * 9]).evidence is Evidence.INSUFFICIENT
    assert scored_reading(SCORED_IMPACTS["auc"], [*rows, *[(0.1, True)] * 10]).evidence is Evidence.BAD


def test_many_labels_of_one_class_wait_no_longer_and_a_metric_of_answers_judges_them() -> None:
    """Each run would read them all again; the area says nothing, and accuracy what it can."""
    own = AnswerTally(5_000, (("no", "no", 3_000), ("no", "yes", 2_000)), 2_500.0, 1_250.0, 0)
    accuracy = PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}, row_count=4_000)
    for count, also, metric in ((5_000, (accuracy,), "accuracy"), (5_000, (), None), (4_999, (accuracy,), None)):
        labels = LabelTally(AT, AT, 5_000, model=replace(own, count=count))
        window = Window(AT, AT, "1", Tally(), Tally(), labels=labels)
        [reading] = realised_readings(POLICY, baseline(replace(SCORED_IMPACTS["auc"], also=also)), window)
        assert (reading.metric, reading.evidence is Evidence.BAD) == (metric, metric is not None)
