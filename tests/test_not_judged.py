"""Not judged: every surface says so once requests wait too long for a conclusive run, and none does in silence."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.check.checks import check
from stillsafe.check.findings import Verdict
from stillsafe.cli.status import print_status, status_document
from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions
from tests.stores import with_store

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=10)


@dataclass
class ThinService:
    """A real service folder on a simulated clock, whose requests are written without the API.

    Attributes:
        settings: of the service; a run needs 200 requests.
        rows: healthy features.
        now: the simulated time.
    """

    settings: Any
    rows: list[dict[str, float]]
    now: datetime = START
    sent_count: int = 0

    def send(self, count: int, *, version: str | None = None, synthetic: bool = False) -> None:
        """Log requests over the next ten minutes."""
        engine, records = service.open_store(self.settings), []
        for i in range(count):
            row = self.rows[self.sent_count % len(self.rows)]
            self.sent_count += 1
            records.append(
                PredictionRecord(
                    f"p{self.sent_count}",
                    self.now + STEP * (i / count),
                    version or self.settings.model.version,
                    State.NORMAL,
                    dict(row),
                    "1",
                    0.95 + 0.01 * (i % 4),
                    False,
                    "made up",
                    synthetic=synthetic,
                )
            )
        with database.writing(engine) as connection:
            append_predictions(connection, records)
        engine.dispose()

    def step(self, count: int, **traffic: Any) -> None:
        """Ten minutes of traffic, and the run after them."""
        self.send(count, **traffic)
        self.now += STEP
        service.monitor(self.settings, now=self.now)

    def surfaces(self) -> dict[str, str]:
        """What each surface shows about judging: a text that contains `not judged` exactly where it says so."""
        engine = service.open_store(self.settings)
        status = status_document(engine, self.settings, self.now, 0)
        engine.dispose()
        file = self.settings.folder / "stillsafe.toml"
        findings = {finding.subject: finding for finding in check(file, now=self.now)}
        with TestClient(service.create_app(self.settings, clock=lambda: self.now)) as client:
            state, ready = client.get("/v1/state").json(), client.get("/health/ready")
            metrics, page = client.get("/metrics").text, client.get("/").text
            answer = client.post("/v1/predict", json={"features": self.rows[0]}).json()
        assert ready.status_code == 200
        banner = re.search(r'<p class="headline">(.*?)</p>', page, flags=re.DOTALL)
        alarms = re.search(r'<section class="alarms".*?</section>', page, flags=re.DOTALL)
        return {
            "answer": _word(answer["judged"]),
            "reason of an answer": answer["reason"],
            "/v1/state": _word(state["judged"]),
            "/v1/state, sentence": state["not_judged"],
            "/v1/state, version": _word(state["versions"][0]["judged"]),
            "/health/ready": _word(ready.json()["judged"]),
            "gauge": _word("\nstillsafe_judged 1.0" in metrics),
            "dashboard, banner": banner[1] if banner else "",
            "dashboard, alarm": alarms[0] if alarms else "",
            "status --json": _word(status["judged"]),
            "status": _status_text(status),
            "check": findings["judging"].message,
        }


def _word(judged: bool) -> str:
    return "judged" if judged else "not judged"


def _status_text(status: dict[str, Any]) -> str:
    from stillsafe.cli.output import console

    with console.capture() as capture:
        print_status(json.loads(json.dumps(status, default=str)))
    return capture.get()


@pytest.fixture
def thin(made_service: Path, healthy_rows: list[dict[str, float]], named_store: str) -> ThinService:
    """A service with a conclusive run behind it, once on each kind of store."""
    file = with_store(made_service) / "stillsafe.toml"
    file.write_text(re.sub(r"^# (min_predictions) = .*$", r"\1 = 200", file.read_text(), flags=re.MULTILINE))
    thin_service = ThinService(service.settings_of(file), healthy_rows)
    assert thin_service.settings.policy.min_predictions == 200
    thin_service.step(300)
    return thin_service


def not_judged(surfaces: dict[str, str]) -> list[str]:
    """The surfaces that say so."""
    return [name for name, text in surfaces.items() if "not judged" in text.lower()]


def thin_traffic(thin: ThinService) -> None:
    """Twenty requests in ten minutes: seven runs do not gather 200."""
    for _ in range(7):
        thin.step(20)


def synthetic_traffic(thin: ThinService) -> None:
    """Probes and nothing else."""
    for _ in range(7):
        thin.step(200, synthetic=True)


def stopped_monitor(thin: ThinService) -> None:
    """Requests, and no run any more."""
    for _ in range(8):
        thin.send(300)
        thin.now += STEP


def silence(thin: ThinService) -> None:
    """Runs, and no request."""
    for _ in range(12):
        thin.now += STEP
        service.monitor(thin.settings, now=thin.now)


def late_conclusion(thin: ThinService) -> None:
    """Thin traffic until a run has gathered enough."""
    for _ in range(10):
        thin.step(20)


@pytest.mark.parametrize(
    ("story", "cause"),
    [
        (thin_traffic, "traffic too thin: 140 requests in a window of at least 200"),
        (synthetic_traffic, "synthetic requests and no other"),
        (stopped_monitor, "the monitor has stopped"),
    ],
)
def test_every_surface_says_not_judged(thin: ThinService, story: Callable[[ThinService], None], cause: str) -> None:
    """Once requests wait longer than six intervals, all surfaces say so, those for people with the cause."""
    story(thin)
    surfaces = thin.surfaces()
    assert not_judged(surfaces) == list(surfaces), surfaces
    for name in ("/v1/state, sentence", "status", "check", "dashboard, alarm"):
        assert cause in " ".join(surfaces[name].split()), name


@pytest.mark.parametrize("story", [silence, late_conclusion])
def test_a_judged_service_is_called_so(thin: ThinService, story: Callable[[ThinService], None]) -> None:
    """Silence makes nobody not judged, and neither does traffic that a run has judged late."""
    story(thin)
    surfaces = thin.surfaces()
    surfaces.pop("check")  # it speaks of the rate of the last day
    assert not_judged(surfaces) == []


def test_not_judged_is_a_condition_and_no_state(thin: ThinService) -> None:
    """The state stays what it was, the model goes on answering, and `on_not_judged` hands over to the fallback."""
    thin_traffic(thin)
    for mode, fallback_used in (("serve", False), ("fallback", True)):
        serving = thin.settings.serving.model_copy(update={"on_not_judged": mode})
        settings = thin.settings.model_copy(update={"serving": serving})
        with TestClient(service.create_app(settings, clock=lambda: thin.now)) as client:
            answer = client.post("/v1/predict", json={"features": thin.rows[0]}).json()
            assert client.get("/v1/state").json()["state"] == "NORMAL"
        assert (answer["system_state"], answer["fallback_used"]) == ("NORMAL", fallback_used)
        assert answer["judged_at"] is not None
        assert "Not judged: no run has reached a conclusion" in answer["reason"]


def test_a_version_without_a_monitor_is_shown_by_the_others(thin: ThinService) -> None:
    """Its traffic makes it not judged on the pages of the served version, which is judged itself."""
    for _ in range(8):
        thin.send(300, version="next")
        thin.step(300)
    with TestClient(service.create_app(thin.settings, clock=lambda: thin.now)) as client:
        state, page = client.get("/v1/state").json(), client.get("/").text
    versions = {each["model_version"]: each for each in state["versions"]}
    assert state["judged"]
    assert (versions["next"]["judged"], versions["next"]["monitored"]) == (False, False)
    assert "no monitor run has evaluated model version next" in page
    findings = {each.subject: each for each in check(thin.settings.folder / "stillsafe.toml", now=thin.now)}
    assert findings["version next"].verdict is Verdict.WARNING
    engine = service.open_store(thin.settings)
    assert "no monitor run" in _status_text(status_document(engine, thin.settings, thin.now, 0))
    engine.dispose()
