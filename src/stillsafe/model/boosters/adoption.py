"""Replace the boosters of other libraries inside a fitted estimator by adapters, which can be stored without pickle."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from stillsafe.model.boosters.adapter import BoosterInterface

LIBRARIES = ("lightgbm", "xgboost", "catboost")
DEEPEST = 12
"""Deepest nesting of estimators that is searched."""


def adopt(estimator: Any) -> Any:
    """The estimator with adapters in place of boosters. Estimators around them are changed in place.

    Raises:
        ModelError: a booster inside cannot be served.
    """
    if not any(name in sys.modules for name in LIBRARIES):
        return estimator
    return _replacement(estimator, DEEPEST, {})


def _replacement(part: Any, depth: int, earlier: dict[int, Any]) -> Any:
    """The part, or its adapter; `earlier` maps the identity of a booster to its adapter."""
    if depth == 0 or part is None or isinstance(part, str | bytes | int | float | np.ndarray | BoosterInterface):
        return part
    if id(part) in earlier:
        return earlier[id(part)][1]
    library = type(part).__module__.partition(".")[0]
    adapter = import_module(f"{__package__}.{library}").adapter_of(part) if library in LIBRARIES else None
    # The part is kept as well, so that its identity is not given to another object.
    earlier[id(part)] = part, part if adapter is None else adapter
    if library in LIBRARIES:
        return earlier[id(part)][1]
    if isinstance(part, tuple):
        members = tuple(_replacement(each, depth - 1, earlier) for each in part)
        return members if any(new is not old for new, old in zip(members, part, strict=True)) else part
    _replace_members(part, depth - 1, earlier)
    return part


def _replace_members(part: Any, depth: int, earlier: dict[int, Any]) -> None:
    """Replace the boosters in a list, a dictionary or the attributes of an estimator."""
    if isinstance(part, list):
        part[:] = [_replacement(each, depth, earlier) for each in part]
    elif isinstance(part, dict):
        part.update({key: _replacement(each, depth, earlier) for key, each in list(part.items())})
    elif hasattr(part, "__dict__") and any(hasattr(part, name) for name in ("get_params", "predict_proba")):
        _replace_members(vars(part), depth, earlier)
