"""Timelines as geometry: runs in, shapes out, for a template to draw as SVG. Pure, and free of NaN.

A chart is 960 units wide, or 320 as a small multiple; all charts of a page share one time axis, so that what
happened together stands together.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard.deviations import name
from stillsafe.dashboard.formatting import count, measured, span
from stillsafe.dashboard.snapshot import Run, Snapshot

_T = TypeVar("_T")
WIDTH, LEFT, RIGHT = 960.0, 52.0, 96.0
SMALL_WIDTH, SMALL_LEFT, SMALL_RIGHT = 320.0, 46.0, 20.0
TOP, FOOT = 14.0, 22.0
LONGEST_SILENCE_SHOWN = 0.2
LARGEST_NUMBER_SHOWN = 1e12
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a tooltip."""

    x: str
    y: str
    width: str
    height: str
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """A line or an area: SVG path data and what it stands for."""

    data: str
    kind: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One run's value with a tooltip."""

    x: str
    y: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word in the chart."""

    x: str
    y: str
    text: str
    kind: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template draws. `told` says the same in words, for those who do not see it."""

    identifier: str
    title: str
    told: str
    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Axis:
    """Time from left to right."""

    start: datetime
    end: datetime
    left: float
    right: float

    def x(self, at: datetime) -> float:
        """Where a time stands; times outside stand at the edge."""
        share = (at - self.start) / (self.end - self.start)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from bottom to top."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        """Where a value stands; values outside stand at the edge."""
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)


def axis(seen: Snapshot, width: float = WIDTH, left: float = LEFT, right: float = RIGHT) -> Axis:
    """The page's time axis: from the first run shown to now, or a little beyond the last run where that is long ago."""
    first, last = seen.runs[0].at, seen.runs[-1].at
    one = timedelta(seconds=seen.settings.monitor.every)
    start = first - one
    end = min(max(seen.now, last), last + max(one, LONGEST_SILENCE_SHOWN * (last - start)))
    return Axis(start, max(end, start + one), left, width - right)


def states(seen: Snapshot) -> Chart:
    """The state that each run left behind, as a coloured band; runs that concluded nothing are thinner."""
    chart = Chart("states", "State", _told_states(seen.runs), WIDTH, TOP + 34 + FOOT)
    times = axis(seen)
    for before, run in _with_previous(seen.runs):
        begins = _begin(run, before, seen)
        thin = 10.0 if run.record.evidence == Evidence.INSUFFICIENT.value else 0.0
        state = run.record.state_after or "UNKNOWN"
        title = (
            f"{run.at:%m-%d %H:%M:%S} {state}, {(run.record.evidence or 'unknown').lower()}: {run.record.reason or ''}"
        )
        chart.boxes.append(_box(times.x(begins), times.x(run.at), TOP + thin, TOP + 34 - thin, f"state-{state}", title))
    chart.boxes.extend(_unwatched(seen, times, TOP, TOP + 34))
    _time_ticks(chart, times, TOP + 34)
    return chart


def confidence(seen: Snapshot) -> Chart:
    """Mean confidence of each run between its limits."""
    title = "Mean confidence"
    return _curve(seen, "avg_confidence", title, WIDTH, 190, lambda run: run.record.avg_confidence)


def low_confidence(seen: Snapshot) -> Chart:
    """Share of low confidences of each run."""
    title = "Low-confidence rate"
    return _curve(seen, "low_confidence_rate", title, WIDTH, 150, lambda run: run.record.low_confidence_rate)


def multiple(seen: Snapshot, key: str) -> Chart:
    """One signal as a small chart."""
    signal, _, feature = key.partition(":")
    title = f"{name(Signal(signal))}: {feature}" if feature else name(Signal(signal))
    return _curve(seen, key, title, SMALL_WIDTH, 120, lambda _run: None)


