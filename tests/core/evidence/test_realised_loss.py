"""The realised loss: its size, its noise, missing labels that are missing for a reason, and the fallback beside it."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.evidence_policy import EvidencePolicy
from stillsafe.core.evidence.impact import LabelProfile, PerformanceImpact
from stillsafe.core.evidence.label_streak import LabelStreak, next_streak
from stillsafe.core.evidence.label_tally import AnswerTally, LabelTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.realised_loss import (
    healthy_error,
    is_enough,
    judged_impact,
    judged_impacts,
    realised_readings,
)
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import Evidence, Level, Reading
from stillsafe.core.window import Tally, Window

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
POLICY = Policy()
# 30% of the labels are `yes`. The model finds 60% of them, and calls 10% of the others `yes`: an error of 0.19.
TRUTHS = (
    LabelProfile(0.3, 0.4, {}, {"prediction": (0.4, 0.6, 0, 0, 0)}, "yes"),
    LabelProfile(0.7, 0.1, {}, {"prediction": (0.9, 0.1, 0, 0, 0)}, "no"),
)
IMPACT = PerformanceImpact(Metric.ACCURACY, True, 0.19, 0.4, {}, truths=TRUTHS, row_count=5000)
PREDICTIONS = FeatureBaseline(FeatureType.CATEGORY, 5000, 0, bins=Bins(categories=("no", "yes")))


def baseline(impact: PerformanceImpact | None = IMPACT) -> Baseline:
    """A healthy period of 5,000 rows."""
    return Baseline(
        "b", "1", AT, BaselineSource.REFERENCE, 5000, 0, None, None, None, None,
        outputs={"prediction": PREDICTIONS}, harm=impact,
    )  # fmt: skip


def answers(counts: dict[tuple[str, str], int]) -> AnswerTally:
    """Answers by label and answer."""
    return AnswerTally(sum(counts.values()), tuple((*cell, n) for cell, n in sorted(counts.items())))


def draw(random: Random, n: int, drift: float = 0.0, coverage: tuple[float, float] = (1.0, 1.0)) -> AnswerTally:
    """Labelled rows of the healthy world, or of one in which a share of the right answers is wrong now.

    Args:
        random: the source of chance.
        n: predictions.
        drift: accuracy lost.
        coverage: of rows that were answered `no` and `yes`, the share that get a label.
    """
    counts: dict[tuple[str, str], int] = {}
    for _ in range(n):
        is_yes = random.random() < 0.3
        answer = "yes" if random.random() < (0.6 if is_yes else 0.1) else "no"
        label = "yes" if is_yes else "no"
        if label == answer and random.random() < drift / 0.81:
            label = {"yes": "no", "no": "yes"}[label]
        if random.random() < coverage[answer == "yes"]:
            counts[label, answer] = counts.get((label, answer), 0) + 1
    return answers(counts)


def readings(
    model: AnswerTally,
    impact: PerformanceImpact | None = IMPACT,
    policy: Policy = POLICY,
    pair: tuple[AnswerTally, AnswerTally] = (AnswerTally(), AnswerTally()),
) -> tuple[Reading, ...]:
    """The readings of a run to which these labels came; the pair is of the model and the fallback on the same rows."""
    labels = LabelTally(AT, AT, model.count, model=model, paired_model=pair[0], fallback=pair[1])
    return realised_readings(policy, baseline(impact), Window(AT, AT, "1", Tally(), Tally(), labels=labels))


def test_without_labels_there_is_no_reading() -> None:
    """So that nothing else changes."""
    assert realised_readings(POLICY, baseline(), Window(AT, AT, "1", Tally(), Tally())) == ()
    assert realised_readings(POLICY, None, Window(AT, AT, "1", Tally(), Tally())) == ()


def test_what_cannot_be_judged_is_shown() -> None:
    """Too few labels, no study, a study without labels, a metric of probabilities: no value, and no evidence."""
    enough = draw(Random(1), 400)
    log_loss = replace(IMPACT, metric=Metric.LOG_LOSS)
    threshold = replace(IMPACT, definition=MetricDefinition(Metric.ACCURACY, threshold=0.3))
    for model, impact in [
        (draw(Random(1), 99), IMPACT),
        (enough, None),
        (enough, replace(IMPACT, labelled=False)),
        (enough, log_loss),
        (enough, threshold),
    ]:
        [reading] = readings(model, impact)
        assert (reading.evidence, reading.value) == (Evidence.INSUFFICIENT, None)
    assert judged_impact(baseline(replace(log_loss, also=(IMPACT,)))) == IMPACT


def test_ten_points_are_severe_within_three_labelled_runs() -> None:
    """A drift that leaves the features alone: with 500 labels a run nearly always, with 1,000 always."""
    for count, least in ((500, 0.9), (1000, 1.0)):
        random, detection_count = Random(5), 0
        for _ in range(100):
            detection_count += all(readings(draw(random, count, drift=0.1))[0].level is Level.SEVERE for _ in range(3))
        assert detection_count >= 100 * least, count


@pytest.mark.parametrize("coverage", [(1.0, 1.0), (0.1, 1.0), (0.02, 0.9), (1.0, 0.1)], ids=str)
@pytest.mark.parametrize("count", [150, 1000])
def test_a_thousand_healthy_labelled_runs_have_no_critical(count: int, coverage: tuple[float, float]) -> None:
    """Also where the labels of some answers hardly ever come back."""
    random, streak, levels = Random(7), LabelStreak(), set()
    policy = replace(POLICY, min_labels=20)
    for _ in range(1000 if count < 1000 else 200):
        streak = (
            next_streak(
                policy, streak, readings(draw(random, count, coverage=coverage), policy=policy), AT, is_comparable=True
            )
            or streak
        )
        levels.add(streak.level)
    assert "DEGRADED" not in levels
    assert streak.level == "NORMAL"


def test_labels_of_one_answer_are_compared_with_that_answer() -> None:
    """Of the answers `yes` 28% are wrong in health, of all 19%: where only those come back, nothing is lost."""
    [reading] = readings(answers({("yes", "yes"): 720, ("no", "yes"): 280}))
    assert reading.level is Level.NONE
    assert reading.healthy_performance == pytest.approx(0.72)
    [unaware] = readings(answers({("yes", "yes"): 720, ("no", "yes"): 280}), replace(IMPACT, truths=()))
    assert unaware.level is Level.SEVERE


def test_an_owners_metric_and_its_limits() -> None:
    """A cost is judged by the costs, with the limits of `[harm]`."""
    costs = (("yes", "no", 10.0), ("no", "yes", 1.0))
    impact = replace(
        IMPACT,
        metric=Metric.EXPECTED_COST,
        healthy_error=1.27,
        definition=MetricDefinition(Metric.EXPECTED_COST, costs=costs),
    )
    policy = replace(POLICY, metric="expected_cost", harm_moderate=0.3, harm_severe=0.6)
    answers_after_drift = answers({("yes", "yes"): 80, ("yes", "no"): 220, ("no", "yes"): 70, ("no", "no"): 630})
    [reading] = readings(answers_after_drift, impact, policy)
    assert reading.value == pytest.approx(
        2.2 + 0.07 - reading.healthy_performance if reading.healthy_performance else 0
    )
    assert (reading.level, reading.metric) == (Level.SEVERE, "expected_cost")


def test_a_regressors_error_grows() -> None:
    """Its loss is the share by which the mean absolute error has grown, as that of the estimate."""
    impact = PerformanceImpact(Metric.MEAN_ABSOLUTE_ERROR, True, 4.0, 9.0, {}, row_count=5000)
    [reading] = readings(AnswerTally(900, (), 900 * 5.2, 900 * (5.2**2 + 9.0)), impact)
    assert reading.level is Level.SEVERE
    assert reading.value == pytest.approx(0.3)
    assert "mean absolute error 5.2 (healthy 4 on the same answers), 0.3 lost" in sentence(reading)


def test_the_fallback_is_compared_on_the_rows_that_both_answered() -> None:
    """What it won per row, and nothing where too few rows tell."""
    model = draw(Random(3), 400)
    of_model = answers({("yes", "no"): 100, ("no", "no"): 100})
    of_fallback = answers({("yes", "yes"): 90, ("yes", "no"): 10, ("no", "no"): 100})
    [reading] = readings(model, pair=(of_model, of_fallback))
    assert reading.truth is not None
    assert reading.truth.advantage == pytest.approx(0.45)
    [few] = readings(model, pair=(answers({("no", "no"): 99}), answers({("no", "no"): 99})))
    assert few.truth is not None
    assert few.truth.advantage is None


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        # 25% of the healthy answers are `yes`: 0.3 x 0.6 + 0.7 x 0.1.
        ({("yes", "yes"): 180, ("no", "yes"): 70, ("yes", "no"): 120, ("no", "no"): 630}, 5000),
        ({("yes", "yes"): 180, ("no", "yes"): 70}, 1250),
        ({("yes", "no"): 160, ("no", "no"): 840}, 3750),
    ],
    ids=["all answers", "yes alone", "no alone"],
)
def test_the_healthy_error_is_as_sure_as_its_rows(counts: dict[tuple[str, str], int], rows: int) -> None:
    """With the healthy mix of answers all healthy rows stand for it, and else those with the labelled answers."""
    tally = answers(counts)
    labels = LabelTally(AT, AT, tally.count, model=tally)
    error = healthy_error(baseline(), IMPACT, labels, MetricDefinition(Metric.ACCURACY))
    assert error.count == pytest.approx(rows)


def test_beside_a_metric_of_probabilities_one_of_answers_is_judged() -> None:
    """The worse of both is reported; a study of an older version has no table, and its metric of answers counts."""
    table = ScoreTable(
        ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), (0.5,), (("no", "no", 0, 70), ("yes", "yes", 1, 30))
    )
    auc = PerformanceImpact(Metric.AUC, True, 0.1, 0.4, {}, row_count=100, score_table=table)
    both = replace(auc, also=(IMPACT,))
    assert [each.metric for each in judged_impacts(baseline(both))] == [Metric.AUC, Metric.ACCURACY]
    old = replace(auc, score_table=None, also=(IMPACT,))
    assert judged_impacts(baseline(old)) == (IMPACT,)
    assert judged_impacts(baseline(replace(auc, score_table=None))) == ()
    assert judged_impacts(baseline(replace(IMPACT, also=(auc,)))) == (replace(IMPACT, also=(auc,)),)
    lost = AnswerTally(400, (("no", "no", 200), ("yes", "no", 200)), 40.0, 60.0, 200)
    [reading] = readings(lost, both)
    assert reading.metric == "accuracy"


@pytest.mark.parametrize(
    ("count", "of_a_class", "numbers", "expected"),
    [
        (99, None, {}, False),
        (100, None, {}, True),
        (100, 9, {}, False),
        (100, 10, {}, True),
        (100, 9, {"realised_min_class_labels": 9}, True),
        (100, 9, {"realised_most_waiting": 100}, True),
        (5_000, 0, {}, True),
    ],
)
def test_labels_wait_for_both_classes_but_not_for_ever(
    count: int, of_a_class: int | None, numbers: dict[str, Any], expected: bool
) -> None:
    """The numbers are the policy's; many labels of one class are judged as they are."""
    policy = replace(POLICY, evidence=replace(EvidencePolicy(), **numbers))
    tally = replace(answers({("yes", "yes"): count}), least_class_count=of_a_class)
    assert is_enough(policy, tally, 100) is expected
