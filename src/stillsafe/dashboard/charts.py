"""The charts of the dashboard: a snapshot's runs become shapes that a template draws as SVG. Pure, and free of NaN.

All charts of a page share one time axis, so that events of the same time are below one another.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from stillsafe.core.signals import ORIGIN_ZERO, SIGNALS, Level, Reading, Signal, Unit
from stillsafe.dashboard import shapes
from stillsafe.dashboard.formatting import count, format_value, moment, span
from stillsafe.dashboard.shapes import Axis, Box, Chart, Dot, Path, Scale
from stillsafe.dashboard.snapshot import Run, Snapshot
from stillsafe.dashboard.timeline import Timeline, timeline_of
from stillsafe.store.read.runs import RunMark

_T = TypeVar("_T")
TOP, FOOT = 14.0, 22.0
BAND_HEIGHT, BAND_INSET = 30.0, 9.0
HEIGHT = 132.0
LEAST_STATE_WIDTH = 4.0
MOST_DOTS = 12  # further ones are drawn as one path, without tooltips
LONGEST_SILENCE_SHARE = 0.2
LARGEST_NUMBER = 1e12
MOST_STATES_LISTED = 10
WEEK_SECONDS = 604_800
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800)
TRAFFIC_TITLES = {"model": "by the model", "fallback": "by the fallback", "refused": "refused"}


def time_axis(snapshot: Snapshot) -> Axis:
    """The page's time axis: the snapshot's own time to now, where it has one.

    Without one, from the first run to now, or a little past the last run where that was long ago.
    """
    interval = timedelta(seconds=snapshot.settings.monitor.every)
    if snapshot.start is not None:
        return Axis(snapshot.start, max(snapshot.now, snapshot.start + interval))
    first, last = snapshot.runs[0].at, snapshot.runs[-1].at
    start = first - interval
    end = min(max(snapshot.now, last), last + max(interval, LONGEST_SILENCE_SHARE * (last - start)))
    return Axis(start, max(end, start + interval))


def state_chart(snapshot: Snapshot) -> Chart:
    """The state in force as a coloured band, which is thinner after an inconclusive run."""
    top, bottom = TOP - 8, TOP - 8 + BAND_HEIGHT
    runs = timeline(snapshot)
    chart = Chart("states", "State", _state_description(runs), bottom + FOOT)
    axis = time_axis(snapshot)
    for state in runs.states:
        if state.end < axis.start:
            continue
        inset = BAND_INSET if state.is_inconclusive else 0.0
        evidence = ", inconclusive," if state.is_inconclusive else ""
        title = f"{state.state}{evidence} from {moment(state.begin)} to {moment(state.end)}"
        left, right = axis.x(state.begin), axis.x(state.end)
        left = min(left, shapes.WIDTH - LEAST_STATE_WIDTH)
        right = max(right, left + LEAST_STATE_WIDTH)
        chart.boxes.append(shapes.box(left, right, top + inset, bottom - inset, f"state-{state.state}", title))
    chart.boxes.extend(_gaps(snapshot, axis, top, bottom))
    _add_time_ticks(chart, axis, bottom)
    return chart


def confidence_chart(snapshot: Snapshot) -> Chart:
    """Mean confidence of each run between its limits."""
    return _curve_chart(snapshot, Signal.AVG_CONFIDENCE.value, lambda run: run.record.avg_confidence)


def low_confidence_chart(snapshot: Snapshot) -> Chart:
    """Share of low confidences of each run."""
    return _curve_chart(snapshot, Signal.LOW_CONFIDENCE_RATE.value, lambda run: run.record.low_confidence_rate)


def signal_chart(snapshot: Snapshot, key: str) -> Chart:
    """One signal over time.

    Args:
        snapshot: with one run at least.
        key: a reading's key, such as `missing_rate:age`.
    """
    return _curve_chart(snapshot, key, lambda _run: None)


def traffic_chart(snapshot: Snapshot) -> Chart:
    """Requests in each run's window: by the model, by the fallback, refused."""
    most = max((sum(amount for _, amount in _traffic(run)) for run in snapshot.runs), default=0)
    last = ", ".join(f"{count(n)} {TRAFFIC_TITLES[kind]}" for kind, n in _traffic(snapshot.runs[-1]) if n)
    description = f"At most {count(most)} requests in a window; in the last one {last or 'none'}."
    chart = Chart("traffic", "Requests per run", description, HEIGHT, f"last: {last or 'none'}")
    bottom = HEIGHT - FOOT
    step = shapes.round_step(max(most, 1) / 3)
    axis, scale = time_axis(snapshot), Scale(0.0, math.ceil(max(most, 1) / step) * step, TOP, bottom)
    shapes.add_grid(chart, scale, count, line_count=3)
    bars: dict[str, list[Box]] = {kind: [] for kind in TRAFFIC_TITLES}
    runs, interval = timeline(snapshot), timedelta(seconds=snapshot.settings.monitor.every)
    for previous, run in zip([None, *snapshot.runs], snapshot.runs, strict=False):
        left, right = axis.x(_begin(run, previous, runs, interval)), axis.x(run.at)
        gap = min(1.0, (right - left) / 5)
        total = 0
        for kind, amount in _traffic(run):
            if amount:
                top, foot = scale.y(total + amount), scale.y(total)
                bars[kind].append(shapes.box(left + gap, right - gap, top, foot, kind))
            total += amount
    chart.paths.extend(shapes.areas(boxes, f"traffic-{kind}") for kind, boxes in bars.items() if boxes)
    chart.boxes.extend(_gaps(snapshot, axis, TOP, bottom))
    _add_time_ticks(chart, axis, bottom)
    return chart


