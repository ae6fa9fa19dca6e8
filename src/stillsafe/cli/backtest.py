"""`backtest`: replay the rules over a history, and print the runs and what they amount to."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.backtest import fallback_evaluation, report
from stillsafe.backtest.history import column_kinds
from stillsafe.backtest.result import Backtest, BacktestIncident, BacktestRun, Basis
from stillsafe.backtest.text import fallback_sentences, headline, injection_sentence, score_words
from stillsafe.cli.app import DEFAULT_CONFIG, Config, app
from stillsafe.cli.output import (
    SEVERITY_STYLE,
    STATE_STYLE,
    WIDE,
    colour_markup,
    console,
    core_document,
    format_time,
    json_text,
    print_json,
    print_plain,
    print_rows,
    print_warning,
    progress_bar,
)
from stillsafe.cli.table_options import Dates, Decimal, Encoding, Missing, Separator
from stillsafe.cli.terminal_chart import DEVIATION_TITLE, Series, chart, label_width_of, largest_deviation, state_band
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import LogMode
from stillsafe.core.text import truncate
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring.archive import Archive
from stillsafe.settings import DEFAULT_FILE, Settings

if TYPE_CHECKING:
    import pandas as pd

STANDARD_OUTPUT = "-"
MOST_ROWS = 60
LONGEST_REASON = 110
MOST_INCIDENTS, MOST_SIGNALS = 10, 6


@app.command()
def backtest(
    data: Annotated[Path, typer.Argument(help="The history: CSV, Parquet, or an archive that `prune` wrote.")],
    config: Config = DEFAULT_CONFIG,
    label: Annotated[
        str | None, typer.Option(help="The column with the true labels; default: `label`, if there is one.")
    ] = None,
    rows_per_run: Annotated[
        int | None, typer.Option(min=1, help="Rows per run; default: runs by time, or 500 rows where that is sparse.")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            help="Inject a fault into the history: FAULT:FEATURE, such as nulls:age or swapped:age,income. Repeatable."
        ),
    ] = None,
    inject_from: Annotated[
        float, typer.Option("--inject-from", "--from", help="Where the faults begin, as a share of the rows.")
    ] = 0.5,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    missing: Missing = None,
    dates: Dates = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Write everything as JSON; - is standard output.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report to read in a browser.")
    ] = None,
) -> None:
    """What the rules would have done on your own history, and what the fallback would have cost or saved."""
    settings = service.settings_of(config)
    faults = tuple(inject or ())
    form = TableFormat.of_options(separator, decimal, encoding, missing, dates)
    with progress_bar("Reading the history") as progress:
        result = service.backtest(
            settings,
            _read_history(data, settings, form),
            label=label,
            rows_per_run=rows_per_run,
            inject=faults,
            inject_from=inject_from,
            progress=progress,
        )
    evaluation_file = fallback_evaluation.write(settings, result, at=service.utc_now(), source=data.name)
    if html_file is not None:
        command = _command(data, config, label, rows_per_run, faults, inject_from) + form.options_text
        _write(html_file, report.render(result, settings, made_at=service.utc_now(), command=command))
    if json_file == STANDARD_OUTPUT:
        print_json(core_document(result))
        return
    if json_file is not None:
        _write(Path(json_file), json_text(core_document(result)))
    print_backtest(result)
    for file in (evaluation_file, json_file, html_file):
        if file:
            print_plain(f"Wrote {file}")


def _read_history(data: Path, settings: Settings, form: TableFormat) -> "pd.DataFrame":
    # Imported here: pandas takes a second to import.
    from stillsafe.table_file import read_with_remarks

    if not data.is_dir():
        table = read_with_remarks(data, column_kinds(settings), "history", form)
        for remark in table.remarks:
            print_warning(remark)
        return table.frame
    masked_names = [spec.name for spec in settings.schema_of_features.features if spec.log is not LogMode.KEEP]
    if masked_names:
        problem = f"{data}: the log never held {', '.join(masked_names)} in clear, which the model needs."
        raise ConfigurationError(problem, "Give a history from elsewhere, as CSV or Parquet.")
    return Archive(data).frame()


def _command(
    data: Path,
    config: Path,
    label: str | None,
    rows_per_run: int | None,
    faults: tuple[str, ...],
    inject_from: float,
) -> str:
    """The command that repeats this backtest, without the folders of this machine."""
    words = ["stillsafe", "backtest", data.name]
    words += ["--config", config.name] if config.name != DEFAULT_FILE else []
    words += ["--label", label] if label is not None else []
    words += ["--rows-per-run", str(rows_per_run)] if rows_per_run is not None else []
    for fault in faults:
        words += ["--inject", fault]
    words += ["--inject-from", f"{inject_from:g}"] if faults else []
    return shlex.join(words)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        problem = f"It cannot be written: {error.strerror or error}."
        raise ConfigurationError(problem, "Name another file.", file=str(file)) from error


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Consecutive runs that share one row of the table."""

    runs: tuple[BacktestRun, ...]

    @property
    def numbers(self) -> str:
        """The runs' numbers, such as `7` or `7-12`."""
        first, last = self.runs[0].number, self.runs[-1].number
        return str(first) if first == last else f"{first}-{last}"

    def mean_score(self, metric: Metric, name: str) -> str:
        """The mean of the runs' scores of one kind, in words; a dash without labels."""
        scores = [score for run in self.runs if (score := getattr(run, name)) is not None]
        return score_words(metric, sum(scores) / len(scores)) if scores else "-"


