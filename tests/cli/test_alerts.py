"""`alerts test` tries each receiver, and `alerts list` shows the outbox."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.alerting.receivers import receiver

from .commands import START, Command, document, log_predictions

STEP = timedelta(minutes=10)
SECTION = '\n[[alerts]]\nname = "chat"\nurl_variable = "TEST_URL"\n'


def test_receivers_are_tried_and_runs_alert(run: Command, made_service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is not reached is exit 1; what a run opens arrives after it, and stands in the list."""
    assert run("alerts", "test")[0] == 2
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text() + SECTION)
    run("db", "upgrade")
    with receiver() as arrivals:
        monkeypatch.setenv("TEST_URL", arrivals.url)
        code, out, _ = run("alerts", "test")
        assert (code, "chat: delivered." in out) == (0, True)
        assert arrivals.documents[0]["event"] == "test"
        assert "empty" in run("alerts", "list")[1]
        log_predictions(made_service, 100, START)
        assert run("monitor", "--now", START.isoformat())[0] == 0
        log_predictions(made_service, 100, START + STEP, area=None)
        assert run("monitor", "--now", (START + STEP).isoformat())[0] == 0
    assert [each["event"] for each in arrivals.documents] == ["test", "opened"]
    assert "worst area" in arrivals.documents[1]["text"]
    (alert,) = document(run("alerts", "list", "--json")[1])
    assert [*alert["deliveries"]] == ["chat"]
    assert "reached chat" in run("alerts", "list")[1]
    monkeypatch.setenv("TEST_URL", "http://127.0.0.1:1/")
    code, out, errors = run("alerts", "test", "--receiver", "chat")
    assert (code, "not delivered" in out, "chat" in errors) == (1, True, True)