def _traffic(run: Run) -> list[tuple[str, int]]:
    total = run.total
    return [
        ("model", max(total.prediction_count - total.fallback_count, 0)),
        ("fallback", total.fallback_count),
        ("refused", total.refusal_count),
    ]


@dataclass(frozen=True, slots=True)
class _Point:
    """One run's value of a signal, and its reading where it has one."""

    run: Run
    value: float | None
    reading: Reading | None

    @property
    def has_limits(self) -> bool:
        """Whether the reading has a reference and limits that can be drawn."""
        if self.reading is None or self.reading.reference is None:
            return False
        limits = (self.reading.moderate_limit, self.reading.severe_limit)
        return all(_is_drawable(number) for number in (self.reading.reference, *limits) if number is not None)


def _curve_chart(snapshot: Snapshot, key: str, recorded_value: Callable[[Run], float | None]) -> Chart:
    """A signal over time with its healthy reference and its limits.

    Args:
        snapshot: with one run at least.
        key: the readings' key.
        recorded_value: a run's value from its record, for a run without a reading of the signal.
    """
    bottom = HEIGHT - FOOT
    signal, feature = Signal(key.partition(":")[0]), key.partition(":")[2]
    title = f"{SIGNALS[signal].label}: {feature}" if feature else SIGNALS[signal].label
    points = [_point(run, run.reading(key), recorded_value) for run in snapshot.runs]
    readings = [(point.run, point.reading) for point in points if point.reading is not None and point.has_limits]
    axis, scale = time_axis(snapshot), _scale(points, [r for _, r in readings], TOP, bottom)
    description, note = _curve_description(title, signal, points, readings), _curve_note(signal, points, readings)
    chart = Chart(_identifier(key), title, description, HEIGHT, note)
    chart.boxes.extend(_gaps(snapshot, axis, TOP, bottom))
    shapes.add_grid(chart, scale, lambda value: _tick_text(signal, value), line_count=3)
    for group in _consecutive(snapshot, readings):
        chart.paths.extend(_limit_paths(axis, scale, group))
    values = [(point.run, point.value) for point in points if point.value is not None]
    for curve in _consecutive(snapshot, values):
        chart.paths.append(shapes.line([(axis.x(run.at), scale.y(value)) for run, value in curve], "value"))
    _add_dots(chart, list(_dots(axis, scale, signal, points)))
    _add_time_ticks(chart, axis, bottom)
    return chart


