"""Realised performance through the API."""

from datetime import timedelta

from starlette.testclient import TestClient

from stillsafe.core.state import State
from tests.serving.services import GOOD, Service


def test_the_labels_of_a_day_are_its_performance(client: TestClient, service: Service) -> None:
    """With coverage, delay and intervals, of the model and of the fallback; corrections change it."""
    for number, state in enumerate([State.NORMAL] * 4 + [State.DEGRADED]):
        service.decide(state)
        client.post("/v1/predict", json={"id": f"r{number}", "features": GOOD})
    answer = client.get("/v1/predictions", params={"id": "r0"}).json()["predictions"][0]["prediction"]
    service.clock.now += timedelta(days=1)
    other = "no" if answer == "yes" else "yes"
    labels = [{"id": "r0", "label": answer}, {"id": "r1", "label": other}, {"id": "r4", "label": "no"}]
    client.post("/v1/labels", json={"labels": labels})
    report = client.get("/v1/performance").json()
    today, day = report["periods"][:2]
    assert (report["model_version"], report["by"], len(report["periods"]), today["overall"]) == ("v1", "day", 7, None)
    assert (day["prediction_count"], day["label_count"], day["coverage"]) == (5, 3, 0.6)
    assert round(day["delay_seconds"]) == 86400
    assert (day["model"]["metrics"]["accuracy"]["value"], day["fallback"]["label_count"]) == (0.5, 1)
    client.post("/v1/labels", json={"id": "r1", "label": answer})
    assert client.get("/v1/performance").json()["periods"][1]["model"]["metrics"]["accuracy"]["value"] == 1.0


def test_windows_and_limits(client: TestClient) -> None:
    """Without runs there are no windows; another period is refused."""
    assert client.get("/v1/performance", params={"by": "window"}).json()["periods"] == []
    assert len(client.get("/v1/performance", params={"limit": 2}).json()["periods"]) == 2
    for wrong in ({"by": "year"}, {"limit": 0}, {"limit": 1000}):
        assert client.get("/v1/performance", params=wrong).status_code == 422
