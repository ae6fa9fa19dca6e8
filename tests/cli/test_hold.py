"""`hold` and `release` are the kill switch."""

from pathlib import Path

import pytest

from stillsafe.cli.hold import one_line
from stillsafe.errors import ConfigurationError

from .commands import Command, document


def test_a_hold_is_recorded_until_it_is_released(run: Command) -> None:
    """A hold forces DEGRADED and shows who and why; a second one is refused; a release needs a reason."""
    assert run("hold", "--reason", "looks wrong", "--by", "Ada")[0] == 0
    status = document(run("status", "--json")[1])
    assert (status["state"], status["held"]["by"], status["held"]["reason"]) == ("DEGRADED", "Ada", "looks wrong")
    assert "Held" in run("status")[1]
    code, _, errors = run("hold", "--reason", "again")
    assert code == 1
    assert "Held already by Ada" in errors
    code, _, errors = run("release", "--reason", "  ")
    assert code == 2
    assert "A reason is needed" in errors
    assert run("release", "--reason", "mended")[0] == 0
    assert document(run("status", "--json")[1])["state"] == "NORMAL"


def test_a_hold_in_observe_mode_bypasses_nothing(run: Command, made_service: Path) -> None:
    """In observe mode the output does not claim that the fallback answers."""
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text().replace('mode = "enforce"', 'mode = "observe"'))
    assert "the model still answers" in run("hold", "--reason", "looks wrong")[1]


@pytest.mark.parametrize("text", ["", " \t", "two\nlines", "bell\a"])
def test_a_reason_is_one_line_of_text(text: str) -> None:
    """Empty text and control characters are refused; surrounding spaces are removed."""
    assert one_line(" drill ") == "drill"
    with pytest.raises(ConfigurationError):
        one_line(text)
