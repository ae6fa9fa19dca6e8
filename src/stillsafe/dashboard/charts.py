"""The charts of the dashboard: a snapshot's runs become shapes that a template draws as SVG. Pure, and free of NaN.

A chart is 960 units wide, a small one 320. All charts of a page share one time axis, so that events of the same time
are below one another.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from stillsafe.core.signals import ORIGIN_ZERO, SIGNALS, Evidence, Level, Reading, Signal, Unit
from stillsafe.dashboard import shapes
from stillsafe.dashboard.formatting import count, format_value, span
from stillsafe.dashboard.shapes import Axis, Box, Chart, Dot, Label, Path, Scale
from stillsafe.dashboard.snapshot import Run, Snapshot

_T = TypeVar("_T")
WIDTH, LEFT, RIGHT = 960.0, 52.0, 96.0
SMALL_WIDTH, SMALL_LEFT, SMALL_RIGHT = 320.0, 46.0, 20.0
TOP, FOOT = 14.0, 22.0
BAND_HEIGHT, BAND_INSET = 34.0, 10.0
CONFIDENCE_HEIGHT, LOW_CONFIDENCE_HEIGHT, TRAFFIC_HEIGHT, SMALL_HEIGHT = 190.0, 150.0, 150.0, 120.0
LONGEST_SILENCE_SHARE = 0.2
LARGEST_NUMBER = 1e12
MOST_STATES_LISTED = 10
WEEK_SECONDS = 604_800
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800)
TRAFFIC_TITLES = {"model": "answered by the model", "fallback": "answered by the fallback", "refused": "refused"}


def time_axis(snapshot: Snapshot, width: float = WIDTH, left: float = LEFT, right: float = RIGHT) -> Axis:
    """The page's time axis: from the first run to now, or a little past the last run where that was long ago."""
    first, last = snapshot.runs[0].at, snapshot.runs[-1].at
    interval = timedelta(seconds=snapshot.settings.monitor.every)
    start = first - interval
    end = min(max(snapshot.now, last), last + max(interval, LONGEST_SILENCE_SHARE * (last - start)))
    return Axis(start, max(end, start + interval), left, width - right)


def state_chart(snapshot: Snapshot) -> Chart:
    """The state after each run as a coloured band, which is thinner where a run was inconclusive."""
    top, bottom = TOP, TOP + BAND_HEIGHT
    chart = Chart("states", "State", _state_description(snapshot.runs), WIDTH, bottom + FOOT)
    axis = time_axis(snapshot)
    for previous, run in _with_previous(snapshot.runs):
        record = run.record
        inset = BAND_INSET if record.evidence == Evidence.INSUFFICIENT.value else 0.0
        evidence = (record.evidence or "unknown").lower()
        title = f"{run.at:%m-%d %H:%M:%S} {_state(run)}, {evidence}: {record.reason or ''}"
        left, right = axis.x(_begin(run, previous, snapshot)), axis.x(run.at)
        chart.boxes.append(shapes.box(left, right, top + inset, bottom - inset, f"state-{_state(run)}", title))
    chart.boxes.extend(_gaps(snapshot, axis, top, bottom))
    _add_time_ticks(chart, axis, bottom)
    return chart


def confidence_chart(snapshot: Snapshot) -> Chart:
    """Mean confidence of each run between its limits."""
    return _curve_chart(snapshot, Signal.AVG_CONFIDENCE.value, CONFIDENCE_HEIGHT, lambda run: run.record.avg_confidence)


def low_confidence_chart(snapshot: Snapshot) -> Chart:
    """Share of low confidences of each run."""
    return _curve_chart(
        snapshot, Signal.LOW_CONFIDENCE_RATE.value, LOW_CONFIDENCE_HEIGHT, lambda run: run.record.low_confidence_rate
    )


def signal_chart(snapshot: Snapshot, key: str) -> Chart:
    """One signal as a small chart.

    Args:
        snapshot: with one run at least.
        key: a reading's key, such as `missing_rate:age`.
    """
    return _curve_chart(snapshot, key, SMALL_HEIGHT, lambda _run: None, small=True)


def traffic_chart(snapshot: Snapshot) -> Chart:
    """Requests in each run's window: by the model, by the fallback, refused."""
    most = max((sum(amount for _, amount in _traffic(run)) for run in snapshot.runs), default=0)
    description = f"At most {count(most)} requests in a window."
    chart = Chart("traffic", "Requests per run", description, WIDTH, TRAFFIC_HEIGHT)
    bottom = TRAFFIC_HEIGHT - FOOT
    step = shapes.round_step(max(most, 1) / 4)
    axis, scale = time_axis(snapshot), Scale(0.0, math.ceil(max(most, 1) / step) * step, TOP, bottom)
    shapes.add_grid(chart, scale, LEFT, WIDTH - RIGHT, count)
    for previous, run in _with_previous(snapshot.runs):
        left, right = axis.x(_begin(run, previous, snapshot)), axis.x(run.at)
        gap = min(1.0, (right - left) / 5)
        total = 0
        for kind, amount in _traffic(run):
            if amount:
                title = f"{run.at:%m-%d %H:%M:%S}: {count(amount)} {TRAFFIC_TITLES[kind]}"
                top, foot = scale.y(total + amount), scale.y(total)
                chart.boxes.append(shapes.box(left + gap, right - gap, top, foot, f"traffic-{kind}", title))
            total += amount
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


