"""The rows of the target table, from made-up verdicts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.detection.data import Half, Task
from benchmarks.detection.life import judge, measures, rivals, sets
from benchmarks.detection.life.cases import LifeStream, Sort, Workshop, split
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.judge import LifeVerdict
from benchmarks.detection.life.measures import Outcome

from stillsafe.core.state import Severity

SEVERITIES = {".": Severity.NORMAL, "w": Severity.WARNING, "C": Severity.CRITICAL, "D": Severity.CRITICAL}
FAULT = LifeStream(
    Sort.FAULT, "nulls", "fault: nulls", ("age",), pd.DataFrame(), 300, 3, 9, (0.0,) * 3 + (2.0,) * 6, True, Half.DESIGN
)


def outcome(
    stream: LifeStream, letters: str, *, gains: Sequence[float] | None = None, refusal_rate: float = 0.0
) -> Outcome:
    """With these severities; D is CRITICAL and bypassed."""
    verdict = LifeVerdict(
        severities=tuple(SEVERITIES[letter] for letter in letters),
        degraded=tuple(letter == "D" for letter in letters),
        estimates=(0.1,) * len(letters),
        losses=tuple(0.05 * harm for harm in stream.harms),
        gains=tuple(gains or (0.0,) * len(letters)),
        refusal_rates=(refusal_rate,) * len(letters),
        alarms=(),
        milliseconds=5.0,
    )
    return Outcome("a case", "injected", "a set", Task.BINARY, True, stream, verdict)


def row(outcomes: Sequence[Outcome], title: str) -> measures.Row:
    (fitting,) = [one for one in measures.rows(outcomes) if one.title == title]
    return fitting


def test_a_failure_has_five_runs() -> None:
    """CRITICAL in the fifth run of a failure counts, in the sixth it is too late, before it is false."""
    assert measures.is_caught(outcome(FAULT, ".....wwC."))
    assert not measures.is_caught(outcome(FAULT, "....wwwwC"))
    assert not measures.is_caught(outcome(FAULT, "CCC......"))


def test_a_rare_class_has_as_long_as_positives_take() -> None:
    """With four positives a run, five runs of twenty are 25 runs."""
    rare = replace(FAULT, positives=4.0, harms=(0.0,) * 3 + (1.0,) * 27, last_bad=30)
    assert measures.is_caught(outcome(rare, "." * 27 + "C.."))
    assert not measures.is_caught(outcome(rare, "." * 28 + "C."))


def test_kinds_of_failure_count_alike() -> None:
    """The mean over kinds is no mean over streams; harmless failures are apart."""
    others = [outcome(replace(FAULT, kind="stuck"), "...wwwwww")] * 3
    harmless = outcome(replace(FAULT, harmful=False), "...wwCCCC")
    outcomes = [outcome(FAULT, "...wwDDDD"), *others, harmless]
    assert row(outcomes, "harmful CRITICAL within 5, mean over kinds").value == pytest.approx(0.5)
    assert row(outcomes, "  all streams alike").value == pytest.approx(0.25)
    assert row(outcomes, "harmless CRITICAL").value == 1
    assert measures.kinds(outcomes) == {"nulls": (1, 1), "stuck": (0, 3)}


def test_slow_damage_is_measured_from_the_first_harmful_run() -> None:
    """CRITICAL just before counts as no delay, long before as early, never as the whole length."""
    slow = replace(FAULT, sort=Sort.SLOW, first_bad=8, last_bad=12, harms=(0.0,) * 8 + (2.0,) * 4)
    outcomes = [outcome(slow, one) for one in (".......CCCCC", "..CCCCCCCCCC", "..........CC", "............")]
    assert row(outcomes, "slow damage: runs from harm to CRITICAL, median").value == pytest.approx(1.0)
    assert row(outcomes, "slow damage: the worst").value == 4
    assert row(outcomes, "slow damage: early CRITICAL").value == pytest.approx(0.25)


def test_an_outage_is_over_when_the_model_answers_for_good() -> None:
    """The run behind the last bypassed one counts from the end of the outage; a bypass at the end has no exit."""
    outage = replace(FAULT, sort=Sort.OUTAGE, first_bad=1, last_bad=3, harms=(0.0, 2.0, 2.0, *[0.0] * 5))
    assert measures.runs_to_exit(outcome(outage, "..DDDww.")) == 2
    assert measures.runs_to_exit(outcome(outage, "..DDwwDD")) is None
    assert measures.runs_to_exit(outcome(outage, "..wwwwww")) == 0


def test_calm_tails_are_those_without_harm_by_neighbours() -> None:
    """One bad run among good ones is no harm; precision and recall are of runs."""
    calm = replace(FAULT, sort=Sort.NATURAL, first_bad=0, last_bad=5, harms=(0.0, 0.0, 2.0, 0.0, 0.0))
    drift = replace(calm, harms=(0.0, 0.0, 2.0, 2.0, 2.0))
    outcomes = [outcome(calm, "..wC."), outcome(drift, "..wCC")]
    assert row(outcomes, "calm tails: runs CRITICAL").value == pytest.approx(0.2)
    assert row(outcomes, "calm tails: runs at WARNING").value == pytest.approx(0.2)
    assert row(outcomes, "natural drift: precision of CRITICAL runs").value == pytest.approx(2 / 3)
    assert row(outcomes, "natural drift: recall of harmful runs").value == pytest.approx(2 / 3)


def test_what_the_bypass_won_is_a_mean_over_all_runs_of_a_failure() -> None:
    """Runs in which the model answered count as nothing won."""
    gains = (0.0,) * 6 + (0.2, 0.2, 0.2)
    outcomes = [outcome(FAULT, "...wwwDDD", gains=gains)]
    assert row(outcomes, "won by the bypass, points a run, injected").value == pytest.approx(0.1)
    assert row(outcomes, "  per bypassed run, points a run, injected").value == pytest.approx(0.2)


def test_limits_are_warned_of_in_the_second_run() -> None:
    """A run later is too late."""
    limit_stream = replace(FAULT, sort=Sort.LIMITS)
    outcomes = [outcome(limit_stream, "....wwwww"), outcome(limit_stream, ".....wwww")]
    assert row(outcomes, "the mission's metrics alone: WARNING in the second run").value == pytest.approx(0.5)
    assert [word for word, _ in measures.misses(outcomes)] == ["not warned"]


def test_what_the_schema_refuses_is_no_harm_of_the_model() -> None:
    """A failure whose requests are mostly refused is left out, and said to be."""
    outcomes = [outcome(FAULT, "...wwwwww", refusal_rate=1.0), outcome(FAULT, "...wwDDDD", refusal_rate=0.1)]
    assert row(outcomes, "  all streams alike").value == 1
    assert row(outcomes, "failures refused by the schema, left out").value == 1
    assert measures.misses(outcomes) == []


def test_estimates_are_compared_in_units_of_what_matters() -> None:
    """Five points of a classifier count as a fifth of a regressor's error; the difference is in points."""
    outcomes = [outcome(replace(FAULT, harms=(0.0,) * 3 + (float(i),) * 6), "." * 9) for i in range(4)]
    assert row(outcomes, "  mean difference of classifiers, points").value == pytest.approx(0.1 - 0.05 * 1.5)
    assert row(outcomes, "  estimate is about 0 where 10 points (40% of the error) are lost").value == 0
    assert all(
        one.title != "estimate and truth: rank correlation" or one.value is None for one in measures.rows(outcomes)
    )


