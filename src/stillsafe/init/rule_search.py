"""Fallback rules proposed from a labelled sample: a short list that a person can read, edit and throw away.

Half of the rows are learnt from, the other half says what the rules are worth. A list reads what explains the truth
best; lists after it do without a feature that the first needs, for the days on which that one is damaged. Each is
there only if it answers better, on rows that it was not learnt from, than what would be answered without it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer, Fallback, Rule
from stillsafe.core.schema import Row, Schema, Value
from stillsafe.init.rule_learner import FEWEST_ROWS, Draft, Indices, Sample, Truth
from stillsafe.model.model import ModelKind
from stillsafe.rules import compile_fallback, variable
from stillsafe.settings import FallbackRule, FallbackSettings

MOST_LEARNT, MOST_PRICED = 10_000, 3_000
MOST_RULES, MOST_FIRST, MOST_ALTERNATIVE = 16, 5, 4
MOST_DOUBTED = 4  # features that an alternative does without
ACCURACY_WON, ERROR_WON = 0.01, 0.02  # the least that a list must win: a share, and one of the default's error
STANDARD_ERRORS = 2.0
LARGEST_TRUTH = 1e100  # the squares of larger numbers are none

Losses = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proposed:
    """One rule.

    Attributes:
        when: the condition, in CEL.
        answer: one of the model's classes, or a number.
        about: how many rows it answers and how well, a sentence.
        heading: what its list is for, where it is the first of one; else empty.
    """

    when: str
    answer: Answer
    about: str
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What the rules are worth while some features are damaged: accuracy in [0, 1], or mean absolute error."""

    damaged: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What is worth how much on the held-out rows: accuracy in [0, 1], or mean absolute error.

    Attributes:
        metric: which of the two, in words.
        row_count: how many rows that is.
        default: always giving the default answer.
        rules: the proposed rules; the same as `default` where there are none.
        damaged: the rules while features that they read are damaged, the gravest damage first.
        model: the model, or None where its answers were not told.
    """

    metric: str
    row_count: int
    default: float
    rules: float
    damaged: tuple[Price, ...]
    model: float | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `init` proposes.

    Attributes:
        rules: in their order; none where no list beats the default by a real margin.
        prices: what they are worth; None where nothing could be tried.
    """

    rules: tuple[Proposed, ...] = ()
    prices: Prices | None = None


NO_PROPOSAL = Proposal()


@dataclass(frozen=True, slots=True)
class _List:
    """Drafts with the rules that the service would make of them, and the damage that they are for."""

    drafts: tuple[Draft, ...]
    rules: tuple[Rule, ...]
    damaged: tuple[str, ...]


