"""Charts: whatever the runs contain, the shapes are finite, inside the chart and in order of time."""

import math
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.window import Tally
from stillsafe.dashboard import charts
from stillsafe.dashboard.shapes import WIDTH, Chart
from stillsafe.dashboard.snapshot import Run, Snapshot, take_snapshot
from stillsafe.judging import conditions_without_traffic
from stillsafe.store.read.runs import RunRecord

from .story import START, begin, faulty_tally, settings_of, tally

SETTINGS = settings_of(Path("/nowhere"))
NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.just(0.0)
SIGNALS = [Signal.AVG_CONFIDENCE, Signal.LOW_CONFIDENCE_RATE, Signal.SILENCE_SECONDS, Signal.MODEL_ERROR_RATE]


def record(at_seconds: float, confidence: float | None = None) -> RunRecord:
    blank = dict.fromkeys(RunRecord.__dataclass_fields__)
    at = START + timedelta(seconds=at_seconds)
    given_values = {"id": 1, "window_start": at, "window_end": at, "prediction_count": 5, "avg_confidence": confidence}
    return RunRecord(**{**blank, **given_values, "shadow": False, "unseen_categories": False})  # type: ignore[arg-type] # blanks stand for columns that nobody wrote


def snapshot_of(runs: list[Run], later: timedelta = timedelta(0)) -> Snapshot:
    conditions = conditions_without_traffic("1")
    return Snapshot(runs[-1].at + later, SETTINGS, None, conditions, tuple(runs), None, (), (), None)


def all_charts(snap: Snapshot) -> list[Chart]:
    keys = [signal.value for signal in SIGNALS]
    return [
        charts.state_chart(snap),
        charts.confidence_chart(snap),
        charts.low_confidence_chart(snap),
        charts.traffic_chart(snap),
        *[charts.signal_chart(snap, key) for key in keys],
    ]


def numbers(chart: Chart) -> list[tuple[float, float]]:
    """Every point of a chart."""
    points = [(box.x, box.y) for box in chart.boxes]
    points += [(box.x + box.width, box.y + box.height) for box in chart.boxes]
    points += [(dot.x, dot.y) for dot in chart.dots]
    for path in chart.paths:
        assert re.fullmatch(r"(M-?[\d.]+ -?[\d.]+(L-?[\d.]+ -?[\d.]+)*Z?)*", path.data), path.data
        points += points_of(path.data)
    return points


def points_of(data: str) -> list[tuple[float, float]]:
    """The points of a path."""
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", data)]


