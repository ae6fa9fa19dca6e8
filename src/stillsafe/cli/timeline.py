"""What `backtest` prints: the runs as a strip and a table, and what they amount to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stillsafe.backtest.result import Backtest, BacktestIncident, BacktestRun, Basis
from stillsafe.backtest.text import headline, injection_sentence, price_sentences, score_words
from stillsafe.cli.app import console
from stillsafe.cli.show import STATE_STYLE, WIDE
from stillsafe.core.evidence.impact import Metric

MOST_ROWS = 60
LONGEST_REASON = 110
MOST_INCIDENTS, MOST_SIGNALS = 10, 6
_SEVERITY_STYLE = {"NORMAL": "green", "WARNING": "yellow", "CRITICAL": "red"}


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Runs in a row that are told in one line."""

    runs: tuple[BacktestRun, ...]

    @property
    def numbers(self) -> str:
        """The runs' numbers."""
        first, last = self.runs[0].number, self.runs[-1].number
        return str(first) if first == last else f"{first}-{last}"


def show(found: Backtest) -> None:
    """A backtest for a person."""
    console.print(f"[bold]{escape(headline(found))}[/]")
    for notice in found.notices:
        console.print(f"[yellow]Note:[/] {escape(notice)}")
    console.print(_strip(found.runs))
    console.print(_table(found))
    for incident in found.incidents[:MOST_INCIDENTS]:
        console.print(_incident(incident))
    if (more := len(found.incidents) - MOST_INCIDENTS) > 0:
        console.print(f"{more} more incidents; --json and --html have them.")
    if found.injection is not None:
        console.print(f"[bold]{escape(injection_sentence(found.injection))}[/]")
    console.print(_figures(found))
    for sentence in price_sentences(found):
        console.print(sentence, markup=False)
    _signals(found)
    _limits(found)


def written(files: Sequence[Path]) -> None:
    """Which files were written."""
    for file in files:
        console.print(f"Wrote {file}", markup=False)


def _strip(runs: Sequence[BacktestRun]) -> Text:
    """One sign a run in the colour of its state; low where it concluded nothing, underlined where it was broken."""
    strip = Text()
    for run in runs:
        style = STATE_STYLE[run.state.value] + (" underline" if run.injected else "")
        strip.append("█" if run.conclusive else "▂", style)
    return strip


def _table(found: Backtest) -> Table:
    wide = console.width >= WIDE
    scored = found.metric is not None
    columns = ("run", "until", "rows", "severity", "state", "answer", *(("model", "served") if scored else ()))
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=True)
    if wide:
        table.add_column("why", overflow="fold")
    for stretch in _stretches(found.runs):
        last = stretch.runs[-1]
        cells = [
            stretch.numbers + ("*" if last.injected else ""),
            _until(found, last),
            f"{sum(run.prediction_count for run in stretch.runs) // len(stretch.runs)}",
            _coloured(last.severity.value if last.conclusive else "-", _SEVERITY_STYLE),
            _coloured(last.state.value, STATE_STYLE),
            last.decided_by,
        ]
        if found.metric is not None:
            cells += [_score(found.metric, stretch, "model_score"), _score(found.metric, stretch, "served_score")]
        table.add_row(*cells, *([escape(_shortened(last.reason))] if wide else []))
    if any(run.injected for run in found.runs):
        table.caption = "* broken on purpose"
    return table


def _stretches(runs: Sequence[BacktestRun]) -> list[_Stretch]:
    """One line a run; where there are many, one for all that go on alike."""
    if len(runs) <= MOST_ROWS:
        return [_Stretch((run,)) for run in runs]
    stretches: list[list[BacktestRun]] = []
    for run in runs:
        if stretches and _alike(stretches[-1][-1], run):
            stretches[-1].append(run)
        else:
            stretches.append([run])
    return [_Stretch(tuple(stretch)) for stretch in stretches]


def _alike(a: BacktestRun, b: BacktestRun) -> bool:
    return (a.state, a.severity, a.decided_by, a.injected) == (b.state, b.severity, b.decided_by, b.injected)


def _until(found: Backtest, run: BacktestRun) -> str:
    if found.basis is Basis.TIME:
        return f"{run.window_end:%m-%d %H:%M:%S}"
    return "" if run.data_until is None else f"{run.data_until:%Y-%m-%d}"


def _score(metric: Metric, stretch: _Stretch, name: str) -> str:
    known = [score for run in stretch.runs if (score := getattr(run, name)) is not None]
    return score_words(metric, sum(known) / len(known)) if known else "-"


def _incident(incident: BacktestIncident) -> str:
    span = f"runs {incident.first_run} to {incident.last_run}"
    ended = span if incident.end is not None else f"{span}, unresolved at the end"
    name = _coloured(incident.severity.value, _SEVERITY_STYLE)
    return f"{name} {ended}. {escape(incident.reason)}"


def _figures(found: Backtest) -> str:
    times = f"{found.degraded_count} {'time' if found.degraded_count == 1 else 'times'}"
    return (
        f"{len(found.runs)} runs over {found.row_count} rows, {found.conclusive_rate:.0%} of them conclusive; of these "
        f"{found.alarm_rate:.1%} at WARNING or worse, {found.critical_rate:.1%} CRITICAL. DEGRADED {times} "
        f"({found.relapse_count} relapses), {found.degraded_rate:.1%} of the time."
    )


def _signals(found: Backtest) -> None:
    deviating = [signal for signal in found.signals if signal.bad_rate]
    if not deviating:
        return
    table = Table("signal", "deviated in", "furthest")
    for signal in deviating[:MOST_SIGNALS]:
        furthest = "" if signal.largest_ratio is None else f"{signal.largest_ratio:.1f} x its limit"
        table.add_row(escape(signal.key), f"{signal.bad_rate:.1%} of the runs", furthest)
    console.print(table)


def _limits(found: Backtest) -> None:
    if not found.suggested_toml:
        return
    part = "the part before the faults" if found.injection is not None else "this history"
    console.print(f"If {part} was healthy, these limits would keep alarms of their signals to 1% of the runs:")
    console.print("  [policy]", markup=False)
    for line in found.suggested_toml:
        console.print(f"  {line}", markup=False)


def _coloured(word: str, styles: dict[str, str]) -> str:
    return f"[{styles[word]}]{word}[/]" if word in styles else word


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