def propose(
    schema: Schema,
    rows: Sequence[Row],
    truth: Sequence[Answer | None] | None,
    kind: ModelKind,
    default: Answer,
    seed: int,
    answers: Sequence[Answer | None] | None = None,
) -> Proposal:
    """A short ordered list of simple rules, with alternatives that do without each important feature, priced.

    Args:
        schema: the features.
        rows: the sample, clean rows.
        truth: the true answer of each row; None where it is not known, or for no labels at all.
        kind: classifier or regressor.
        default: what is answered where no rule applies.
        seed: decides which rows are held out; the same seed, the same proposal.
        answers: the model's own, only for the price; None where it failed.
    """
    known = [number for number, answer in enumerate(truth or ()) if answer is not None]
    if truth is None or len(known) < 4 * FEWEST_ROWS or not _nameable(schema):
        return NO_PROPOSAL
    order = np.random.default_rng(seed).permutation(known).tolist()
    held = order[: min(len(order) // 2, MOST_PRICED)]
    learnt = order[len(held) : len(held) + MOST_LEARNT]
    told, default_number = _truth([truth[number] for number in order], kind, default)
    if not told.classes and max(map(abs, [default_number, *told.values.tolist()])) > LARGEST_TRUTH:
        return NO_PROPOSAL
    parts = [replace(told, values=told.values[a:b]) for a, b in ((0, len(held)), (len(held), len(held) + len(learnt)))]
    sample = Sample(schema, [rows[number] for number in learnt], parts[1], default_number, seed)
    bench = _Bench(schema, [rows[number] for number in held], parts[0], default)
    lists = _lists(sample, bench)
    own = None if answers is None else [answers[number] for number in held]
    return Proposal(tuple(_proposed(bench, lists)), _prices(bench, lists, own))


class _Bench:
    """The held-out rows, and what the fallback itself answers them."""

    def __init__(self, schema: Schema, rows: Sequence[Row], truth: Truth, default: Answer) -> None:
        self.rows, self.truth, self._schema, self._default = rows, truth, schema, default
        self._everyone = np.arange(len(rows))
        self._known: dict[tuple[tuple[Draft, ...], frozenset[str]], Losses] = {}
        self.default_losses = self.losses(())
        share = ERROR_WON * float(self.default_losses.mean())
        self.margin = ACCURACY_WON if truth.classes else share

    def compiled(self, drafts: Sequence[Draft], damaged: tuple[str, ...] = ()) -> _List:
        """The rules that the service would make of the drafts; each asks its condition once for each row."""
        written = tuple(FallbackRule(when=draft.text, answer=self.answer(draft)) for draft in drafts)
        fallback = compile_fallback(FallbackSettings(default=self._default, rules=written), self._schema)
        asked = tuple(replace(rule, matches=self._remembered(rule.matches)) for rule in fallback.rules)
        return _List(tuple(drafts), asked, damaged)

    def answer(self, draft: Draft) -> Answer:
        """The answer in the model's words."""
        return self.truth.classes[int(draft.answer)] if self.truth.classes else draft.answer

    def losses(self, lists: Sequence[_List], damaged: Collection[str] = ()) -> Losses:
        """What each row costs: 1 for a wrong class, or the absolute error."""
        asked = tuple(_drafts(lists)), frozenset(damaged)
        if asked not in self._known:
            fallback = Fallback(self._default, _rules(lists))
            given = [fallback.answer(row, damaged).answer for row in self.rows]
            self._known[asked] = self.truth.losses(self._everyone, _numbers(given, self.truth.classes))
        return self._known[asked]

    def first(self, lists: Sequence[_List], damaged: Collection[str]) -> Indices:
        """The position of the rule that answers each row, -1 for none."""
        able = [(n, rule) for n, rule in enumerate(_rules(lists)) if rule.reads.isdisjoint(damaged)]
        return np.array([next((n for n, rule in able if rule.matches(row)), -1) for row in self.rows], dtype=np.intp)

    def better(self, after: Losses, before: Losses) -> bool:
        """Whether the one is so much cheaper than the other that it matters and is no chance."""
        won = before - after
        noise = STANDARD_ERRORS * float(won.std()) / np.sqrt(len(won))
        return bool(won.mean() >= max(self.margin, noise))

    def score(self, losses: Losses) -> float:
        """Accuracy, or mean absolute error."""
        return float(1 - losses.mean()) if self.truth.classes else float(losses.mean())

    def _remembered(self, matches: Callable[[Mapping[str, Value]], bool]) -> Callable[[Mapping[str, Value]], bool]:
        """Rows live as long as the bench does, so that they can be told by identity."""
        known: dict[int, bool] = {}

        def asked(row: Mapping[str, Value]) -> bool:
            if id(row) not in known:
                known[id(row)] = matches(row)
            return known[id(row)]

        return asked


def _lists(sample: Sample, bench: _Bench) -> list[_List]:
    """The first list and, in the order in which they are asked, the alternatives that earn their place."""
    everyone = np.arange(sample.count)
    first = bench.compiled(sample.learnt(everyone, (), MOST_FIRST))
    if not first.rules or not bench.better(bench.losses([first]), bench.default_losses):
        return []
    lists = [first]
    doubted = _important(bench, lists)[:MOST_DOUBTED]
    # Twice, since an alternative that would spoil what another damage leaves may wait for that one's own.
    for name in [*doubted, *doubted]:
        if all(each.damaged != (name,) for each in lists):
            rest = everyone[sample.first(first.drafts, (name,)) < 0]
            lists = _with(sample, bench, lists, rest, (name,), doubted)
    lists = [each for each in lists if _is_asked(bench, lists, each)]
    if pair := _gravest_pair(bench, lists):
        rest = everyone[sample.first(_drafts(lists), pair) < 0]
        lists = _with(sample, bench, lists, rest, pair, doubted)
    return _needed(sample, bench, lists)


def _is_asked(bench: _Bench, lists: list[_List], one: _List) -> bool:
    """Whether the list answers anybody in the situation that it is for: one that came later may stand before it."""
    return bool((bench.losses(lists, one.damaged) != bench.losses(_without(lists, one), one.damaged)).any())


def _without(lists: Sequence[_List], one: _List) -> list[_List]:
    return [each for each in lists if each is not one]


def _with(
    sample: Sample, bench: _Bench, lists: list[_List], rest: Indices, damaged: tuple[str, ...], doubted: Sequence[str]
) -> list[_List]:
    """The lists with one more for this damage, if it wins what it must there.

    It may cost next to nothing while all is sound, and less than it wins while another feature is damaged.

    Args:
        sample: what to learn from.
        bench: what to judge on.
        lists: the first, and the alternatives so far.
        rest: rows of the sample that the lists before it leave open.
        damaged: what it must not read.
        doubted: features that may be damaged, the most important first.
    """
    room = min(MOST_ALTERNATIVE, MOST_RULES - len(_rules(lists)))
    before = bench.losses(lists, damaged)
    scenarios = [*dict.fromkeys([(), *((name,) for name in doubted), damaged])]
    for drafts in (sample.learnt(rest, damaged, room), sample.relaxed(lists[0].drafts, rest, damaged, room)):
        longer = sorted([*lists, bench.compiled(drafts, damaged)], key=lambda each: _order(each, doubted))
        if drafts and bench.better(bench.losses(longer, damaged), before):
            lost = [float((bench.losses(longer, each) - bench.losses(lists, each)).mean()) for each in scenarios]
            if lost[0] <= bench.margin / 2 and sum(lost) < 0:
                return longer
    return lists


def _order(one: _List, doubted: Sequence[str]) -> tuple[int, int]:
    """Lists for graver damage come later: they read less, and would answer in the place of the others."""
    return len(one.damaged), -doubted.index(one.damaged[0]) if len(one.damaged) == 1 else 0


def _important(bench: _Bench, lists: Sequence[_List], already: tuple[str, ...] = ()) -> list[str]:
    """The features without which the rules lose something that matters, the most important first."""
    sound = float(bench.losses(lists, already).mean())
    read = sorted(frozenset[str]().union(*(rule.reads for rule in _rules(lists))) - {*already})
    lost = {name: float(bench.losses(lists, (*already, name)).mean()) - sound for name in read}
    return sorted((name for name in read if lost[name] >= bench.margin / 2), key=lambda name: -lost[name])


def _gravest_pair(bench: _Bench, lists: Sequence[_List]) -> tuple[str, ...]:
    """The most important feature, and the most important one in its absence."""
    for name in _important(bench, lists)[:1]:
        for other in _important(bench, lists, (name,))[:1]:
            return name, other
    return ()


def _scenarios(bench: _Bench, lists: Sequence[_List]) -> list[tuple[str, ...]]:
    """The damage that is told of: single features, the gravest first, then the gravest pair."""
    important = [(name,) for name in _important(bench, lists)]
    pair = [_gravest_pair(bench, lists)]
    answered = [each.damaged for each in lists[1:]]
    found = dict.fromkeys([*important, *answered, *pair])
    return sorted((names for names in found if names), key=len)


def _needed(sample: Sample, bench: _Bench, lists: Sequence[_List]) -> list[_List]:
    """Without rules that change no answer of the sample, whatever feature is damaged."""
    scenarios = [(), *_scenarios(bench, lists)]
    kept = [[*each.drafts] for each in lists]
    wanted = _outcomes(sample, kept, scenarios)
    for drafts in reversed(kept):
        for draft in reversed([*drafts]):
            place = drafts.index(draft)
            drafts.remove(draft)
            if _outcomes(sample, kept, scenarios) != wanted:
                drafts.insert(place, draft)
    return [bench.compiled(drafts, each.damaged) for drafts, each in zip(kept, lists, strict=True) if drafts]


def _outcomes(
    sample: Sample, kept: Sequence[Sequence[Draft]], scenarios: Sequence[tuple[str, ...]]
) -> list[list[float]]:
    drafts = [draft for each in kept for draft in each]
    return [sample.answers(drafts, damaged).tolist() for damaged in scenarios]


def _proposed(bench: _Bench, lists: Sequence[_List]) -> list[Proposed]:
    """The rules with what each is worth in the situation that its list is for."""
    bounds = [0, *np.cumsum([len(each.rules) for each in lists]).tolist()]
    proposed = []
    for each, (start, end) in zip(lists, pairwise(bounds), strict=True):
        first, losses = bench.first(lists, each.damaged), bench.losses(lists, each.damaged)
        for place, draft in zip(range(start, end), each.drafts, strict=True):
            about = _about(first == place, losses, bench)
            heading = _heading(each.damaged) if place == start else ""
            proposed.append(Proposed(draft.text, bench.answer(draft), about, heading))
    return proposed


def _about(answered: NDArray[np.bool_], losses: Losses, bench: _Bench) -> str:
    if not answered.any():
        return "Answers none of the held-out rows."
    share = f"Answers {answered.mean():.0%} of the held-out rows"
    worth = bench.score(losses[answered])
    if bench.truth.classes:
        return f"{share}, {worth:.0%} of them rightly."
    return f"{share}, with a mean absolute error of {worth:.3g}."


def _heading(damaged: tuple[str, ...]) -> str:
    names = " and ".join(variable(name) for name in damaged)
    if not damaged:
        return "While every feature is sound:"
    return f"Without {names}, for when {'that is' if len(damaged) == 1 else 'both are'} damaged or missing:"


def _prices(bench: _Bench, lists: Sequence[_List], own: Sequence[Answer | None] | None) -> Prices:
    damaged = tuple(Price(names, bench.score(bench.losses(lists, names))) for names in _scenarios(bench, lists))
    default, rules = bench.score(bench.default_losses), bench.score(bench.losses(lists))
    metric = "accuracy" if bench.truth.classes else "mean absolute error"
    return Prices(metric, len(bench.rows), default, rules, damaged, _model_score(bench, own))


def _model_score(bench: _Bench, own: Sequence[Answer | None] | None) -> float | None:
    given = [number for number, answer in enumerate(own or ()) if answer is not None]
    if own is None or not given:
        return None
    numbers = _numbers([own[number] for number in given], bench.truth.classes)
    return bench.score(bench.truth.losses(np.array(given), numbers))


def _rules(lists: Sequence[_List]) -> tuple[Rule, ...]:
    return tuple(rule for each in lists for rule in each.rules)


def _drafts(lists: Sequence[_List]) -> list[Draft]:
    return [draft for each in lists for draft in each.drafts]


def _truth(answers: Sequence[Answer | None], kind: ModelKind, default: Answer) -> tuple[Truth, float]:
    """The truth as numbers, and the default among them."""
    if kind is ModelKind.REGRESSOR:
        return Truth(_numbers(answers, ()), ()), float(default)
    classes = tuple(sorted({answer for answer in answers if answer is not None}, key=repr))
    return Truth(_numbers(answers, classes), classes), float(_numbers([default], classes)[0])


def _numbers(answers: Sequence[Any], classes: tuple[Answer, ...]) -> NDArray[np.float64]:
    """Each answer as its class's position, -1 for none of them, or as the number that it is."""
    if not classes:
        return np.array(answers, dtype=float)
    place = {answer: number for number, answer in enumerate(classes)}
    return np.array([place.get(answer, -1) for answer in answers], dtype=float)


def _nameable(schema: Schema) -> bool:
    """Whether each feature has a name of its own in a rule."""
    return len({variable(name) for name in schema.names}) == len(schema.names)