def traffic(seen: Snapshot) -> Chart:
    """Requests in each run's window: by the model, by the fallback, refused."""
    runs = seen.runs
    most = max((_asked(run) for run in runs), default=0)
    chart = Chart("traffic", "Requests per run", f"At most {count(most)} requests in a window.", WIDTH, 150)
    times, scale = axis(seen), Scale(0.0, _round_up(most), TOP, 150 - FOOT)
    _value_ticks(chart, scale, count, LEFT, WIDTH - RIGHT)
    for before, run in _with_previous(runs):
        left, right = times.x(_begin(run, before, seen)), times.x(run.at)
        gap = min(1.0, (right - left) / 5)
        foot = 0.0
        for kind, amount in _shares(run):
            if amount:
                title = f"{run.at:%m-%d %H:%M:%S}: {count(amount)} {_KINDS[kind]}"
                bottom, top = scale.y(foot), scale.y(foot + amount)
                chart.boxes.append(_box(left + gap, right - gap, top, bottom, f"traffic-{kind}", title))
            foot += amount
    chart.boxes.extend(_unwatched(seen, times, TOP, 150 - FOOT))
    _time_ticks(chart, times, 150 - FOOT)
    return chart


_KINDS = {"model": "answered by the model", "fallback": "answered by the fallback", "refused": "refused"}


def _shares(run: Run) -> list[tuple[str, int]]:
    total = run.total
    return [
        ("model", max(total.prediction_count - total.fallback_count, 0)),
        ("fallback", total.fallback_count),
        ("refused", total.refusal_count),
    ]


def _asked(run: Run) -> int:
    return sum(amount for _, amount in _shares(run))


def _curve(
    seen: Snapshot, key: str, title: str, width: float, height: float, unjudged: Callable[[Run], float | None]
) -> Chart:
    """A signal over time with its healthy reference and its limits; `unjudged` is shown where it was not read."""
    small = width < WIDTH
    left, right = (SMALL_LEFT, SMALL_RIGHT) if small else (LEFT, RIGHT)
    times = axis(seen, width, left, right)
    series = [(run, run.reading(key)) for run in seen.runs]
    values = [(run, _value(run, reading, unjudged)) for run, reading in series]
    told = [(run, reading) for run, reading in series if reading is not None and _judged(reading)]
    scale = _scale([v for _, v in values], [r for _, r in told], TOP, height - FOOT)
    signal = Signal(key.partition(":")[0])
    chart = Chart(_identifier(key), title, _told_curve(title, signal, values, told), width, height)
    chart.boxes.extend(_unwatched(seen, times, TOP, height - FOOT))
    _value_ticks(chart, scale, lambda value: _short(signal, value), left, width - right)
    _limit_paths(chart, seen, times, scale, told)
    chart.paths.extend(_line(seen, times, scale, values))
    chart.dots.extend(_dots(times, scale, signal, series, values))
    if told and not small:
        reference = _expected(told[-1][1])
        chart.labels.append(
            Label(
                _n(width - right + 6), _n(scale.y(reference) + 4), f"healthy {_short(signal, reference)}", "reference"
            )
        )
    _time_ticks(chart, times, height - FOOT, few=small)
    return chart


def _value(run: Run, reading: Reading | None, unjudged: Callable[[Run], float | None]) -> float | None:
    value = reading.value if reading is not None and reading.value is not None else unjudged(run)
    return value if value is not None and _drawable(value) else None


def _judged(reading: Reading) -> bool:
    """Whether reference and limits are there and can be drawn."""
    limits = [limit for limit in (reading.moderate_limit, reading.severe_limit) if limit is not None]
    return reading.reference is not None and all(_drawable(number) for number in (reading.reference, *limits))


def _drawable(number: float) -> bool:
    # Beyond this a stored number is no measurement of ours, and sums of it need not be finite.
    return math.isfinite(number) and abs(number) <= LARGEST_NUMBER_SHOWN


def _expected(reading: Reading) -> float:
    """Where a curve's reference stands. Silence is judged from zero on."""
    return 0.0 if reading.signal is Signal.SILENCE_SECONDS else reading.reference or 0.0


