"""The output that commands share."""

import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from stillsafe.cli import output
from stillsafe.cli.output import colour_markup, format_number, format_time, json_text, print_result, progress_bar


def test_json_has_iso_times_and_no_nan() -> None:
    """Times are ISO 8601, and NaN, which JSON does not have, is refused."""
    text = json_text({"at": datetime(2026, 1, 1, tzinfo=UTC), "name": "é"})
    assert json.loads(text) == {"at": "2026-01-01T00:00:00Z", "name": "é"}
    assert "é" in text
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


def test_a_result_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A program gets the JSON and a person the text, never both."""
    print_result({"a": 1}, True, lambda: output.print_plain("text"))
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_unknown_words_have_no_markup() -> None:
    """A known state gets its colour; text that looks like markup is escaped."""
    assert colour_markup("NORMAL", output.STATE_STYLE) == "[bold green]NORMAL[/]"
    assert colour_markup("[red]x", output.STATE_STYLE) == r"\[red]x"


def test_times_and_numbers_are_short() -> None:
    """Times to the second in one format, whatever they come as; numbers with three digits, a dash for nothing."""
    assert format_time(datetime(2026, 1, 1, 8, 30, 5, 123, tzinfo=UTC)) == "2026-01-01T08:30:05Z"
    assert format_time("2026-01-01T09:30:05.123+01:00") == format_time("2026-01-01 08:30:05") == "2026-01-01T08:30:05Z"
    assert (format_number(0.12345), format_number(None)) == ("0.123", "-")


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_rows_are_never_cut(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell is printed whole at any width: as a table where it fits, and as paragraphs elsewhere."""
    monkeypatch.setattr(output, "console", Console(width=width, soft_wrap=True, highlight=False))
    rows = [{"baseline": f"20260101T083005Z-{n:032x}", "made": "2026-01-01T08:30:05Z", "active": ""} for n in range(3)]
    output.print_rows(rows)
    text = capsys.readouterr().out
    assert all(cell in text for row in rows for cell in row.values())
    assert "…" not in text
    assert ("made: " in text) == (width < 80)


def test_a_table_gives_up_its_border_before_its_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the width of a table with borders and that of paragraphs there is a table without borders."""
    rows = [{"a": "x" * 10, "b": "y" * 10, "reason": "some words that take several lines of the table"}]
    for width, sign in ((60, "┃"), (48, "a          b"), (40, "b: y")):
        monkeypatch.setattr(output, "console", Console(width=width, soft_wrap=True, highlight=False))
        output.print_rows(rows)
        text = capsys.readouterr().out
        assert sign in text
        assert max(map(len, text.splitlines())) <= width or width == 40


def test_notices_for_programs_are_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` an error and a warning on standard error are JSON, too."""
    monkeypatch.setattr("sys.argv", ["stillsafe", "status", "--json"])
    output.print_error("it is [not] so", kind="Notice")
    assert json.loads(capsys.readouterr().err) == {"error": "it is [not] so", "kind": "Notice"}
    output.print_warning("look")
    assert json.loads(capsys.readouterr().err) == {"warning": "look"}


def test_no_rows_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows there is no empty table."""
    output.print_rows([])
    assert capsys.readouterr().out == ""


def test_progress_is_only_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed where standard error is a file; on a terminal the activity is shown."""
    with progress_bar("Reading") as progress:
        progress("Scoring", 0.5)
    assert capsys.readouterr().err == ""
    terminal = Console(stderr=True, force_terminal=True, width=80)
    monkeypatch.setattr(output, "error_console", terminal)
    with progress_bar("Reading") as progress:
        progress("Scoring", 0.5)
        progress("Writing", None)
    text = capsys.readouterr().err
    assert "Writing" in text
