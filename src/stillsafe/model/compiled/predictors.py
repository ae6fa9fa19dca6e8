"""A compiled model: a fitted pipeline's own numbers and trees, asked without frames, checks and second passes.

It answers what scikit-learn answers, and is used only where that is proven: see `proof`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stillsafe.core.schema import Row, Schema
from stillsafe.model.compiled.preprocessing import CannotCompile, Encoder, encoder
from stillsafe.model.compiled.trees import FEW, Tree, grove_of
from stillsafe.model.confidence import ConfidenceMethod, Numbers, choose_method, raw_confidence

__all__ = ["CannotCompile", "Compiled", "Proof", "Said", "ask", "ask_about", "compile_model", "thresholds"]

Said = tuple[npt.NDArray[Any], Numbers | None, Numbers | None]
"""Per row the answer, and either its raw confidence or the probabilities of the classes."""
Evaluate = Callable[[Numbers], Said]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a compiled model was compared with scikit-learn on.

    Attributes:
        row_count: rows, the hard ones included.
        split_count: inputs at the values where its trees split, and directly beside them.
        largest_difference: of any number, relative to it or to 1.
    """

    row_count: int
    split_count: int
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model in two parts.

    Attributes:
        encode: clean rows to a matrix.
        evaluate: a matrix to what the model says of each row.
        last: the estimator behind it, as scikit-learn asks it.
        proof: that it answers the same, or None as long as there is none.
    """

    encode: Encoder
    evaluate: Evaluate
    last: Any
    proof: Proof | None = None

    def __call__(self, rows: Sequence[Row]) -> Said:
        """What the model says of each row."""
        return self.evaluate(self.encode(rows))


def compile_model(estimator: Any, schema: Schema) -> Compiled:
    """A fitted estimator, compiled but not yet proven.

    Raises:
        CannotCompile: a part of it is not known here.
    """
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and len(steps) > 1 and not hasattr(steps[0], "n_features_in_"):
        raise CannotCompile("the pipeline does not say which columns it takes")
    last = steps[-1]
    chosen = schema.names if names is None else [str(name) for name in names]
    return Compiled(encoder(steps[:-1], schema, chosen), _evaluator(last), last)


def ask(estimator: Any, inputs: Any, method: ConfidenceMethod, *, classifies: bool) -> Said:
    """What a fitted estimator says of inputs that it takes as they are."""
    answers = np.asarray(estimator.predict(inputs), None if classifies else np.float64)
    if method is ConfidenceMethod.CLASS_PROBABILITY:
        return answers, None, np.asarray(estimator.predict_proba(inputs), np.float64)
    return answers, raw_confidence(estimator, inputs)[1], None


def ask_about(last: Any, matrix: Numbers) -> Said:
    """What a fitted estimator says of the rows of a matrix, which it gets with the names that it knows."""
    names, method, classifies = getattr(last, "feature_names_in_", None), choose_method(last), hasattr(last, "classes_")
    if names is None:
        return ask(last, matrix, method, classifies=classifies)
    import pandas as pd

    return ask(last, pd.DataFrame(matrix, columns=names), method, classifies=classifies)


def thresholds(last: Any) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Where an estimator's trees split: the columns of its matrix, and the values there; empty where there are none."""
    kind = type(last).__name__
    if kind not in _OWN:
        return np.empty(0, np.int64), np.empty(0)
    if _OWN[kind] is _boosted:
        nodes = np.concatenate([tree.nodes[tree.nodes["is_leaf"] == 0] for stage in last._predictors for tree in stage])
        return nodes["feature_idx"].astype(np.int64), nodes["num_threshold"].astype(np.float64)
    columns = np.concatenate([member.tree_.feature for member in last.estimators_])
    values = np.concatenate([member.tree_.threshold for member in last.estimators_])
    return columns[columns >= 0].astype(np.int64), values[columns >= 0].astype(np.float64)


def _evaluator(last: Any) -> Evaluate:
    if not type(last).__module__.startswith("sklearn."):
        raise CannotCompile(f"{type(last).__name__} is not scikit-learn's own")
    if make := _OWN.get(type(last).__name__):
        return make(last)
    return lambda matrix: ask_about(last, matrix)