def readings() -> st.SearchStrategy[Reading]:
    return st.builds(
        Reading,
        st.sampled_from(SIGNALS),
        st.none(),
        st.sampled_from(Evidence),
        st.sampled_from(Level),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.integers(0, 10**9),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(min_value=0, max_value=1e6), NUMBERS, st.lists(readings(), max_size=3), st.integers(0, 10**12)
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(min_value=-1e5, max_value=1e8),
)
def test_every_shape_is_finite_and_inside(
    parts: list[tuple[float, float | None, list[Reading], int]], later: float
) -> None:
    """NaN, infinities, runs at one moment, gaps of weeks, a clock behind: every coordinate is inside the chart."""
    parts.sort(key=lambda item: item[0])
    runs = [
        Run(record(at, confidence), tuple(run_readings), Tally(prediction_count=n, fallback_count=n // 2))
        for at, confidence, run_readings, n in parts
    ]
    for chart in all_charts(snapshot_of(runs, timedelta(seconds=later))):
        assert "nan" not in repr(chart).lower()
        assert not re.search(r"\binf\b", repr(chart))
        for x, y in numbers(chart):
            assert math.isfinite(x)
            assert -1 <= x <= WIDTH + 1
            assert -1 <= y <= chart.height + 1
        assert len(chart.labels) < 60


def test_one_run_is_drawn() -> None:
    """A single run is drawn as a point of the line and as a dot."""
    chart = charts.confidence_chart(snapshot_of([Run(record(0, 0.8), (), Tally())]))
    assert [dot.kind for dot in chart.dots] == ["level-unjudged"]
    (value,) = [path for path in chart.paths if path.kind == "value"]
    assert value.data.count("L") == 1


def test_a_gap_breaks_the_line_and_is_shown() -> None:
    """A gap between runs ends the line, and so does the time since the last run; both are drawn as gaps."""
    times = [0, 600, 1200, 9000, 9600]
    snap = snapshot_of([Run(record(at, 0.8), (), Tally()) for at in times], timedelta(hours=1))
    chart = charts.confidence_chart(snap)
    assert len([path for path in chart.paths if path.kind == "value"]) == 2
    assert [box.title for box in chart.boxes if box.kind == "gap"] == ["No run for 2 h 10 min", "No run for 1 h"]


def test_a_long_silence_does_not_squeeze_the_runs() -> None:
    """A year after the last run, the runs still fill most of the chart."""
    snap = snapshot_of([Run(record(600 * i, 0.8), (), Tally()) for i in range(50)], timedelta(days=365))
    (dots,) = [path for path in charts.confidence_chart(snap).paths if path.kind == "points level-unjudged"]
    newest = max(x for x, _ in points_of(dots.data))
    assert newest > 0.7 * WIDTH


def test_the_states_are_drawn_and_described(tmp_path: Path) -> None:
    """The band has the state after each run, and the description lists its changes."""
    story = begin(tmp_path)
    story.runs(2, tally())
    story.runs(3, faulty_tally())
    chart = charts.state_chart(take_snapshot(story.engine, story.settings, story.now))
    kinds = [box.kind for box in chart.boxes]
    assert kinds == ["state-NORMAL", "state-WARNING", "state-DEGRADED"]
    assert (
        "NORMAL from 2026-03-01T12:10:00Z, WARNING from 2026-03-01T12:40:00Z, DEGRADED from 2026-03-01T12:50:00Z"
        in chart.description
    )


def test_the_traffic_is_stacked(tmp_path: Path) -> None:
    """Model, fallback and refusals are stacked and add up; the newest numbers stand beside the caption."""
    story = begin(tmp_path)
    story.run(tally(400, refusals=100))
    story.run(tally(500, fallback=True))
    chart = charts.traffic_chart(take_snapshot(story.engine, story.settings, story.now))
    tops = {path.kind: min(y for _, y in points_of(path.data)) for path in chart.paths if "traffic" in path.kind}
    heights = {
        path.kind: max(y for _, y in points_of(path.data)) - tops[path.kind]
        for path in chart.paths
        if path.kind in tops
    }
    assert heights["traffic-model"] + heights["traffic-refused"] == pytest.approx(heights["traffic-fallback"], abs=0.2)
    assert tops["traffic-refused"] == pytest.approx(tops["traffic-fallback"], abs=0.2)
    assert chart.note == "last: 500 by the fallback"


def test_the_chosen_time_is_the_axis(tmp_path: Path) -> None:
    """Twelve hours are twelve hours, although the service is half an hour old; the states end now."""
    story = begin(tmp_path)
    story.runs(3, tally())
    now = story.now + timedelta(minutes=5)
    snapshot = take_snapshot(story.engine, story.settings, now)
    axis = charts.time_axis(snapshot)
    assert (axis.start, axis.end) == (now - timedelta(hours=12), now)
    (state,) = [box for box in charts.state_chart(snapshot).boxes if box.kind == "state-NORMAL"]
    assert state.x + state.width == pytest.approx(WIDTH)
    assert state.x == pytest.approx(WIDTH * (1 - 25 / 720))


def test_a_gap_ends_with_the_run_that_ends_it(tmp_path: Path) -> None:
    """No monitoring run took place until one did: the grey time lasts to that run, and to now where none came."""
    story = begin(tmp_path)
    story.run(tally())
    story.run(tally(), interval=timedelta(hours=3))
    now = story.now + timedelta(hours=2)
    chart = charts.state_chart(take_snapshot(story.engine, story.settings, now))
    first, last = [box for box in chart.boxes if box.kind == "gap"]
    assert first.x + first.width == pytest.approx(WIDTH * (1 - 2 / 12))
    assert last.x + last.width == pytest.approx(WIDTH)
    assert [box.title for box in (first, last)] == ["No run for 3 h", "No run for 2 h"]


def test_many_deviations_are_one_path() -> None:
    """Beyond `MOST_DOTS` the dots have no tooltips and cost a few bytes each."""
    reading = Reading(Signal.AVG_CONFIDENCE, None, Evidence.BAD, Level.MODERATE, 0.5, 0.8, 0.05, None, 600)
    runs = [Run(record(600 * i, 0.5), (reading,), Tally()) for i in range(charts.MOST_DOTS + 1)]
    chart = charts.confidence_chart(snapshot_of(runs))
    assert chart.dots == []
    (path,) = [path for path in chart.paths if path.kind == "points level-MODERATE"]
    assert path.data.count("M") == len(runs)
    assert chart.note == "now 0.500, healthy 0.800"


@given(st.text())
def test_any_feature_has_an_identifier_of_its_own(name: str) -> None:
    """A chart's identifier is valid in HTML, and distinct for distinct features."""
    identifier = charts._identifier(f"missing_rate:{name}")
    assert re.fullmatch(r"[A-Za-z0-9\-]+", identifier)
    assert charts._identifier(f"missing_rate:{name}x") != identifier
