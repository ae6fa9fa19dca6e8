"""A serving process logs each condition once when it begins and once when it ends."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.logs import LogEvent
from stillsafe.serving.failover import ServingState
from stillsafe.serving.state_log import ServingStateLog
from tests.serving.services import GOOD

CALM = ServingState(State.NORMAL, "calm", (), stale=False, watched=True, judged=True)
Lines = Callable[[], list[tuple[str, int, dict[str, Any]]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged since the last call: event, level and fields."""
    caplog.set_level(logging.INFO, logger="stillsafe")

    def take() -> list[tuple[str, int, dict[str, Any]]]:
        records = [record for record in caplog.records if record.name == "stillsafe.serving.state_log"]
        events = [(record.getMessage(), record.levelno, getattr(record, "fields", {})) for record in records]
        caplog.clear()
        return events

    return take


@pytest.mark.parametrize(
    ("state", "bypass_reason", "begin", "end"),
    [
        (
            ServingState(State.DEGRADED, "bad", (), False, True, True),
            "DEGRADED: bad",
            "fallback_started",
            "fallback_ended",
        ),
        (ServingState(State.NORMAL, "calm", (), True, True, True), None, "monitor_stale", "monitor_resumed"),
        (ServingState(State.NORMAL, "calm", (), False, True, False), None, "not_judged", "judged_again"),
    ],
)
def test_a_condition_is_logged_when_it_begins_and_ends(
    lines: Lines, state: ServingState, bypass_reason: str | None, begin: str, end: str
) -> None:
    """However often the state is read; the line names service, version, process and state, at the event's level."""
    log = ServingStateLog("loans", "7")
    for each, reason in [(CALM, None), (state, bypass_reason), (state, bypass_reason), (CALM, None), (CALM, None)]:
        log.note(each, reason)
    (first, level, fields), (last, _, _) = lines()
    assert (first, last) == (begin, end)
    event = next(event for event in LogEvent if event.event == begin)
    assert level == event.level
    assert set(fields) <= set(event.fields)
    assert (fields["service"], fields["model_version"], fields["state"]) == ("loans", "7", state.state.value)


def test_a_bypass_by_a_stale_monitor_gives_its_reason(lines: Lines) -> None:
    """The reason of `fallback_started` is why this process bypasses the model, not why the state is what it is."""
    ServingStateLog("loans", "7").note(ServingState(State.NORMAL, "calm", (), True, True), "The monitor is stale.")
    reasons = {name: fields.get("reason") for name, _, fields in lines()}
    assert reasons["fallback_started"] == "The monitor is stale."
    assert reasons["monitor_stale"] == "calm"


def test_requests_log_the_state_that_they_apply(client: TestClient, lines: Lines) -> None:
    """Before the first run the monitor is stale: the first request logs it, the next ones do not."""
    for _ in range(3):
        assert client.post("/v1/predict", json={"features": GOOD}).status_code == 200
    assert [name for name, _, _ in lines()].count("monitor_stale") == 1


def test_a_health_check_notices_a_stale_monitor(client: TestClient, lines: Lines) -> None:
    """A service without traffic is polled by `/health/ready`, so the event needs no request."""
    assert client.get("/health/ready").status_code == 200
    assert "monitor_stale" in [name for name, _, _ in lines()]
