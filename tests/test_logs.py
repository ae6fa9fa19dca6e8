"""The log: one JSON object per line, whatever is logged."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stillsafe
from stillsafe.logs import JsonLine, LogEvent, log_event, set_up


def line(message: str = "run", **extra: object) -> str:
    record = logging.LogRecord("stillsafe", logging.INFO, "file", 1, message, (), None)
    record.__dict__.update(extra)
    return JsonLine().format(record)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def read(text: str) -> dict[str, object]:
    members = json.loads(text, parse_constant=refuse)
    assert isinstance(members, dict)
    return members


def test_fields_are_members_of_the_line() -> None:
    """Fields keep their types, next to the message and the time in UTC."""
    members = read(line(fields={"run": 3, "rate": 0.5, "names": ["a"], "held": None}, created=0.0))
    assert members == {
        "at": "1970-01-01T00:00:00.000Z",
        "level": "INFO",
        "logger": "stillsafe",
        "event": "run",
        "run": 3,
        "rate": 0.5,
        "names": ["a"],
        "held": None,
    }


def test_a_field_never_overwrites_another_member() -> None:
    """A field with the name of a standard member gets an underscore."""
    members = read(line(fields={"event": "mine", "level": 9}))
    assert (members["event"], members["event_"]) == ("run", "mine")
    assert (members["level"], members["level_"]) == ("INFO", 9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}, {(1, 2): 3}, {1, 2}, b"\xff"])
def test_values_that_json_lacks_become_text(value: object) -> None:
    """NaN, infinity and other objects become text; the other fields stay."""
    members = read(line(fields={"odd": value, "count": 7}))
    assert members["count"] == 7
    assert "odd" in members


def test_a_value_without_a_text_loses_no_line() -> None:
    """An object whose text raises, or that contains itself, becomes a placeholder."""

    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    endless: list[object] = []
    endless.append(endless)
    members = read(line(fields={"silent": Silent(), "many": [Silent(), float("nan")], "endless": endless, "count": 1}))
    assert members["silent"] == "<Silent: RuntimeError>"
    assert members["count"] == 1


@given(st.text(), st.dictionaries(st.text(), st.text() | st.floats() | st.integers()))
def test_one_event_is_one_line(message: str, fields: dict[str, object]) -> None:
    """Any message and fields, also with line ends and lone surrogates, are one line of valid JSON."""
    text = line(message, fields=fields)
    assert len(text.splitlines()) == 1
    assert read(text)["event"] == message
    text.encode("ascii")


def test_an_exception_is_on_the_same_line() -> None:
    """A traceback is a member of the line."""
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        text = line(exc_info=sys.exc_info())
    assert len(text.splitlines()) == 1
    assert "broken\nin two" in str(read(text)["exception"])


def test_set_up_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """After `set_up` every logger of the process writes JSON to standard error, and nothing below the level."""
    set_up("WARNING")
    logging.getLogger("stillsafe.anything").warning("hold", extra={"fields": {"by": "ada"}})
    logging.getLogger("stillsafe.anything").info("quiet")
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert len(lines) == 1
    assert read(lines[0])["by"] == "ada"


def test_set_up_names_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of a process that serves one service has its name and version, unless the event has its own."""
    set_up("INFO", service="loans", model_version="7")
    logging.getLogger("library").info("started")
    log_event(logging.getLogger("stillsafe"), LogEvent.SERVING, {"model_version": "8", "process": None})
    first, second = (read(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["service"], first["model_version"]) == ("started", "loans", "7")
    assert (second["service"], second["model_version"], "process" in second) == ("loans", "8", False)


def test_an_event_has_its_own_level_and_a_traceback_where_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The level is the event's, so that callers cannot disagree about it."""
    set_up("INFO")
    log_event(logging.getLogger("stillsafe"), LogEvent.RUN_FAILED, {"message": "no disk"}, error=ValueError("x"))
    line = read(capsys.readouterr().err)
    assert (line["event"], line["level"], line["message"]) == ("run_failed", "ERROR", "no disk")
    assert "ValueError: x" in str(line["exception"])


def test_events_have_different_names_and_complete_meanings() -> None:
    """A name means one thing; each event has a level of `logging` and a sentence."""
    names = [event.event for event in LogEvent]
    assert len(set(names)) == len(names) == len(LogEvent)
    levels = {logging.INFO, logging.WARNING, logging.ERROR}
    assert all(event.level in levels and event.meaning.endswith(".") for event in LogEvent)
    standard_members = {"at", "level", "logger", "event"}
    assert not any(standard_members & set(event.fields) for event in LogEvent)


def test_every_log_call_names_an_event() -> None:
    """No module logs a text of its own, so the reference page lists every event."""
    calls = re.compile(r"\blogger\.(debug|info|warning|error|exception|critical|log)\(")
    files = [file for file in Path(stillsafe.__file__).parent.rglob("*.py") if file.name != "logs.py"]
    assert [file.name for file in files if calls.search(file.read_text(encoding="utf-8"))] == []
