"""Learn a rule list: a small decision tree of scikit-learn, with every leaf as one condition.

Conditions have the semantics of fallback rules: neither a comparison with a missing value nor its opposite holds. Where
missing values are frequent in the sample, one side of a split names them (`"x" in missing`). The conditions of a list
exclude one another, so that each can be read by itself.
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

SMALLEST_LEAF = 50
"""Training rows that a rule must answer."""
LEAVES, LEAVES_PER_CLASS, MOST_LEAVES = 12, 3, 32
"""Largest number of rules of a list; with many classes so many for each class, up to the last number."""
MOST_CANDIDATES, RANKING_TREES = 40, 30
"""Features that lists may read, and the trees that choose them, where the sample has more."""
MOST_FEATURES = 5
"""Features that a list reads."""
DEEPEST = 6
"""Comparisons from the root of a tree to a leaf."""
MOST_CATEGORIES = 30
"""Categories of one feature that are candidates for a comparison, the most frequent ones."""
LONGEST_CATEGORY = 60
"""Characters of a category in a condition; a longer one is not readable."""
MOST_LEVELS = 64
"""Numbers of a feature between which a split may be."""
LARGEST_CHANGE = 0.01
"""Share of a node's rows that a bound with fewer digits may move to the other side."""
MOST_DIGITS = 6
CLIP_QUANTILES = (0.02, 0.98)
"""Numeric labels are clipped to these quantiles while splits are searched, because of outliers."""
ROUNDING = 0.05
"""Share of a leaf's mean absolute error by which its answer may be rounded."""

