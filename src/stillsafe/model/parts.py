"""The parts of a fitted estimator: its steps and transformers, and the columns that its encoders encode."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stillsafe.model.boosters.adapter import BoosterModel

DEEPEST = 12
"""Deepest nesting of estimators that is searched."""


def estimator_parts(part: Any, depth: int = DEEPEST) -> Iterator[Any]:
    """An estimator and every estimator inside it, outermost first."""
    if depth == 0 or part is None or isinstance(part, str | bytes | int | float | np.ndarray):
        return
    if isinstance(part, list | tuple | dict):
        members = part.values() if isinstance(part, dict) else part
    elif (hasattr(part, "get_params") or hasattr(part, "transform")) and hasattr(part, "__dict__"):
        yield part
        members = vars(part).values()
    else:
        return
    for member in list(members):
        yield from estimator_parts(member, depth - 1)


def class_name(part: Any) -> str:
    """The name of a class of scikit-learn; empty for a class of another package, which may have the same name."""
    return type(part).__name__ if type(part).__module__.startswith("sklearn.") else ""


def encoded_columns(estimator: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The columns that an encoder of categories takes, each with the categories that it was fitted on.

    Args:
        estimator: a fitted estimator.
        names: the columns that it takes, in its order.
    """
    columns: dict[str, tuple[Any, ...]] = {}
    for part, part_names in _parts_with_columns(estimator, names):
        if isinstance(part, BoosterModel):
            columns |= part.encoded_columns(part_names)
            continue
        category_lists = getattr(part, "categories_", None)
        flags = getattr(part, "is_categorical_", None)  # gradient boosting on histograms with categorical features
        if isinstance(category_lists, list) and len(category_lists) == len(part_names):
            columns |= {
                name: tuple(np.asarray(each).tolist()) for name, each in zip(part_names, category_lists, strict=True)
            }
        elif flags is not None and len(flags) == len(part_names):
            columns |= {name: () for name, is_category in zip(part_names, flags, strict=True) if is_category}
    return columns


def opaque_columns(estimator: Any, names: Sequence[str]) -> frozenset[str]:
    """The columns that a function or a transformer outside scikit-learn takes, which may treat a number as a code."""
    opaque: set[str] = set()
    for part, part_names in _parts_with_columns(estimator, names):
        is_function = class_name(part) == "FunctionTransformer" and part.func is not None
        if is_function or (not class_name(part) and hasattr(part, "transform")):
            opaque |= set(part_names)
    return frozenset(opaque)


def ordered_categories(estimator: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The columns whose categories an ordinal encoder has in a stated order, which is not that of the alphabet."""
    orders: dict[str, tuple[Any, ...]] = {}
    for part, part_names in _parts_with_columns(estimator, names):
        lists = getattr(part, "categories_", ()) if class_name(part) == "OrdinalEncoder" else ()
        if len(lists) == len(part_names):
            orders |= {name: tuple(np.asarray(each).tolist()) for name, each in zip(part_names, lists, strict=True)}
    texts = {name: order for name, order in orders.items() if all(isinstance(each, str) for each in order)}
    return {name: order for name, order in texts.items() if list(order) != sorted(order)}


def vectorized_columns(estimator: Any, names: Sequence[str]) -> frozenset[str]:
    """The columns of texts of which a vectorizer of scikit-learn takes single words."""
    return frozenset(
        name
        for part, part_names in _parts_with_columns(estimator, names)
        if hasattr(part, "build_analyzer")
        for name in part_names
    )


def _parts_with_columns(estimator: Any, names: Sequence[str]) -> Iterator[tuple[Any, Sequence[str]]]:
    """The innermost steps and transformers, each with the columns of the table that reach it, as far as is known."""
    if estimator is None or isinstance(estimator, str):
        return
    if steps := _tuples(getattr(estimator, "steps", None), 2):
        for _, step in steps:
            yield from _parts_with_columns(step, names)
            if not _keeps_columns(step, len(names)):
                break
    elif transformers := _tuples(getattr(estimator, "transformers_", None), 3):
        for _, step, selection in transformers:
            yield from _parts_with_columns(step, selected_columns(selection, names))
    elif inner := [part for attribute in _WRAPPER_ATTRIBUTES for part in _members(getattr(estimator, attribute, None))]:
        for part in inner:
            yield from _parts_with_columns(part, names)
    else:
        yield estimator, names


def _tuples(value: Any, length: int) -> Sequence[tuple[Any, ...]]:
    """The steps of a pipeline, or the parts of a ColumnTransformer; none where another library's class has the name."""
    is_list = isinstance(value, list | tuple) and all(isinstance(each, tuple) and len(each) == length for each in value)
    return value if is_list else ()


_WRAPPER_ATTRIBUTES = (
    "best_estimator_",
    "regressor_",
    "estimator",
    "calibrated_classifiers_",
    "estimators_",
    "transformer_list",
)
"""Attributes of estimators that pass their columns on to others."""


def _members(value: Any) -> list[Any]:
    """The fitted pipelines and transformers of a wrapper; the members of a forest are no parts."""
    members = [each[1] if isinstance(each, tuple) else each for each in value] if isinstance(value, list) else [value]
    wrappers = ("steps", "transformers_", "calibrated_classifiers_", "categories_")
    inner = [getattr(each, "estimator", each) if hasattr(each, "calibrators") else each for each in members]
    return [each for each in inner if any(hasattr(each, name) for name in wrappers)]


def selected_columns(selection: Any, names: Sequence[str]) -> list[str]:
    """The columns of a ColumnTransformer's part, by name."""
    if isinstance(selection, str):
        return [selection]
    if isinstance(selection, slice):
        return list(names[selection]) if not isinstance(selection.start or selection.stop or 0, str) else []
    selectors = list(np.asarray(selection, dtype=object).ravel())
    if all(isinstance(selector, str) for selector in selectors):
        return [str(name) for name in selectors]
    if all(isinstance(selector, bool | np.bool_) for selector in selectors):
        return [name for name, is_selected in zip(names, selectors, strict=False) if is_selected]
    return [names[int(position)] for position in selectors if int(position) < len(names)]


def _keeps_columns(step: Any, count: int) -> bool:
    """Whether the columns after a step are the columns before it, in their order."""
    if step is None or step == "passthrough":
        return True
    if class_name(step) == "SimpleImputer":
        return not step.add_indicator and len(getattr(step, "statistics_", ())) == count
    return class_name(step) in ("FunctionTransformer", "StandardScaler", "RobustScaler", "MinMaxScaler")
