"""The text and the JSON of one monitoring run in full."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from stillsafe.cli.output import (
    SEVERITY_STYLE,
    STATE_STYLE,
    colour_markup,
    console,
    format_time,
    print_plain,
    print_rows,
)
from stillsafe.core.evidence.sentences import limit_texts, number_text, sentence
from stillsafe.core.signals import SIGNALS, Evidence, Level, Reading, excess
from stillsafe.monitoring.derivation import Step
from stillsafe.monitoring.run_detail import RunDetail

LEVEL_STYLE = {Level.SEVERE.value: "bold red", Level.MODERATE.value: "bold yellow"}
NO_VALUE = "-"
_LEVEL_ORDER = {Level.SEVERE: 0, Level.MODERATE: 1, Level.NONE: 2}


def run_document(detail: RunDetail, keys: Collection[str]) -> dict[str, Any]:
    """The JSON of one run: its readings with their streaks and sentences, and how those of some keys came about.

    Args:
        detail: the run.
        keys: of the readings to show with their derivations; empty for all readings without.
    """
    readings = [reading for reading in detail.readings if not keys or reading.key in keys]
    return {
        "rules_version": detail.run.rules_version,
        "slot_counts": dict(detail.window.slot_counts) if detail.window is not None else {},
        "readings": [_reading_document(detail, reading, with_derivation=bool(keys)) for reading in readings],
    }


def _reading_document(detail: RunDetail, reading: Reading, *, with_derivation: bool) -> dict[str, Any]:
    streak = detail.streak(reading)
    document = asdict(reading) | {
        "key": reading.key,
        "deviating_runs": streak.deviating,
        "severe_runs": streak.severe,
        "sentence": sentence(reading, detail.healthy_error),
    }
    if with_derivation:
        document["derivation"] = [asdict(step) for step in detail.derivations.get(reading.key, ())]
    return document


def print_run(detail: RunDetail, keys: Collection[str]) -> None:
    """Print the text of `windows show`: the run, and a row per reading; or how the readings of some keys came about."""
    _print_headline(detail)
    if keys:
        for reading in detail.readings:
            if reading.key in keys:
                _print_derivation(detail, reading)
        return
    judged = [reading for reading in detail.readings if reading.evidence is not Evidence.INSUFFICIENT]
    if judged:
        _print_readings(detail, judged)
    if others := [reading.key for reading in detail.readings if reading.evidence is Evidence.INSUFFICIENT]:
        print_plain(f"Not judged, too little data: {', '.join(others)}.")
    print_plain("How one of them came about: `stillsafe windows show RUN --why SIGNAL`.")


def _print_headline(detail: RunDetail) -> None:
    run = detail.run
    state = colour_markup(run.state_after or "", STATE_STYLE)
    severity = colour_markup(run.severity or "", SEVERITY_STYLE)
    span = f"{format_time(run.window_start)} to {format_time(run.window_end)}"
    version = escape(str(run.model_version))
    console.print(f"[bold]Run {run.id}[/], {span}, version {version}, baseline {escape(str(run.baseline_id))}")
    console.print(f"  State {escape(run.state_before or '')} to {state}, severity {severity}, evidence {run.evidence}")
    console.print(f"  {escape(run.reason or '')}")
    if detail.window is not None and detail.window.slot_counts:
        slots = ", ".join(f"{name} {count}" for name, count in sorted(detail.window.slot_counts.items()))
        print_plain(f"  Compared with the baseline of the hours of its new rows: {slots}.")


def _print_readings(detail: RunDetail, readings: list[Reading]) -> None:
    order = sorted(readings, key=lambda r: (_LEVEL_ORDER[r.level], -excess(r), r.key))
    print_rows([_reading_cells(detail, reading) for reading in order])
    print_plain(
        "A value beyond its limit deviates; a broken relation must exceed noise, too. Noise is the distance from the "
        "reference that chance alone explains. "
        "Runs: consecutive deviating runs up to this one."
    )


def _reading_cells(detail: RunDetail, reading: Reading) -> dict[str, str]:
    """One reading as text by column; every number in the unit of the signal."""
    unit, limits, streak = SIGNALS[reading.signal].unit, limit_texts(reading), detail.streak(reading)
    numbers = {"value": reading.value, "reference": reading.reference, "noise": reading.noise}
    return {
        "reading": escape(reading.key),
        **{name: NO_VALUE if number is None else number_text(unit, number) for name, number in numbers.items()},
        "limit": limits.get("limit", NO_VALUE),
        "severe limit": limits.get("severe limit", NO_VALUE),
        "level": "change" if reading.is_change else colour_markup(reading.level.value, LEVEL_STYLE),
        "runs": f"{streak.deviating} ({streak.severe} severe)" if streak.deviating else "",
        "rows": str(reading.sample_count),
    }


def _print_derivation(detail: RunDetail, reading: Reading) -> None:
    console.print(f"\n[bold]{escape(reading.key)}[/]  {colour_markup(reading.level.value, LEVEL_STYLE)}")
    print_plain(sentence(reading, detail.healthy_error))
    steps = detail.derivations.get(reading.key, ())
    if not steps:
        print_plain("How it came about is not known: other rules than the installed ones judged this run.")
        return
    numbers = [
        {"number": escape(step.name), "value": escape(_value_text(step.value))}
        | {"meaning": escape(step.meaning), "formula": escape(step.formula)}
        for step in steps
        if not isinstance(step.value, tuple)
    ]
    print_rows(numbers, prose=("meaning", "formula"))
    for columns in _column_groups(steps):
        _print_columns(columns)


def _column_groups(steps: tuple[Step, ...]) -> list[list[Step]]:
    """The columns by table: a column of words begins one, and numbers join the last one of their length."""
    groups: list[list[Step]] = []
    for step in steps:
        if not isinstance(step.value, tuple):
            continue
        has_words = any(isinstance(cell, str) for cell in step.value)
        lengths = [len(group[0].value) if isinstance(group[0].value, tuple) else 0 for group in groups]
        if has_words or len(step.value) not in lengths:
            groups.append([step])
        else:
            groups[len(lengths) - 1 - lengths[::-1].index(len(step.value))].append(step)
    return groups


def _print_columns(columns: list[Step]) -> None:
    values = [column.value for column in columns if isinstance(column.value, tuple)]
    names = [column.name for column in columns]
    rows = [[escape(_value_text(cell)) for cell in row] for row in zip(*values, strict=True)]
    print_rows([dict(zip(names, row, strict=True)) for row in rows])
    for column in columns:
        print_plain(f"  {column.name}: {column.meaning}{f' = {column.formula}' if column.formula else ''}")


def _value_text(value: Any) -> str:
    """A number with ten digits, so that it can be computed with; a word as it is."""
    return NO_VALUE if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
