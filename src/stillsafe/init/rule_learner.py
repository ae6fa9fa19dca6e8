"""A small tree of simple comparisons, learnt from a labelled sample and unrolled into an ordered list of conditions.

The semantics are those of fallback rules: a comparison with a missing value does not hold, and neither does its
opposite.
"""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.rules import variable

DEEPEST = 3  # comparisons in one condition
FEWEST_ROWS, SMALLEST_SHARE = 30, 0.02  # that a condition must cover of what it is learnt from
MOST_CATEGORIES = 30  # of one feature that are tried
LONGEST_CATEGORY = 60  # characters; a longer one is nothing to read
GAIN_KEPT = 0.95  # of a split's worth, by a rounder bound
MOST_DIGITS = 6
ACCURACY_PER_LEAF = 0.003
ERROR_PER_LEAF = 0.005  # of what always giving the best single answer costs
CLIPPED = (0.02, 0.98)  # quantiles of a numeric truth between which splits are sought: one wild value is no pattern
ROUNDING = 0.05  # of a leaf's mean absolute error, by a rounder answer

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature against one value.

    Attributes:
        feature: its name.
        type: its kind.
        sign: `>` or `<=` for a number, `==` or `!=` for a category or a boolean.
        bound: a number, a category, or true.
    """

    feature: str
    type: FeatureType
    sign: str
    bound: float | str

    @property
    def text(self) -> str:
        """The comparison in CEL."""
        name = variable(self.feature)
        match self.type:
            case FeatureType.BOOLEAN:
                return name if self.sign == "==" else f"!{name}"
            case FeatureType.CATEGORY:
                # JSON's strings are CEL's too.
                return f"{name} {self.sign} {json.dumps(self.bound, ensure_ascii=False)}"
            case FeatureType.INTEGER:
                return f"{name} {self.sign} {int(self.bound)}"
            case FeatureType.NUMERIC:
                return f"{name} {self.sign} {float(self.bound)!r}"

    @property
    def opposite(self) -> "Comparison":
        """What holds for the other rows that have a value."""
        return replace(self, sign={">": "<=", "<=": ">", "==": "!=", "!=": "=="}[self.sign])

    def implies(self, other: "Comparison") -> bool:
        """Whether the other says nothing more, of two comparisons of the same feature with the same sign."""
        if (self.feature, self.sign) != (other.feature, other.sign):
            return False
        if self.sign == ">":
            return self.bound >= other.bound  # type: ignore[operator]  # numbers, as the sign says
        return self.bound <= other.bound if self.sign == "<=" else self.bound == other.bound  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule in the making: all comparisons must hold. `answer` is a class's number, or a number."""

    when: tuple[Comparison, ...]
    answer: float

    @property
    def text(self) -> str:
        """The condition in CEL."""
        return " && ".join(comparison.text for comparison in self.when)

    @property
    def reads(self) -> frozenset[str]:
        """The features that the condition needs."""
        return frozenset(comparison.feature for comparison in self.when)


@dataclass(frozen=True, slots=True)
class Truth:
    """The true answers as numbers.

    Attributes:
        values: (n,) positions in `classes`, or the answers themselves.
        classes: of a classifier; none for a regressor.
    """

    values: NDArray[np.float64]
    classes: tuple[Answer, ...]

    def best(self, rows: Indices) -> float:
        """The one answer that costs least."""
        if self.classes:
            return float(np.bincount(self.values[rows].astype(int), minlength=len(self.classes)).argmax())
        median = float(np.median(self.values[rows]))
        slack = ROUNDING * self.loss(rows, median) / len(rows)
        return next(rounded for rounded in _roundings(median) if abs(rounded - median) <= slack)

    def loss(self, rows: Indices, answer: float) -> float:
        """What one answer costs on these rows: how many are wrong, or the sum of absolute errors."""
        return float(self.losses(rows, answer).sum())

    def losses(self, rows: Indices, answer: "float | NDArray[np.float64]") -> NDArray[np.float64]:
        """The same row by row."""
        if self.classes:
            return np.asarray(self.values[rows] != answer, dtype=float)
        return np.asarray(np.abs(self.values[rows] - answer))

    def impurity(self, rows: Indices) -> float:
        """Gini's, or the squared error, of these rows together."""
        if not len(rows):
            return 0.0
        if self.classes:
            counts = np.bincount(self.values[rows].astype(int))
            return float(len(rows) - (counts.astype(float) ** 2).sum() / len(rows))
        return float(np.square(self.values[rows] - self.values[rows].mean()).sum())

    def clipped(self) -> "Truth":
        """With the wildest numbers drawn in."""
        if self.classes:
            return self
        return replace(self, values=np.clip(self.values, *np.quantile(self.values, CLIPPED)))


