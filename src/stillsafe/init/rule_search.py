"""Search for the fallback's rule lists in a sample: short lists that a person can read, edit and delete.

Half of the rows train the lists, the other half measures their scores. The first list may read every feature, and there
is one without each feature that it reads, one without each that those read, and so on. For any damage, the usable list
with the best score answers, so that its price is known in advance. A list is kept only if it scores better than the
default answer. Without labels, the model's own predictions replace them, and its probabilities give the price.
"""

import heapq
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import as_text
from stillsafe.init.rule_learner import SMALLEST_LEAF, CandidateRule, FeatureColumns, RuleLearner, Targets
from stillsafe.init.rule_pricing import Pricing, SearchSample, answer_costs, metric_losses
from stillsafe.init.rule_proposal import (
    NO_PROPOSAL,
    DamageScore,
    Proposal,
    ProposedList,
    ProposedRule,
    RuleEvaluation,
)
from stillsafe.model.model import ModelKind
from stillsafe.rules import variable

MOST_TRAINING, MOST_HELD_OUT = 5_000, 3_000
MOST_LISTS = 48
HALVING = 0.5
"""Damage to one more feature counts so much less: it is rarer."""
MOST_DISJOINT = 6
"""Lists of which each reads none of the features of those before it, for damage to many features."""
LEAST_ACCURACY_GAIN, LEAST_ERROR_GAIN = 0.01, 0.02
"""Smallest gain that justifies a list: of accuracy, and of the mean absolute error as a share of the default's."""
NEGLIGIBLE_GAIN = 0.3
"""Share of the smallest gain for which no list that reads more features is worth its length."""
STANDARD_ERRORS = 3.5
"""Of the best of some dozens of lists that are tried on the same rows."""
LARGEST_LABEL = 1e100
"""The square of a larger number overflows."""
ASSUMED_ERROR = 0.5
"""Error of a regressor without labels, as a share of the mean absolute deviation of its predictions."""
SCORE_DIGITS = 4
STRETCHES = 4
"""Of the held-out rows in order of time, between which the price of a list varies."""

Numbers = NDArray[np.float64]


def propose(
    schema: Schema,
    rows: Sequence[Row],
    labels: Sequence[Answer | None] | None,
    kind: ModelKind,
    default: Answer,
    seed: int,
    predictions: Sequence[Answer | None] | None = None,
) -> Proposal:
    """Search for rule lists by accuracy, or by a regressor's mean absolute error; see `search`.

    Args:
        schema: the features.
        rows: the sample, clean rows.
        labels: the label of each row, None if unknown; or None without labels.
        kind: classifier or regressor.
        default: the answer if no rule matches.
        seed: selects the held-out rows; the same seed gives the same proposal.
        predictions: the model's, None where it failed: for its score, and in place of the labels without any.
    """
    return search(SearchSample(schema, rows, labels, kind, predictions), default, seed)


def search(sample: SearchSample, default: Answer, seed: int) -> Proposal:
    """Search for rule lists, and measure them, the default and the model on held-out rows.

    Args:
        sample: the sample.
        default: the answer if no rule matches.
        seed: selects the held-out rows; the same seed gives the same proposal.
    """
    split = split_sample(sample, default, seed)
    if split is None or not _has_distinct_variables(sample.schema):
        return NO_PROPOSAL
    learner = RuleLearner(sample.schema, [sample.rows[number] for number in split.training], split.targets, seed)
    lists = _ListSearch(learner, split.targets, split.default, split.evaluator.least_gain / 2).run()
    return split.evaluator.proposal(sample.schema, lists)


@dataclass(frozen=True, slots=True)
class SampleSplit:
    """A sample in two parts.

    Attributes:
        training: positions of the rows that rules and models are learnt on.
        held_out: positions of the rows that measure them.
        targets: the labels of the training rows.
        default: the default answer as a number.
        evaluator: measures on the held-out rows.
    """

    training: list[int]
    held_out: list[int]
    targets: Targets
    default: float
    evaluator: "HoldOutEvaluator"


