"""A backtest's runs as geometry, in the shapes and on the axis of the dashboard's charts. Pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise

from stillsafe.backtest.result import Backtest, BacktestRun, Basis
from stillsafe.backtest.text import score_words
from stillsafe.core.evidence.impact import Metric
from stillsafe.dashboard import charts
from stillsafe.dashboard.charts import Axis, Box, Chart, Label, Path, Scale
from stillsafe.dashboard.formatting import moment
from stillsafe.dashboard.snapshot import Snapshot

TOP = 22.0
STATE_HEIGHT, SEVERITY_HEIGHT, BETWEEN = 34.0, 12.0, 5.0
SCORES_HEIGHT = 190.0
MOST_TICKS, FEW_TICKS = 12, 4
_ROUND_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
SCORES = (
    ("served", "as served", "served_score"),
    ("model", "by the model alone", "model_score"),
    ("fallback", "by the fallback alone", "fallback_score"),
)


def strips(found: Backtest, seen: Snapshot) -> Chart:
    """State and severity of each run as two coloured bands; runs that concluded nothing are thinner."""
    severity_top = TOP + STATE_HEIGHT + BETWEEN
    bottom = severity_top + SEVERITY_HEIGHT
    chart = Chart("strips", "State after each run, and its severity", _told(found), charts.WIDTH, bottom + charts.FOOT)
    times = charts.axis(seen)
    for before, run in zip([None, *found.runs], found.runs, strict=False):
        begin = run.window_start if before is None else before.window_end
        left, right = times.x(begin), times.x(run.window_end)
        thin = 0.0 if run.conclusive else 10.0
        title = run_title(found, run)
        chart.boxes.append(_box(left, right, TOP + thin, TOP + STATE_HEIGHT - thin, f"state-{run.state.value}", title))
        chart.boxes.append(_box(left, right, severity_top, bottom, f"severity-{run.severity.value}", title))
    for y, word in ((TOP + STATE_HEIGHT / 2, "state"), (severity_top + SEVERITY_HEIGHT / 2, "severity")):
        chart.labels.append(Label(_n(charts.LEFT - 6), _n(y + 4), word, "row", "end"))
    _mark(chart, found, times, 3.0, TOP - 4.0)
    _ticks(chart, found, times, bottom, MOST_TICKS)
    return chart


def scores(found: Backtest, seen: Snapshot, metric: Metric) -> Chart:
    """What the answers of each run were worth: as served, by the model alone, by the fallback alone."""
    title = {Metric.ACCURACY: "Right answers", Metric.MEAN_ABSOLUTE_ERROR: "Mean absolute error"}[metric]
    chart = Chart("scores", title, _told_scores(found, metric), charts.WIDTH, SCORES_HEIGHT)
    times, bottom = charts.axis(seen), SCORES_HEIGHT - charts.FOOT
    known = [score for run in found.runs for _, _, name in SCORES if (score := getattr(run, name)) is not None]
    scale = _scale(known, bottom)
    _grid(chart, scale, times, lambda value: score_words(metric, value).replace(".0%", "%"))
    _mark(chart, found, times, TOP, bottom)
    for kind, _, name in SCORES:
        chart.paths.extend(_curve(found.runs, times, scale, kind, name))
    _ticks(chart, found, times, bottom, MOST_TICKS)
    return chart


def multiple(found: Backtest, seen: Snapshot, key: str) -> Chart:
    """One signal as a small chart between its limits."""
    chart = charts.multiple(seen, key)
    times = charts.axis(seen, charts.SMALL_WIDTH, charts.SMALL_LEFT, charts.SMALL_RIGHT)
    bottom = chart.height - charts.FOOT
    _mark(chart, found, times, charts.TOP, bottom)
    if found.basis is Basis.ROWS:  # the times are made up: the runs' numbers say more
        chart.labels[:] = [label for label in chart.labels if label.kind != "time"]
        chart.paths[:] = [path for path in chart.paths if path.kind != "tick"]
        _ticks(chart, found, times, bottom, FEW_TICKS)
    return chart


def run_title(found: Backtest, run: BacktestRun) -> str:
    """A run in one line."""
    until = run.window_end if found.basis is Basis.TIME else run.data_until
    when = f", until {moment(until)}" if until is not None else ""
    broken = ", broken on purpose" if run.injected else ""
    return f"Run {run.number}{when}{broken}: {run.state.value}, severity {run.severity.value}. {run.reason}"


def _mark(chart: Chart, found: Backtest, times: Axis, top: float, bottom: float) -> None:
    """The stretch that was broken on purpose, beneath everything else."""
    broken = [run for run in found.runs if run.injected]
    if not broken or found.injection is None:
        return
    left, right = times.x(broken[0].window_start), times.x(broken[-1].window_end)
    title = f"broken on purpose: {', '.join(found.injection.faults)}"
    chart.boxes.insert(0, _box(left, right, top, bottom, "injected", title))
    if chart.identifier == "strips":
        chart.labels.append(Label(_n(left + 5), _n(bottom - 4), title, "injected"))


def _ticks(chart: Chart, found: Backtest, times: Axis, y: float, most: int) -> None:
    """The runs' numbers or, by time, their times."""
    step = next((step for step in _ROUND_STEPS if len(found.runs) / step <= most), _ROUND_STEPS[-1])
    days = (found.runs[-1].window_end - found.runs[0].window_end).days
    for run in found.runs:
        if run.number % step == 0:
            x = times.x(run.window_end)
            by_time = found.basis is Basis.TIME
            text = f"{run.window_end:%d %b}" if by_time and days > 1 else f"{run.window_end:%H:%M}"
            chart.paths.append(Path(_data([(x, y), (x, y + 4)]), "tick"))
            chart.labels.append(Label(_n(x), _n(y + 17), text if by_time else str(run.number), "time", "middle"))