def test_what_went_wrong_is_listed() -> None:
    """Missed harm, an alarm without harm, and an alarm in health."""
    healthy = replace(FAULT, sort=Sort.HEALTHY, first_bad=9, harmful=False)
    wrong = [
        outcome(FAULT, "...wwwwww"), outcome(replace(FAULT, harmful=False), "...wwC..."), outcome(healthy, "..w......"),
        outcome(FAULT, "...wwC..."),
    ]  # fmt: skip
    assert [word for word, _ in measures.misses(wrong)] == ["missed", "harmless", "false alarm"]


def test_stillsafe_is_judged_through_its_public_face(tmp_path: Path) -> None:
    """One letter a run, an estimate and a price where labels are known."""
    one = replace(sets.by_name("fraud"), table=lambda: sets.fraud(6_000))
    train, sample, serve = split(one.table(), 1, 1_500)
    shop = Workshop(one, Estimator.LINEAR, train, sample, serve, 200)
    rows = shop.healthy(4, "x")
    stream = shop.stream(Sort.NATURAL, "natural", "a stretch", (), rows, (0, 4))
    verdict = judge.judge_all(shop.case("made up", "", [stream]), tmp_path)["a stretch"]
    assert verdict.letters == "...."
    assert len(verdict.estimates) == len(verdict.losses) == 4
    assert verdict.gains == (0.0,) * 4
    assert verdict.milliseconds > 0


def test_peers_decide_behind_the_same_streak_rule() -> None:
    """The labels see a failure in its third run, thresholds see missing values, and all are calm in health."""
    one = replace(sets.by_name("fraud"), table=lambda: sets.fraud(6_000))
    train, sample, serve = split(one.table(), 1, 1_500)
    shop = Workshop(one, Estimator.TREES, train, sample, serve, 300)
    clean = shop.healthy(6, "x")
    rows = clean.copy()
    rows.loc[900:, "amount"] = float("nan")
    stream = replace(
        shop.stream(Sort.FAULT, "nulls", "nulls", ("amount",), rows, (3, 6), clean=clean), harms=(0, 0, 0, 1, 1, 1)
    )
    by_peer = rivals.verdicts(shop.case("made up", "", [stream]))
    assert set(by_peer) == {"literal", "PSI", "K-S", "labels"}
    assert by_peer["labels"]["nulls"].letters == "....wD"
    assert by_peer["literal"]["nulls"].letters == "....wD"
    assert by_peer["K-S"]["nulls"].letters[:4] == "...."
