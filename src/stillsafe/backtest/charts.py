"""The charts of a backtest report, drawn with the shapes and the time axis of the dashboard's charts. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from stillsafe.backtest.result import Backtest, BacktestRun, Basis
from stillsafe.backtest.text import score_words
from stillsafe.core.evidence.metric import Metric
from stillsafe.dashboard import charts, shapes
from stillsafe.dashboard.formatting import moment
from stillsafe.dashboard.shapes import Axis, Chart, Label, Path, Scale
from stillsafe.dashboard.snapshot import Snapshot

TOP = 22.0
STATE_HEIGHT, SEVERITY_HEIGHT, GAP = 34.0, 12.0, 5.0
SCORES_HEIGHT = 190.0
MOST_TICKS, FEW_TICKS = 12, 4
MOST_STATES_LISTED = 12
_ROUND_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
SCORES = (
    ("served", "as served", "served_score"),
    ("model", "by the model alone", "model_score"),
    ("fallback", "by the fallback alone", "fallback_score"),
)


def state_chart(result: Backtest, snapshot: Snapshot) -> Chart:
    """Draw the state and the severity of each run as two coloured bands; inconclusive runs are thinner."""
    severity_top = TOP + STATE_HEIGHT + GAP
    bottom = severity_top + SEVERITY_HEIGHT
    chart = Chart("runs", "State after each run, and its severity", _state_summary(result), bottom + charts.FOOT)
    axis = charts.time_axis(snapshot)
    for previous, run in zip([None, *result.runs], result.runs, strict=False):
        start = run.window_start if previous is None else previous.window_end
        left, right = axis.x(start), axis.x(run.window_end)
        inset = 0.0 if run.conclusive else 10.0
        title = run_title(result, run)
        chart.boxes.append(
            shapes.box(left, right, TOP + inset, TOP + STATE_HEIGHT - inset, f"state-{run.state.value}", title)
        )
        chart.boxes.append(shapes.box(left, right, severity_top, bottom, f"severity-{run.severity.value}", title))
    for y, text in ((TOP + STATE_HEIGHT / 2, "state"), (severity_top + SEVERITY_HEIGHT / 2, "severity")):
        chart.labels.append(Label(-shapes.VALUE_LABEL_GAP, y + shapes.HALF_LETTER, text, "row", "end"))
    _mark_injection(chart, result, axis, 3.0, TOP - 4.0)
    _ticks(chart, result, axis, bottom, MOST_TICKS)
    return chart


def score_chart(result: Backtest, snapshot: Snapshot, metric: Metric) -> Chart:
    """Draw the scores of each run as three curves: as served, by the model alone, by the fallback alone."""
    title = metric.phrase[0].upper() + metric.phrase[1:]
    chart = Chart("scores", title, _score_summary(result, metric), SCORES_HEIGHT)
    axis, bottom = charts.time_axis(snapshot), SCORES_HEIGHT - charts.FOOT
    values = [score for run in result.runs for _, _, name in SCORES if (score := getattr(run, name)) is not None]
    scale = _scale(values, bottom)
    shapes.add_grid(chart, scale, lambda value: score_words(metric, value).replace(".0%", "%"))
    _mark_injection(chart, result, axis, TOP, bottom)
    for kind, _, name in SCORES:
        chart.paths.extend(_curve(result.runs, axis, scale, kind, name))
    _ticks(chart, result, axis, bottom, MOST_TICKS)
    return chart


def signal_chart(result: Backtest, snapshot: Snapshot, key: str) -> Chart:
    """Draw one signal as a small chart with its limits."""
    chart = charts.signal_chart(snapshot, key)
    axis = charts.time_axis(snapshot)
    bottom = chart.height - charts.FOOT
    _mark_injection(chart, result, axis, charts.TOP, bottom)
    if result.basis is Basis.ROWS:  # artificial times: label the axis with run numbers
        chart.labels[:] = [label for label in chart.labels if label.kind != "time"]
        chart.paths[:] = [path for path in chart.paths if path.kind != "tick"]
        _ticks(chart, result, axis, bottom, FEW_TICKS)
    return chart


def run_title(result: Backtest, run: BacktestRun) -> str:
    """Describe a run in one line."""
    until = run.window_end if result.basis is Basis.TIME else run.data_until
    time = f", until {moment(until)}" if until is not None else ""
    fault = ", faults injected" if run.injected else ""
    return f"Run {run.number}{time}{fault}: {run.state.value}, severity {run.severity.value}. {run.reason}"


def _mark_injection(chart: Chart, result: Backtest, axis: Axis, top: float, bottom: float) -> None:
    """Mark the runs with injected faults, behind everything else."""
    injected_runs = [run for run in result.runs if run.injected]
    if not injected_runs or result.injection is None:
        return
    left, right = axis.x(injected_runs[0].window_start), axis.x(injected_runs[-1].window_end)
    title = f"faults injected: {', '.join(result.injection.faults)}"
    chart.boxes.insert(0, shapes.box(left, right, top, bottom, "injected", title))
    if chart.identifier == "runs":
        chart.labels.append(Label(left + 5.0, bottom - 4.0, title, "injected"))


def _ticks(chart: Chart, result: Backtest, axis: Axis, y: float, most_ticks: int) -> None:
    """Label the axis with the runs' times or, by rows, with their numbers."""
    step = next((step for step in _ROUND_STEPS if len(result.runs) / step <= most_ticks), _ROUND_STEPS[-1])
    days = (result.runs[-1].window_end - result.runs[0].window_end).days
    for run in result.runs:
        if run.number % step == 0:
            x = axis.x(run.window_end)
            by_time = result.basis is Basis.TIME
            text = f"{run.window_end:%d %b}" if by_time and days > 1 else f"{run.window_end:%H:%M}"
            shapes.add_time_tick(chart, x, y, text if by_time else str(run.number))


def _scale(values: Sequence[float], bottom: float) -> Scale:
    if not values:
        return Scale(0.0, 1.0, TOP, bottom)
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return Scale(max(low - pad, 0.0), high + pad, TOP, bottom)


def _curve(runs: Sequence[BacktestRun], axis: Axis, scale: Scale, kind: str, name: str) -> Iterator[Path]:
    """Draw one score as line segments, with gaps where it is None."""
    for has_score, segment in groupby(runs, key=lambda run: getattr(run, name) is not None):
        if has_score:
            points = [(axis.x(run.window_end), scale.y(getattr(run, name))) for run in segment]
            yield shapes.line(points, f"score-{kind}")


def _state_summary(result: Backtest) -> str:
    changes = [(b.number, b.state.value) for a, b in pairwise(result.runs) if a.state is not b.state]
    first_state = (1, result.runs[0].state.value)
    states = [f"{state} from run {number}" for number, state in [first_state, *changes][:MOST_STATES_LISTED]]
    return f"{len(result.runs)} runs: {', '.join(states)}."


def _score_summary(result: Backtest, metric: Metric) -> str:
    comparison = result.price
    if comparison is None:
        return "Unknown."
    model = score_words(metric, comparison.total_model_score)
    served_score = score_words(metric, comparison.total_served_score)
    return f"Over the history {model} by the model alone, {served_score} as served."
