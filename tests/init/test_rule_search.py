"""Proposed rules are simple, compile as the service compiles them, and improve the score on held-out rows."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise, permutations
from typing import Any

import numpy as np
import pytest

from stillsafe.core.fallback import Answer, Fallback
from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Row, Schema
from stillsafe.core.score import Score
from stillsafe.init.rule_learner import DEEPEST, LEAVES, SMALLEST_LEAF
from stillsafe.init.rule_pricing import SearchSample
from stillsafe.init.rule_proposal import NO_PROPOSAL, Proposal
from stillsafe.init.rule_search import MOST_LISTS, difference_error, propose, search
from stillsafe.model.model import ModelKind
from stillsafe.rules import compile_fallback
from stillsafe.settings_fallback import FallbackRule, FallbackRuleList, FallbackSettings

CLASSIFIER, REGRESSOR = ModelKind.CLASSIFIER, ModelKind.REGRESSOR
COUNT = 2_000
TOWNS = ['Ulm "old"', "Köln", "S\\W", "it's"]
SCHEMA = Schema(
    (
        FeatureSpec("delay", FeatureType.NUMERIC, required=False),
        FeatureSpec("delay again", FeatureType.NUMERIC, required=False),
        FeatureSpec("visits", FeatureType.INTEGER, required=False),
        FeatureSpec("member", FeatureType.BOOLEAN, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("noise", FeatureType.NUMERIC, required=False),
    )
)


def made_rows() -> list[Row]:
    random = np.random.default_rng(11)
    delay = random.normal(20, 15, COUNT).round(1)
    return [
        {
            "delay": float(d),
            "delay again": float(d + e),
            "visits": int(v),
            "member": bool(m),
            "town": TOWNS[t],
            "noise": float(z),
        }
        for d, e, v, m, t, z in zip(
            delay,
            random.normal(0, 8, COUNT),
            random.integers(0, 100, COUNT),
            random.random(COUNT) < 0.5,
            random.integers(0, len(TOWNS), COUNT),
            random.normal(0, 1, COUNT),
            strict=True,
        )
    ]


ROWS = made_rows()
LATE: list[Answer | None] = ["late" if float(row["delay"] or 0) > 25 else "on time" for row in ROWS]
COST: list[Answer | None] = [3.0 * float(row["delay"] or 0) + float(row["visits"] or 0) for row in ROWS]


def compile_proposal(proposal: Proposal, default: Answer, schema: Schema = SCHEMA) -> Fallback:
    return compile_fallback(FallbackSettings(default=default, lists=lists_of(proposal)), schema)


def lists_of(proposal: Proposal) -> tuple[FallbackRuleList, ...]:
    return tuple(
        FallbackRuleList(
            reads=each.reads,
            score=each.score,
            rules=tuple(FallbackRule(when=rule.when, answer=rule.answer) for rule in each.rules),
        )
        for each in proposal.lists
    )


def accuracy(fallback: Fallback, labels: Sequence[Answer | None], damaged_features: tuple[str, ...] = ()) -> float:
    return float(
        np.mean([fallback.answer(row, damaged_features).answer == t for row, t in zip(ROWS, labels, strict=True)])
    )


def error(fallback: Fallback, labels: Sequence[Any], damaged_features: tuple[str, ...] = ()) -> float:
    answers = [fallback.answer(row, damaged_features).answer for row in ROWS]
    predictions = [float(answer) for answer in answers if answer is not None]
    return float(np.abs(np.array(predictions) - np.array(labels, dtype=float)).mean())


def test_a_simple_pattern_gives_a_simple_rule() -> None:
    """If one threshold explains the labels, it is the whole first list."""
    proposal = propose(SCHEMA, ROWS, LATE, CLASSIFIER, "on time", 0)
    assert {(rule.when, rule.answer) for rule in proposal.rules} == {
        ("delay > 25.0", "late"),
        ("delay <= 25.0", "on time"),
    }
    assert accuracy(compile_proposal(proposal, "on time"), LATE) == 1


def test_an_alternative_does_without_the_damaged_feature() -> None:
    """While the important feature is damaged, a rule on another one answers; otherwise nothing changes."""
    proposal = propose(SCHEMA, ROWS, LATE, CLASSIFIER, "on time", 0)
    fallback = compile_proposal(proposal, "on time")
    assert proposal.lists[0].reads == ("delay",)
    assert "delay" in proposal.lists[1].without
    assert all("delay" not in each.reads for each in proposal.lists[1:])
    bare = accuracy(Fallback("on time"), LATE)
    assert accuracy(fallback, LATE, ("delay",)) > bare + 0.1
    assert accuracy(fallback, LATE, ("delay", "delay again")) == pytest.approx(bare)


def test_the_alternative_answers_rows_with_a_missing_value() -> None:
    """A row without the important value gets the same answer as while it is damaged."""
    proposal = propose(SCHEMA, ROWS, LATE, CLASSIFIER, "on time", 0)
    fallback = compile_proposal(proposal, "on time")
    for row in ROWS[:50]:
        assert fallback.answer({**row, "delay": None}) == fallback.answer(row, ("delay",))
        assert fallback.answer({**row, "delay": None}).why != "the default"


def test_a_regressors_rules_are_round_numbers() -> None:
    """Medians and thresholds have as few digits as they need, and the error falls."""
    proposal = propose(SCHEMA, ROWS, COST, REGRESSOR, 110.0, 0)
    fallback = compile_proposal(proposal, 110.0)
    assert all(len(f"{rule.answer:g}".replace(".", "")) <= 4 for rule in proposal.rules)
    assert error(fallback, COST) < 0.6 * error(Fallback(110.0), COST)
    assert error(fallback, COST, ("delay",)) < 0.8 * error(Fallback(110.0), COST)


def test_the_evaluation_matches_the_fallback() -> None:
    """The scores on the held-out rows are those of the compiled fallback on all rows, except for sampling noise."""
    proposal = propose(SCHEMA, ROWS, LATE, CLASSIFIER, "on time", 0, LATE)
    assert proposal.evaluation is not None
    fallback = compile_proposal(proposal, "on time")
    assert proposal.evaluation.row_count == COUNT // 2
    assert proposal.evaluation.model == 1
    assert proposal.evaluation.rules == accuracy(fallback, LATE)
    assert proposal.evaluation.default == pytest.approx(accuracy(Fallback("on time"), LATE), abs=0.05)
    for damage in proposal.evaluation.damage_scores:
        assert damage.score == pytest.approx(accuracy(fallback, LATE, damage.features), abs=0.05)


@pytest.mark.parametrize("classes", [("no", "yes"), (False, True), (0, 1), (0, 7)], ids=str)
def test_answers_are_classes_of_the_model(classes: tuple[Answer, Answer]) -> None:
    """Texts, booleans and numbers keep their type."""
    labels: list[Answer | None] = [classes[answer == "late"] for answer in LATE]
    proposal = propose(SCHEMA, ROWS, labels, CLASSIFIER, classes[0], 0)
    assert proposal.rules
    assert {type(rule.answer) for rule in proposal.rules} == {type(classes[0])}
    assert accuracy(compile_proposal(proposal, classes[0]), labels) == 1


def test_several_classes_categories_and_flags() -> None:
    """Categories with quotes, backslashes and umlauts, whole numbers and flags: each kind of condition compiles."""
    labels: list[Answer | None] = []
    for row in ROWS:
        if row["town"] in TOWNS[:3]:
            labels.append(row["town"])
        else:
            labels.append(f"{row['member']}" if int(row["visits"] or 0) > 30 else "few")
    proposal = propose(SCHEMA, ROWS, labels, CLASSIFIER, TOWNS[0], 0)
    text = " ".join(rule.when for rule in proposal.rules)
    assert "town ==" in text
    assert accuracy(compile_proposal(proposal, TOWNS[0]), labels) > 0.7
    flag_labels: list[Answer | None] = [bool(row["member"]) and int(row["visits"] or 0) > 30 for row in ROWS]
    proposal = propose(SCHEMA, ROWS, flag_labels, CLASSIFIER, False, 0)
    assert "member" in proposal.lists[0].reads
    assert "visits > 30" in " ".join(rule.when for rule in proposal.rules)
    assert accuracy(compile_proposal(proposal, False), flag_labels) > 0.97


def test_noise_proposes_nothing() -> None:
    """If no feature explains the labels, nothing is proposed, and the scores are equal."""
    random = np.random.default_rng(4)
    labels: list[Answer | None] = [str(random.integers(2)) for _ in ROWS]
    numbers: list[Answer | None] = [float(z) for z in random.normal(0, 1, COUNT)]
    for seed in range(5):
        proposal = propose(SCHEMA, ROWS, labels, CLASSIFIER, "0", seed)
        assert proposal.rules == ()
        assert proposal.evaluation is not None
        assert proposal.evaluation.rules == proposal.evaluation.default
        assert propose(SCHEMA, ROWS, numbers, REGRESSOR, 0.0, seed).rules == ()


def test_samples_without_a_search() -> None:
    """No labels, too few of them, one answer only, or features of the same name: no rules, and no failure."""
    assert propose(SCHEMA, ROWS, None, CLASSIFIER, "on time", 0) == NO_PROPOSAL
    few: list[Answer | None] = [answer if n < 100 else None for n, answer in enumerate(LATE)]
    assert propose(SCHEMA, ROWS, few, CLASSIFIER, "on time", 0) == NO_PROPOSAL
    twins = Schema((FeatureSpec("a b", FeatureType.NUMERIC), FeatureSpec("a.b", FeatureType.NUMERIC)))
    rows: list[Row] = [{"a b": float(n), "a.b": float(n)} for n in range(COUNT)]
    assert propose(twins, rows, LATE, CLASSIFIER, "on time", 0) == NO_PROPOSAL
    assert propose(SCHEMA, ROWS, ["on time"] * COUNT, CLASSIFIER, "on time", 0).rules == ()
    assert propose(SCHEMA, ROWS, [1.5] * COUNT, REGRESSOR, 1.5, 0).rules == ()
    assert propose(SCHEMA, ROWS, ["x"] * COUNT, CLASSIFIER, "never seen", 0).rules == ()


def test_rows_without_a_known_label_are_left_out() -> None:
    """A label that is not a class of the model is not used for training or evaluation."""
    labels = [None if n % 10 == 0 else answer for n, answer in enumerate(LATE)]
    proposal = propose(SCHEMA, ROWS, labels, CLASSIFIER, "on time", 0)
    assert "delay > 25.0" in {rule.when for rule in proposal.rules}
    assert proposal.evaluation is not None
    assert proposal.evaluation.row_count == COUNT * 9 // 20


def test_the_proposal_is_reproducible() -> None:
    """Only the seed determines the held-out rows."""
    assert propose(SCHEMA, ROWS, COST, REGRESSOR, 110.0, 3) == propose(SCHEMA, ROWS, COST, REGRESSOR, 110.0, 3)


def test_extreme_numbers_and_missing_values_are_no_failure() -> None:
    """Values near the ends of the numbers, columns that are empty, constant or mostly missing."""
    random = np.random.default_rng(5)
    wild = [1e308, -1e308, 5e-324, 2.0**53, -0.0]
    rows: list[Row] = [
        {
            **row,
            "noise": None,
            "visits": 2**53 - int(random.integers(0, 2)),
            "delay again": wild[n % 5],
            "town": None if n % 3 else TOWNS[0],
            "member": None if n % 2 else True,
        }
        for n, row in enumerate(ROWS)
    ]
    for labels, kind, default in ((LATE, CLASSIFIER, "on time"), (COST, REGRESSOR, 110.0)):
        proposal = propose(SCHEMA, rows, labels, kind, default, 0)
        assert proposal.rules
        compile_proposal(proposal, default)
    huge: list[Answer | None] = [wild[n % 3] for n in range(COUNT)]
    assert propose(SCHEMA, rows, huge, REGRESSOR, 0.0, 0) == NO_PROPOSAL


def test_hashed_features_can_be_used() -> None:
    """A feature that the log hashes or drops is available when a request is answered."""
    schema = Schema(
        tuple(
            replace(spec, log=log)
            for spec, log in zip(SCHEMA.features, [LogMode.DROP, *[LogMode.HASH] * 5], strict=True)
        )
    )
    proposal = propose(schema, ROWS, LATE, CLASSIFIER, "on time", 0)
    assert "delay > 25.0" in {rule.when for rule in proposal.rules}


def wide_sample() -> tuple[Schema, list[Row], list[Answer | None]]:
    random = np.random.default_rng(2)
    names = [f"f{n}" for n in range(12)]
    schema = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC) for name in names))
    values = random.normal(0, 1, (COUNT, len(names)))
    values[:, 6:] = values[:, :6] + random.normal(0, 0.5, (COUNT, 6))
    rows: list[Row] = [dict(zip(names, line, strict=True)) for line in values.tolist()]
    return schema, rows, [float(sum(line[:6]) + 3 * (line[0] > 0) * line[1]) for line in values.tolist()]


def test_lists_are_few_and_short() -> None:
    """Whatever the labels, at most 48 lists of at most twelve rules, each of at most six comparisons."""
    schema, rows, labels = wide_sample()
    proposal = propose(schema, rows, labels, REGRESSOR, 0.0, 0)
    assert 5 < len(proposal.lists) <= MOST_LISTS
    assert all(1 < len(each.rules) <= LEAVES for each in proposal.lists)
    assert all(rule.when.count("&&") < DEEPEST for each in proposal.lists for rule in each.rules)
    compile_proposal(proposal, 0.0, schema)


def test_there_is_a_list_for_damage_to_several_features() -> None:
    """Whichever one to three of the important features are damaged, some list reads none of them."""
    schema, rows, labels = wide_sample()
    proposal = propose(schema, rows, labels, REGRESSOR, 0.0, 0)
    for count in (1, 2, 3):
        for damaged_features in combinations([f"f{n}" for n in range(6)], count):
            assert any(set(each.reads).isdisjoint(damaged_features) for each in proposal.lists), damaged_features


def test_a_price_is_what_the_list_scores() -> None:
    """While the features of a list are damaged, the compiled fallback scores its price, except for sampling noise."""
    predictions: list[Answer | None] = [None if label is None else float(label) + 5 for label in COST]
    proposal = propose(SCHEMA, ROWS, COST, REGRESSOR, 110.0, 0, predictions)
    fallback = compile_proposal(proposal, 110.0)
    assert proposal.model_score == -1.0
    assert proposal.default_score == pytest.approx(-error(Fallback(110.0), COST) / 5, rel=0.05)
    for each in proposal.lists:
        assert fallback.usable(each.without)[0].score == pytest.approx(each.score, rel=0.05)
        assert -error(fallback, COST, each.without) / 5 == pytest.approx(each.score, rel=0.1)


def test_without_labels_the_model_is_the_measure() -> None:
    """Lists are learnt from the model's own answers, and the price is the share on which they agree."""
    proposal = propose(SCHEMA, ROWS, None, CLASSIFIER, "on time", 0, LATE)
    assert proposal.model_score == 1.0
    assert proposal.lists[0].score == 1.0
    assert proposal.default_score == pytest.approx(accuracy(Fallback("on time"), LATE), abs=0.05)
    assert proposal.evaluation is not None
    assert not proposal.evaluation.labelled