def _boosted(last: Any) -> Evaluate:
    """Histogram gradient boosting: its trees' values added to its baseline, tree by tree, in its order."""
    if getattr(last, "_preprocessor", None) is not None or last.is_categorical_ is not None:
        raise CannotCompile(f"{type(last).__name__} with categorical features")
    bitsets, places = last._bin_mapper.make_known_categories_bitsets()
    trees = [(column, tree) for stage in last._predictors for column, tree in enumerate(stage)]
    baseline, width, loss = last._baseline_prediction, last.n_trees_per_iteration_, last._loss
    grove = grove_of([_boosted_tree(tree.nodes) for _, tree in trees])
    values = np.concatenate([tree.nodes["value"] for _, tree in trees])

    def raw(matrix: Numbers) -> Numbers:
        if grove is not None and len(matrix) <= FEW:
            added = values[grove.leaves(matrix)].reshape(len(matrix), -1, width)
            first = np.broadcast_to(baseline.reshape(1, 1, width), (len(matrix), 1, width))
            # A running sum adds in order, which a plain sum need not.
            return np.asfortranarray(np.cumsum(np.concatenate([first, added], axis=1), axis=1)[:, -1])
        total = np.zeros((len(matrix), width), dtype=baseline.dtype, order="F")
        total += baseline
        for column, tree in trees:
            total[:, column] += tree.predict(matrix, bitsets, places, 1)
        return total

    def classify(matrix: Numbers) -> Said:
        total = raw(matrix)
        chosen = (total[:, 0] > 0).astype(int) if width == 1 else np.argmax(total, axis=1)
        return last.classes_[chosen], None, np.asarray(loss.predict_proba(total), np.float64)

    def regress(matrix: Numbers) -> Said:
        answers = np.asarray(loss.link.inverse(raw(matrix).ravel()), np.float64)
        return answers, answers, None

    return classify if hasattr(last, "classes_") else regress


def _boosted_tree(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, -1, nodes[side].astype(np.intp)) for side in ("left", "right"))
    missing_left = nodes["missing_go_to_left"].astype(bool)
    return Tree(nodes["feature_idx"], nodes["num_threshold"], missing_left, left, right)


def _forest(last: Any) -> Evaluate:
    """A forest: its trees' answers added in order and divided by their number. Its trees take 32-bit numbers."""
    if last.n_outputs_ != 1 or len(last.estimators_) == 1:
        raise CannotCompile(f"{type(last).__name__} with several outputs or one tree")
    trees = [member.tree_ for member in last.estimators_]
    grove = grove_of([_grown_tree(tree) for tree in trees])
    values = np.concatenate([tree.value[:, 0] for tree in trees])

    def members(narrow: npt.NDArray[np.float32]) -> Sequence[Numbers]:
        """Per tree what it answers, (n, classes) or (n, 1)."""
        if grove is not None and len(narrow) <= FEW:
            return list(values[grove.leaves(narrow.astype(np.float64)).T])
        return [tree.predict(narrow) for tree in trees]

    def classify(matrix: Numbers) -> Said:
        narrow = matrix.astype(np.float32)
        if not np.isfinite(narrow).all():
            return ask_about(last, matrix)
        total = sum(members(narrow), np.zeros((len(matrix), len(last.classes_)))) / len(trees)
        return last.classes_.take(np.argmax(total, axis=1)), None, total

    def regress(matrix: Numbers) -> Said:
        narrow = matrix.astype(np.float32)
        if not np.isfinite(narrow).all():
            return ask_about(last, matrix)
        answers = np.array([answer[:, 0] for answer in members(narrow)])
        return sum(answers, np.zeros(len(matrix))) / len(trees), np.asarray(np.std(answers, axis=0)), None

    return classify if hasattr(last, "classes_") else regress


def _grown_tree(tree: Any) -> Tree:
    return Tree(
        tree.feature, tree.threshold, tree.missing_go_to_left.astype(bool), tree.children_left, tree.children_right
    )


_OWN: dict[str, Callable[[Any], Evaluate]] = {
    "HistGradientBoostingClassifier": _boosted,
    "HistGradientBoostingRegressor": _boosted,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
}
