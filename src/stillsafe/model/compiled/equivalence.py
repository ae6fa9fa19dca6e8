"""The proof that a compiled model answers as scikit-learn does: on rows that it is asked about, and on hard ones.

Made by `init` on the whole sample, and again whenever the model is loaded. A model that differs is not compiled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.compiled.predictors import (
    CannotCompile,
    Compiled,
    Proof,
    Said,
    ask_about,
    compile_model,
    thresholds,
)
from stillsafe.model.compiled.trees import FEW
from stillsafe.model.confidence import Numbers
from stillsafe.model.probe_rows import seen, typical_row

if TYPE_CHECKING:
    from stillsafe.model.model import Model, Score

TOLERANCE = 1e-9
"""The largest difference of a number, relative to it or to 1: few rows are added up in another order than many."""
HARD_ROWS, HARD_SPLITS = 300, 1_000
HARD_SHARE = 0.25
SEED = 1
LARGE = 1e12


class Differs(CannotCompile):
    """It was compiled, and does not answer as scikit-learn does."""


def compiled(model: "Model", reference: Mapping[str, Any], rows: Sequence[Row] = ()) -> "Model":
    """A model, compiled and proven.

    Args:
        model: as scikit-learn asks it.
        reference: what the reference file says, for hard rows; may be empty.
        rows: rows that it is known to be asked about.

    Raises:
        CannotCompile: a part of it is not known, or (Differs) it does not answer the same.
    """
    made = _compile(model)
    plain, fast = replace(model, compiled=None), replace(model, compiled=made)
    asked = [*rows, *hard_rows(model.features, reference, Random(SEED))]  # noqa: S311 - to be the same every time
    answers = list(zip(asked, plain.searched(asked)[0], fast.searched(asked)[0], strict=True))
    differences = [_difference(*scores) for _, *scores in answers]
    splits, at_splits = _at_splits(made, [row for row, score, _ in answers if score.error is None][-HARD_ROWS:])
    return replace(model, compiled=replace(made, proof=Proof(len(asked), splits, max(*differences, at_splits))))


def _compile(model: "Model") -> Compiled:
    try:
        return compile_model(model.estimator, model.features)
    except CannotCompile:
        raise
    except Exception as error:  # parts of scikit-learn that another version of it has not
        raise CannotCompile(f"it raises {type(error).__name__}") from error


def hard_rows(schema: Schema, reference: Mapping[str, Any], random: Random) -> list[Row]:
    """Rows that the schema lets through: usual values, and a quarter that are extreme, missing or unseen."""
    typical = typical_row(schema, reference)
    usual = {spec.name: _usual(spec, seen(spec, reference)) or [typical[spec.name]] for spec in schema.features}
    hard = {spec.name: _hard(spec, seen(spec, reference)) for spec in schema.features}
    return [
        {
            spec.name: random.choice((hard if random.random() < HARD_SHARE else usual)[spec.name] or usual[spec.name])
            for spec in schema.features
        }
        for _ in range(HARD_ROWS)
    ]


def _usual(spec: FeatureSpec, known: Mapping[str, Any]) -> list[Value]:
    if spec.type is FeatureType.BOOLEAN:
        return [True, False]
    if spec.type is FeatureType.CATEGORY:
        return [
            each for each in known.get("category_counts") or () if spec.categories is None or each in spec.categories
        ]
    edges = (known.get("bins") or {}).get("edges") or ()
    return _allowed(spec, [*edges, known.get("minimum"), known.get("maximum")])


def _hard(spec: FeatureSpec, known: Mapping[str, Any]) -> list[Value]:
    missing: list[Value] = [] if spec.required else [None]
    if spec.type is FeatureType.BOOLEAN:
        return missing
    if spec.type is FeatureType.CATEGORY:
        return [*missing, *(spec.categories or ("", "never seen", " "))]
    numbers = [number for number in (*_usual(spec, known), 0.0, spec.minimum, spec.maximum) if number is not None]
    beside = [math.nextafter(float(number), way) for number in numbers for way in (-math.inf, math.inf)]
    return [*missing, *_allowed(spec, [*numbers, *beside, -LARGE, LARGE, -1.0, 1.0, 0.5])]


def _allowed(spec: FeatureSpec, numbers: Sequence[Any]) -> list[Value]:
    """Those that are numbers within the hard limits; whole ones where only those are let through."""
    low, high = spec.minimum, spec.maximum
    return [
        int(number) if spec.type is FeatureType.INTEGER else float(number)
        for number in numbers
        if number is not None
        and math.isfinite(number)
        and (low is None or number >= low)
        and (high is None or number <= high)
        and (spec.type is not FeatureType.INTEGER or float(number).is_integer())
    ]


def _difference(plain: "Score", fast: "Score") -> float:
    """How far two answers are apart.

    Raises:
        Differs: further than rounding explains, or in kind.
    """
    if plain.error == fast.error:
        pairs = [
            (plain.prediction, fast.prediction),
            (plain.confidence, fast.confidence),
            *zip((plain.probabilities or {}).values(), (fast.probabilities or {}).values(), strict=True),
        ]
        apart = [_apart(*pair) for pair in pairs]
        if max(apart) <= TOLERANCE:
            return max(apart)
    raise Differs(f"it answers {fast}, scikit-learn {plain}")


def _apart(one: object, other: object) -> float:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) / max(1.0, abs(one), abs(other))
    return 0.0 if one == other and type(one) is type(other) else math.inf


def _at_splits(made: Compiled, rows: Sequence[Row]) -> tuple[int, float]:
    """How many inputs at the values where trees split, and directly beside them, and the largest difference on them."""
    columns, values = thresholds(made.last)
    if not len(columns) or not rows:
        return 0, 0.0
    random = np.random.default_rng(SEED)
    chosen = random.choice(len(columns), min(HARD_SPLITS, len(columns)), replace=False)
    base = made.encode(rows)
    matrix = np.repeat(base[random.integers(len(base), size=len(chosen))], 3, axis=0)
    at = values[chosen]
    beside = np.stack([np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf)], axis=1).ravel()
    matrix[np.arange(len(matrix)), np.repeat(columns[chosen], 3)] = beside
    plain = ask_about(made.last, matrix)
    few = [made.evaluate(matrix[first : first + FEW]) for first in range(0, len(matrix), FEW)]
    apart = max(_furthest(plain, made.evaluate(matrix)), _furthest(plain, _joined(few)))
    if apart > TOLERANCE:
        raise Differs(f"beside the values where its trees split it is {apart:g} apart from scikit-learn")
    return len(matrix), apart


def _joined(parts: Sequence[Said]) -> Said:
    """What was said of some rows after the others, as of all of them."""
    answers, raw, shares = zip(*parts, strict=True)
    return (
        np.concatenate(answers),
        None if raw[0] is None else np.concatenate(raw),
        None if shares[0] is None else np.concatenate(shares),
    )


def _furthest(plain: Said, fast: Said) -> float:
    """The largest difference of any number, relative to it or to 1; infinite where an answer is another class."""
    apart = [
        _largest(one, other)
        for one, other in zip(plain, fast, strict=True)
        if one is not None and other is not None and one.dtype.kind == "f"
    ]
    same = plain[0].dtype.kind == "f" or bool((plain[0] == fast[0]).all())
    return max(apart, default=0.0) if same else math.inf


def _largest(one: Numbers, other: Numbers) -> float:
    scale = np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    return float((np.abs(one - other) / scale).max())