def print_backtest(result: Backtest) -> None:
    """Print the text of `backtest`: the runs, the incidents, and what the fallback would have cost or saved."""
    console.print(f"[bold]{escape(headline(result))}[/]")
    for notice in result.notices:
        console.print(f"[yellow]Note:[/] {escape(notice)}")
    _plot(result)
    print_rows([_run_cells(result, group) for group in group_runs(result.runs)])
    if any(run.injected for run in result.runs):
        print_plain("* with injected faults")
    for incident in result.incidents[:MOST_INCIDENTS]:
        console.print(_incident_line(incident))
    if (more := len(result.incidents) - MOST_INCIDENTS) > 0:
        console.print(f"{more} more incidents; --json and --html have them.")
    if result.injection is not None:
        console.print(f"[bold]{escape(injection_sentence(result.injection))}[/]")
    console.print(_totals(result))
    for sentence in fallback_sentences(result):
        print_plain(sentence)
    _print_signals(result)
    _print_suggestions(result)


def _plot(result: Backtest) -> None:
    """Print charts of the runs: the largest deviation, the states, and the scores where there are labels."""
    width = console.width
    deviations = [largest_deviation(run.readings) if run.conclusive else None for run in result.runs]
    lines = list(chart(DEVIATION_TITLE, [Series("deviation", deviations)], width, limit=1.0))
    lines += state_band([run.state.value for run in result.runs], width, label_width_of(lines))
    if result.metric is not None:
        model = Series("the model alone", [run.model_score for run in result.runs], "○")
        answers = Series("as served", [run.served_score for run in result.runs])
        lines += chart(result.metric.phrase.capitalize(), [model, answers], width)
    for line in lines:
        console.print(line)


def _run_cells(result: Backtest, group: RunGroup) -> dict[str, str]:
    last = group.runs[-1]
    cells = {
        "run": group.numbers + ("*" if last.injected else ""),
        "until": _until(result, last),
        "rows": f"{sum(run.prediction_count for run in group.runs) // len(group.runs)}",
        "severity": colour_markup(last.severity.value if last.conclusive else "-", SEVERITY_STYLE),
        "state": colour_markup(last.state.value, STATE_STYLE),
        "answered by": last.decided_by,
    }
    if result.metric is not None:
        cells |= {name: group.mean_score(result.metric, f"{name}_score") for name in ("model", "served")}
    return cells | ({"reason": escape(truncate(last.reason, LONGEST_REASON))} if console.width >= WIDE else {})


def group_runs(runs: Sequence[BacktestRun]) -> list[RunGroup]:
    """One group per run; where there are more than `MOST_ROWS`, one per stretch of runs with the same outcome."""
    if len(runs) <= MOST_ROWS:
        return [RunGroup((run,)) for run in runs]
    groups: list[list[BacktestRun]] = []
    for run in runs:
        if groups and _same_outcome(groups[-1][-1], run):
            groups[-1].append(run)
        else:
            groups.append([run])
    return [RunGroup(tuple(group)) for group in groups]


def _same_outcome(a: BacktestRun, b: BacktestRun) -> bool:
    return (a.state, a.severity, a.decided_by, a.injected) == (b.state, b.severity, b.decided_by, b.injected)


def _until(result: Backtest, run: BacktestRun) -> str:
    if result.basis is Basis.TIME:
        return format_time(run.window_end)
    return "" if run.data_until is None else format_time(run.data_until)


def _incident_line(incident: BacktestIncident) -> str:
    end = "" if incident.end is not None else ", unresolved at the end"
    severity = colour_markup(incident.severity.value, SEVERITY_STYLE)
    return f"{severity} runs {incident.first_run} to {incident.last_run}{end}. {escape(incident.reason)}"


def _totals(result: Backtest) -> str:
    times = f"{result.degraded_count} {'time' if result.degraded_count == 1 else 'times'}"
    return (
        f"{len(result.runs)} runs over {result.row_count} rows, {result.conclusive_rate:.0%} of them conclusive; of "
        f"these {result.alarm_rate:.1%} at WARNING or worse, {result.critical_rate:.1%} CRITICAL. DEGRADED {times} "
        f"({result.relapse_count} relapses), {result.degraded_rate:.1%} of the time."
    )


def _print_signals(result: Backtest) -> None:
    deviating = [signal for signal in result.signals if signal.bad_rate]
    if not deviating:
        return
    rows = []
    for signal in deviating[:MOST_SIGNALS]:
        largest = "" if signal.largest_ratio is None else f"{signal.largest_ratio:.1f} x its limit"
        deviated_in = f"{signal.bad_rate:.1%} of the runs"
        rows.append({"signal": escape(signal.key), "deviated in": deviated_in, "largest deviation": largest})
    print_rows(rows)


def _print_suggestions(result: Backtest) -> None:
    if not result.suggested_toml:
        return
    period = "the part before the faults" if result.injection is not None else "this history"
    console.print(f"If {period} was healthy, these limits would make each signal deviate in at most 1% of the runs:")
    for line in ("[policy]", *result.suggested_toml):
        print_plain(f"  {line}")
