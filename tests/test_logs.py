"""The log: one JSON object per line, whatever is logged."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.logs import JsonLine, set_up


def line(message: str = "run", **extra: object) -> str:
    record = logging.LogRecord("stillsafe", logging.INFO, "file", 1, message, (), None)
    record.__dict__.update(extra)
    return JsonLine().format(record)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def read(text: str) -> dict[str, object]:
    found = json.loads(text, parse_constant=refuse)
    assert isinstance(found, dict)
    return found


def test_fields_stand_beside_the_event() -> None:
    """An event's fields keep their types and stand beside its message, with the time in UTC."""
    found = read(line(fields={"run": 3, "rate": 0.5, "names": ["a"], "held": None}, created=0.0))
    assert found == {
        "at": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "stillsafe",
        "event": "run",
        "run": 3,
        "rate": 0.5,
        "names": ["a"],
        "held": None,
    }


def test_a_field_never_overwrites_what_the_line_is_about() -> None:
    """A field that is called like one of the line's own keys is kept under another name."""
    found = read(line(fields={"event": "mine", "level": 9}))
    assert (found["event"], found["event_"]) == ("run", "mine")
    assert (found["level"], found["level_"]) == ("INFO", 9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}, {(1, 2): 3}, {1, 2}, b"\xff"])
def test_what_json_lacks_is_written_as_text(value: object) -> None:
    """NaN, infinity and foreign objects become text, and leave their neighbours as they are."""
    found = read(line(fields={"odd": value, "count": 7}))
    assert found["count"] == 7
    assert "odd" in found


def test_a_value_that_cannot_even_be_named_costs_only_itself() -> None:
    """An object whose text raises, or that contains itself, does not cost the event."""

    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    endless: list[object] = []
    endless.append(endless)
    found = read(line(fields={"silent": Silent(), "many": [Silent(), float("nan")], "endless": endless, "count": 1}))
    assert found["silent"] == "<Silent: RuntimeError>"
    assert found["count"] == 1


@given(st.text(), st.dictionaries(st.text(), st.text() | st.floats() | st.integers()))
def test_one_event_is_one_line(message: str, fields: dict[str, object]) -> None:
    """Whatever is logged, line breaks and half characters included, is one line of valid JSON."""
    text = line(message, fields=fields)
    assert len(text.splitlines()) == 1
    assert read(text)["event"] == message
    text.encode("ascii")


def test_an_exception_is_told_on_the_same_line() -> None:
    """A traceback stays inside its event's line."""
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
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert read(lines[0])["by"] == "ada"
