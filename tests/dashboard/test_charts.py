"""Charts: whatever the runs hold, the shapes are finite, inside the picture and in order of time."""

import math
import re
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.window import Tally
from stillsafe.dashboard import charts, deviations, formatting, snapshot
from stillsafe.dashboard.snapshot import Run, Snapshot
from stillsafe.store.read.runs import RunRecord

from .story import EVERY, START, begin, broken, settings_of, tally

SETTINGS = settings_of(Path("/nowhere"))
NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.just(0.0)
SIGNALS = [Signal.AVG_CONFIDENCE, Signal.LOW_CONFIDENCE_RATE, Signal.SILENCE_SECONDS, Signal.MODEL_ERROR_RATE]


def record(at_seconds: float, confidence: float | None = None) -> RunRecord:
    blank = dict.fromkeys(RunRecord.__dataclass_fields__)
    at = START + timedelta(seconds=at_seconds)
    given_values = {"id": 1, "window_start": at, "window_end": at, "prediction_count": 5, "avg_confidence": confidence}
    return RunRecord(**{**blank, **given_values, "shadow": False, "unseen_categories": False})  # type: ignore[arg-type] # blanks stand for columns that nobody wrote


def seen(runs: list[Run], later: timedelta = timedelta(0)) -> Snapshot:
    return Snapshot(runs[-1].at + later, SETTINGS, None, tuple(runs), None, (), (), None)


def drawn(snap: Snapshot) -> list[charts.Chart]:
    keys = [signal.value for signal in SIGNALS]
    return [
        charts.states(snap),
        charts.confidence(snap),
        charts.low_confidence(snap),
        charts.traffic(snap),
        *[charts.multiple(snap, key) for key in keys],
    ]