def _point(run: Run, reading: Reading | None, recorded_value: Callable[[Run], float | None]) -> _Point:
    value = reading.value if reading is not None and reading.value is not None else recorded_value(run)
    return _Point(run, value if value is not None and _is_drawable(value) else None, reading)


def _is_drawable(number: float) -> bool:
    # A larger stored number is no measurement, and sums of such numbers may be infinite.
    return math.isfinite(number) and abs(number) <= LARGEST_NUMBER


def _origin(reading: Reading) -> float:
    """The healthy value from which the limits of a reading count: a duration counts from zero."""
    return 0.0 if SIGNALS[reading.signal].unit in ORIGIN_ZERO else reading.reference or 0.0


def _scale(points: Sequence[_Point], readings: Sequence[Reading], top: float, bottom: float) -> Scale:
    numbers = [point.value for point in points if point.value is not None]
    two_sided = any(SIGNALS[reading.signal].two_sided for reading in readings)
    for reading in readings:
        limit = reading.severe_limit if reading.severe_limit is not None else reading.moderate_limit or 0.0
        numbers += [_origin(reading) + limit, _origin(reading) - (limit if two_sided else 0.0)]
    if not numbers:
        return Scale(0.0, 1.0, top, bottom)
    low, high = min(numbers), max(numbers)
    padding = 0.08 * (high - low) or 0.05
    low = max(low - padding, 0.0) if two_sided else 0.0
    return Scale(low, max(high + padding, low + 1e-6), top, bottom)


def _limit_paths(axis: Axis, scale: Scale, group: Sequence[tuple[Run, Reading]]) -> Iterator[Path]:
    """The healthy area, the severe limits and the reference of consecutive runs."""
    two_sided = SIGNALS[group[0][1].signal].two_sided

    def curve(value: Callable[[Reading], float]) -> list[tuple[float, float]]:
        return [(axis.x(run.at), scale.y(value(reading))) for run, reading in group]

    upper = curve(lambda r: _origin(r) + (r.moderate_limit or 0.0))
    lower = curve(lambda r: _origin(r) - (r.moderate_limit or 0.0) if two_sided else scale.low)
    yield shapes.area([*upper, *reversed(lower)], "healthy")
    if all(reading.severe_limit is not None for _, reading in group):
        yield shapes.line(curve(lambda r: _origin(r) + (r.severe_limit or 0.0)), "severe")
        if two_sided:
            yield shapes.line(curve(lambda r: _origin(r) - (r.severe_limit or 0.0)), "severe")
    yield shapes.line(curve(_origin), "reference")


def _dots(axis: Axis, scale: Scale, signal: Signal, points: Sequence[_Point]) -> Iterator[Dot]:
    """The runs in which the signal deviated or was not judged."""
    for point in points:
        if point.value is not None:
            reading = point.reading
            level = reading.level if reading is not None and reading.value is not None else None
            if level is not Level.NONE:
                kind = "unjudged" if level is None else level.value
                title = f"{moment(point.run.at)}: {format_value(signal, point.value)}"
                suffix = "" if level is None else f", {kind.lower()}"
                yield Dot(axis.x(point.run.at), scale.y(point.value), f"level-{kind}", title + suffix)


def _add_dots(chart: Chart, dots: Sequence[Dot]) -> None:
    if len(dots) <= MOST_DOTS:
        chart.dots.extend(dots)
        return
    for kind in sorted({dot.kind for dot in dots}):
        positions = [(dot.x, dot.y) for dot in dots if dot.kind == kind]
        chart.paths.append(shapes.points(positions, f"points {kind}"))


def timeline(snapshot: Snapshot) -> Timeline:
    """The snapshot's own timeline, or that of its runs."""
    if snapshot.timeline is not None:
        return snapshot.timeline
    marks = [
        RunMark(run.record.id, run.at, run.record.evidence, run.record.severity, run.record.state_after)
        for run in snapshot.runs
    ]
    longest = timedelta(seconds=snapshot.settings.policy.max_gap_seconds)
    return timeline_of(marks, snapshot.now, timedelta(seconds=snapshot.settings.monitor.every), longest)


