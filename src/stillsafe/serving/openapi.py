"""The request bodies in OpenAPI, generated from the schema, because the routes read the raw bytes."""

from typing import Any

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema

_TYPES = {
    FeatureType.NUMERIC: "number",
    FeatureType.INTEGER: "integer",
    FeatureType.BOOLEAN: "boolean",
    FeatureType.CATEGORY: "string",
}


def predict_body(schema: Schema) -> dict[str, Any]:
    """The body of `/v1/predict`."""
    return _body({"features": _instance(schema)})


def batch_body(schema: Schema, most: int) -> dict[str, Any]:
    """The body of `/v1/predict/batch`."""
    return _body({"instances": {"type": "array", "minItems": 1, "maxItems": most, "items": _instance(schema)}})


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    shape = {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shape}}}}


def _instance(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [spec.name for spec in schema.features if spec.required],
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
    if spec.categories is not None:
        shape["enum"] = [*spec.categories, *([] if spec.required else [None])]
    elif spec.type is FeatureType.CATEGORY:
        shape["maxLength"] = spec.max_length
    return shape
