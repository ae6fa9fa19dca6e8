"""Evaluates the formulas of a derivation as a person with a calculator would: from the printed steps alone."""

from collections.abc import Mapping, Sequence
from functools import reduce
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from stillsafe.core.signals import Reading
from stillsafe.monitoring.derivation import Step

FUNCTIONS: dict[str, Any] = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sum": np.sum,
    "min": lambda *values: np.min(values[0]) if len(values) == 1 else reduce(np.minimum, values),
    "max": lambda *values: np.max(values[0]) if len(values) == 1 else reduce(np.maximum, values),
    "cumsum": np.cumsum,
    "quantile": NormalDist().inv_cdf,
}


def evaluate(formula: str, values: Mapping[str, Any]) -> Any:
    """The value of a formula over the steps before it."""
    return eval(formula, {"__builtins__": {}}, {**FUNCTIONS, **values})  # noqa: S307 - our own formulas


def number_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The printed steps by name, columns of numbers as arrays."""
    values: dict[str, Any] = {}
    for step in steps:
        value = step["value"]
        is_column = isinstance(value, list | tuple) and all(isinstance(cell, int | float) for cell in value)
        values[step["name"]] = np.array(value, dtype=float) if is_column else value
    return values


def check_formulas(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every step with a formula has the value that it gives. Returns the steps by name."""
    step_values: dict[str, Any] = {}
    values = number_values(steps)
    for step in steps:
        name, formula = step["name"], step["formula"]
        assert name not in step_values, f"{name} occurs twice"
        assert step["meaning"], name
        if formula:
            result = evaluate(formula, step_values)
            if isinstance(result, str):
                assert result == values[name], (name, formula)
            else:
                assert np.asarray(result, dtype=float) == pytest.approx(
                    np.asarray(values[name], dtype=float), rel=1e-6, abs=2e-6
                ), (name, formula)
        step_values[name] = values[name]
    return step_values


def check_reading(steps: Sequence[Mapping[str, Any]], reading: Mapping[str, Any]) -> dict[str, Any]:
    """The steps end in the reading: its value, reference, noise, limits and level. Returns the steps by name."""
    step_values = check_formulas(steps)
    for name in ("value", "reference", "noise", "moderate_limit", "severe_limit", "standard_error", "corruption"):
        if name in step_values and reading.get(name) is not None and step_values[name] is not None:
            assert float(step_values[name]) == pytest.approx(reading[name], rel=1e-6, abs=2e-6), (name, reading)
    assert step_values["level"] == reading["level"]
    return step_values


def as_documents(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as the command prints them."""
    return [{"name": s.name, "value": s.value, "meaning": s.meaning, "formula": s.formula} for s in steps]


def reading_document(reading: Reading) -> dict[str, Any]:
    """A reading as the command prints it."""
    return {name: getattr(reading, name) for name in Reading.__dataclass_fields__}
