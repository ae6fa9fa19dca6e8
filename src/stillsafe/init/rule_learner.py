"""Learn fallback rules: a small decision tree of comparisons, converted to an ordered list of conditions.

Conditions have the semantics of fallback rules: neither a comparison with a missing value nor its opposite holds.
"""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import OPEN_TYPES, TEXT_TYPES, FeatureSpec, FeatureType, Row, Schema
from stillsafe.rules import variable

MOST_COMPARISONS = 3
"""Comparisons in one condition."""
FEWEST_ROWS, SMALLEST_SHARE = 30, 0.02
"""Training rows that a condition must cover, as a number and as a share."""
MOST_CATEGORIES = 30
"""Categories of one feature that are candidates for a comparison, the most frequent ones."""
LONGEST_CATEGORY = 60
"""Characters of a category in a condition; a longer one is not readable."""
SMALLEST_GAIN_SHARE = 0.95
"""Share of a split's gain that a bound with fewer digits must keep."""
MOST_DIGITS = 6
ACCURACY_PER_LEAF = 0.003
"""Smallest gain of accuracy that justifies another leaf."""
ERROR_PER_LEAF = 0.005
"""Smallest gain that justifies another leaf, as a share of the error of the best constant."""
CLIP_QUANTILES = (0.02, 0.98)
"""Numeric labels are clipped to these quantiles while splits are searched, because of outliers."""
ROUNDING = 0.05
"""Share of a leaf's mean absolute error by which its answer may be rounded."""

RowIndices = NDArray[np.intp]
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
                # A JSON string is a valid CEL string.
                return f"{name} {self.sign} {json.dumps(self.bound, ensure_ascii=False)}"
            case FeatureType.INTEGER:
                return f"{name} {self.sign} {int(self.bound)}"
            case _:
                return f"{name} {self.sign} {float(self.bound)!r}"

    @property
    def opposite(self) -> "Comparison":
        """The comparison that holds for all other rows with a value."""
        return replace(self, sign={">": "<=", "<=": ">", "==": "!=", "!=": "=="}[self.sign])

    def implies(self, other: "Comparison") -> bool:
        """Whether the other comparison is redundant: same feature, same sign, and a weaker bound."""
        if (self.feature, self.sign) != (other.feature, other.sign):
            return False
        if self.sign == ">":
            return self.bound >= other.bound  # type: ignore[operator]  # numbers, as the sign says
        return self.bound <= other.bound if self.sign == "<=" else self.bound == other.bound  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class CandidateRule:
    """A candidate rule: all comparisons must hold. `answer` is the position of a class, or a number."""

    when: tuple[Comparison, ...]
    answer: float

    @property
    def text(self) -> str:
        """The condition in CEL."""
        return " && ".join(comparison.text for comparison in self.when)

    @property
    def reads(self) -> frozenset[str]:
        """The features that the condition reads."""
        return frozenset(comparison.feature for comparison in self.when)


@dataclass(frozen=True, slots=True)
class Targets:
    """The labels as numbers.

    Attributes:
        values: (n,) positions in `classes`, or the labels themselves.
        classes: the classes of a classifier; empty for a regressor.
    """

    values: NDArray[np.float64]
    classes: tuple[Answer, ...]

    def best(self, rows: RowIndices) -> float:
        """The constant with the smallest loss, rounded."""
        if self.classes:
            return float(np.bincount(self.values[rows].astype(int), minlength=len(self.classes)).argmax())
        median = float(np.median(self.values[rows]))
        slack = ROUNDING * self.loss(rows, median) / len(rows)
        return next(number for number in _roundings(median) if abs(number - median) <= slack)

    def loss(self, rows: RowIndices, answer: float) -> float:
        """The loss of a constant on some rows: the number of wrong answers, or the sum of absolute errors."""
        return float(self.losses(rows, answer).sum())

    def losses(self, rows: RowIndices, answer: "float | NDArray[np.float64]") -> NDArray[np.float64]:
        """The loss of each row."""
        if self.classes:
            return np.asarray(self.values[rows] != answer, dtype=float)
        return np.asarray(np.abs(self.values[rows] - answer))

    def impurity(self, rows: RowIndices) -> float:
        """Gini impurity or squared error of some rows."""
        if not len(rows):
            return 0.0
        if self.classes:
            counts = np.bincount(self.values[rows].astype(int))
            return float(len(rows) - (counts.astype(float) ** 2).sum() / len(rows))
        return float(np.square(self.values[rows] - self.values[rows].mean()).sum())

    def clip(self) -> "Targets":
        """The same with outliers clipped."""
        if self.classes:
            return self
        return replace(self, values=np.clip(self.values, *np.quantile(self.values, CLIP_QUANTILES)))


