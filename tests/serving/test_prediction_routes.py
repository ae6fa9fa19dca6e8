"""Routes of single predictions."""

from starlette.testclient import TestClient

from tests.serving.services import GOOD, Service


def test_a_logged_prediction_is_found_by_its_identifiers(client: TestClient, service: Service) -> None:
    """By the service's and by the client's; unknown ones are 404."""
    answer = client.post("/v1/predict", json={"id": "a/b ü", "features": GOOD}).json()
    record = client.get(f"/v1/predictions/{answer['prediction_id']}").json()
    assert (record["features"], record["id"], record["is_duplicate"]) == (
        service.log()[0].input_summary,
        "a/b ü",
        False,
    )
    assert (record["prediction"], record["confidence"]) == (answer["prediction"], answer["confidence"])
    assert client.get("/v1/predictions", params={"id": "a/b ü"}).json() == {"predictions": [record]}
    assert client.get("/v1/predictions", params={"id": "other"}).status_code == 404
    assert client.get("/v1/predictions/other").status_code == 404
    assert client.get("/v1/predictions").status_code == 422
    plain = client.post("/v1/predict", json={"features": GOOD}).json()["prediction_id"]
    assert client.get(f"/v1/predictions/{plain}").json()["id"] is None