@dataclass(frozen=True, slots=True)
class _Test:
    """A column that a tree may split on: a number by its rank among `levels`, else 0 or 1."""

    spec: FeatureSpec
    values: NDArray[np.float32]
    levels: NDArray[np.float64]
    category: str | None


@dataclass(frozen=True, slots=True)
class _Leaf:
    rows: Indices


@dataclass(frozen=True, slots=True)
class _Split:
    comparison: Comparison
    rows: Indices
    yes: "_Tree"
    no: "_Tree"


_Tree = _Leaf | _Split


class Sample:
    """Labelled rows by column, to learn conditions from.

    Attributes:
        truth: the true answers.
        count: of rows.
    """

    def __init__(self, schema: Schema, rows: Sequence[Row], truth: Truth, default: float, seed: int) -> None:
        self.truth, self.count, self._default, self._seed = truth, len(rows), default, seed
        self._smooth = truth.clipped()
        self._least = max(FEWEST_ROWS, math.ceil(SMALLEST_SHARE * len(rows)))
        self._columns = {spec.name: _column(spec, rows) for spec in schema.features}
        self._tests = [test for spec in schema.features for test in self._tests_of(spec)]

    def learnt(self, rows: Indices, without: Collection[str], most: int) -> list[Draft]:
        """At most `most` conditions that together cover these rows, as far as what they read is present.

        Args:
            rows: that the list is for.
            without: features that it must not read.
            most: how many conditions.

        Returns:
            An empty list where no split is worth its line.
        """
        tests = [test for test in self._tests if test.spec.name not in without]
        if most < 2 or not tests or len(rows) < 2 * self._least:
            return []
        tree = self._grown(rows, tests, DEEPEST)
        price = self._price_of_a_leaf(rows)
        pruned = self._pruned(tree, price)
        while _leaves(pruned) > most:
            price *= 1.3
            pruned = self._pruned(tree, price)
        if isinstance(pruned, _Leaf):
            return []
        drafts = [Draft(_tight(path), self.truth.best(leaf.rows)) for path, leaf in _paths(pruned)]
        return self._simplified(drafts, rows)

    def relaxed(self, drafts: Sequence[Draft], rows: Indices, without: Collection[str], most: int) -> list[Draft]:
        """The drafts that read these features, each without its comparisons of them, for rows that they then answer.

        Args:
            drafts: a list.
            rows: that nothing else answers while the features are damaged.
            without: the features.
            most: how many.
        """
        found: list[Draft] = []
        for draft in drafts:
            when = tuple(comparison for comparison in draft.when if comparison.feature not in without)
            taken = rows[self._holding(when)[rows] & (self.first(found)[rows] < 0)]
            if 0 < len(when) < len(draft.when) and len(taken) >= self._least and len(found) < most:
                found.append(Draft(when, self.truth.best(taken)))
        return found

    def first(self, drafts: Sequence[Draft], damaged: Collection[str] = ()) -> Indices:
        """The position of the draft that answers each row, -1 for none."""
        found = np.full(self.count, -1, dtype=np.intp)
        for number, draft in enumerate(drafts):
            if draft.reads.isdisjoint(damaged):
                found[(found < 0) & self._holding(draft.when)] = number
        return found

    def answers(self, drafts: Sequence[Draft], damaged: Collection[str] = ()) -> NDArray[np.float64]:
        """What is answered to each row, where no draft applies the default."""
        given = np.array([*(draft.answer for draft in drafts), self._default])
        return given[self.first(drafts, damaged)]

    def _tests_of(self, spec: FeatureSpec) -> Iterator[_Test]:
        column = self._columns[spec.name]
        none = np.empty(0)
        if spec.type is FeatureType.CATEGORY:
            found, counts = np.unique([value for value in column.tolist() if value is not None], return_counts=True)
            for place in np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]:
                category = str(found[place])
                if counts[place] >= self._least and _legible(category):
                    yield _Test(spec, (column == category).astype(np.float32), none, category)
            return
        present = ~np.isnan(column)
        if present.sum() < 2 * self._least:
            return
        if spec.type is FeatureType.BOOLEAN:
            yield _Test(spec, np.where(present, column, 0).astype(np.float32), none, None)
            return
        levels = np.unique(column[present])
        filled = np.where(present, column, np.median(column[present]))
        yield _Test(spec, np.searchsorted(levels, filled).astype(np.float32), levels, None)

    def _grown(self, rows: Indices, tests: Sequence[_Test], depth: int) -> _Tree:
        comparison = self._split(rows, tests) if depth and len(rows) >= 2 * self._least else None
        if comparison is None:
            return _Leaf(rows)
        yes, no = self._parted(rows, comparison)
        if min(len(yes), len(no)) < self._least:
            return _Leaf(rows)
        return _Split(comparison, rows, self._grown(yes, tests, depth - 1), self._grown(no, tests, depth - 1))

    def _split(self, rows: Indices, tests: Sequence[_Test]) -> Comparison | None:
        """The best comparison, with a bound as round as it may be."""
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        target = self._smooth.values[rows]
        if (target == target[0]).all():
            return None
        kind: Any = DecisionTreeClassifier if self.truth.classes else DecisionTreeRegressor
        stump = kind(max_depth=1, min_samples_leaf=self._least, random_state=self._seed)
        tree = stump.fit(np.column_stack([test.values[rows] for test in tests]), target).tree_
        if tree.node_count == 1:
            return None
        return self._comparison(rows, tests[tree.feature[0]], math.floor(tree.threshold[0]))

    def _comparison(self, rows: Indices, test: _Test, rank: int) -> Comparison:
        if test.category is not None:
            return Comparison(test.spec.name, test.spec.type, "==", test.category)
        if test.spec.type is FeatureType.BOOLEAN:
            return Comparison(test.spec.name, test.spec.type, "==", True)
        exact = Comparison(test.spec.name, test.spec.type, ">", float(test.levels[rank]))
        # Half of each: the sum of two very large numbers is none.
        between = float(test.levels[rank] / 2 + test.levels[rank + 1] / 2)
        wanted = GAIN_KEPT * self._gain(rows, exact)
        for bound in _roundings(between, MOST_DIGITS):
            if test.spec.type is FeatureType.INTEGER:
                bound = float(math.floor(bound))
            rounder = replace(exact, bound=bound)
            if self._gain(rows, rounder) >= wanted:
                return rounder
        return exact

    def _gain(self, rows: Indices, comparison: Comparison) -> float:
        yes, no = self._parted(rows, comparison)
        if min(len(yes), len(no)) < self._least:
            return -math.inf
        present = np.concatenate([yes, no])
        return self._smooth.impurity(present) - self._smooth.impurity(yes) - self._smooth.impurity(no)

    def _parted(self, rows: Indices, comparison: Comparison) -> tuple[Indices, Indices]:
        yes, no = self._holds(comparison)[rows], self._holds(comparison.opposite)[rows]
        return rows[yes], rows[no]

    def _price_of_a_leaf(self, rows: Indices) -> float:
        if self.truth.classes:
            return ACCURACY_PER_LEAF * len(rows)
        return ERROR_PER_LEAF * self.truth.loss(rows, self.truth.best(rows))

    def _pruned(self, tree: _Tree, price: float) -> _Tree:
        """The tree without splits that win less than the price of their further leaves."""
        if isinstance(tree, _Leaf):
            return tree
        pruned = replace(tree, yes=self._pruned(tree.yes, price), no=self._pruned(tree.no, price))
        whole = _Leaf(tree.rows)
        won = self._loss(whole) - self._loss(pruned)
        return pruned if won > 0 and won >= price * (_leaves(pruned) - 1) else whole

    def _loss(self, tree: _Tree) -> float:
        if isinstance(tree, _Leaf):
            return self.truth.loss(tree.rows, self.truth.best(tree.rows))
        parted = np.concatenate([tree.yes.rows, tree.no.rows])
        undecided = np.setdiff1d(tree.rows, parted)
        return self._loss(tree.yes) + self._loss(tree.no) + self.truth.loss(undecided, self._default)

    def _simplified(self, drafts: list[Draft], rows: Indices) -> list[Draft]:
        """Without comparisons that the order of the list makes needless, whatever single feature is damaged."""
        wanted = self._outcomes(drafts, rows)
        for number, draft in enumerate(drafts):
            for comparison in draft.when:
                kept = tuple(other for other in drafts[number].when if other != comparison)
                shorter = [*drafts[:number], replace(draft, when=kept), *drafts[number + 1 :]]
                if shorter[number].reads == draft.reads and self._outcomes(shorter, rows) == wanted:
                    drafts = shorter
        return drafts

    def _outcomes(self, drafts: Sequence[Draft], rows: Indices) -> list[list[int]]:
        read = sorted(frozenset[str]().union(*(draft.reads for draft in drafts)))
        return [self.first(drafts, damaged)[rows].tolist() for damaged in ((), *((name,) for name in read))]

    def _holding(self, when: Sequence[Comparison]) -> Mask:
        held: Mask = np.ones(self.count, dtype=bool)
        for comparison in when:
            held &= self._holds(comparison)
        return held

    def _holds(self, comparison: Comparison) -> Mask:
        values = self._columns[comparison.feature]
        match comparison.sign:
            case ">":
                held: Any = values > comparison.bound
            case "<=":
                held = values <= comparison.bound
            case "==":
                held = values == comparison.bound
            case _:
                present = values != None if values.dtype == object else ~np.isnan(values)  # noqa: E711 - element by element
                held = (values != comparison.bound) & present
        return np.asarray(held, dtype=bool)