def _curve_chart(
    snapshot: Snapshot, key: str, height: float, recorded_value: Callable[[Run], float | None], *, small: bool = False
) -> Chart:
    """A signal over time with its healthy reference and its limits.

    Args:
        snapshot: with one run at least.
        key: the readings' key.
        height: of the chart.
        recorded_value: a run's value from its record, for a run without a reading of the signal.
        small: whether it is a small chart.
    """
    width, left, right = (SMALL_WIDTH, SMALL_LEFT, SMALL_RIGHT) if small else (WIDTH, LEFT, RIGHT)
    bottom = height - FOOT
    signal, feature = Signal(key.partition(":")[0]), key.partition(":")[2]
    title = f"{SIGNALS[signal].label}: {feature}" if feature else SIGNALS[signal].label
    points = [_point(run, run.reading(key), recorded_value) for run in snapshot.runs]
    readings = [(point.run, point.reading) for point in points if point.reading is not None and point.has_limits]
    axis, scale = time_axis(snapshot, width, left, right), _scale(points, [r for _, r in readings], TOP, bottom)
    chart = Chart(_identifier(key), title, _curve_description(title, signal, points, readings), width, height)
    chart.boxes.extend(_gaps(snapshot, axis, TOP, bottom))
    shapes.add_grid(
        chart, scale, left, width - right, lambda value: _tick_text(signal, value), line_count=3 if small else 4
    )
    for group in _consecutive(snapshot, readings):
        chart.paths.extend(_limit_paths(axis, scale, group))
    values = [(point.run, point.value) for point in points if point.value is not None]
    for curve in _consecutive(snapshot, values):
        chart.paths.append(shapes.line([(axis.x(run.at), scale.y(value)) for run, value in curve], "value"))
    chart.dots.extend(_dots(axis, scale, signal, points))
    if readings and not small:
        reference = _origin(readings[-1][1])
        x, y = width - right + shapes.VALUE_LABEL_GAP, scale.y(reference) + shapes.HALF_LETTER
        chart.labels.append(Label(x, y, f"healthy {_tick_text(signal, reference)}", "reference"))
    _add_time_ticks(chart, axis, bottom, most=3 if small else 8)
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
    for point in points:
        if point.value is not None:
            reading = point.reading
            level = reading.level if reading is not None and reading.value is not None else None
            kind = "unjudged" if level is None else level.value
            title = f"{point.run.at:%m-%d %H:%M:%S}: {format_value(signal, point.value)}"
            suffix = "" if level in (None, Level.NONE) else f", {kind.lower()}"
            yield Dot(axis.x(point.run.at), scale.y(point.value), f"level-{kind}", title + suffix)


def _longest_interval(snapshot: Snapshot) -> timedelta:
    return timedelta(seconds=snapshot.settings.policy.max_gap_seconds)


def _consecutive(snapshot: Snapshot, points: Sequence[tuple[Run, _T]]) -> list[list[tuple[Run, _T]]]:
    """Points grouped into consecutive runs; a gap in monitoring ends a group."""
    groups: list[list[tuple[Run, _T]]] = []
    for point in points:
        if groups and point[0].at - groups[-1][-1][0].at <= _longest_interval(snapshot):
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _begin(run: Run, previous: Run | None, snapshot: Snapshot) -> datetime:
    """Where a run's part of the axis begins: at the previous run, or one interval earlier after a gap."""
    if previous is not None and run.at - previous.at <= _longest_interval(snapshot):
        return previous.at
    return run.at - timedelta(seconds=snapshot.settings.monitor.every)


def _gaps(snapshot: Snapshot, axis: Axis, top: float, bottom: float) -> Iterator[Box]:
    """The spans of time without a monitoring run."""
    interval = timedelta(seconds=snapshot.settings.monitor.every)
    run_times = [run.at for run in snapshot.runs]
    gaps = [(a, b) for a, b in pairwise(run_times) if b - a > _longest_interval(snapshot)]
    if snapshot.now - run_times[-1] > 2 * interval:
        gaps.append((run_times[-1], max(snapshot.now, axis.end)))
    for begin, end in gaps:
        # The part before a run belongs to that run: see `_begin`.
        right = axis.x(end - interval if end in run_times else end)
        yield shapes.box(axis.x(begin), right, top, bottom, "gap", f"No run for {span((end - begin).total_seconds())}")


def _with_previous(runs: Sequence[Run]) -> Iterator[tuple[Run | None, Run]]:
    return zip([None, *runs], runs, strict=False)


def _add_time_ticks(chart: Chart, axis: Axis, y: float, *, most: int = 8) -> None:
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


def _state(run: Run) -> str:
    return run.record.state_after or "UNKNOWN"


def _state_description(runs: Sequence[Run]) -> str:
    changes = [run for previous, run in _with_previous(runs) if previous is None or _state(previous) != _state(run)]
    states = [f"{_state(run)} from {run.at:%Y-%m-%d %H:%M}" for run in changes[-MOST_STATES_LISTED:]]
    return f"{len(runs)} runs: {', '.join(states)}."


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
