"""Checks of the monitor: the rate of the traffic, the clocks, other versions and other services."""

from datetime import timedelta
from pathlib import Path

import pytest

from stillsafe import service
from stillsafe.check.findings import Finding, Verdict
from stillsafe.check.judging import judging_findings, traffic_finding
from stillsafe.core.policy import Policy
from stillsafe.store import database
from stillsafe.store.write.predictions import append_predictions
from stillsafe.store.write.services import register_service
from tests.store.conftest import START, prediction


def findings(folder: Path, later: timedelta = timedelta(0)) -> dict[str, Finding]:
    settings = service.settings_of(folder / "stillsafe.toml")
    engine = service.open_store(settings)
    by_subject = {each.subject: each for each in judging_findings(engine, settings, START + later, service.utc_now())}
    engine.dispose()
    return by_subject


@pytest.mark.parametrize(
    ("requests_in_10_minutes", "verdict", "sentence"),
    [
        (300, Verdict.OK, "each run can be conclusive"),
        (20, Verdict.WARNING, 'only every 3 runs can be conclusive. Each run could be with `window = "25m"` and'),
        (20, Verdict.WARNING, "`min_predictions = 30`"),
        (5, Verdict.WARNING, "Meanwhile the service is not judged, after 6 runs."),
        (0.1, Verdict.ERROR, "no run can ever be conclusive: requests are carried for 1d at most"),
    ],
)
def test_the_rate_decides_how_traffic_is_judged(requests_in_10_minutes: float, verdict: Verdict, sentence: str) -> None:
    """By each run, late or never, with the settings that would do."""
    finding = traffic_finding(Policy(), requests_in_10_minutes / 600)
    assert finding.subject == "judging"
    assert finding.verdict is verdict
    assert sentence in finding.message


@pytest.mark.parametrize("requests_in_10_minutes", [1, 5, 20, 33])
def test_the_advice_is_enough(requests_in_10_minutes: float) -> None:
    """Under the advised window and interval the same traffic is judged by each run."""
    from stillsafe.check.judging import _advice
    from stillsafe.judging import runs_per_conclusion
    from stillsafe.settings_sections import parse_duration

    words = _advice(Policy(), requests_in_10_minutes / 600).split("`")
    keys = dict(word.split(" = ") for word in words if " = " in word)
    window = float(str(parse_duration(keys["window"].strip('"'))))
    every = float(str(parse_duration(keys.get("every", '"10m"').strip('"'))))
    policy = Policy(window_seconds=window, every_seconds=every, max_gap_seconds=3 * every)
    assert runs_per_conclusion(policy, requests_in_10_minutes / 600) == 1
    fewer = Policy(min_predictions=int(keys.get("min_predictions", 50)), min_fresh_predictions=1)
    if "min_predictions" in keys:
        assert runs_per_conclusion(fewer, requests_in_10_minutes / 600) == 1


def test_a_quiet_service_is_no_problem(made_service: Path) -> None:
    """Without requests there is nothing to judge, and the finding says what a run needs."""
    finding = findings(made_service)["judging"]
    assert (finding.verdict, "A run needs 50 in 15m" in finding.message) == (Verdict.OK, True)


def test_requests_and_runs_in_the_future_are_errors(made_service: Path) -> None:
    """Both name the way back."""
    settings = service.settings_of(made_service / "stillsafe.toml")
    engine = service.open_store(settings)
    with database.writing(engine) as connection:
        append_predictions(connection, [prediction(1, START + timedelta(hours=2), version=settings.model.version)])
    assert findings(made_service, timedelta(hours=3)).get("clock") is None
    finding = findings(made_service)["clock"]
    assert finding.verdict is Verdict.ERROR
    assert "dated up to 2026-03-01T14:00:00" in finding.message
    service.monitor(settings, now=START + timedelta(hours=3))
    finding = findings(made_service, timedelta(hours=2))["clock"]
    assert (finding.verdict, "--discard-after" in finding.message) == (Verdict.ERROR, True)
    engine.dispose()


def test_other_services_are_named(made_service: Path) -> None:
    """With the command that would adopt a renamed one."""
    settings = service.settings_of(made_service / "stillsafe.toml")
    assert "services" not in findings(made_service)
    engine = database.connect(settings.database_url, "prices")
    with database.writing(engine) as connection:
        register_service(connection)
    engine.dispose()
    finding = findings(made_service)["services"]
    assert "The database also has: prices." in finding.message
    assert "stillsafe db rename" in finding.message
