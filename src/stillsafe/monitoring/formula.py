"""Formulas of derivations: arithmetic in the usual notation over named numbers and columns of numbers."""

import ast
import operator
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


def _least(*values: Any) -> Any:
    return np.min(values[0]) if len(values) == 1 else np.minimum.reduce(np.broadcast_arrays(*values))


def _largest(*values: Any) -> Any:
    return np.max(values[0]) if len(values) == 1 else np.maximum.reduce(np.broadcast_arrays(*values))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sum": np.sum,
    "cumsum": np.cumsum,
    "min": _least,
    "max": _largest,
    "quantile": NormalDist().inv_cdf,
}
"""The functions of formulas. `quantile` is the one of the standard normal distribution."""


def evaluate(formula: str, values: Mapping[str, Any]) -> Any:
    """The value of a formula.

    Args:
        formula: numbers, words in quotes, names, arithmetic, comparisons, `and`, `a if b else c` and `FUNCTIONS`.
        values: the names: numbers, or arrays for columns.

    Raises:
        ValueError: the formula has something else in it.
        KeyError: a name has no value.
    """
    return _value(ast.parse(formula, mode="eval").body, values)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return bool(_OPERATORS[type(op)](_value(left, values), _value(right, values)))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values) for part in parts)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, values) else orelse, values)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(argument, values) for argument in arguments))
    raise ValueError(f"A formula cannot have {ast.unparse(node)!r} in it.")
