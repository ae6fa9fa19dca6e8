"""The request bodies in OpenAPI, generated from the schema, because the routes read the raw bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType, LogMode, Schema
from stillsafe.core.score import as_text
from stillsafe.serving.access.permissions import required_scopes
from stillsafe.serving.body.json_body import SYNTHETIC_HEADER
from stillsafe.serving.body.request_id import KEY_HEADER, KEY_PATTERN, MOST_CHARACTERS, REQUEST_ID
from stillsafe.serving.body.text_rule import PATTERN
from stillsafe.serving.problems import problem_responses

_TYPES = {
    FeatureType.NUMERIC: "number",
    FeatureType.INTEGER: "integer",
    FeatureType.BOOLEAN: "boolean",
    **dict.fromkeys(TEXT_TYPES, "string"),
}

ID_HELP = "Names the request: a retry with the same id gets the stored answer, and is no second request."
SYNTHETIC = "Marks a probe: the request is answered, logged and counted, and it is no evidence about the model."

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `Authorization: Bearer KEY`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key in a header of its own."},
}
"""The ways of a client to present its key."""
_KEY_PROBLEMS = (401, 403, 429, 503)
_PROTOCOL_ERROR = {"schema": {"$ref": "#/components/schemas/InferenceErrorDocument"}}
_PROTOCOL_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": response["description"], "content": {"application/json": _PROTOCOL_ERROR}}
    for status, response in problem_responses(*_KEY_PROBLEMS).items()
}


def add_security(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document which operations need a key, with which scope, and how they answer without."""
    document.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scopes = sorted(required_scopes(method.upper(), path))
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES] if scopes else []
            if scopes:
                words = " or ".join(f"`{scope}`" for scope in scopes)
                operation["description"] = f"{operation.get('description', '')}\n\nNeeds a key with the scope {words}."
                responses = _PROTOCOL_PROBLEMS if path.startswith("/v2") else problem_responses(*_KEY_PROBLEMS)
                for status, response in responses.items():
                    operation["responses"].setdefault(str(status), response)


def predict_body(schema: Schema) -> dict[str, Any]:
    """The body of `/v1/predict`."""
    return _body({"features": _instance(schema)}, {REQUEST_ID: _id_shape()})


def record_body(
    schema: Schema, classes: Sequence[Answer], *, has_probabilities: bool, needs_confidence: bool
) -> dict[str, Any]:
    """The body of `/v1/record`.

    Args:
        schema: the features.
        classes: of the model; empty for a regressor.
        has_probabilities: whether they give the confidence.
        needs_confidence: whether the prediction alone does not give it.
    """
    share = {"type": "number", "minimum": 0, "maximum": 1}
    names = [as_text(name) for name in classes]
    probabilities = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "required": names,
        "properties": dict.fromkeys(names, share),
        "description": "Of every class; they give the confidence where the model has probabilities.",
    }
    confidence = {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "Where they do not give it."}
    prediction = {"enum": list(classes)} if classes else {"type": "number"}
    parts = {"features": _instance(schema), "prediction": prediction}
    body = _body(parts, {REQUEST_ID: _id_shape(), "probabilities": probabilities, "confidence": confidence})
    if needs_confidence:
        shape = body["requestBody"]["content"]["application/json"]["schema"]
        present = [("probabilities", {"type": "object"}), ("confidence", {"type": "number"})]
        kinds = present if has_probabilities else present[1:]
        shape["anyOf"] = [{"required": [name], "properties": {name: kind}} for name, kind in kinds]
    return body


def batch_body(schema: Schema, most: int) -> dict[str, Any]:
    """The body of `/v1/predict/batch`.

    An item that is no instance breaks no rule of the body: it is refused by itself, and the others are answered. Nor
    is the largest number of items a keyword, because more of them are too large (413) and not wrong (422).
    """
    instance = _instance(schema)
    envelopes = [_envelope(instance)] if "features" not in schema.names else []
    other = {"description": "Anything else is answered with an error in its place."}
    instances = {"type": "array", "minItems": 1, "items": {"anyOf": [instance, *envelopes, other]}}
    return _body({"instances": {**instances, "description": f"At most {most} instances; more are answered 413."}}, {})