def _column(spec: FeatureSpec, rows: Sequence[Row]) -> NDArray[Any]:
    """(n,) categories, None for missing; or numbers, NaN for missing, true and false as 1 and 0."""
    values = [row[spec.name] for row in rows]
    if spec.type is FeatureType.CATEGORY:
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _legible(category: str) -> bool:
    return 0 < len(category) <= LONGEST_CATEGORY and category.isprintable()


def _roundings(value: float, most: int = 17) -> Iterator[float]:
    """A number to ever more significant digits."""
    return (float(f"{value:.{digits}g}") for digits in range(1, most + 1))


def _leaves(tree: _Tree) -> int:
    return 1 if isinstance(tree, _Leaf) else _leaves(tree.yes) + _leaves(tree.no)


def _paths(tree: _Tree, path: tuple[Comparison, ...] = ()) -> Iterator[tuple[tuple[Comparison, ...], _Leaf]]:
    if isinstance(tree, _Leaf):
        yield path, tree
        return
    yield from _paths(tree.yes, (*path, tree.comparison))
    yield from _paths(tree.no, (*path, tree.comparison.opposite))


def _tight(path: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """Without comparisons that a later one implies."""
    return tuple(one for place, one in enumerate(path) if not any(other.implies(one) for other in path[place + 1 :]))
