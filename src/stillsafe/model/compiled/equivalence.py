"""The equivalence check: a compiled model must predict the same as scikit-learn on given rows and on edge cases.

`init` runs it on the whole sample, and loading the model runs it again. A model that differs is not compiled.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.compiled.predictors import (
    CannotCompile,
    CompiledModel,
    EquivalenceCheck,
    RawOutput,
    compile_model,
    predict_raw_matrix,
    thresholds,
)
from stillsafe.model.compiled.trees import FEW
from stillsafe.model.confidence import Numbers
from stillsafe.model.probe_rows import allowed_numbers, healthy_values, probe_row
from stillsafe.model.reference import Reference

if TYPE_CHECKING:
    from stillsafe.core.score import Score
    from stillsafe.model.model import Model

TOLERANCE = 1e-9
"""Largest allowed difference of a number, relative to max(1, |number|): the order of additions depends on the rows."""
EDGE_CASE_ROWS, CHECKED_SPLITS = 300, 1_000
EDGE_CASE_SHARE = 0.25
SEED = 1
LARGE = 1e12


class OutputsDiffer(CannotCompile):
    """The compiled model does not predict the same as scikit-learn."""


def compile_verified(model: "Model", reference: Reference, rows: Sequence[Row] = ()) -> "Model":
    """Compile a model and check it against scikit-learn.

    Args:
        model: the model, evaluated by scikit-learn.
        reference: healthy profiles, from which the edge cases are drawn; may be empty.
        rows: further rows to check.

    Raises:
        CannotCompile: a part of the model is not supported.
        OutputsDiffer: the compiled model predicts something else.
    """
    compiled = _compile(model)
    plain, fast = replace(model, compiled=None), replace(model, compiled=compiled)
    random = Random(SEED)  # noqa: S311 - the same rows every time
    checked_rows = [*rows, *edge_case_rows(model.features, reference, random)]
    plain_scores = plain.score_with_failures(checked_rows)[0]
    fast_scores = fast.score_with_failures(checked_rows)[0]
    differences = [_difference(*pair) for pair in zip(plain_scores, fast_scores, strict=True)]
    scored_rows = [row for row, score in zip(checked_rows, plain_scores, strict=True) if score.error is None]
    split_count, split_difference = _check_splits(compiled, scored_rows[-EDGE_CASE_ROWS:])
    check = EquivalenceCheck(len(checked_rows), split_count, max(*differences, split_difference))
    return replace(model, compiled=replace(compiled, equivalence=check))


def _compile(model: "Model") -> CompiledModel:
    try:
        return compile_model(model.estimator, model.features)
    except CannotCompile:
        raise
    except Exception as error:  # another version of scikit-learn may lack an attribute
        raise CannotCompile(f"it raises {type(error).__name__}") from error


def edge_case_rows(schema: Schema, reference: Reference, random: Random) -> list[Row]:
    """Rows within the schema: healthy values, and a quarter that are extreme, missing or unseen."""
    probe = probe_row(schema, reference)
    profiles = {spec.name: reference.profile(spec) for spec in schema.features}
    healthy = {spec.name: healthy_values(spec, profiles[spec.name]) or [probe[spec.name]] for spec in schema.features}
    extremes = {spec.name: edge_cases(spec, profiles[spec.name]) for spec in schema.features}
    return [
        {
            spec.name: random.choice(
                (extremes if random.random() < EDGE_CASE_SHARE else healthy)[spec.name] or healthy[spec.name]
            )
            for spec in schema.features
        }
        for _ in range(EDGE_CASE_ROWS)
    ]


def edge_cases(spec: FeatureSpec, profile: FeatureBaseline | None) -> list[Value]:
    """Values of one feature within its limits that are extreme, missing or unseen."""
    missing: list[Value] = [] if spec.required else [None]
    if spec.type is FeatureType.BOOLEAN:
        return missing
    if spec.type is FeatureType.DATE and spec.date_format is None:
        return [*missing, "1970-01-01", "2100-12-31"]
    if spec.type in TEXT_TYPES:
        return [*missing, *(spec.categories or ("", "never seen", " "))]
    candidates = (*healthy_values(spec, profile), 0.0, spec.minimum, spec.maximum)
    numbers = [number for number in candidates if number is not None]
    neighbours = [math.nextafter(float(number), limit) for number in numbers for limit in (-math.inf, math.inf)]
    return [*missing, *allowed_numbers(spec, [*numbers, *neighbours, -LARGE, LARGE, -1.0, 1.0, 0.5])]


def _difference(plain: "Score", fast: "Score") -> float:
    """The largest difference between two scores.

    Raises:
        OutputsDiffer: it exceeds `TOLERANCE`, or class or error differ.
    """
    if plain.error == fast.error:
        pairs = [
            (plain.prediction, fast.prediction),
            (plain.confidence, fast.confidence),
            *zip((plain.probabilities or {}).values(), (fast.probabilities or {}).values(), strict=True),
        ]
        difference = max(_relative_difference(*pair) for pair in pairs)
        if difference <= TOLERANCE:
            return difference
    raise OutputsDiffer(f"on a row the compiled model {_phrase(fast)}, and scikit-learn {_phrase(plain)}")


def _phrase(score: "Score") -> str:
    """What a model did with a row, in words."""
    if score.error is not None:
        return "gives no answer"
    return f"answers {score.prediction!r} with confidence {score.confidence:g}"


def _relative_difference(one: object, other: object) -> float:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) / max(1.0, abs(one), abs(other))
    return 0.0 if one == other and type(one) is type(other) else math.inf


def _check_splits(compiled: CompiledModel, rows: Sequence[Row]) -> tuple[int, float]:
    """Compare inputs at the thresholds of the trees and directly beside them: their number, the largest difference.

    Raises:
        OutputsDiffer: the difference exceeds `TOLERANCE`.
    """
    columns, values = thresholds(compiled.estimator)
    if not len(columns) or not rows:
        return 0, 0.0
    random = np.random.default_rng(SEED)
    splits = random.choice(len(columns), min(CHECKED_SPLITS, len(columns)), replace=False)
    base = compiled.encode(rows)
    matrix = np.repeat(base[random.integers(len(base), size=len(splits))], 3, axis=0)
    at = values[splits]
    neighbours = np.stack([np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf)], axis=1).ravel()
    matrix[np.arange(len(matrix)), np.repeat(columns[splits], 3)] = neighbours
    plain = predict_raw_matrix(compiled.estimator, matrix)
    batches = [compiled.evaluate(matrix[first : first + FEW]) for first in range(0, len(matrix), FEW)]
    fast, fast_by_batch = compiled.evaluate(matrix), _concatenate(batches)
    difference = max(_largest_difference(plain, fast), _largest_difference(plain, fast_by_batch))
    if difference > TOLERANCE:
        raise OutputsDiffer(f"at the thresholds of its trees it differs from scikit-learn by {difference:g}")
    return len(matrix), difference


def _concatenate(outputs: Sequence[RawOutput]) -> RawOutput:
    predictions, raw, probabilities = zip(*outputs, strict=True)
    return (
        np.concatenate(predictions),
        None if raw[0] is None else np.concatenate(raw),
        None if probabilities[0] is None else np.concatenate(probabilities),
    )


def _largest_difference(plain: RawOutput, fast: RawOutput) -> float:
    """The largest relative difference of any number; infinite if a predicted class differs."""
    differences = [
        _largest_relative_difference(one, other)
        for one, other in zip(plain, fast, strict=True)
        if one is not None and other is not None and one.dtype.kind == "f"
    ]
    same_classes = plain[0].dtype.kind == "f" or bool((plain[0] == fast[0]).all())
    return max(differences, default=0.0) if same_classes else math.inf


def _largest_relative_difference(one: Numbers, other: Numbers) -> float:
    scale = np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    return float((np.abs(one - other) / scale).max())
