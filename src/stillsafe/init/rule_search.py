"""Search for fallback rules in a labelled sample: a short list that a person can read, edit and delete.

Half of the rows train the rules, the other half evaluates them. The first list uses the features that explain the
labels best. Alternative lists do without one or two of these features, for runs in which they are damaged. A list is
kept only if, on the held-out rows, it scores better than the fallback without it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer, Fallback, Rule
from stillsafe.core.schema import Row, Schema, Value
from stillsafe.init.rule_learner import FEWEST_ROWS, CandidateRule, RowIndices, RuleLearner, Targets
from stillsafe.model.model import ModelKind
from stillsafe.rules import compile_fallback, variable
from stillsafe.settings_sections import FallbackRule, FallbackSettings

MOST_TRAINING, MOST_HELD_OUT = 10_000, 3_000
MOST_RULES, MOST_FIRST, MOST_ALTERNATIVE = 16, 5, 4
MOST_ALTERNATIVES = 4
"""Features for which an alternative list is searched."""
LEAST_ACCURACY_GAIN, LEAST_ERROR_GAIN = 0.01, 0.02
"""Smallest gain that justifies a list: of accuracy, and of the mean absolute error as a share of the default's."""
STANDARD_ERRORS = 2.0
LARGEST_LABEL = 1e100
"""The square of a larger number overflows."""

Losses = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProposedRule:
    """One proposed rule.

    Attributes:
        when: the condition, in CEL.
        answer: one of the model's classes, or a number.
        about: the share of rows that it answers and its score, one sentence.
        heading: the purpose of its list, for the first rule of a list; else empty.
    """

    when: str
    answer: Answer
    about: str
    heading: str = ""


