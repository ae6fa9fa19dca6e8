"""A run and an operator's action log each thing by its own event, with service, version, states and incident."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from stillsafe.core.state import State
from stillsafe.logs import LogEvent
from stillsafe.monitoring import hold
from tests.monitoring.conftest import Service, lose

Events = Callable[[], list[tuple[str, int, dict[str, Any]]]]


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Iterator[Events]:
    """What was logged since the last call: event, level and fields."""

    def take() -> list[tuple[str, int, dict[str, Any]]]:
        records = [record for record in caplog.records if record.name.startswith("stillsafe.")]
        lines = [(record.getMessage(), record.levelno, getattr(record, "fields", {})) for record in records]
        caplog.clear()
        return lines

    with caplog.at_level(logging.INFO, logger="stillsafe"):
        yield take


def names(lines: list[tuple[str, int, dict[str, Any]]]) -> list[str]:
    """The names of the events."""
    return [name for name, _, _ in lines]


def degrade(service: Service) -> None:
    """Three runs without most towns."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))


def test_a_degradation_and_a_recovery_are_events_of_their_own(service: Service, events: Events) -> None:
    """State changes, fallback, incident and recovery are one event each, at fitting levels, and named completely."""
    service.step()
    assert names(events()) == ["run"]
    degrade(service)
    lines = events()
    assert names(lines) == [
        *("run", "run", "state_change", "incident"),
        *("run", "state_change", "fallback_started", "incident"),
    ]
    incident_ids = {fields.get("incident") for name, _, fields in lines if name != "run"}
    assert len(incident_ids) == 1
    assert None not in incident_ids
    states = [(f["state_before"], f["state_after"]) for name, _, f in lines if name == "state_change"]
    assert states == [("NORMAL", "WARNING"), ("WARNING", "DEGRADED")]
    while service.state() is not State.NORMAL:
        service.step()
    lines += events()
    assert names(lines)[-4:] == ["run", "state_change", "fallback_ended", "recovery"]
    assert all((fields["model_version"], bool(fields["service"])) == ("1", True) for _, _, fields in lines)
    levels = {event.event: event.level for event in LogEvent}
    assert all(level == levels[name] for name, level, _ in lines)


def test_every_field_is_in_the_table(service: Service, events: Events) -> None:
    """The reference page lists the fields of an event; a run, its window and an operator log no others."""
    service.refuse(20)
    degrade(service)
    hold.hold(service.engine, "1", by="Ada", reason="a drill", at=service.now)
    hold.release(service.engine, "1", by="Ada", reason="it is over", at=service.now)
    service.send(40, start=service.now - timedelta(hours=1))
    service.step()
    hold.discard_after(
        service.engine, "1", time=service.now - timedelta(minutes=1), by="Ada", reason="a drill", at=service.now
    )
    lines = events()
    assert {"refusals", "late_rows", "hold", "release", "discard", "incident"} <= set(names(lines))
    fields_of = {event.event: set(event.fields) for event in LogEvent}
    assert [name for name, _, fields in lines if not set(fields) <= fields_of[name]] == []


def test_refusals_and_late_rows_are_one_line_per_run(service: Service, events: Events) -> None:
    """Both are counted, not repeated; a run without any logs none."""
    service.step()
    assert names(events()) == ["run"]
    service.refuse(7)
    service.send(40, start=service.now - timedelta(hours=1))
    service.step()
    lines = {name: fields for name, _, fields in events()}
    assert lines["refusals"]["refusals"] == 7
    assert lines["late_rows"]["late"] == 40


def test_requests_that_wait_for_too_long_are_logged(service: Service, events: Events) -> None:
    """A run logs `not_judged` once requests have waited longer than the policy allows, and names the oldest."""
    service.step()
    event_names: list[str] = []
    for _ in range(12):
        service.step(5)
        event_names += names(events())
        if "not_judged" in event_names:
            break
    waiting_runs = service.settings.policy.not_judged_intervals
    assert event_names.count("run") > waiting_runs
    assert event_names[-1] == "not_judged"


def test_a_skipped_start_is_logged(service: Service, events: Events) -> None:
    """A start at the time of the last run logs that it had nothing to do."""
    service.step()
    events()
    service.run()
    ((name, level, fields),) = events()
    assert (name, level, fields["outcome"]) == ("run_skipped", logging.INFO, "already done")


def test_in_mode_observe_no_fallback_starts(service: Service, events: Events) -> None:
    """The model answers nevertheless, so only the state changes."""
    settings = service.settings
    new_settings = settings.model_copy(update={"service": settings.service.model_copy(update={"mode": "observe"})})
    service.settings = new_settings
    degrade(service)
    assert service.state() is State.DEGRADED
    assert "fallback_started" not in names(events())


def test_a_hold_and_a_release_are_logged_with_their_states(service: Service, events: Events) -> None:
    """Who, why, and what the action did to the state of the version at hand."""
    service.step()
    events()
    hold.hold(service.engine, "1", by="Ada", reason="a drill", at=service.now)
    hold.release(service.engine, "1", by="Ada", reason="it is over", at=service.now)
    lines = events()
    assert names(lines) == ["hold", "state_change", "release", "state_change"]
    _, level, fields = lines[0]
    assert (level, fields["by"], fields["reason"], fields["state"]) == (logging.WARNING, "Ada", "a drill", "DEGRADED")
    assert (fields["state_before"], fields["state_after"]) == ("NORMAL", "DEGRADED")


def test_the_end_of_the_harm_is_a_recovery_of_its_own(service: Service, events: Events) -> None:
    """The model answers again while the incident goes on: one event each, and a second recovery at the end."""
    degrade(service)
    for _ in range(3):
        service.step(change=lose("town", 0.1))
    lines = events()
    assert names(lines)[-4:] == ["run", "state_change", "fallback_ended", "recovery"]
    while service.state() is not State.NORMAL:
        service.step()
    lines += events()
    recoveries = [fields for name, _, fields in lines if name == "recovery"]
    assert [fields["event_kind"] for fields in recoveries] == ["fallback_ended", "resolved"]
    assert [fields["state_after"] for fields in recoveries] == ["WARNING", "NORMAL"]
    assert len({fields["incident"] for fields in recoveries}) == 1