_OPPOSITE_SIGNS = {">": "<=", "<=": ">", "==": "!=", "!=": "==", "missing": "present", "present": "missing"}
RowIndices = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature against one value.

    Attributes:
        feature: its name.
        type: its kind.
        sign: `>` or `<=` for a number, `==` or `!=` for a category or a boolean; `missing` or `present` for any.
        bound: a number, a category, or true.
        or_missing: whether it holds for a missing value as well.
    """

    feature: str
    type: FeatureType
    sign: str
    bound: float | str
    or_missing: bool = False

    @property
    def text(self) -> str:
        """The comparison in CEL."""
        missing = f"{json.dumps(self.feature, ensure_ascii=False)} in missing"
        if self.sign in ("missing", "present"):
            return missing if self.sign == "missing" else f"!({missing})"
        if self.or_missing:
            return f"({self._present} || {missing})"
        return self._present

    @property
    def _present(self) -> str:
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
        """The comparison that holds for all other rows with a value, and never for a missing one."""
        return replace(self, or_missing=False, sign=_OPPOSITE_SIGNS[self.sign])

    def implies(self, other: "Comparison") -> bool:
        """Whether the other comparison is redundant: same feature, same sign, and a weaker bound."""
        if (self.feature, self.sign) != (other.feature, other.sign) or (self.or_missing and not other.or_missing):
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
        costs: (classes, classes) cost by label and answer; None where each wrong answer costs 1.
    """

    values: NDArray[np.float64]
    classes: tuple[Answer, ...]
    costs: NDArray[np.float64] | None = None

    def best(self, rows: RowIndices) -> float:
        """The constant with the smallest loss, rounded."""
        if self.classes:
            counts = np.bincount(self.values[rows].astype(int), minlength=len(self.classes))
            return float(counts.argmax() if self.costs is None else (counts @ self.costs).argmin())
        median = float(np.median(self.values[rows]))
        slack = ROUNDING * self.loss(rows, median) / len(rows)
        return next(number for number in _roundings(median) if abs(number - median) <= slack)

    def loss(self, rows: RowIndices, answer: float) -> float:
        """The loss of a constant on some rows: the number of wrong answers, or the sum of absolute errors."""
        return float(self.losses(rows, answer).sum())

    def losses(self, rows: RowIndices, answer: "float | NDArray[np.float64]") -> NDArray[np.float64]:
        """The loss of each row."""
        if self.classes and self.costs is None:
            return np.asarray(self.values[rows] != answer, dtype=float)
        if self.classes and self.costs is not None:
            labels = self.values[rows].astype(int)
            answers = np.broadcast_to(np.nan_to_num(answer, nan=-1), labels.shape).astype(int)
            # An answer that no label has is as wrong as the worst one.
            return np.asarray(np.where(answers < 0, self.costs[labels].max(axis=1), self.costs[labels, answers]))
        return np.asarray(np.abs(self.values[rows] - answer))

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) what a wrong answer to each row costs at most; None where all cost the same."""
        return None if self.costs is None else np.asarray(self.costs.max(axis=1)[self.values.astype(int)])

    def clip(self) -> "Targets":
        """The same with outliers clipped."""
        if self.classes:
            return self
        return replace(self, values=np.clip(self.values, *np.quantile(self.values, CLIP_QUANTILES)))


@dataclass(frozen=True, slots=True)
class _SplitColumn:
    """A column that a tree may split on.

    Attributes:
        spec: its feature.
        values: (n,) level of a number, else 0 or 1; NaN for a missing value where such values decide a split.
        bounds: (levels - 1,) number between each level and the next one; empty for a category or boolean.
        category: the category that 1 stands for, or None.
        names_missing: whether a split names the side of missing values.
    """

    spec: FeatureSpec
    values: NDArray[np.float32]
    bounds: NDArray[np.float64]
    category: str | None
    names_missing: bool


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: tuple[Comparison, ...]
    rows: RowIndices
    answer: float


class FeatureColumns:
    """The features of some rows, and for which rows a condition holds.

    Attributes:
        count: the number of rows.
        values: feature -> (n,) categories, None for missing; or numbers, NaN for missing, booleans as 1 and 0.
    """

    def __init__(self, schema: Schema, rows: Sequence[Row]) -> None:
        self.count = len(rows)
        self.values = {spec.name: _column(spec, rows) for spec in schema.features}
        self._masks: dict[Comparison, Mask] = {}

    def answers(self, candidates: Sequence[CandidateRule]) -> NDArray[np.float64]:
        """(n,) answer of the first candidate that matches each row, NaN where none does."""
        answers = np.full(self.count, np.nan)
        for candidate in reversed(candidates):
            answers[self.matches(candidate.when)] = candidate.answer
        return answers

    def matches(self, when: Sequence[Comparison]) -> Mask:
        """(n,) whether all comparisons hold."""
        mask: Mask = np.ones(self.count, dtype=bool)
        for comparison in when:
            mask &= self.holds(comparison)
        return mask

    def holds(self, comparison: Comparison) -> Mask:
        """(n,) whether one comparison holds."""
        if comparison not in self._masks:
            self._masks[comparison] = self._mask(comparison)
        return self._masks[comparison]

    def missing(self, feature: str) -> Mask:
        """(n,) whether the value is missing."""
        values = self.values[feature]
        return np.asarray(values == None if values.dtype == object else np.isnan(values), dtype=bool)  # noqa: E711 - by element

    def _mask(self, comparison: Comparison) -> Mask:
        values = self.values[comparison.feature]
        match comparison.sign:
            case ">":
                mask: Any = values > comparison.bound
            case "<=":
                mask = values <= comparison.bound
            case "==":
                mask = values == comparison.bound
            case "missing" | "present":
                mask = self.missing(comparison.feature) == (comparison.sign == "missing")
            case _:
                mask = (values != comparison.bound) & ~self.missing(comparison.feature)
        mask = np.asarray(mask, dtype=bool)
        return np.asarray(mask | self.missing(comparison.feature)) if comparison.or_missing else mask


class RuleLearner:
    """Learns rule lists from labelled rows.

    Attributes:
        columns: the rows.
    """

    def __init__(self, schema: Schema, rows: Sequence[Row], targets: Targets, seed: int) -> None:
        self._targets, self._seed = targets, seed
        self.columns = FeatureColumns(schema, rows)
        self._split_columns = [column for spec in schema.features for column in self._split_columns_of(spec)]
        count, none = len(rows), np.empty((len(rows), 0), np.float32)
        columns = [column.values for column in self._split_columns]
        self._table = np.column_stack(columns) if columns else none
        self._clipped_values = targets.clip().values
        if len(schema.features) > MOST_CANDIDATES and columns:
            self._keep_useful_columns()
        self._leaves = max(LEAVES, min(LEAVES_PER_CLASS * len(targets.classes), MOST_LEAVES))
        self._all_rows = np.arange(count)

    def learn(self, without: Collection[str] = ()) -> list[CandidateRule]:
        """A rule list that reads none of some features; empty if no split gains anything."""
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        positions = [n for n, column in enumerate(self._split_columns) if column.spec.name not in without]
        values = self._clipped_values
        if not positions or len(values) < 2 * SMALLEST_LEAF or (values == values[0]).all():
            return []
        kind: Any = DecisionTreeClassifier if self._targets.classes else DecisionTreeRegressor
        limits = {"max_leaf_nodes": self._leaves, "max_depth": DEEPEST, "min_samples_leaf": SMALLEST_LEAF}
        estimator = kind(**limits, random_state=self._seed)
        tree = estimator.fit(self._table[:, positions], values, self._targets.weights).tree_
        names = self._most_useful(tree, positions)
        if len({self._split_columns[positions[n]].spec.name for n in tree.feature if n >= 0} - names):
            positions = [n for n in positions if self._split_columns[n].spec.name in names]
            tree = estimator.fit(self._table[:, positions], values, self._targets.weights).tree_
        leaves = self._grow(tree, 0, [self._split_columns[n] for n in positions], (), self._all_rows)
        if len({leaf.answer for leaf in leaves}) < 2:
            return []
        return [CandidateRule(_shorten(leaf.path), leaf.answer) for leaf in leaves]

    def _keep_useful_columns(self) -> None:
        """Keep the features that many random trees use the most, because a search over hundreds takes minutes."""
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        kind: Any = ExtraTreesClassifier if self._targets.classes else ExtraTreesRegressor
        forest = kind(RANKING_TREES, min_samples_leaf=SMALLEST_LEAF, max_features=0.3, random_state=self._seed)
        forest.fit(self._table, self._clipped_values, self._targets.weights)
        gains: dict[str, float] = {}
        for gain, column in zip(forest.feature_importances_.tolist(), self._split_columns, strict=True):
            gains[column.spec.name] = gains.get(column.spec.name, 0.0) + gain
        names = set(sorted(gains, key=lambda name: -gains[name])[:MOST_CANDIDATES])
        positions = [n for n, column in enumerate(self._split_columns) if column.spec.name in names]
        self._split_columns = [self._split_columns[n] for n in positions]
        self._table = self._table[:, positions]

    def _most_useful(self, tree: Any, positions: Sequence[int]) -> set[str]:
        """The features that a tree gains the most by: a list that reads few features survives more damage."""
        gains: dict[str, float] = {}
        for gain, position in zip(tree.compute_feature_importances().tolist(), positions, strict=True):
            name = self._split_columns[position].spec.name
            gains[name] = gains.get(name, 0.0) + gain
        return set(sorted(gains, key=lambda name: -gains[name])[:MOST_FEATURES])

    def _grow(
        self, tree: Any, node: int, columns: Sequence[_SplitColumn], path: tuple[Comparison, ...], rows: RowIndices
    ) -> list[_Leaf]:
        """The leaves below a node of a fitted tree. Two leaves of one split with the same answer become one."""
        if tree.children_left[node] < 0 or not len(rows):
            return [_Leaf(path, rows, self._targets.best(rows))] if len(rows) else []
        column = columns[tree.feature[node]]
        yes, no = self._comparisons(column, float(tree.threshold[node]), bool(tree.missing_go_to_left[node]), rows)
        # scikit-learn's left side has the smaller values.
        left, right = (no, yes)
        children = ((left, tree.children_left[node]), (right, tree.children_right[node]))
        leaves = [
            leaf
            for side, child in children
            for leaf in self._grow(tree, child, columns, (*path, side), rows[self.columns.holds(side)[rows]])
        ]
        if len(leaves) == 2 and leaves[0].answer == leaves[1].answer:
            return [_Leaf(path, rows, leaves[0].answer)]
        return leaves

    def _comparisons(
        self, column: _SplitColumn, threshold: float, missing_left: bool, rows: RowIndices
    ) -> tuple[Comparison, Comparison]:
        """The comparison with the larger values of a column, with few digits, and its opposite."""
        if not math.isfinite(threshold):
            # scikit-learn sends all present values to the left and the missing ones to the right.
            missing = Comparison(column.spec.name, column.spec.type, "missing", "")
            return missing, missing.opposite
        yes = self._comparison(column, threshold, rows)
        no = yes.opposite
        if column.names_missing:
            return replace(yes, or_missing=not missing_left), replace(no, or_missing=missing_left)
        return yes, no

    def _comparison(self, column: _SplitColumn, threshold: float, rows: RowIndices) -> Comparison:
        spec = column.spec
        if column.category is not None:
            return Comparison(spec.name, spec.type, "==", column.category)
        if spec.type is FeatureType.BOOLEAN:
            return Comparison(spec.name, spec.type, "==", True)
        exact = Comparison(spec.name, spec.type, ">", float(column.bounds[math.floor(threshold)]))
        values = self.columns.values[spec.name][rows]
        side = values > exact.bound
        for bound in _roundings(float(exact.bound), MOST_DIGITS):
            if spec.type is FeatureType.INTEGER:
                bound = float(math.floor(bound))
            if ((values > bound) != side).mean() <= LARGEST_CHANGE:
                return replace(exact, bound=bound)
        return exact

    def _split_columns_of(self, spec: FeatureSpec) -> Iterator[_SplitColumn]:
        column, missing = self.columns.values[spec.name], self.columns.missing(spec.name)
        none, names_missing = np.empty(0), bool(missing.sum() >= SMALLEST_LEAF)
        if spec.type in OPEN_TYPES or spec.date_format is not None or len(column) - missing.sum() < 2 * SMALLEST_LEAF:
            return

        def values_of(numbers: Any, filler: float) -> NDArray[np.float32]:
            return np.asarray(np.where(missing, np.nan if names_missing else filler, numbers), dtype=np.float32)

        if spec.type is FeatureType.CATEGORY:
            categories, counts = np.unique(column[~missing].astype(str), return_counts=True)
            frequent = [n for n in np.argsort(-counts, kind="stable")[:MOST_CATEGORIES] if counts[n] >= SMALLEST_LEAF]
            legible = [category for n in frequent if _is_legible(category := str(categories[n]))]
            for category in legible:
                yield _SplitColumn(spec, values_of(column == category, 0), none, category, names_missing)
            if not legible and names_missing:
                yield _SplitColumn(spec, values_of(np.zeros(len(column)), 0), none, None, names_missing)
        elif spec.type is FeatureType.BOOLEAN:
            yield _SplitColumn(spec, values_of(column, 0), none, None, names_missing)
        elif len(bounds := _bounds(column[~missing], spec)) or names_missing:
            levels = np.searchsorted(bounds, column, side="left")
            middle = float(np.searchsorted(bounds, np.median(column[~missing])))
            yield _SplitColumn(spec, values_of(levels, middle), bounds, None, names_missing)


def _bounds(numbers: NDArray[np.float64], spec: FeatureSpec) -> NDArray[np.float64]:
    """Numbers between the levels of a feature: between all its values, or between so many quantiles."""
    levels = np.unique(numbers)
    if len(levels) > MOST_LEVELS:
        levels = np.unique(np.quantile(numbers, np.linspace(0, 1, MOST_LEVELS + 1), method="inverted_cdf"))
    # The sum of two very large numbers overflows, so we add their halves.
    bounds = levels[:-1] / 2 + levels[1:] / 2
    return np.floor(bounds) if spec.type is FeatureType.INTEGER else bounds


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


def _shorten(path: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """Remove comparisons that a later one implies."""
    return tuple(
        comparison
        for position, comparison in enumerate(path)
        if not any(later.implies(comparison) for later in path[position + 1 :])
    )