def numbers(chart: charts.Chart) -> list[tuple[float, float]]:
    """Every point of a chart."""
    points = [(float(box.x), float(box.y)) for box in chart.boxes]
    points += [(float(box.x) + float(box.width), float(box.y) + float(box.height)) for box in chart.boxes]
    points += [(float(dot.x), float(dot.y)) for dot in chart.dots]
    for path in chart.paths:
        assert re.fullmatch(r"M-?[\d.]+ -?[\d.]+(L-?[\d.]+ -?[\d.]+)*Z?", path.data), path.data
        points += [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.data)]
    return points


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
    made: list[tuple[float, float | None, list[Reading], int]], later: float
) -> None:
    """NaN, infinities, runs at one moment, gaps of weeks, a clock behind: every number drawn lies in the picture."""
    made.sort(key=lambda item: item[0])
    runs = [
        Run(record(at, confidence), tuple(found), Tally(prediction_count=n, fallback_count=n // 2))
        for at, confidence, found, n in made
    ]
    for chart in drawn(seen(runs, timedelta(seconds=later))):
        assert "nan" not in repr(chart).lower()
        assert not re.search(r"\binf\b", repr(chart))
        for x, y in numbers(chart):
            assert math.isfinite(x)
            assert -1 <= x <= chart.width + 1
            assert -1 <= y <= chart.height + 1
        assert len(chart.labels) < 60


def test_one_run_is_drawn() -> None:
    """A single run is a timeline too, and its value can be seen."""
    chart = charts.confidence(seen([Run(record(0, 0.8), (), Tally())]))
    assert [dot.kind for dot in chart.dots] == ["level-unjudged"]
    (value,) = [path for path in chart.paths if path.kind == "value"]
    assert value.data.count("L") == 1


def test_a_gap_breaks_the_line_and_is_shown() -> None:
    """Where nobody watched, no line pretends to know; the time since the last run is such a gap too."""
    times = [0, 600, 1200, 9000, 9600]
    snap = seen([Run(record(at, 0.8), (), Tally()) for at in times], timedelta(hours=1))
    chart = charts.confidence(snap)
    assert len([path for path in chart.paths if path.kind == "value"]) == 2
    assert [box.title for box in chart.boxes if box.kind == "gap"] == ["No run for 2 h 10 min", "No run for 1 h"]


def test_a_long_silence_does_not_squeeze_the_runs() -> None:
    """Looked at a year later, the runs still fill most of the picture."""
    snap = seen([Run(record(600 * i, 0.8), (), Tally()) for i in range(50)], timedelta(days=365))
    newest = max(float(dot.x) for dot in charts.confidence(snap).dots)
    assert newest > 0.7 * charts.WIDTH


def test_the_states_are_told_in_words_and_colours(tmp_path: Path) -> None:
    """The band says for each run what state it left, and the description tells the changes."""
    story = begin(tmp_path)
    story.runs(2, tally())
    story.runs(3, broken())
    chart = charts.states(snapshot.take(story.engine, story.settings, story.now, 72))
    kinds = [box.kind for box in chart.boxes]
    assert kinds == ["state-NORMAL"] * 3 + ["state-WARNING", "state-DEGRADED"]
    assert "NORMAL from 2026-03-01 12:10, WARNING from 2026-03-01 12:40, DEGRADED from 2026-03-01 12:50" in chart.told


def test_the_traffic_is_stacked(tmp_path: Path) -> None:
    """Model, fallback and refusals stand on one another and add up."""
    story = begin(tmp_path)
    story.run(tally(400, refusals=100))
    story.run(tally(500, fallback=True))
    chart = charts.traffic(snapshot.take(story.engine, story.settings, story.now, 72))
    assert [box.title.split(": ")[1] for box in chart.boxes] == [
        "400 answered by the model",
        "100 refused",
        "500 answered by the fallback",
    ]
    model, refused, fallback = [float(box.height) for box in chart.boxes]
    assert model + refused == pytest.approx(fallback, abs=0.2)


def test_the_multiples_are_the_worst_signals(tmp_path: Path) -> None:
    """Signals that deviate now come before those that did; calm ones and the confidence are left out."""
    story = begin(tmp_path)
    story.run(tally(missing={"distance": 0.9}))
    story.runs(2, broken())
    keys = deviations.multiples(snapshot.take(story.engine, story.settings, story.now, 72).runs)
    assert keys == ["missing_rate:dep_delay", "missing_rate:wind_speed", "missing_rate:distance"]


@given(st.text())
def test_any_feature_has_an_identifier_of_its_own(name: str) -> None:
    """A chart's identifier is harmless in HTML, and distinct for distinct features."""
    made = charts._identifier(f"missing_rate:{name}")
    assert re.fullmatch(r"[A-Za-z0-9\-]+", made)
    assert charts._identifier(f"missing_rate:{name}x") != made


@given(NUMBERS)
def test_no_number_in_words_is_nan(number: float | None) -> None:
    """What cannot be told is a dash, never NaN or infinity."""
    for words in (formatting.percent, formatting.decimal, formatting.count, formatting.span):
        assert not re.search("nan|inf", words(number))


@pytest.mark.parametrize(
    ("length", "words"),
    [(0.02, "20 ms"), (3, "3 s"), (60, "1 min"), (754, "12 min 34 s"), (7_500, "2 h 5 min"), (176_400, "2 d 1 h")],
)
def test_spans_are_short(length: float, words: str) -> None:
    """A length of time is told in its two largest units."""
    assert formatting.span(length) == words


def test_times_are_told_against_now() -> None:
    """Ago, ahead where clocks disagree, and never."""
    assert formatting.ago(START, START + EVERY) == "10 min ago"
    assert formatting.ago(START + EVERY, START) == "in 10 min"
    assert formatting.ago(START, START) == "just now"
    assert formatting.ago(None, START) == "never"


def test_a_day_of_runs_is_drawn_in_time() -> None:
    """The page's cost is bounded by the runs shown, not by the history."""
    with TemporaryDirectory() as folder:
        story = begin(Path(folder))
        story.runs(80, tally())
        assert len(snapshot.take(story.engine, story.settings, story.now, 72).runs) == 72
        story.engine.dispose()