def _scale(values: Sequence[float | None], told: Sequence[Reading], top: float, bottom: float) -> Scale:
    shown = [value for value in values if value is not None]
    for reading in told:
        limit = reading.severe_limit if reading.severe_limit is not None else reading.moderate_limit or 0.0
        expected = _expected(reading)
        shown.append(expected + limit)
        shown.append(expected - limit if reading.signal is Signal.AVG_CONFIDENCE else expected)
    if not shown:
        return Scale(0.0, 1.0, top, bottom)
    low, high = min(shown), max(shown)
    pad = 0.08 * (high - low) or 0.05
    low = max(low - pad, 0.0) if any(reading.signal is Signal.AVG_CONFIDENCE for reading in told) else 0.0
    return Scale(low, max(high + pad, low + 1e-6), top, bottom)


def _limit_paths(chart: Chart, seen: Snapshot, times: Axis, scale: Scale, told: Sequence[tuple[Run, Reading]]) -> None:
    """The healthy band, the severe limits and the reference, stretch by stretch of consecutive runs."""
    for stretch in _stretches(seen, told):
        xs = [times.x(run.at) for run, _ in stretch]
        readings = [reading for _, reading in stretch]
        both = readings[0].signal is Signal.AVG_CONFIDENCE
        upper = [scale.y(_expected(r) + (r.moderate_limit or 0.0)) for r in readings]
        lower = [scale.y(_expected(r) - (r.moderate_limit or 0.0) if both else scale.low) for r in readings]
        outline = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
        chart.paths.append(Path(f"{_data(outline)}Z", "healthy"))
        if all(r.severe_limit is not None for r in readings):
            chart.paths.append(_severe(xs, readings, scale, 1))
            if both:
                chart.paths.append(_severe(xs, readings, scale, -1))
        reference = [scale.y(_expected(r)) for r in readings]
        chart.paths.append(Path(_data(list(zip(xs, reference, strict=True))), "reference"))


def _severe(xs: Sequence[float], readings: Sequence[Reading], scale: Scale, sign: int) -> Path:
    ys = [scale.y(_expected(r) + sign * (r.severe_limit or 0.0)) for r in readings]
    return Path(_data(list(zip(xs, ys, strict=True))), "severe")


def _line(seen: Snapshot, times: Axis, scale: Scale, values: Sequence[tuple[Run, float | None]]) -> Iterator[Path]:
    known = [(run, value) for run, value in values if value is not None]
    for stretch in _stretches(seen, known):
        yield Path(_data([(times.x(run.at), scale.y(value)) for run, value in stretch]), "value")


def _dots(
    times: Axis,
    scale: Scale,
    signal: Signal,
    series: Sequence[tuple[Run, Reading | None]],
    values: Sequence[tuple[Run, float | None]],
) -> Iterator[Dot]:
    for (run, reading), (_, value) in zip(series, values, strict=True):
        if value is not None:
            level = reading.level if reading is not None and reading.value is not None else None
            kind = "unjudged" if level is None else level.value
            title = f"{run.at:%m-%d %H:%M:%S}: {measured(signal, value)}"
            shown = title if level in (None, Level.NONE) else f"{title}, {kind.lower()}"
            yield Dot(_n(times.x(run.at)), _n(scale.y(value)), f"level-{kind}", shown)


def _stretches(seen: Snapshot, points: Sequence[tuple[Run, _T]]) -> list[list[tuple[Run, _T]]]:
    """Points of consecutive runs; a gap in which nobody watched ends a stretch."""
    longest = timedelta(seconds=seen.settings.policy.max_gap_seconds)
    stretches: list[list[tuple[Run, _T]]] = []
    for point in points:
        if stretches and point[0].at - stretches[-1][-1][0].at <= longest:
            stretches[-1].append(point)
        else:
            stretches.append([point])
    return stretches


def _begin(run: Run, before: Run | None, seen: Snapshot) -> datetime:
    """Where a run's part of the axis begins: at the run before, unless that is a gap away."""
    longest = timedelta(seconds=seen.settings.policy.max_gap_seconds)
    if before is not None and run.at - before.at <= longest:
        return before.at
    return run.at - timedelta(seconds=seen.settings.monitor.every)