def split_sample(sample: SearchSample, default: Answer, seed: int) -> SampleSplit | None:
    """Split a sample; None if too few rows have a label, or if labels are too large to square. See `search`."""
    labels, kind, predictions = sample.labels, sample.kind, sample.predictions
    truths = predictions if labels is None else labels
    usable = [number for number, truth in enumerate(truths or ()) if truth is not None]
    if truths is None or len(usable) < 4 * SMALLEST_LEAF:
        return None
    order = np.random.default_rng(seed).permutation(usable).tolist()
    held_out = sorted(order[: min(len(order) // 2, MOST_HELD_OUT)])
    order = [*held_out, *order[len(held_out) :]]
    training = order[len(held_out) : len(held_out) + MOST_TRAINING]
    targets, default_number = _targets([truths[number] for number in order], kind, default)
    targets = replace(targets, costs=answer_costs(sample.definition, targets))
    if not targets.classes and max(map(abs, [default_number, *targets.values.tolist()])) > LARGEST_LABEL:
        return None
    held_out_targets = replace(targets, values=targets.values[: len(held_out)])
    held_out_targets = replace(held_out_targets, costs=answer_costs(sample.definition, held_out_targets))
    training_targets = replace(targets, values=targets.values[len(held_out) : len(held_out) + len(training)])
    model_numbers = None
    if predictions is not None:
        model_numbers = _numbers([predictions[number] for number in held_out], targets.classes)
    evaluator = HoldOutEvaluator(
        FeatureColumns(sample.schema, [sample.rows[number] for number in held_out]),
        held_out_targets,
        default_number,
        model_numbers,
        is_labelled=labels is not None,
        pricing=sample.pricing(held_out),
        class_probabilities=_class_probabilities(sample, held_out, targets),
    )
    return SampleSplit(training, held_out, training_targets, default_number, evaluator)


@dataclass(frozen=True, slots=True)
class _RuleList:
    """Candidate rules, the features that they were learnt without, and those that they read."""

    candidates: tuple[CandidateRule, ...]
    without: frozenset[str]
    reads: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", frozenset[str]().union(*(each.reads for each in self.candidates)))


class _ListSearch:
    """Learns lists for the damage that costs the lists so far the most, small damage first.

    Attributes:
        lists: the lists so far, the first one without any damage.
    """

    def __init__(self, learner: RuleLearner, targets: Targets, default: float, least_gain: float) -> None:
        self._learner, self._targets, self._default, self._least_gain = learner, targets, default, least_gain
        self._all_rows = np.arange(learner.columns.count)
        self._default_loss = targets.loss(self._all_rows, default) / len(self._all_rows)
        self._losses: list[float] = []
        self._heap: list[tuple[float, int, tuple[str, ...], float]] = []
        self.lists: list[_RuleList] = []

    def run(self) -> list[_RuleList]:
        """Learn the lists."""
        trials, seen_sets = 1, {frozenset[str]()}
        self._add(frozenset())
        self._push(frozenset(), seen_sets)
        for _ in range(MOST_DISJOINT if self.lists else 0):
            without = self.lists[-1].without | self.lists[-1].reads
            if without in seen_sets or not self._add(without):
                break
            seen_sets.add(without)
            trials += 1
        while self._heap and len(self.lists) < MOST_LISTS and trials < 2 * MOST_LISTS:
            _, _, names, loss_before = heapq.heappop(self._heap)
            without = frozenset(names)
            if self._loss(without) - loss_before > self._least_gain:
                trials += 1
                self._add(without)
            self._push(without, seen_sets)
        return self.lists

    def _add(self, without: frozenset[str]) -> bool:
        """Learn a list; it is left out if another one that reads nothing else is as good."""
        candidates = tuple(self._learner.learn(sorted(without)))
        if not candidates:
            return False
        answers, rule_list = self._learner.columns.answers(candidates), _RuleList(candidates, without)
        loss = float(self._targets.losses(self._all_rows, np.where(np.isnan(answers), self._default, answers)).mean())
        pairs = zip(self.lists, self._losses, strict=True)
        if not any(other_loss <= loss and other.reads <= rule_list.reads for other, other_loss in pairs):
            self.lists.append(rule_list)
            self._losses.append(loss)
        return True

    def _push(self, damaged_features: frozenset[str], seen_sets: set[frozenset[str]]) -> None:
        """Queue the damage to one more feature that the best usable list reads."""
        best, loss_before = self._best(damaged_features), self._loss(damaged_features)
        for feature in () if best is None else _by_use(self.lists[best].candidates):
            without = damaged_features | {feature}
            if without not in seen_sets:
                seen_sets.add(without)
                cost = self._loss(without) - loss_before
                entry = (-cost * HALVING ** len(without), len(without), tuple(sorted(without)), loss_before)
                heapq.heappush(self._heap, entry)

    def _loss(self, damaged_features: frozenset[str]) -> float:
        best = self._best(damaged_features)
        return self._default_loss if best is None else min(self._losses[best], self._default_loss)

    def _best(self, damaged_features: frozenset[str]) -> int | None:
        usable = [n for n, each in enumerate(self.lists) if each.reads.isdisjoint(damaged_features)]
        return min(usable, key=self._losses.__getitem__, default=None)


def _by_use(candidates: Sequence[CandidateRule]) -> list[str]:
    """The features that rules read, the one in most rules first."""
    names = [comparison.feature for each in candidates for comparison in each.when]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


class HoldOutEvaluator:
    """Measures lists on the held-out rows, with the answers that the service would give."""

    def __init__(
        self,
        columns: FeatureColumns,
        targets: Targets,
        default: float,
        predictions: Numbers | None,
        *,
        is_labelled: bool,
        pricing: Pricing,
        class_probabilities: Numbers | None = None,
    ) -> None:
        self._columns, self._targets, self._default, self._pricing = columns, targets, default, pricing
        self._predictions, self._is_labelled = predictions, is_labelled
        self._class_probabilities = class_probabilities
        self._all_rows = np.arange(columns.count)
        self._assumed_error = 0.0
        if not targets.classes and not is_labelled:
            spread = np.abs(targets.values - np.median(targets.values)).mean()
            self._assumed_error = max(ASSUMED_ERROR * float(spread), 1e-12)
        self._default_losses = self._losses(np.full(columns.count, default))
        share = LEAST_ERROR_GAIN * float(self._default_losses.mean())
        self.least_gain = LEAST_ACCURACY_GAIN if targets.classes else share

    def price(self, answers: Sequence[Answer]) -> tuple[float | None, float | None]:
        """The score of a second model's answers and its error, as in the settings; None without the model's score."""
        losses = self._losses(_numbers(answers, self._targets.classes))
        price = None if self._reference_prices()[0] is None else self._price(losses)
        return (None, None) if price is None else (round(price, SCORE_DIGITS), self._price_error(losses))

    def proposal(self, schema: Schema, lists: Sequence[_RuleList]) -> Proposal:
        """The lists that are worth their length, with their scores."""
        answers = [self._columns.answers(each.candidates) for each in lists]
        single_losses = [float(self._losses(self._with_default(each)).mean()) for each in answers]
        order = sorted(range(len(lists)), key=lambda n: single_losses[n])
        losses = []
        for n, each in enumerate(lists):
            # A row without a value that the list needs is answered by the next list that may be used as well.
            answer = answers[n]
            for other in order:
                if lists[other].reads.isdisjoint(each.without):
                    answer = np.where(np.isnan(answer), answers[other], answer)
            losses.append(self._losses(self._with_default(answer)))
        positions = self._best_lists(lists, losses)
        proposed_lists = tuple(
            ProposedList(
                tuple(self._proposed_rule(rule) for rule in lists[n].candidates),
                tuple(name for name in schema.names if name in lists[n].reads),
                tuple(name for name in schema.names if name in lists[n].without),
                round(self._price(losses[n]) or 0.0, SCORE_DIGITS),
                self._price_error(losses[n]),
            )
            for n in positions
        )
        prices = (None if price is None else round(price, SCORE_DIGITS) for price in self._reference_prices())
        model_score, default_score = prices
        evaluation = self._evaluation(schema, lists, losses, positions)
        default_error = None if default_score is None else self._price_error(self._default_losses)
        return Proposal(proposed_lists, evaluation, model_score, default_score, default_error)

    def _best_lists(self, lists: Sequence[_RuleList], losses: Sequence[Numbers]) -> list[int]:
        """The lists that are better than the default, and clearly than each list that reads less; the best first."""
        means, margin = [float(each.mean()) for each in losses], NEGLIGIBLE_GAIN * self.least_gain
        positions: list[int] = []
        for n in sorted(range(len(lists)), key=lambda n: (len(lists[n].reads), means[n])):
            is_dominated = any(lists[m].reads <= lists[n].reads and means[m] <= means[n] + margin for m in positions)
            if not is_dominated and self._is_better(losses[n]):
                positions.append(n)
        return sorted(positions, key=lambda n: means[n])

    def _is_better(self, losses: Numbers) -> bool:
        """Whether the losses are lower than the default's by more than the margin and more than sampling noise."""
        gains = self._default_losses - losses
        noise = STANDARD_ERRORS * float(gains.std()) / np.sqrt(len(gains))
        return bool(gains.mean() >= max(self.least_gain, noise))

    def _losses(self, answers: Numbers) -> Numbers:
        """The loss of each answer: 1 for a wrong class, or the absolute error; without labels its expectation."""
        if self._pricing.definition is not None:
            return metric_losses(self._pricing.definition, answers, self._targets)
        if self._class_probabilities is not None:
            columns = np.nan_to_num(answers, nan=-1).astype(int)
            probabilities = self._class_probabilities[self._all_rows, columns]
            return np.asarray(np.where(columns < 0, 1.0, 1 - probabilities))
        return np.hypot(self._targets.losses(self._all_rows, answers), self._assumed_error)

    def _with_default(self, answers: Numbers) -> Numbers:
        return np.where(np.isnan(answers), self._default, answers)

    def _model_losses(self) -> Numbers | None:
        """The model's losses, where it has an answer."""
        if self._predictions is None:
            return None
        has_answer = ~np.isnan(self._predictions)
        return self._losses(self._predictions)[has_answer] if has_answer.any() else None

    def _price(self, losses: Numbers) -> float | None:
        """A score as the settings hold it; None for a regressor whose model has no error to compare with."""
        if self._targets.classes:
            return 1 - float(losses.mean())
        model_losses = self._model_losses()
        error = 0.0 if model_losses is None else float(model_losses.mean())
        return -float(losses.mean()) / error if error > 0 else None

    def _price_error(self, losses: Numbers) -> float | None:
        """Standard error of the difference from the model's score in a later run; None where the model's is unknown.

        A later run differs by sampling, and as stretches of the sample do beyond sampling.
        """
        if self._predictions is None or self._reference_prices()[0] is None:
            return None
        has_answer = ~np.isnan(self._predictions)
        differences = (losses - self._losses(self._predictions))[has_answer & np.isfinite(losses)]
        error = difference_error(differences)
        unit = 1.0 if self._targets.classes else float(self._losses(self._predictions)[has_answer].mean())
        return None if error is None or unit <= 0 else round(error / unit, SCORE_DIGITS)

    def _reference_prices(self) -> tuple[float | None, float | None]:
        """The prices of the model and of the default; None where the model's losses are unknown."""
        losses = self._model_losses()
        if losses is None or self._price(losses) is None:
            return None, None
        if not self._pricing.is_priced:
            return None, None
        model_price = self._pricing.model_score
        return self._price(losses) if model_price is None else model_price, self._price(self._default_losses)

    def _proposed_rule(self, rule: CandidateRule) -> ProposedRule:
        rows = np.flatnonzero(self._columns.matches(rule.when))
        answer = self._targets.classes[int(rule.answer)] if self._targets.classes else rule.answer
        about = "no held-out row"
        if len(rows):
            distances = np.abs(self._targets.values[rows] - rule.answer)
            is_class = bool(self._targets.classes)
            score = f"{(distances == 0).mean():.0%} right" if is_class else f"mean error {distances.mean():.3g}"
            about = f"{len(rows) / self._columns.count:.0%} of rows, {score}"
        return ProposedRule(rule.text, answer, about)

    def _score(self, losses: Numbers) -> float:
        """Accuracy, or mean absolute error."""
        return float(1 - losses.mean()) if self._targets.classes else float(losses.mean())

    def _evaluation(
        self, schema: Schema, lists: Sequence[_RuleList], losses: Sequence[Numbers], positions: Sequence[int]
    ) -> RuleEvaluation:
        def best(damaged_features: Collection[str]) -> float:
            usable = [losses[n] for n in positions if lists[n].reads.isdisjoint(damaged_features)]
            return self._score(usable[0] if usable else self._default_losses)

        first_reads = [name for name in schema.names if positions and name in lists[positions[0]].reads]
        damage_scores = [DamageScore((name,), best((name,))) for name in first_reads]
        damage_scores.sort(key=lambda each: each.score, reverse=not self._targets.classes)
        metric = self._pricing.title or ("accuracy" if self._targets.classes else "mean absolute error")
        model_losses = self._model_losses()
        model = None if model_losses is None else self._score(model_losses)
        model = model if self._pricing.model_score is None else self._pricing.model_score
        default, rules = self._score(self._default_losses), best(())
        count = self._columns.count
        return RuleEvaluation(metric, count, default, rules, tuple(damage_scores), model, self._is_labelled)


def difference_error(differences: Numbers) -> float | None:
    """Standard error of a mean over rows in order of time, for another stretch of them; None of too few rows.

    Sampling, and the variance between stretches beyond it: the moment estimator of random-effects models
    (R. DerSimonian and N. Laird, "Meta-analysis in clinical trials", 1986), in its unweighted form.
    """
    count = len(differences)
    if count < STRETCHES * SMALLEST_LEAF:
        return None
    means = [float(part.mean()) for part in np.array_split(differences, STRETCHES)]
    variance = float(differences.var(ddof=1))
    between = max(float(np.var(means, ddof=1)) - variance * STRETCHES / count, 0.0)
    return math.sqrt(variance / count + between)


def _class_probabilities(sample: SearchSample, held_out: Sequence[int], targets: Targets) -> Numbers | None:
    """(n, classes) probability that each class is the label, by the model; None with labels, costs or without any.

    Without labels the estimated loss is the expected one by these probabilities, and a price must have its unit.
    """
    if sample.labels is not None or targets.costs is not None or not targets.classes or not sample.scores:
        return None
    rows = [sample.scores[number].probabilities for number in held_out]
    names = [as_text(name) for name in targets.classes]
    return np.array([[row.get(name, 0.0) for name in names] for row in rows if row is not None]) if all(rows) else None


def _targets(truths: Sequence[Answer | None], kind: ModelKind, default: Answer) -> tuple[Targets, float]:
    """The labels as numbers, and the default answer in the same encoding."""
    if kind is ModelKind.REGRESSOR:
        return Targets(_numbers(truths, ()), ()), float(default)
    classes = tuple(sorted({truth for truth in truths if truth is not None}, key=repr))
    return Targets(_numbers(truths, classes), classes), float(_numbers([default], classes)[0])


def _numbers(answers: Sequence[Any], classes: tuple[Answer, ...]) -> Numbers:
    """Answers as numbers: the position of the class, -1 for another value, NaN for None; or the number itself."""
    positions: dict[Any, float] = {name: number for number, name in enumerate(classes)}
    if not classes:
        return np.array([np.nan if answer is None else answer for answer in answers], dtype=float)
    return np.array([np.nan if answer is None else positions.get(answer, -1) for answer in answers], dtype=float)


def _has_distinct_variables(schema: Schema) -> bool:
    """Whether every feature has a different variable name in rules."""
    return len({variable(name) for name in schema.names}) == len(schema.names)
