"""Labels through the API: durable once they are acknowledged."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from stillsafe.store import database
from stillsafe.store.tables import labels
from tests.serving.services import GOOD, Service


@pytest.fixture
def answer(client: TestClient) -> Any:
    """A prediction with an id."""
    return client.post("/v1/predict", json={"id": "order", "features": GOOD}).json()


def _labels(service: Service) -> list[str]:
    with database.reading(service.engine) as connection:
        return list(connection.execute(select(labels.c.label).order_by(labels.c.id)).scalars())


def test_one_label_by_either_identifier(client: TestClient, service: Service, answer: Any) -> None:
    """Stored with its history, and shown with its prediction."""
    by_id = client.post("/v1/labels", json={"id": "order", "label": "yes"})
    assert (by_id.status_code, by_id.json()["new_count"]) == (200, 1)
    again = client.post("/v1/labels", json={"prediction_id": answer["prediction_id"], "label": "yes"}).json()
    assert (again["new_count"], again["repeat_count"]) == (0, 1)
    assert client.post("/v1/labels", json={"id": "order", "label": "no"}).json()["correction_count"] == 1
    assert _labels(service) == ["yes", "no"]
    assert client.get(f"/v1/predictions/{answer['prediction_id']}").json()["label"] == "no"


def test_many_labels_are_reported_one_by_one(client: TestClient, service: Service, answer: Any) -> None:
    """Unknown and wrong ones do not keep the others out."""
    entries = [
        {"id": "order", "label": "yes"},
        {"id": "gone", "label": "no"},
        {"id": "order", "label": "maybe"},
        {"label": "yes"},
        7,
        {"id": "order", "prediction_id": answer["prediction_id"], "label": "yes"},
    ]
    report = client.post("/v1/labels", json={"labels": entries}).json()
    assert (report["new_count"], report["unknown_ids"], report["refusal_count"]) == (1, ["gone"], 4)
    assert [each.partition(":")[0] for each in report["refusals"]] == [f"labels[{index}]" for index in (2, 3, 4, 5)]
    assert _labels(service) == ["yes"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "gone", "label": "yes"}, 404),
        ({"id": "order", "label": "maybe"}, 422),
        ({"id": "order"}, 422),
        ({"label": "yes"}, 422),
        ({"id": "", "label": "yes"}, 422),
        ({"id": 7, "label": "yes"}, 422),
        ({"id": "order", "label": "yes", "more": 1}, 422),
        ({}, 422),
        ([], 422),
        ({"labels": []}, 422),
        ({"labels": {}}, 422),
        ({"labels": [{"id": "order", "label": "yes"}], "more": 1}, 422),
        ({"labels": [{"id": "order", "label": "yes"}] * 1001}, 413),
    ],
)
def test_a_request_of_another_form_is_refused(
    client: TestClient, service: Service, answer: Any, body: object, status: int
) -> None:
    """With a problem, and without a label or a refusal, which would be evidence about the features."""
    assert answer["id"] == "order"
    assert client.post("/v1/labels", json=body).status_code == status
    assert (_labels(service), service.refusals()) == ([], [])


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"id": "order", "id": "order", "label": "yes"}', b'{"labels": [], "labels": []}', b"\xff"]
)
def test_a_body_that_can_be_read_in_two_ways_is_refused(client: TestClient, content: bytes) -> None:
    """By the same strict parser as a prediction's."""
    headers = {"content-type": "application/json"}
    assert client.post("/v1/labels", content=content, headers=headers).status_code == 422


def test_a_label_that_cannot_be_stored_is_not_acknowledged(client: TestClient, service: Service, answer: Any) -> None:
    """503, as for predictions."""
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE labels RENAME TO gone")
    assert client.post("/v1/labels", json={"id": answer["id"], "label": "yes"}).status_code == 503


def test_the_description_has_both_forms_of_the_body(client: TestClient) -> None:
    """In OpenAPI."""
    shape = json.loads(client.get("/openapi.json").text)["paths"]["/v1/labels"]["post"]["requestBody"]
    single, several = shape["content"]["application/json"]["schema"]["anyOf"]
    assert several["properties"]["labels"]["items"]["anyOf"][:-1] == single["anyOf"]
    assert [form["required"] for form in single["anyOf"]] == [["prediction_id", "label"], ["id", "label"]]
