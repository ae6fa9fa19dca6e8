"""Records of answers that the service's model did not compute: a model's elsewhere, and the fallback's on demand.

They are logged, watched and judged as all others.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, SupportsFloat

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import MOST_VIOLATIONS_SHOWN, Row, Schema, Violation, summary
from stillsafe.core.score import as_text
from stillsafe.core.text import display_name
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.external import typical_confidence
from stillsafe.model.frame_rows import is_frame, plain_row
from stillsafe.model.model import TOLERANCE, Model, ModelKind
from stillsafe.serving.body.instances import check_single
from stillsafe.serving.body.json_body import repeated_keys
from stillsafe.serving.predict import (
    Context,
    MakeRecords,
    Records,
    answer_requests,
    draft_answers,
    draft_of,
    fallback_drafts,
    read_state,
    records_of,
)
from stillsafe.serving.prediction_request import ColumnRequests, IdConflict, Outcome, PredictionRequest
from stillsafe.serving.reasons import caveats_of, why_bypassed
from stillsafe.store.records import PredictionRecord

PREDICTION, PROBABILITIES, CONFIDENCE = "prediction", "probabilities", "confidence"
OUTCOME_KEYS = (PREDICTION, PROBABILITIES, CONFIDENCE)
SUM_TOLERANCE = 0.01
"""Probabilities that were rounded to two decimals may differ from 1 in their sum by so much."""
ON_DEMAND = "The client asked the fallback."
OUTSIDE = "Answered by a model outside the service."


def answer_any(context: Context, requests: Sequence[PredictionRequest]) -> Sequence[PredictionRecord | IdConflict]:
    """Answer requests, as `answer_requests`; record those that a model elsewhere has answered, or ask the fallback."""
    if isinstance(requests, ColumnRequests):
        return answer_requests(context, requests)
    makers = [_maker_of(each) for each in requests]
    return answer_requests(context, requests, partial(_records_by, makers) if any(makers) else None)


def _records_by(
    makers: Sequence[MakeRecords | None], context: Context, requests: Sequence[PredictionRequest]
) -> Records:
    """The records of requests by the maker of each: one commit, so that a batch is recorded whole or not at all."""
    parts: list[tuple[list[int], Records]] = []
    for maker in dict.fromkeys(makers):
        places = [place for place, each in enumerate(makers) if each is maker]
        parts.append((places, (maker or draft_answers)(context, [requests[place] for place in places])))

    def merge() -> list[PredictionRecord]:
        by_place = {place: record for places, part in parts for place, record in zip(places, part(), strict=True)}
        return [by_place[place] for place in range(len(requests))]

    return Records(merge)


def _maker_of(request: PredictionRequest) -> MakeRecords | None:
    """What makes the record of a request; None for the model, or for the fallback where it is bypassed."""
    if request.on_demand:
        return draft_fallback
    return None if request.outcome is None else draft_outcomes


def check_recorded(schema: Schema, model: Model, document: Any) -> tuple[Row, Outcome] | tuple[Violation, ...]:
    """The row and the outcome in a body of `/v1/record`, or what is wrong with it."""
    if not isinstance(document, Mapping):
        return (Violation("body", "wrong_type", "not an object", '{"features": ..., "prediction": ...}'),)
    repeated_names = [*repeated_keys(document), *repeated_keys(document.get(PROBABILITIES))]
    violations = [Violation(display_name(name), "repeated", "given more than once", "once") for name in repeated_names]
    row = check_single(schema, {name: value for name, value in document.items() if name not in OUTCOME_KEYS})
    outcome = check_outcome(model, *(document.get(name) for name in OUTCOME_KEYS))
    if isinstance(row, dict) and isinstance(outcome, Outcome) and not violations:
        return row, outcome
    violations += [each for check in (row, outcome) if not isinstance(check, dict | Outcome) for each in check]
    return summary(violations, len(violations), MOST_VIOLATIONS_SHOWN)


def draft_outcomes(context: Context, requests: Sequence[PredictionRequest]) -> Records:
    """The records of requests that a model elsewhere has answered: each has an outcome.

    Raises:
        StoreError: the state cannot be read.
    """
    state = read_state(context)
    new_record = draft_of(context, state)
    reason = f"{OUTSIDE} {caveats_of(context.settings, state)}"
    drafts = [_outcome_draft(new_record, each.outcome, reason) for each in requests if each.outcome is not None]
    return records_of(context, requests, drafts)


def draft_fallback(context: Context, requests: Sequence[PredictionRequest]) -> Records:
    """The fallback's answers to requests, whatever the state is.

    Raises:
        StoreError: the state cannot be read.
    """
    state = read_state(context)
    cause = why_bypassed(context.settings, state, context.consistency.problem) or ON_DEMAND
    rows = [each.row for each in requests]
    return records_of(context, requests, fallback_drafts(context, draft_of(context, state), state, rows, cause))


def plain_outcome(
    model: Model, prediction: Any, probabilities: object, confidence: SupportsFloat | None
) -> Outcome | tuple[Violation, ...]:
    """What a caller in this process has of a model elsewhere, as `check_outcome`; NumPy's scalars become plain.

    Probabilities that are a sequence, an array or a row of a data frame may be in the order of the model's classes.
    """
    answer: Any = plain_row({PREDICTION: prediction, CONFIDENCE: confidence})
    return check_outcome(model, answer[PREDICTION], _by_class(model, probabilities), answer[CONFIDENCE])


def _by_class(model: Model, probabilities: Any) -> object:
    """The probabilities by class, where they are such; else what is left for a violation to refuse."""
    if probabilities is None:
        return None
    to_dict = getattr(probabilities, "to_dict", None)
    numbers = to_dict() if to_dict is not None and not isinstance(probabilities, Mapping) else probabilities
    if isinstance(numbers, Mapping):
        classes = [each if isinstance(each, str | int | float) else str(each) for each in _plain_list(numbers)]
        if to_dict is None or {*map(as_text, classes)} == {*map(as_text, model.classes)}:
            return dict(zip(classes, _plain_list(numbers.values()), strict=True))
        numbers = [*numbers.values()]
    values = numbers.tolist() if hasattr(numbers, "tolist") else numbers
    if isinstance(values, Sequence) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]  # as `predict_proba` gives them for one row
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) != len(model.classes):
        return values
    return dict(zip(model.classes, _plain_list(values), strict=True))


def _plain_list(values: Iterable[object]) -> list[Any]:
    return [*plain_row(dict(enumerate(values))).values()]


def probability_rows(probabilities: Any) -> Any:
    """One item per row of what a caller has: a data frame, an array or a sequence."""
    return probabilities.to_dict("records") if is_frame(probabilities) else probabilities


def check_outcome(
    model: Model, prediction: object, probabilities: object = None, confidence: object = None
) -> Outcome | tuple[Violation, ...]:
    """What a model elsewhere answered, or what is wrong with it.

    Args:
        model: the service's, whose classes and confidence scale apply.
        prediction: a class of a classifier, or a finite number.
        probabilities: class -> probability in [0, 1], of every class, with the sum 1; or None.
        confidence: in [0, 1], where the probabilities do not give it; None otherwise.
    """
    answer, violations = _answer(model, prediction), _probability_violations(model, probabilities)
    if answer is None:
        violations.insert(0, _no_answer(model))
    if confidence is not None and not _is_share(confidence):
        violations.append(Violation(CONFIDENCE, "not_allowed", "no number from 0 to 1", "a number from 0 to 1"))
    if answer is None or violations:
        return tuple(violations)
    numbers = _plain_probabilities(model, probabilities)
    value = confidence if isinstance(confidence, int | float) else _confidence(model, answer, numbers)
    if value is None and model.scale.method is ConfidenceMethod.NONE:
        return Outcome(answer, None, numbers)
    if value is None:
        return (_no_confidence(model),)
    return Outcome(answer, min(max(float(value), 0.0), 1.0), numbers)


def _outcome_draft(new_record: Any, outcome: Outcome, reason: str) -> Any:
    def draft(**fields: Any) -> Any:
        return new_record(
            prediction=outcome.prediction,
            confidence_score=outcome.confidence,
            fallback_used=False,
            reason=reason,
            probabilities=outcome.probabilities,
            **fields,
        )

    return draft


def _no_confidence(model: Model) -> Violation:
    if model.scale.method is ConfidenceMethod.CALLER:
        return Violation(CONFIDENCE, "missing", "each answer of this model has one", "a number from 0 to 1")
    allowed = f"a {CONFIDENCE} from 0 to 1" if model.kind is ModelKind.REGRESSOR else "one number per class"
    return Violation(PROBABILITIES, "missing", "the confidence cannot be computed without them", allowed)


def _no_answer(model: Model) -> Violation:
    names = ", ".join(map(as_text, model.classes[:10]))
    allowed = f"one of: {names}" if model.kind is ModelKind.CLASSIFIER else "a finite number"
    return Violation(PREDICTION, "not_allowed", "no answer of this model", allowed)


def _answer(model: Model, prediction: object) -> Answer | None:
    """The class, or the finite number, that a value is; None if it is neither.

    JSON has one type of number: a class 1.0 may arrive as 1, and an external regressor's 3.0 as 3.
    """
    if isinstance(prediction, bool) or not isinstance(prediction, int | float):
        return next((name for name in model.classes if type(name) is type(prediction) and name == prediction), None)
    if model.kind is ModelKind.CLASSIFIER:
        return next((name for name in model.classes if _is_number(name) and name == prediction), None)
    if abs(prediction) > sys.float_info.max:
        return None
    return float(prediction) if model.is_external else prediction


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _probability_violations(model: Model, probabilities: object) -> list[Violation]:
    if probabilities is None:
        return []
    names, allowed = {as_text(name) for name in model.classes}, "each class with a number from 0 to 1"
    is_complete = (
        isinstance(probabilities, Mapping)
        and {as_text(name) for name in probabilities} == names
        and all(_is_share(number) for number in probabilities.values())
    )
    if not is_complete:
        return [Violation(PROBABILITIES, "not_allowed", "no probabilities of the classes", allowed)]
    total = math.fsum(float(number) for number in probabilities.values())  # type: ignore[attr-defined] # a mapping
    if abs(total - 1) <= SUM_TOLERANCE + TOLERANCE:
        return []
    return [Violation(PROBABILITIES, "not_allowed", f"their sum is {total:.4g}", f"{allowed}; their sum is 1")]


def _plain_probabilities(model: Model, probabilities: Any) -> dict[str, float] | None:
    """The probabilities in the order of the classes."""
    if probabilities is None:
        return None
    numbers = {as_text(name): float(number) for name, number in probabilities.items()}
    return {as_text(name): numbers[as_text(name)] for name in model.classes}


def _confidence(model: Model, prediction: Answer, numbers: Mapping[str, float] | None) -> float | None:
    """The confidence of an answer, or None where it takes the model itself to compute it."""
    if model.scale.method is ConfidenceMethod.CLASS_PROBABILITY:
        if numbers is None:
            return None
        return numbers[as_text(prediction)] if model.scale.of_answer else max(numbers.values())
    if model.scale.method is ConfidenceMethod.PREDICTION_TYPICALITY and isinstance(prediction, int | float):
        return typical_confidence(model.scale, float(prediction))
    return None


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and -TOLERANCE <= value <= 1 + TOLERANCE