def model_parameters(names: Mapping[str, str]) -> dict[str, Any]:
    """The parts of a path that name the model: each has one value, and any other is answered 404."""
    parts = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
        for name, value in names.items()
    ]
    return {"parameters": parts}


def inference_body(names: Mapping[str, str]) -> dict[str, Any]:
    """The body of `/v2/models/{model_name}/infer`: tensors by name, as the Open Inference Protocol has them."""
    text, hints = {"type": "string"}, {"type": ["object", "null"]}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {**text, "description": "A feature, or any other name of one tensor with all features."},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {**text, "description": "Such as FP64, INT64, BOOL or BYTES."},
            "data": {"description": "The values, in row-major order."},
            "parameters": hints,
        },
    }
    output = {"type": "object", "required": ["name"], "properties": {"name": text}}
    shape = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "id": {
                "type": ["string", "null"],
                "description": "Sent back; it makes no retry.",
            },
            "parameters": hints,
            "outputs": {"type": ["array", "null"], "items": output},
        },
    }
    parameters = [*model_parameters(names)["parameters"], *_body({}, {})["parameters"]]
    return {
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": shape}}},
    }


def labels_body(most: int, classes: Sequence[Answer]) -> dict[str, Any]:
    """The body of `/v1/labels`: one label, or several."""
    identifier = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": PATTERN}
    label = {"type": "number"} if not classes else {"enum": list(classes)}
    forms = [
        {
            "type": "object",
            "additionalProperties": False,
            "required": [name, "label"],
            "properties": {name: identifier, other: {"type": "null"}, "label": label},
        }
        for name, other in (("prediction_id", "id"), ("id", "prediction_id"))
    ]
    single = {"anyOf": forms}
    # An item that is no label breaks no rule of the body, and the largest number is no keyword: see `batch_body`.
    items = {"anyOf": [*forms, {"description": "Anything else is reported, and the other labels are added."}]}
    array = {"type": "array", "minItems": 1, "items": items, "description": f"At most {most}; more are answered 413."}
    several = {"type": "object", "additionalProperties": False, "required": ["labels"], "properties": {"labels": array}}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [single, several]}}}}
    }


def _id_shape() -> dict[str, Any]:
    shape = {"type": ["string", "null"], "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": PATTERN}
    return {**shape, "description": ID_HELP}


def _envelope(instance: dict[str, Any]) -> dict[str, Any]:
    properties = {"features": instance, REQUEST_ID: _id_shape()}
    return {"type": "object", "additionalProperties": False, "required": ["features"], "properties": properties}


def _body(properties: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    required = list(properties)
    properties = {**properties, **optional, "synthetic": {"type": "boolean", "description": SYNTHETIC}}
    shape = {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
    header = {"name": SYNTHETIC_HEADER, "in": "header", "required": False, "description": SYNTHETIC}
    key = {"name": KEY_HEADER, "in": "header", "required": False, "description": ID_HELP}
    key_shape = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": KEY_PATTERN}
    return {
        "parameters": [
            {**header, "schema": {"type": "string", "enum": ["true", "false"]}},
            {**key, "schema": key_shape},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": shape}}},
    }


def _instance(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [spec.name for spec in schema.features if spec.required or not spec.omittable],
        "properties": {spec.name: _feature(spec) for spec in schema.features},
    }


def _feature(spec: FeatureSpec) -> dict[str, Any]:
    kind = _TYPES[spec.type]
    shape: dict[str, Any] = {
        "type": kind if spec.required else [kind, "null"],
        "description": f"Allowed: {spec.allowed}.",
    }
    limits = {"minimum": spec.minimum, "maximum": spec.maximum}
    shape.update({name: limit for name, limit in limits.items() if limit is not None})
    if spec.categories is not None and spec.log is LogMode.KEEP:
        shape["enum"] = [*spec.categories, *([] if spec.required else [None])]
    elif spec.type in TEXT_TYPES:
        shape["maxLength"] = spec.max_length
    return shape