def _consecutive(snapshot: Snapshot, points: Sequence[tuple[Run, _T]]) -> list[list[tuple[Run, _T]]]:
    """Points grouped into consecutive runs; a gap in monitoring ends a group."""
    runs = timeline(snapshot)
    groups: list[list[tuple[Run, _T]]] = []
    for point in points:
        if groups and not runs.is_apart(groups[-1][-1][0].at, point[0].at):
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _begin(run: Run, previous: Run | None, runs: Timeline, interval: timedelta) -> datetime:
    """Where a run's part of the axis begins: at the previous run, or one interval earlier after a gap."""
    if previous is not None and not runs.is_apart(previous.at, run.at):
        return previous.at
    return run.at - interval


def _gaps(snapshot: Snapshot, axis: Axis, top: float, bottom: float) -> Iterator[Box]:
    """The times without a monitoring run, from when the next one was due to when one came."""
    interval = timedelta(seconds=snapshot.settings.monitor.every)
    for begin, end in timeline(snapshot).gaps:
        if end > axis.start:
            title = f"No run for {span((end - begin).total_seconds())}"
            last = end if end < snapshot.now else axis.end
            yield shapes.box(axis.x(begin + interval), axis.x(last), top, bottom, "gap", title)


def _add_time_ticks(chart: Chart, axis: Axis, y: float, *, most: int = 7) -> None:
    length = (axis.end - axis.start).total_seconds()
    weeks = math.ceil(length / most / WEEK_SECONDS) * WEEK_SECONDS
    step = next((step for step in TIME_STEPS if length / step <= most), weeks)
    pattern = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"
    first = math.ceil(axis.start.timestamp() / step) * step
    for seconds in range(int(first), int(axis.end.timestamp()) + 1, int(step)):
        at = datetime.fromtimestamp(seconds, UTC)
        is_midnight = pattern == "%H:%M" and seconds % 86400 == 0
        shapes.add_time_tick(chart, axis.x(at), y, at.strftime("%d %b" if is_midnight else pattern))


def _tick_text(signal: Signal, value: float) -> str:
    match SIGNALS[signal].unit:
        case Unit.SECONDS:
            return span(value) if value else "0"
        case Unit.SCORE | Unit.DISTANCE:
            return f"{value:.2f}"
        case _:
            return f"{100 * value:.3g}%"


def _state_description(runs: Timeline) -> str:
    spans = [span for i, span in enumerate(runs.states) if not i or runs.states[i - 1].state != span.state]
    texts = [f"{span.state} from {moment(span.begin)}" for span in spans]
    return f"{runs.run_count} runs: {', '.join(texts[-MOST_STATES_LISTED:])}."


def _curve_note(signal: Signal, points: Sequence[_Point], readings: Sequence[tuple[Run, Reading]]) -> str:
    """The last value and the healthy one."""
    values = [point.value for point in points if point.value is not None]
    texts = [f"now {format_value(signal, values[-1])}"] if values else []
    texts += [f"healthy {format_value(signal, _origin(readings[-1][1]))}"] if readings else []
    return ", ".join(texts)


def _curve_description(
    title: str, signal: Signal, points: Sequence[_Point], readings: Sequence[tuple[Run, Reading]]
) -> str:
    values = [point.value for point in points if point.value is not None]
    if not values:
        return f"{title}: no value in these runs."
    healthy = f"; healthy is {format_value(signal, _origin(readings[-1][1]))}" if readings else ""
    now, least, most = (format_value(signal, value) for value in (values[-1], min(values), max(values)))
    return f"{title}: now {now}, from {least} to {most} in these runs{healthy}."


def _identifier(key: str) -> str:
    return "signal-" + "".join(sign if sign.isascii() and sign.isalnum() else f"-{ord(sign):x}-" for sign in key)
