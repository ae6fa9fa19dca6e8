"""The golden stories in `tests/scenarios`: windows in, states and sentences out."""

from pathlib import Path

import pytest

from .stories import StoryError, differences, load, play, tell

SCENARIOS = Path(__file__).parents[1] / "scenarios"
FILES = sorted(SCENARIOS.glob("*.toml"))

REQUIRED = {
    "calm",
    "spike",
    "slow_drift",
    "flapping",
    "missing_column",
    "unseen_category",
    "nan_burst",
    "quiet_night",
    "dead_cron",
    "recovery",
    "relapse",
    "version_change",
    "operator_hold",
    "harm_over",
    "harm_over_relapse",
    "harm_over_unscored",
    "harm_over_calm_only",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_story_goes_as_it_is_told(path: Path) -> None:
    """The same windows lead to the same states, streaks and sentences for ever."""
    story = load(path)
    lines = [line for outcome in play(story) for line in differences(story, outcome)]
    assert not lines, "\n".join([story.title, *lines])


def test_every_promised_story_is_told() -> None:
    """No golden story goes missing."""
    assert {path.stem for path in FILES} >= REQUIRED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_story_has_a_title_and_expects_something(path: Path) -> None:
    """A story that expects nothing guards nothing."""
    story = load(path)
    assert story.title
    assert any(run.expected for run in story.runs)


def test_a_difference_names_the_run_and_both_sides() -> None:
    """A story that fails says where, what came and what should have come."""
    story = tell({"run": [{"at": "10:10", "expect": {"state": "DEGRADED", "calm_runs": 1}}]})
    (line,) = differences(story, play(story)[0])
    assert line == "run 1 at 10:10: state is\n    'NORMAL'\n  and should be\n    'DEGRADED'"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "at least one"),
        ({"rum": []}, "the story: unknown rum"),
        ({"run": [{"avg_confidense": 0.5}]}, "run 1: unknown avg_confidense"),
        ({"run": [{"expect": {"stat": "NORMAL"}}]}, "expected of run 1: unknown stat"),
        ({"policy": {"warning_runs": 1}, "run": [{}]}, "warning_runs must be at least 2"),
        ({"policy": {"warn": 1}, "run": [{}]}, "unknown warn"),
        ({"run": [{"missing": {"tmep": 0.4}}]}, "unknown tmep"),
    ],
)
def test_a_mistyped_story_says_what_is_wrong(document: dict[str, object], says: str) -> None:
    """A slip in a story never passes as a rule that holds."""
    with pytest.raises(StoryError, match=says):
        tell(document)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """An error leads to the file."""
    path = tmp_path / "mine.toml"
    path.write_text("[[run]\n", encoding="utf-8")
    with pytest.raises(StoryError, match=r"mine\.toml"):
        load(path)


def test_a_whole_number_is_a_count_and_a_fraction_a_share() -> None:
    """`40` is forty values and `0.4` is four in ten."""
    feature = {"temp": {"type": "numeric"}}
    runs = [{"predictions": 200, "missing": {"temp": amount}} for amount in (40, 0.4)]
    story = tell({"baseline": {"features": feature}, "run": runs})
    assert [run.window.fresh.features["temp"].missing_count for run in story.runs] == [40, 80]


def test_a_clock_that_turns_back_is_the_next_day() -> None:
    """A story may run over midnight."""
    story = tell({"run": [{"at": "23:50"}, {"at": "00:10"}]})
    assert (story.runs[1].window.end - story.runs[0].window.end).total_seconds() == 1200