@dataclass(frozen=True, slots=True)
class DamageScore:
    """The score of the rules while some features are damaged: accuracy in [0, 1], or mean absolute error."""

    features: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class RuleEvaluation:
    """Scores on the held-out rows: accuracy in [0, 1], or mean absolute error.

    Attributes:
        metric: `accuracy` or `mean absolute error`.
        row_count: number of held-out rows.
        default: score of the default answer alone.
        rules: score of the proposed rules; equal to `default` without rules.
        damage_scores: scores of the rules while features that they read are damaged, the largest loss first.
        model: score of the model, or None if its predictions are unknown.
    """

    metric: str
    row_count: int
    default: float
    rules: float
    damage_scores: tuple[DamageScore, ...]
    model: float | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The fallback rules that `init` proposes.

    Attributes:
        rules: in order of evaluation; empty if no list scores clearly better than the default.
        evaluation: the scores; None if the sample does not allow a search.
    """

    rules: tuple[ProposedRule, ...] = ()
    evaluation: RuleEvaluation | None = None


NO_PROPOSAL = Proposal()


@dataclass(frozen=True, slots=True)
class _RuleList:
    """Candidate rules, the same rules as the service compiles them, and the damaged features that they avoid."""

    candidates: tuple[CandidateRule, ...]
    rules: tuple[Rule, ...]
    damaged_features: tuple[str, ...]


def propose(
    schema: Schema,
    rows: Sequence[Row],
    labels: Sequence[Answer | None] | None,
    kind: ModelKind,
    default: Answer,
    seed: int,
    predictions: Sequence[Answer | None] | None = None,
) -> Proposal:
    """Search for a short ordered list of simple rules, with alternatives for damaged features, and evaluate it.

    Args:
        schema: the features.
        rows: the sample, clean rows.
        labels: the label of each row, None if unknown; or None without labels.
        kind: classifier or regressor.
        default: the answer if no rule matches.
        seed: selects the held-out rows; the same seed gives the same proposal.
        predictions: the model's, only for its score; None where it failed.
    """
    labelled_rows = [number for number, label in enumerate(labels or ()) if label is not None]
    if labels is None or len(labelled_rows) < 4 * FEWEST_ROWS or not _has_distinct_variables(schema):
        return NO_PROPOSAL
    order = np.random.default_rng(seed).permutation(labelled_rows).tolist()
    held_out = order[: min(len(order) // 2, MOST_HELD_OUT)]
    training = order[len(held_out) : len(held_out) + MOST_TRAINING]
    targets, default_number = _targets([labels[number] for number in order], kind, default)
    if not targets.classes and max(map(abs, [default_number, *targets.values.tolist()])) > LARGEST_LABEL:
        return NO_PROPOSAL
    held_out_targets = replace(targets, values=targets.values[: len(held_out)])
    training_targets = replace(targets, values=targets.values[len(held_out) : len(held_out) + len(training)])
    learner = RuleLearner(schema, [rows[number] for number in training], training_targets, default_number, seed)
    evaluator = _HoldOutEvaluator(schema, [rows[number] for number in held_out], held_out_targets, default)
    lists = _search(learner, evaluator)
    held_out_predictions = None if predictions is None else [predictions[number] for number in held_out]
    return Proposal(tuple(_proposed_rules(evaluator, lists)), _evaluation(evaluator, lists, held_out_predictions))


class _HoldOutEvaluator:
    """Evaluates rules on the held-out rows, compiled and matched as the service does."""

    def __init__(self, schema: Schema, rows: Sequence[Row], targets: Targets, default: Answer) -> None:
        self.rows, self.targets, self._schema, self._default = rows, targets, schema, default
        self._all_rows = np.arange(len(rows))
        self._losses_by_lists: dict[tuple[tuple[CandidateRule, ...], frozenset[str]], Losses] = {}
        self.default_losses = self.losses(())
        share = LEAST_ERROR_GAIN * float(self.default_losses.mean())
        self.margin = LEAST_ACCURACY_GAIN if targets.classes else share

    def compile_rules(self, candidates: Sequence[CandidateRule], damaged_features: tuple[str, ...] = ()) -> _RuleList:
        """Compile candidates as the service does; each condition is evaluated once per row."""
        fallback_rules = tuple(FallbackRule(when=rule.text, answer=self.answer(rule)) for rule in candidates)
        fallback = compile_fallback(FallbackSettings(default=self._default, rules=fallback_rules), self._schema)
        memoized_rules = tuple(replace(rule, matches=self._memoize(rule.matches)) for rule in fallback.rules)
        return _RuleList(tuple(candidates), memoized_rules, damaged_features)

    def answer(self, candidate: CandidateRule) -> Answer:
        """The answer of a candidate as a class or number."""
        return self.targets.classes[int(candidate.answer)] if self.targets.classes else candidate.answer

    def losses(self, lists: Sequence[_RuleList], damaged_features: Collection[str] = ()) -> Losses:
        """The loss of each row: 1 for a wrong class, or the absolute error."""
        key = tuple(_candidates(lists)), frozenset(damaged_features)
        if key not in self._losses_by_lists:
            fallback = Fallback(self._default, _rules(lists))
            predictions = [fallback.answer(row, damaged_features).answer for row in self.rows]
            self._losses_by_lists[key] = self.targets.losses(
                self._all_rows, _numbers(predictions, self.targets.classes)
            )
        return self._losses_by_lists[key]

    def first_match(self, lists: Sequence[_RuleList], damaged_features: Collection[str]) -> RowIndices:
        """The position of the rule that answers each row, -1 for none."""
        active_rules = [(n, rule) for n, rule in enumerate(_rules(lists)) if rule.reads.isdisjoint(damaged_features)]
        positions = [next((n for n, rule in active_rules if rule.matches(row)), -1) for row in self.rows]
        return np.array(positions, dtype=np.intp)

    def is_better(self, losses: Losses, previous_losses: Losses) -> bool:
        """Whether the losses are lower by more than the margin and more than sampling noise."""
        gains = previous_losses - losses
        noise = STANDARD_ERRORS * float(gains.std()) / np.sqrt(len(gains))
        return bool(gains.mean() >= max(self.margin, noise))

    def score(self, losses: Losses) -> float:
        """Accuracy, or mean absolute error."""
        return float(1 - losses.mean()) if self.targets.classes else float(losses.mean())

    def _memoize(self, matches: Callable[[Mapping[str, Value]], bool]) -> Callable[[Mapping[str, Value]], bool]:
        """Cache results by the identity of the row, which is safe because the evaluator keeps all rows alive."""
        results: dict[int, bool] = {}

        def memoized_matches(row: Mapping[str, Value]) -> bool:
            if id(row) not in results:
                results[id(row)] = matches(row)
            return results[id(row)]

        return memoized_matches


def _search(learner: RuleLearner, evaluator: _HoldOutEvaluator) -> list[_RuleList]:
    """The first list, and the alternatives that improve the score, in order of evaluation."""
    all_rows = np.arange(learner.count)
    first = evaluator.compile_rules(learner.learn(all_rows, (), MOST_FIRST))
    if not first.rules or not evaluator.is_better(evaluator.losses([first]), evaluator.default_losses):
        return []
    lists = [first]
    important_features = _important(evaluator, lists)[:MOST_ALTERNATIVES]
    # An alternative may only pay off once another one exists, so we try each feature twice.
    for name in [*important_features, *important_features]:
        if all(each.damaged_features != (name,) for each in lists):
            open_rows = all_rows[learner.first_match(first.candidates, (name,)) < 0]
            lists = _add_alternative(learner, evaluator, lists, open_rows, (name,), important_features)
    lists = [each for each in lists if _is_used(evaluator, lists, each)]
    if pair := _most_important_pair(evaluator, lists):
        open_rows = all_rows[learner.first_match(_candidates(lists), pair) < 0]
        lists = _add_alternative(learner, evaluator, lists, open_rows, pair, important_features)
    return _remove_redundant(learner, evaluator, lists)


def _is_used(evaluator: _HoldOutEvaluator, lists: list[_RuleList], rule_list: _RuleList) -> bool:
    """Whether a list changes any answer while its features are damaged. A list added later may precede it."""
    others = [each for each in lists if each is not rule_list]
    losses = evaluator.losses(lists, rule_list.damaged_features)
    return bool((losses != evaluator.losses(others, rule_list.damaged_features)).any())


def _add_alternative(
    learner: RuleLearner,
    evaluator: _HoldOutEvaluator,
    lists: list[_RuleList],
    open_rows: RowIndices,
    damaged_features: tuple[str, ...],
    important_features: Sequence[str],
) -> list[_RuleList]:
    """Add an alternative for some damaged features if it improves the score while they are damaged.

    While no feature is damaged, it may cost at most half the margin. Over all scenarios, it must gain more than it
    costs.

    Args:
        learner: the training rows.
        evaluator: the held-out rows.
        lists: the first list, and the alternatives so far.
        open_rows: training rows that no earlier rule answers.
        damaged_features: features that the alternative must not read.
        important_features: features that may be damaged, the most important first.
    """
    most_rules = min(MOST_ALTERNATIVE, MOST_RULES - len(_rules(lists)))
    previous_losses = evaluator.losses(lists, damaged_features)
    scenarios = [*dict.fromkeys([(), *((name,) for name in important_features), damaged_features])]
    for candidates in (
        learner.learn(open_rows, damaged_features, most_rules),
        learner.relax(lists[0].candidates, open_rows, damaged_features, most_rules),
    ):
        alternative = evaluator.compile_rules(candidates, damaged_features)
        longer = sorted([*lists, alternative], key=lambda each: _order(each, important_features))
        if candidates and evaluator.is_better(evaluator.losses(longer, damaged_features), previous_losses):
            differences = [
                float((evaluator.losses(longer, scenario) - evaluator.losses(lists, scenario)).mean())
                for scenario in scenarios
            ]
            if differences[0] <= evaluator.margin / 2 and sum(differences) < 0:
                return longer
    return lists


def _order(rule_list: _RuleList, important_features: Sequence[str]) -> tuple[int, int]:
    """Sort key: a list that avoids more or more important features comes later, because it would match first."""
    damaged_features = rule_list.damaged_features
    return len(damaged_features), -important_features.index(damaged_features[0]) if len(damaged_features) == 1 else 0


def _important(
    evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList], known_damage: tuple[str, ...] = ()
) -> list[str]:
    """The features whose damage costs the rules more than half the margin, the most important first."""
    intact_loss = float(evaluator.losses(lists, known_damage).mean())
    read_features = sorted(frozenset[str]().union(*(rule.reads for rule in _rules(lists))) - {*known_damage})
    costs = {name: float(evaluator.losses(lists, (*known_damage, name)).mean()) - intact_loss for name in read_features}
    return sorted(
        (name for name in read_features if costs[name] >= evaluator.margin / 2), key=lambda name: -costs[name]
    )


def _most_important_pair(evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList]) -> tuple[str, ...]:
    """The most important feature, and the most important other one while the first is damaged."""
    for name in _important(evaluator, lists)[:1]:
        for other in _important(evaluator, lists, (name,))[:1]:
            return name, other
    return ()


def _scenarios(evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList]) -> list[tuple[str, ...]]:
    """The damaged features to evaluate: single features, the most important first, then the most important pair."""
    important = [(name,) for name in _important(evaluator, lists)]
    pair = [_most_important_pair(evaluator, lists)]
    alternatives = [each.damaged_features for each in lists[1:]]
    scenarios = dict.fromkeys([*important, *alternatives, *pair])
    return sorted((names for names in scenarios if names), key=len)


def _remove_redundant(
    learner: RuleLearner, evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList]
) -> list[_RuleList]:
    """Remove rules that change no prediction of the training rows in any scenario."""
    scenarios = [(), *_scenarios(evaluator, lists)]
    remaining = [[*each.candidates] for each in lists]
    outcomes = _outcomes(learner, remaining, scenarios)
    for candidates in reversed(remaining):
        for candidate in reversed([*candidates]):
            position = candidates.index(candidate)
            candidates.remove(candidate)
            if _outcomes(learner, remaining, scenarios) != outcomes:
                candidates.insert(position, candidate)
    return [
        evaluator.compile_rules(candidates, each.damaged_features)
        for candidates, each in zip(remaining, lists, strict=True)
        if candidates
    ]


def _outcomes(
    learner: RuleLearner, remaining: Sequence[Sequence[CandidateRule]], scenarios: Sequence[tuple[str, ...]]
) -> list[list[float]]:
    candidates = [candidate for each in remaining for candidate in each]
    return [learner.predictions(candidates, damaged_features).tolist() for damaged_features in scenarios]


def _proposed_rules(evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList]) -> list[ProposedRule]:
    """The rules, each with its score while the features of its list are damaged."""
    bounds = [0, *np.cumsum([len(each.rules) for each in lists]).tolist()]
    rules = []
    for each, (start, end) in zip(lists, pairwise(bounds), strict=True):
        first = evaluator.first_match(lists, each.damaged_features)
        losses = evaluator.losses(lists, each.damaged_features)
        for position, candidate in zip(range(start, end), each.candidates, strict=True):
            about = _about(first == position, losses, evaluator)
            heading = _heading(each.damaged_features) if position == start else ""
            rules.append(ProposedRule(candidate.text, evaluator.answer(candidate), about, heading))
    return rules


def _about(matches: NDArray[np.bool_], losses: Losses, evaluator: _HoldOutEvaluator) -> str:
    if not matches.any():
        return "Answers none of the held-out rows."
    sentence = f"Answers {matches.mean():.0%} of the held-out rows"
    score = evaluator.score(losses[matches])
    if evaluator.targets.classes:
        return f"{sentence}, {score:.0%} of them correctly."
    return f"{sentence}, with a mean absolute error of {score:.3g}."


def _heading(damaged_features: tuple[str, ...]) -> str:
    names = " and ".join(variable(name) for name in damaged_features)
    if not damaged_features:
        return "While every feature is intact:"
    return f"Without {names}, for when {'that is' if len(damaged_features) == 1 else 'both are'} damaged or missing:"


def _evaluation(
    evaluator: _HoldOutEvaluator, lists: Sequence[_RuleList], predictions: Sequence[Answer | None] | None
) -> RuleEvaluation:
    scenarios = _scenarios(evaluator, lists)
    damage_scores = tuple(DamageScore(names, evaluator.score(evaluator.losses(lists, names))) for names in scenarios)
    default, rules = evaluator.score(evaluator.default_losses), evaluator.score(evaluator.losses(lists))
    metric = "accuracy" if evaluator.targets.classes else "mean absolute error"
    model = _model_score(evaluator, predictions)
    return RuleEvaluation(metric, len(evaluator.rows), default, rules, damage_scores, model)


def _model_score(evaluator: _HoldOutEvaluator, predictions: Sequence[Answer | None] | None) -> float | None:
    positions = [number for number, prediction in enumerate(predictions or ()) if prediction is not None]
    if predictions is None or not positions:
        return None
    numbers = _numbers([predictions[number] for number in positions], evaluator.targets.classes)
    return evaluator.score(evaluator.targets.losses(np.array(positions), numbers))


def _rules(lists: Sequence[_RuleList]) -> tuple[Rule, ...]:
    return tuple(rule for each in lists for rule in each.rules)


def _candidates(lists: Sequence[_RuleList]) -> list[CandidateRule]:
    return [candidate for each in lists for candidate in each.candidates]


def _targets(labels: Sequence[Answer | None], kind: ModelKind, default: Answer) -> tuple[Targets, float]:
    """The labels as numbers, and the default answer in the same encoding."""
    if kind is ModelKind.REGRESSOR:
        return Targets(_numbers(labels, ()), ()), float(default)
    classes = tuple(sorted({label for label in labels if label is not None}, key=repr))
    return Targets(_numbers(labels, classes), classes), float(_numbers([default], classes)[0])


def _numbers(answers: Sequence[Any], classes: tuple[Answer, ...]) -> NDArray[np.float64]:
    """Answers as numbers: the position of the class, or -1 for another value; without classes the number itself."""
    if not classes:
        return np.array(answers, dtype=float)
    positions = {name: number for number, name in enumerate(classes)}
    return np.array([positions.get(answer, -1) for answer in answers], dtype=float)


def _has_distinct_variables(schema: Schema) -> bool:
    """Whether every feature has a different variable name in rules."""
    return len({variable(name) for name in schema.names}) == len(schema.names)
