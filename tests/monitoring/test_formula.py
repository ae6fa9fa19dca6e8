"""Formulas are plain arithmetic over named numbers, and nothing else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.monitoring.formula import evaluate

NUMBERS = st.floats(-1e3, 1e3)


@given(NUMBERS, NUMBERS, st.floats(0.1, 1e3))
def test_arithmetic_is_arithmetic(a: float, b: float, c: float) -> None:
    """Operators and functions mean what they mean on paper, for numbers and for columns."""
    values: dict[str, Any] = {"a": a, "b": b, "c": c, "column": np.array([a, b, c])}
    assert evaluate("(a + b) / c - 2 * a**2", values) == pytest.approx((a + b) / c - 2 * a**2)
    assert evaluate("sqrt(c) + abs(-b)", values) == pytest.approx(c**0.5 + abs(b))
    assert evaluate("max(a, b, 0) - min(a, b)", values) == max(a, b, 0) - min(a, b)
    assert evaluate("sum(max(column - a, 0))", values) == pytest.approx(max(b - a, 0) + max(c - a, 0))
    assert (evaluate("min(column)", values), evaluate("max(column)", values)) == (min(a, b, c), max(a, b, c))
    assert evaluate("'high' if a > b and c >= 0.1 else 'low'", values) == ("high" if a > b else "low")


def test_the_quantile_is_that_of_the_normal_distribution() -> None:
    """The one function that no calculator has is documented and standard."""
    assert evaluate("quantile(0.975)", {}) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(
    "formula", ["__import__('os')", "a.real", "[a]", "lambda: a", "open(a)", "a if a else print(a)", "f(a=1)", "not a"]
)
def test_nothing_else_is_a_formula(formula: str) -> None:
    """A formula calls nothing and reaches nothing but its numbers."""
    with pytest.raises(ValueError, match="A formula cannot have"):
        evaluate(formula, {"a": 0})


def test_a_name_without_a_value_is_an_error() -> None:
    """A formula over a step that does not exist is never zero."""
    with pytest.raises(KeyError):
        evaluate("a + b", {"a": 1})
