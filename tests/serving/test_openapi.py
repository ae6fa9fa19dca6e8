"""The request bodies in OpenAPI describe what the service accepts."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema, Violation
from stillsafe.serving.openapi import batch_body, predict_body
from stillsafe.serving.schemas import feature_document

SCHEMA = Schema(
    (
        FeatureSpec("age", FeatureType.NUMERIC, minimum=0, maximum=120),
        FeatureSpec("visits", FeatureType.INTEGER, required=False),
        FeatureSpec("member", FeatureType.BOOLEAN),
        FeatureSpec("size", FeatureType.CATEGORY, categories=("S", "L"), required=False),
        FeatureSpec("town", FeatureType.CATEGORY, max_length=50),
    )
)


def _shape(body: dict[str, Any]) -> Any:
    return body["requestBody"]["content"]["application/json"]["schema"]


def test_an_instance_has_every_feature_with_its_limits() -> None:
    """Type, range, categories and length; a feature that may be missing may be null."""
    instance = _shape(predict_body(SCHEMA))["properties"]["features"]
    assert instance["required"] == ["age", "member", "town"]
    assert instance["additionalProperties"] is False
    limits = {
        name: {k: v for k, v in each.items() if k != "description"} for name, each in instance["properties"].items()
    }
    assert limits == {
        "age": {"type": "number", "minimum": 0, "maximum": 120},
        "visits": {"type": ["integer", "null"]},
        "member": {"type": "boolean"},
        "size": {"type": ["string", "null"], "enum": ["S", "L", None]},
        "town": {"type": "string", "maxLength": 50},
    }


@pytest.mark.parametrize("log", [LogMode.HASH, LogMode.DROP])
def test_the_categories_of_a_hidden_feature_are_not_listed(log: LogMode) -> None:
    """They may be names of persons, and whoever may ask for the schema would learn them."""
    spec = FeatureSpec("mail", FeatureType.CATEGORY, categories=("a@example.org", "b@example.org"), log=log)
    assert "example.org" not in str(predict_body(Schema((spec,))))
    assert "example.org" not in feature_document(spec).model_dump_json()
    assert isinstance(violation := spec.check("c"), Violation)
    assert violation.allowed == "one of 2 strings that are not shown"


@pytest.mark.parametrize("most", [1, 1_000])
def test_a_batch_is_an_array_of_the_same_instances(most: int) -> None:
    """With the limit of the settings in words; an item of any other kind is refused by itself, not with the body."""
    instances = _shape(batch_body(SCHEMA, most))["properties"]["instances"]
    assert instances["minItems"] == 1
    assert f"At most {most} instances" in instances["description"]
    features = _shape(predict_body(SCHEMA))["properties"]["features"]
    plain, envelope, other = instances["items"]["anyOf"]
    assert plain == envelope["properties"]["features"] == features
    assert (envelope["required"], set(envelope["properties"])) == (["features"], {"features", "id"})
    assert set(other) == {"description"}


def test_every_feature_describes_its_allowed_values() -> None:
    """In the words of the schema's own violations."""
    properties = _shape(predict_body(SCHEMA))["properties"]["features"]["properties"]
    assert [properties[spec.name]["description"] for spec in SCHEMA.features] == [
        f"Allowed: {spec.allowed}." for spec in SCHEMA.features
    ]


@pytest.mark.parametrize("body", [predict_body(SCHEMA), batch_body(SCHEMA, 3)], ids=["single", "batch"])
def test_a_request_may_be_marked_as_synthetic(body: dict[str, Any]) -> None:
    """By an optional key beside the features, or by a header."""
    shape = _shape(body)
    assert shape["properties"]["synthetic"]["type"] == "boolean"
    assert "synthetic" not in shape["required"]
    header = body["parameters"][0]
    assert (header["name"], header["in"], header["required"]) == ("Stillsafe-Synthetic", "header", False)


@pytest.mark.parametrize("body", [predict_body(SCHEMA), batch_body(SCHEMA, 3)], ids=["single", "batch"])
def test_a_request_may_have_an_id(body: dict[str, Any]) -> None:
    """By a header, and one instance by a key beside its features."""
    header = body["parameters"][1]
    assert (header["name"], header["in"], header["required"]) == ("Idempotency-Key", "header", False)
    assert _shape(predict_body(SCHEMA))["properties"]["id"]["maxLength"] == header["schema"]["maxLength"] == 200


def test_a_record_needs_what_gives_its_confidence(client: TestClient) -> None:
    """Probabilities of every class or a confidence, as the service checks it; paths of the model have one value."""
    document = client.get("/openapi.json").json()
    shape = document["paths"]["/v1/record"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert shape["required"] == ["features", "prediction"]
    assert [each["required"] for each in shape["anyOf"]] == [["probabilities"], ["confidence"]]
    for path in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}/infer"):
        for operation in document["paths"][path].values():
            names = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "path"}
            assert names["model_name"]["enum"] == ["stay"]
            assert len(names) == path.count("{")