def test_without_labels_a_price_is_an_expectation() -> None:
    """A disagreement where the model is unsure costs less than one where it is sure, as in the estimated loss."""
    scores = [
        Score(p, 0.5, {"late": 0.6 * (p == "late") + 0.2, "on time": 0.8 - 0.6 * (p == "late")}, None) for p in LATE
    ]
    proposal = search(SearchSample(SCHEMA, ROWS, None, CLASSIFIER, LATE, scores=scores), "on time", 0)
    assert proposal.model_score == pytest.approx(0.8)
    share = accuracy(Fallback("on time"), LATE)
    assert proposal.default_score == pytest.approx(0.8 * share + 0.2 * (1 - share), abs=0.03)


def test_no_list_reads_more_without_doing_better() -> None:
    """Of two lists of which one reads all that the other reads, the longer one scores clearly better."""
    schema, rows, labels = wide_sample()
    lists = propose(schema, rows, labels, REGRESSOR, 0.0, 0, labels[::-1]).lists
    assert lists
    for one, other in permutations(lists, 2):
        assert not (set(one.reads) <= set(other.reads) and one.score >= other.score)


def test_the_most_important_damage_comes_first() -> None:
    """Scores of single damaged features, the largest loss first."""
    proposal = propose(SCHEMA, ROWS, COST, REGRESSOR, 110.0, 0)
    assert proposal.evaluation is not None
    single = [damage.score for damage in proposal.evaluation.damage_scores if len(damage.features) == 1]
    assert single
    assert all(score >= next_score for score, next_score in pairwise(single))


@pytest.mark.parametrize("count", [400, 4_000])
def test_the_error_of_a_price_is_that_of_another_stretch(count: int) -> None:
    """Rows in any order vary by sampling alone; stretches that differ add how much they do; few rows tell nothing."""
    draw = np.random.default_rng(count)
    rows = (draw.random(count) < 0.3).astype(float)
    error = difference_error(rows)
    assert difference_error(rows[: 4 * SMALLEST_LEAF - 1]) is None
    assert error is not None
    assert 0.9 < error / (0.21 / count) ** 0.5 < 3
    drift = difference_error(rows + np.repeat([0.0, 0.1, 0.2, 0.3], count // 4))
    assert drift == pytest.approx(0.13, abs=0.05)