def _scale(known: Sequence[float], bottom: float) -> Scale:
    if not known:
        return Scale(0.0, 1.0, TOP, bottom)
    low, high = min(known), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return Scale(max(low - pad, 0.0), high + pad, TOP, bottom)


def _grid(chart: Chart, scale: Scale, times: Axis, words: Callable[[float], str]) -> None:
    step = _round_step((scale.high - scale.low) / 4)
    first = -(-scale.low // step)
    for i in range(int(first), int(scale.high // step) + 1):
        y = scale.y(i * step)
        chart.paths.append(Path(_data([(times.left, y), (times.right, y)]), "grid"))
        chart.labels.append(Label(_n(times.left - 6), _n(y + 4), words(i * step), "value", "end"))


def _round_step(least: float) -> float:
    """The smallest step of one digit that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)


def _curve(runs: Sequence[BacktestRun], times: Axis, scale: Scale, kind: str, name: str) -> Iterator[Path]:
    """A score as a line that breaks where it is unknown."""
    for known, stretch in groupby(runs, key=lambda run: getattr(run, name) is not None):
        if known:
            points = [(times.x(run.window_end), scale.y(getattr(run, name))) for run in stretch]
            yield Path(_data(points), f"score-{kind}")


def _told(found: Backtest) -> str:
    moves = [(b.number, b.state.value) for a, b in pairwise(found.runs) if a.state is not b.state]
    told = ", ".join(f"{state} from run {number}" for number, state in [(1, found.runs[0].state.value), *moves][:12])
    return f"{len(found.runs)} runs: {told}."


def _told_scores(found: Backtest, metric: Metric) -> str:
    price = found.price
    if price is None:
        return "Unknown."
    by_model = score_words(metric, price.total_model_score)
    return f"Over the history {by_model} by the model alone, {score_words(metric, price.total_served_score)} as served."


def _box(left: float, right: float, top: float, bottom: float, kind: str, title: str) -> Box:
    return Box(_n(left), _n(top), _n(max(right - left, 0.5)), _n(max(bottom - top, 0.0)), kind, title)


def _data(points: Sequence[tuple[float, float]]) -> str:
    spots = [f"{_n(x)} {_n(y)}" for x, y in points]
    # A single point is a line to itself, which a round end makes visible.
    return "M" + "L".join(spots if len(spots) > 1 else spots * 2)


def _n(number: float) -> str:
    return f"{number:.1f}"