@dataclass(frozen=True, slots=True)
class _SplitColumn:
    """A column that a tree may split on: a number as its rank among `levels`, else 0 or 1."""

    spec: FeatureSpec
    values: NDArray[np.float32]
    levels: NDArray[np.float64]
    category: str | None


@dataclass(frozen=True, slots=True)
class _Leaf:
    rows: RowIndices


@dataclass(frozen=True, slots=True)
class _Split:
    comparison: Comparison
    rows: RowIndices
    yes: "_Tree"
    no: "_Tree"


_Tree = _Leaf | _Split


class RuleLearner:
    """Learns candidate rules from labelled rows.

    Attributes:
        targets: the labels.
        count: the number of rows.
    """

    def __init__(self, schema: Schema, rows: Sequence[Row], targets: Targets, default: float, seed: int) -> None:
        self.targets, self.count, self._default, self._seed = targets, len(rows), default, seed
        self._clipped_targets = targets.clip()
        self._fewest_rows = max(FEWEST_ROWS, math.ceil(SMALLEST_SHARE * len(rows)))
        self._columns = {spec.name: _column(spec, rows) for spec in schema.features}
        self._split_columns = [column for spec in schema.features for column in self._split_columns_of(spec)]

    def learn(self, rows: RowIndices, without: Collection[str], most: int) -> list[CandidateRule]:
        """Learn candidates that together cover some rows, except rows with missing values.

        Args:
            rows: the rows to cover.
            without: features that no condition may read.
            most: the largest number of candidates.

        Returns:
            An empty list if no split gains enough.
        """
        columns = [column for column in self._split_columns if column.spec.name not in without]
        if most < 2 or not columns or len(rows) < 2 * self._fewest_rows:
            return []
        tree = self._grow(rows, columns, MOST_COMPARISONS)
        penalty = self._leaf_penalty(rows)
        small_tree = self._prune(tree, penalty)
        while _leaves(small_tree) > most:
            penalty *= 1.3
            small_tree = self._prune(tree, penalty)
        if isinstance(small_tree, _Leaf):
            return []
        candidates = [CandidateRule(_shorten(path), self.targets.best(leaf.rows)) for path, leaf in _paths(small_tree)]
        return self._simplify(candidates, rows)

    def relax(
        self, candidates: Sequence[CandidateRule], rows: RowIndices, without: Collection[str], most: int
    ) -> list[CandidateRule]:
        """Candidates without their comparisons of some features.

        Args:
            candidates: the candidates to relax; those that do not read the features are left out.
            rows: rows that no other rule answers while the features are damaged.
            without: the features.
            most: the largest number of relaxed candidates.
        """
        relaxed_rules: list[CandidateRule] = []
        for candidate in candidates:
            comparisons = tuple(comparison for comparison in candidate.when if comparison.feature not in without)
            matching_rows = rows[self._matches(comparisons)[rows] & (self.first_match(relaxed_rules)[rows] < 0)]
            is_shorter = 0 < len(comparisons) < len(candidate.when)
            if is_shorter and len(matching_rows) >= self._fewest_rows and len(relaxed_rules) < most:
                relaxed_rules.append(CandidateRule(comparisons, self.targets.best(matching_rows)))
        return relaxed_rules

    def first_match(self, candidates: Sequence[CandidateRule], damaged_features: Collection[str] = ()) -> RowIndices:
        """(n,) position of the candidate that answers each row, -1 for none."""
        positions = np.full(self.count, -1, dtype=np.intp)
        for position, candidate in enumerate(candidates):
            if candidate.reads.isdisjoint(damaged_features):
                positions[(positions < 0) & self._matches(candidate.when)] = position
        return positions

    def predictions(
        self, candidates: Sequence[CandidateRule], damaged_features: Collection[str] = ()
    ) -> NDArray[np.float64]:
        """(n,) answer of the candidates to each row, the default if none matches."""
        answers = np.array([*(candidate.answer for candidate in candidates), self._default])
        return answers[self.first_match(candidates, damaged_features)]

    def _split_columns_of(self, spec: FeatureSpec) -> Iterator[_SplitColumn]:
        column = self._columns[spec.name]
        none = np.empty(0)
        if spec.type in OPEN_TYPES:
            return
        if spec.type is FeatureType.CATEGORY:
            present_values = [value for value in column.tolist() if value is not None]
            categories, counts = np.unique(present_values, return_counts=True)
            for position in np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]:
                category = str(categories[position])
                if counts[position] >= self._fewest_rows and _is_legible(category):
                    yield _SplitColumn(spec, (column == category).astype(np.float32), none, category)
            return
        present = ~np.isnan(column)
        if present.sum() < 2 * self._fewest_rows:
            return
        if spec.type is FeatureType.BOOLEAN:
            yield _SplitColumn(spec, np.where(present, column, 0).astype(np.float32), none, None)
            return
        levels = np.unique(column[present])
        numbers = np.where(present, column, np.median(column[present]))
        yield _SplitColumn(spec, np.searchsorted(levels, numbers).astype(np.float32), levels, None)

    def _grow(self, rows: RowIndices, columns: Sequence[_SplitColumn], depth: int) -> _Tree:
        comparison = self._split(rows, columns) if depth and len(rows) >= 2 * self._fewest_rows else None
        if comparison is None:
            return _Leaf(rows)
        yes, no = self._partition(rows, comparison)
        if min(len(yes), len(no)) < self._fewest_rows:
            return _Leaf(rows)
        return _Split(comparison, rows, self._grow(yes, columns, depth - 1), self._grow(no, columns, depth - 1))

    def _split(self, rows: RowIndices, columns: Sequence[_SplitColumn]) -> Comparison | None:
        """The best comparison, with as few digits as possible."""
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        target = self._clipped_targets.values[rows]
        if (target == target[0]).all():
            return None
        kind: Any = DecisionTreeClassifier if self.targets.classes else DecisionTreeRegressor
        stump = kind(max_depth=1, min_samples_leaf=self._fewest_rows, random_state=self._seed)
        tree = stump.fit(np.column_stack([column.values[rows] for column in columns]), target).tree_
        if tree.node_count == 1:
            return None
        return self._comparison(rows, columns[tree.feature[0]], math.floor(tree.threshold[0]))

    def _comparison(self, rows: RowIndices, column: _SplitColumn, rank: int) -> Comparison:
        spec = column.spec
        if column.category is not None:
            return Comparison(spec.name, spec.type, "==", column.category)
        if spec.type is FeatureType.BOOLEAN:
            return Comparison(spec.name, spec.type, "==", True)
        exact = Comparison(spec.name, spec.type, ">", float(column.levels[rank]))
        # The sum of two very large numbers overflows, so we add their halves.
        between = float(column.levels[rank] / 2 + column.levels[rank + 1] / 2)
        least_gain = SMALLEST_GAIN_SHARE * self._gain(rows, exact)
        for bound in _roundings(between, MOST_DIGITS):
            if spec.type is FeatureType.INTEGER:
                bound = float(math.floor(bound))
            round_comparison = replace(exact, bound=bound)
            if self._gain(rows, round_comparison) >= least_gain:
                return round_comparison
        return exact

    def _gain(self, rows: RowIndices, comparison: Comparison) -> float:
        yes, no = self._partition(rows, comparison)
        if min(len(yes), len(no)) < self._fewest_rows:
            return -math.inf
        present = np.concatenate([yes, no])
        return (
            self._clipped_targets.impurity(present)
            - self._clipped_targets.impurity(yes)
            - self._clipped_targets.impurity(no)
        )

    def _partition(self, rows: RowIndices, comparison: Comparison) -> tuple[RowIndices, RowIndices]:
        yes, no = self._holds(comparison)[rows], self._holds(comparison.opposite)[rows]
        return rows[yes], rows[no]

    def _leaf_penalty(self, rows: RowIndices) -> float:
        if self.targets.classes:
            return ACCURACY_PER_LEAF * len(rows)
        return ERROR_PER_LEAF * self.targets.loss(rows, self.targets.best(rows))

    def _prune(self, tree: _Tree, penalty: float) -> _Tree:
        """The tree without splits that gain less than the penalty of their additional leaves."""
        if isinstance(tree, _Leaf):
            return tree
        subtree = replace(tree, yes=self._prune(tree.yes, penalty), no=self._prune(tree.no, penalty))
        leaf = _Leaf(tree.rows)
        gain = self._loss(leaf) - self._loss(subtree)
        return subtree if gain > 0 and gain >= penalty * (_leaves(subtree) - 1) else leaf

    def _loss(self, tree: _Tree) -> float:
        if isinstance(tree, _Leaf):
            return self.targets.loss(tree.rows, self.targets.best(tree.rows))
        decided_rows = np.concatenate([tree.yes.rows, tree.no.rows])
        undecided_rows = np.setdiff1d(tree.rows, decided_rows)
        return self._loss(tree.yes) + self._loss(tree.no) + self.targets.loss(undecided_rows, self._default)

    def _simplify(self, candidates: list[CandidateRule], rows: RowIndices) -> list[CandidateRule]:
        """Remove comparisons that the order of the list makes redundant, whichever single feature is damaged."""
        outcomes = self._outcomes(candidates, rows)
        for position, candidate in enumerate(candidates):
            for comparison in candidate.when:
                comparisons = tuple(other for other in candidates[position].when if other != comparison)
                shorter = [*candidates[:position], replace(candidate, when=comparisons), *candidates[position + 1 :]]
                if shorter[position].reads == candidate.reads and self._outcomes(shorter, rows) == outcomes:
                    candidates = shorter
        return candidates

    def _outcomes(self, candidates: Sequence[CandidateRule], rows: RowIndices) -> list[list[int]]:
        read_features = sorted(frozenset[str]().union(*(candidate.reads for candidate in candidates)))
        scenarios = [(), *((name,) for name in read_features)]
        return [self.first_match(candidates, scenario)[rows].tolist() for scenario in scenarios]

    def _matches(self, when: Sequence[Comparison]) -> Mask:
        mask: Mask = np.ones(self.count, dtype=bool)
        for comparison in when:
            mask &= self._holds(comparison)
        return mask

    def _holds(self, comparison: Comparison) -> Mask:
        values = self._columns[comparison.feature]
        match comparison.sign:
            case ">":
                mask: Any = values > comparison.bound
            case "<=":
                mask = values <= comparison.bound
            case "==":
                mask = values == comparison.bound
            case _:
                present = values != None if values.dtype == object else ~np.isnan(values)  # noqa: E711 - element by element
                mask = (values != comparison.bound) & present
        return np.asarray(mask, dtype=bool)


