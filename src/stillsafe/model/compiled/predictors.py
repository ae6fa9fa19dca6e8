"""A compiled model: the numbers and trees of a fitted pipeline, evaluated without data frames and input checks.

It is only served if it predicts the same as scikit-learn; see `equivalence`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stillsafe.core.schema import Row, Schema
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.compiled.preprocessing import CannotCompile, Encoder, encoder
from stillsafe.model.compiled.trees import FEW, Tree, tree_ensemble
from stillsafe.model.confidence import ConfidenceMethod, Numbers, choose_method, raw_confidence

__all__ = [
    "CannotCompile",
    "CompiledModel",
    "EquivalenceCheck",
    "RawOutput",
    "compile_model",
    "predict_raw",
    "predict_raw_matrix",
    "thresholds",
]

RawOutput = tuple[npt.NDArray[Any], Numbers | None, Numbers | None]
"""Per row the prediction, and either its raw confidence or the probabilities of the classes."""
Evaluate = Callable[[Numbers], RawOutput]


@dataclass(frozen=True, slots=True)
class EquivalenceCheck:
    """The inputs on which a compiled model predicted the same as scikit-learn.

    Attributes:
        row_count: rows, edge cases included.
        split_count: inputs at the thresholds of its trees and at the next smaller and larger number.
        largest_difference: of any number, relative to it or to 1.
    """

    row_count: int
    split_count: int
    largest_difference: float


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model in two parts.

    Attributes:
        encode: converts clean rows to a matrix.
        evaluate: converts a matrix to the raw output.
        estimator: the last step of the pipeline.
        equivalence: the check against scikit-learn, or None before the check.
    """

    encode: Encoder
    evaluate: Evaluate
    estimator: Any
    equivalence: EquivalenceCheck | None = None

    def __call__(self, rows: Sequence[Row]) -> RawOutput:
        """The raw output for each row."""
        return self.evaluate(self.encode(rows))


def compile_model(estimator: Any, schema: Schema) -> CompiledModel:
    """Compile a fitted estimator, without the equivalence check.

    Raises:
        CannotCompile: a part of it is not supported.
    """
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and len(steps) > 1 and not hasattr(steps[0], "n_features_in_"):
        raise CannotCompile("the pipeline has no names for its input columns")
    last = steps[-1]
    columns = schema.names if names is None else [str(name) for name in names]
    if isinstance(last, BoosterModel):
        return CompiledModel(encoder(steps[:-1], schema, columns, last), _booster(steps[:-1], last), last)
    return CompiledModel(encoder(steps[:-1], schema, columns), _evaluator(last), last)


def predict_raw(estimator: Any, inputs: Any, method: ConfidenceMethod, *, classifies: bool) -> RawOutput:
    """The raw output of a fitted estimator, for inputs in the form that it was fitted with."""
    if isinstance(estimator, BoosterModel):
        return estimator.raw_output(inputs)
    predictions = np.asarray(estimator.predict(inputs), None if classifies else np.float64)
    if method is ConfidenceMethod.CLASS_PROBABILITY:
        return predictions, None, np.asarray(estimator.predict_proba(inputs), np.float64)
    return predictions, raw_confidence(estimator, inputs)[1], None


def predict_raw_matrix(last: Any, matrix: Numbers) -> RawOutput:
    """The raw output of a fitted estimator for the rows of a matrix, with column names if it was fitted with names."""
    names, method = getattr(last, "feature_names_in_", None), choose_method(last)
    classifies = hasattr(last, "classes_") or hasattr(last, "decision_function")
    if names is None:
        return predict_raw(last, matrix, method, classifies=classifies)
    import pandas as pd

    return predict_raw(last, pd.DataFrame(matrix, columns=names), method, classifies=classifies)


def thresholds(last: Any) -> tuple[npt.NDArray[np.int64], Numbers]:
    """The thresholds of an estimator's trees: columns of the matrix, and values; empty without trees."""
    kind = type(last).__name__
    if kind not in _EVALUATORS:
        return np.empty(0, np.int64), np.empty(0)
    if _EVALUATORS[kind] is _boosting:
        nodes = np.concatenate([tree.nodes[tree.nodes["is_leaf"] == 0] for stage in last._predictors for tree in stage])
        return nodes["feature_idx"].astype(np.int64), nodes["num_threshold"].astype(np.float64)
    columns = np.concatenate([member.tree_.feature for member in last.estimators_])
    values = np.concatenate([member.tree_.threshold for member in last.estimators_])
    return columns[columns >= 0].astype(np.int64), values[columns >= 0].astype(np.float64)


def _evaluator(last: Any) -> Evaluate:
    if not type(last).__module__.startswith("sklearn."):
        raise CannotCompile(f"{type(last).__name__} is not part of scikit-learn")
    if make := _EVALUATORS.get(type(last).__name__):
        return make(last)
    return lambda matrix: predict_raw_matrix(last, matrix)