def _unwatched(seen: Snapshot, times: Axis, top: float, bottom: float) -> Iterator[Box]:
    """Stretches of time in which no run looked."""
    longest = timedelta(seconds=seen.settings.policy.max_gap_seconds)
    ends = [run.at for run in seen.runs]
    gaps = [(a, b) for a, b in pairwise(ends) if b - a > longest]
    if seen.now - ends[-1] > timedelta(seconds=2 * seen.settings.monitor.every):
        gaps.append((ends[-1], max(seen.now, times.end)))
    one = timedelta(seconds=seen.settings.monitor.every)
    for begin, end in gaps:
        closing = end - one if end in ends else end
        title = f"No run for {span((end - begin).total_seconds())}"
        yield _box(times.x(begin), times.x(closing), top, bottom, "gap", title)


def _with_previous(runs: Sequence[Run]) -> Iterator[tuple[Run | None, Run]]:
    return zip([None, *runs], runs, strict=False)


def _time_ticks(chart: Chart, times: Axis, y: float, *, few: bool = False) -> None:
    length = (times.end - times.start).total_seconds()
    most = 3 if few else 8
    step = next((step for step in _STEPS if length / step <= most), math.ceil(length / most / 604800) * 604800)
    first = math.ceil(times.start.timestamp() / step) * step
    shape = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"
    for at in range(int(first), int(times.end.timestamp()) + 1, int(step)):
        moment = datetime.fromtimestamp(at, UTC)
        x = times.x(moment)
        text = moment.strftime("%d %b" if shape == "%H:%M" and at % 86400 == 0 else shape)
        chart.paths.append(Path(_data([(x, y), (x, y + 4)]), "tick"))
        chart.labels.append(Label(_n(x), _n(y + 17), text, "time", "middle"))


def _value_ticks(chart: Chart, scale: Scale, words: Callable[[float], str], left: float, right: float) -> None:
    step = _round_step((scale.high - scale.low) / (3 if chart.width < WIDTH else 4))
    value = math.ceil(scale.low / step - 1e-9) * step
    while value <= scale.high + 1e-9:
        y = scale.y(value)
        chart.paths.append(Path(_data([(left, y), (right, y)]), "grid"))
        chart.labels.append(Label(_n(left - 6), _n(y + 4), words(value), "value", "end"))
        value += step


def _round_step(step: float) -> float:
    if not math.isfinite(step) or step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999)


def _round_up(most: int) -> float:
    step = _round_step(max(most, 1) / 4)
    return math.ceil(max(most, 1) / step) * step


def _short(signal: Signal, value: float) -> str:
    if signal is Signal.SILENCE_SECONDS:
        return span(value) if value else "0"
    return f"{value:.2f}" if signal is Signal.AVG_CONFIDENCE else f"{100 * value:.3g} %"


def _told_states(runs: Sequence[Run]) -> str:
    changes = [run for before, run in _with_previous(runs) if before is None or _after(before) != _after(run)]
    told = ", ".join(f"{_after(run)} from {run.at:%Y-%m-%d %H:%M}" for run in changes[-10:])
    return f"{len(runs)} runs: {told}."


def _after(run: Run) -> str:
    return run.record.state_after or "UNKNOWN"


def _told_curve(
    title: str, signal: Signal, values: Sequence[tuple[Run, float | None]], told: Sequence[tuple[Run, Reading]]
) -> str:
    known = [value for _, value in values if value is not None]
    if not known:
        return f"{title}: not read in these runs."
    healthy = f"; healthy is {measured(signal, _expected(told[-1][1]))}" if told else ""
    now, least, most = (measured(signal, value) for value in (known[-1], min(known), max(known)))
    return f"{title}: now {now}, from {least} to {most} in these runs{healthy}."


def _identifier(key: str) -> str:
    return "signal-" + "".join(sign if sign.isascii() and sign.isalnum() else f"-{ord(sign):x}-" for sign in key)


def _box(left: float, right: float, top: float, bottom: float, kind: str, title: str) -> Box:
    return Box(_n(left), _n(top), _n(max(right - left, 0.5)), _n(max(bottom - top, 0.0)), kind, title)


def _data(points: Iterable[tuple[float, float]]) -> str:
    spots = [f"{_n(x)} {_n(y)}" for x, y in points]
    # A single point is a line to itself, which a round end makes visible.
    return "M" + "L".join(spots if len(spots) > 1 else spots * 2)


def _n(number: float) -> str:
    return f"{number:.1f}"
