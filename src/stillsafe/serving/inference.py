"""Answers as the Open Inference Protocol (version 2) has them: tensors, and the state as parameters of the response."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from starlette.responses import JSONResponse, Response

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Violation
from stillsafe.core.score import as_text
from stillsafe.core.state import State
from stillsafe.core.text import display_name
from stillsafe.model.model import Model, ModelKind
from stillsafe.serving.body.tensors import InferenceRequest, datatype_of
from stillsafe.serving.problems import Problem, RefusedRequest, schema_problem
from stillsafe.serving.reasons import whole_reason
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord

PREFIX = "/v2"
PREDICTION, PROBABILITIES, CONFIDENCE = "predict", "predict_proba", "confidence"
FALLBACK_USED, PREDICTION_ID = "fallback_used", "prediction_id"
PLATFORM = "stillsafe_sklearn"
MOST_SHOWN = 3
"""Most violations in the text of an error."""
_STATES = [*State]


class Tensor(NamedTuple):
    """An output: its datatype, and the number of its columns."""

    datatype: str
    width: int


def is_protocol_path(path: str) -> bool:
    """Whether a path is one of the protocol's, whose errors have its form."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def error_text(problem: Problem) -> str:
    """A problem as the one text that the protocol has for an error."""
    places = [f"{each.feature}: {each.problem} (allowed: {each.allowed})." for each in problem.violations[:MOST_SHOWN]]
    return " ".join([problem.detail, *places])


def error_response(problem: Problem) -> Response:
    """A problem as the protocol's error. What breaks the schema is 400 there."""
    status = 400 if problem.status == 422 else problem.status
    return JSONResponse({"error": error_text(problem)}, status, headers=dict(problem.headers))


def response_to(problem: Problem, path: str) -> Response:
    """A problem as the response to a request of a path: problem details, or the protocol's error."""
    return error_response(problem) if is_protocol_path(path) else problem.response()


def outputs_of(model: Model) -> Mapping[str, Tensor]:
    """Output name -> its tensor, in the order of a response."""
    # Each request needs them, and 1 and True are equal, so the types are a part of the key.
    kinds = tuple(map(type, model.classes))
    return _outputs(model.classes, kinds, model.kind, has_probabilities=model.scale.method == "class_probability")


@lru_cache(maxsize=16)
def _outputs(
    classes: tuple[Answer, ...], kinds: tuple[type, ...], kind: ModelKind, *, has_probabilities: bool
) -> Mapping[str, Tensor]:
    probabilities = {PROBABILITIES: Tensor("FP64", len(classes))} if classes and has_probabilities else {}
    return {
        PREDICTION: Tensor(_answer_type(kinds, kind), 1),
        **probabilities,
        CONFIDENCE: Tensor("FP64", 1),
        FALLBACK_USED: Tensor("BOOL", 1),
        PREDICTION_ID: Tensor("BYTES", 1),
    }


def require_outputs(model: Model, request: InferenceRequest) -> None:
    """Require that the outputs that a request names exist.

    Raises:
        RefusedRequest: 422 for one that does not.
    """
    names = outputs_of(model)
    for each in request.outputs or ():
        if each.name not in names:
            violation = Violation("outputs", "not_allowed", f"no output {display_name(each.name)}", ", ".join(names))
            raise RefusedRequest(schema_problem([violation]))


def model_metadata(name: str, model: Model) -> dict[str, Any]:
    """The model's metadata: its inputs by the schema, and its outputs."""
    return {
        "name": name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [
            {"name": spec.name, "datatype": datatype_of(spec), "shape": [-1, 1]} for spec in model.features.features
        ],
        "outputs": [
            {"name": output, "datatype": tensor.datatype, "shape": [-1, tensor.width]}
            for output, tensor in outputs_of(model).items()
        ],
    }


def inference_document(
    name: str,
    model: Model,
    request: InferenceRequest,
    records: Sequence[PredictionRecord],
    reason_of: Callable[[PredictionRecord], str] = whole_reason,
) -> dict[str, Any]:
    """The response to a request, as JSON types.

    An abstention, and a probability or a confidence that there is none, are null, which clients read as NaN. Integers
    and flags with an abstention among them are FP64, since only that type has NaN.
    """
    choice = None if not request.outputs else {each.name for each in request.outputs}
    return {
        "model_name": name,
        "model_version": model.version,
        **({} if request.id is None else {"id": request.id}),
        "parameters": _parameters(records, reason_of),
        "outputs": [
            _output(output, tensor, model, records)
            for output, tensor in outputs_of(model).items()
            if choice is None or output in choice
        ],
    }


def _parameters(
    records: Sequence[PredictionRecord], reason_of: Callable[[PredictionRecord], str]
) -> dict[str, str | bool]:
    if isinstance(records, PredictionColumns):  # all are of one state
        records = [records.common]
    worst = max(records, key=lambda record: _STATES.index(record.system_state))
    judged_at = {} if worst.judged_at is None else {"judged_at": worst.judged_at.isoformat()}
    return {
        "system_state": worst.system_state.value,
        "fallback_used": any(record.fallback_used for record in records),
        "reason": reason_of(worst),
        "monitor_stale": worst.monitor_stale,
        "watched": worst.watched,
        "judged": worst.judged,
        **judged_at,
    }


def _output(name: str, tensor: Tensor, model: Model, records: Sequence[PredictionRecord]) -> dict[str, Any]:
    datatype = tensor.datatype
    data: Sequence[Any]
    if isinstance(records, PredictionColumns):
        data = _column(name, datatype, records)
    elif name == PREDICTION:
        data = [_answer(datatype, record) for record in records]
        if datatype in ("INT64", "BOOL") and None in data:
            datatype, data = "FP64", [None if cell is None else float(cell) for cell in data]
    elif name == PROBABILITIES:
        class_names = [as_text(each) for each in model.classes]
        data = [_probability(record.probabilities, each) for record in records for each in class_names]
    elif name == CONFIDENCE:
        data = [record.confidence_score for record in records]
    else:
        data = [getattr(record, name) for record in records]
    codec = {"parameters": {"content_type": "str"}} if datatype == "BYTES" else {}
    return {"name": name, "shape": [len(records), tensor.width], "datatype": datatype, **codec, "data": data}


def _column(name: str, datatype: str, answers: PredictionColumns) -> Sequence[Any]:
    """The data of an output of answers by column."""
    if name == PREDICTION:
        if datatype == "BYTES":
            return answers.texts()
        return [float(each) for each in answers.predictions] if datatype == "FP64" else answers.predictions
    if name == PROBABILITIES:
        columns = () if answers.probabilities is None else answers.probabilities.values()
        return [*chain.from_iterable(zip(*columns, strict=True))]
    return {CONFIDENCE: answers.confidences, FALLBACK_USED: [False] * len(answers), PREDICTION_ID: answers.ids}[name]


def _answer(datatype: str, record: PredictionRecord) -> Any:
    answer = record.prediction
    if answer is None:
        return None
    if datatype == "BYTES":
        return as_text(answer)
    return float(answer) if datatype == "FP64" else answer


def _probability(probabilities: Mapping[str, float] | None, name: str) -> float | None:
    return None if probabilities is None else probabilities[name]


def _answer_type(kinds: Sequence[type], kind: ModelKind) -> str:
    if kind is ModelKind.REGRESSOR:
        return "FP64"
    return {frozenset({bool}): "BOOL", frozenset({int}): "INT64", frozenset({float}): "FP64"}.get(
        frozenset(kinds), "BYTES"
    )