def _booster(steps: Sequence[Any], last: BoosterModel) -> Evaluate:
    """A booster of another library. XGBoost reads the zeros of a sparse matrix as missing values."""
    is_sparse = bool(steps) and any(
        getattr(steps[-1], name, False) is True for name in ("sparse_output_", "sparse_output")
    )
    if is_sparse and last.library == "xgboost":
        return lambda matrix: last.evaluate(np.where(matrix == 0, np.nan, matrix))
    return last.evaluate


def _boosting(last: Any) -> Evaluate:
    """Histogram gradient boosting: the values of its trees, added to its baseline in scikit-learn's order."""
    if getattr(last, "_preprocessor", None) is not None or last.is_categorical_ is not None:
        raise CannotCompile(f"{type(last).__name__} with categorical features")
    bitsets, bitset_positions = last._bin_mapper.make_known_categories_bitsets()
    trees = [(column, tree) for stage in last._predictors for column, tree in enumerate(stage)]
    baseline, width, loss = last._baseline_prediction, last.n_trees_per_iteration_, last._loss
    ensemble = tree_ensemble([_boosting_tree(tree.nodes) for _, tree in trees])
    values = np.concatenate([tree.nodes["value"] for _, tree in trees])

    def raw(matrix: Numbers) -> Numbers:
        if ensemble is not None and len(matrix) <= FEW:
            tree_values = values[ensemble.leaves(matrix)].reshape(len(matrix), -1, width)
            first = np.broadcast_to(baseline.reshape(1, 1, width), (len(matrix), 1, width))
            # np.sum may add in another order, so we use the running sum.
            return np.asfortranarray(np.cumsum(np.concatenate([first, tree_values], axis=1), axis=1)[:, -1])
        total = np.zeros((len(matrix), width), dtype=baseline.dtype, order="F")
        total += baseline
        for column, tree in trees:
            total[:, column] += tree.predict(matrix, bitsets, bitset_positions, 1)
        return total

    def classify(matrix: Numbers) -> RawOutput:
        total = raw(matrix)
        positions = (total[:, 0] > 0).astype(int) if width == 1 else np.argmax(total, axis=1)
        return last.classes_[positions], None, np.asarray(loss.predict_proba(total), np.float64)

    def regress(matrix: Numbers) -> RawOutput:
        predictions = np.asarray(loss.link.inverse(raw(matrix).ravel()), np.float64)
        return predictions, predictions, None

    return classify if hasattr(last, "classes_") else regress


def _boosting_tree(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, -1, nodes[side].astype(np.intp)) for side in ("left", "right"))
    missing_left = nodes["missing_go_to_left"].astype(bool)
    return Tree(nodes["feature_idx"], nodes["num_threshold"], missing_left, left, right)


def _forest(last: Any) -> Evaluate:
    """A forest: the mean of its trees' predictions, added in order. Its trees take 32-bit numbers."""
    if last.n_outputs_ != 1 or len(last.estimators_) == 1:
        raise CannotCompile(f"{type(last).__name__} with several outputs or one tree")
    trees = [member.tree_ for member in last.estimators_]
    ensemble = tree_ensemble([_forest_tree(tree) for tree in trees])
    values = np.concatenate([tree.value[:, 0] for tree in trees])

    def tree_predictions(narrow: npt.NDArray[np.float32]) -> Sequence[Numbers]:
        """Per tree its predictions, (n, classes) or (n, 1)."""
        if ensemble is not None and len(narrow) <= FEW:
            return list(values[ensemble.leaves(narrow.astype(np.float64)).T])
        return [tree.predict(narrow) for tree in trees]

    def classify(matrix: Numbers) -> RawOutput:
        narrow = matrix.astype(np.float32)
        if not np.isfinite(narrow).all():
            return predict_raw_matrix(last, matrix)
        total = sum(tree_predictions(narrow), np.zeros((len(matrix), len(last.classes_)))) / len(trees)
        return last.classes_.take(np.argmax(total, axis=1)), None, total

    def regress(matrix: Numbers) -> RawOutput:
        narrow = matrix.astype(np.float32)
        if not np.isfinite(narrow).all():
            return predict_raw_matrix(last, matrix)
        outputs = np.array([output[:, 0] for output in tree_predictions(narrow)])
        return sum(outputs, np.zeros(len(matrix))) / len(trees), np.asarray(np.std(outputs, axis=0)), None

    return classify if hasattr(last, "classes_") else regress


def _forest_tree(tree: Any) -> Tree:
    return Tree(
        tree.feature, tree.threshold, tree.missing_go_to_left.astype(bool), tree.children_left, tree.children_right
    )


_EVALUATORS: dict[str, Callable[[Any], Evaluate]] = {
    "HistGradientBoostingClassifier": _boosting,
    "HistGradientBoostingRegressor": _boosting,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
}