def _column(spec: FeatureSpec, rows: Sequence[Row]) -> NDArray[Any]:
    """(n,) categories, None for missing; or numbers, NaN for missing, booleans as 1 and 0."""
    values = [row[spec.name] for row in rows]
    if spec.type in TEXT_TYPES:
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _is_legible(category: str) -> bool:
    return 0 < len(category) <= LONGEST_CATEGORY and category.isprintable()


def _roundings(value: float, most: int = 17) -> Iterator[float]:
    """A number with 1, 2, ... significant digits."""
    return (float(f"{value:.{digits}g}") for digits in range(1, most + 1))


def _leaves(tree: _Tree) -> int:
    return 1 if isinstance(tree, _Leaf) else _leaves(tree.yes) + _leaves(tree.no)


def _paths(tree: _Tree, path: tuple[Comparison, ...] = ()) -> Iterator[tuple[tuple[Comparison, ...], _Leaf]]:
    if isinstance(tree, _Leaf):
        yield path, tree
        return
    yield from _paths(tree.yes, (*path, tree.comparison))
    yield from _paths(tree.no, (*path, tree.comparison.opposite))


def _shorten(path: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """Remove comparisons that a later one implies."""
    return tuple(
        comparison
        for position, comparison in enumerate(path)
        if not any(later.implies(comparison) for later in path[position + 1 :])
    )
