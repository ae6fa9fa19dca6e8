"""The banner: unknown is never calm, and nothing hides DEGRADED."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stillsafe.dashboard.snapshot import take_snapshot
from stillsafe.dashboard.status_banner import Banner, Tone, build_banner

from .story import Story, begin, faulty_tally, tally


def banner(story: Story, later: timedelta = timedelta(minutes=3)) -> Banner:
    return build_banner(take_snapshot(story.engine, story.settings, story.now + later))


def test_calm_needs_a_conclusive_run(tmp_path: Path) -> None:
    """Without a run, or without traffic, the banner is UNKNOWN; after a calm run it is NORMAL."""
    story = begin(tmp_path)
    assert (banner(story).tone, banner(story).word) == (Tone.UNKNOWN, "UNKNOWN")
    story.run(tally(10))
    assert banner(story).tone is Tone.UNKNOWN
    story.runs(2, tally())
    assert (banner(story).tone, banner(story).word, banner(story).alarms) == (Tone.CALM, "NORMAL", ())
    assert banner(story).outlook == "2 calm runs in a row."


def test_a_stale_monitor_is_unknown(tmp_path: Path) -> None:
    """Two intervals after the last run NORMAL becomes UNKNOWN, since then, and the last state is an alarm."""
    story = begin(tmp_path)
    story.runs(3, tally())
    stale = banner(story, timedelta(hours=1))
    assert (stale.tone, stale.since) == (Tone.UNKNOWN, story.now + timedelta(minutes=20))
    assert "The last known state is NORMAL." in stale.alarms


@pytest.mark.parametrize("later", [timedelta(minutes=3), timedelta(days=3)])
def test_degraded_has_precedence(tmp_path: Path, later: timedelta) -> None:
    """DEGRADED stays DEGRADED with a stale monitor; the banner shows the incident's reason and the way back."""
    story = begin(tmp_path)
    decision = story.runs(3, faulty_tally())
    banner_later = banner(story, later)
    assert (banner_later.tone, banner_later.word, banner_later.reason) == (Tone.DANGER, "DEGRADED", decision.reason)
    assert banner_later.answering.startswith("The fallback answers: on time. Rules on dep_delay")
    assert banner_later.cause == "dep_delay is missing in 97.0% of 600 predictions. Also: wind_speed."
    assert banner_later.advice == "Check the source of dep_delay and its last deployment."
    assert banner_later.outlook.startswith("0 of 3 calm runs")


def test_the_outlook_counts_towards_the_next_state(tmp_path: Path) -> None:
    """Severe runs count towards DEGRADED, deviating ones towards WARNING."""
    story = begin(tmp_path)
    story.run(faulty_tally())
    assert banner(story).outlook == "1 of 3 severe runs towards DEGRADED."
    (tmp_path / "other").mkdir()
    story = begin(tmp_path / "other")
    story.run(tally(missing={"wind_speed": 0.11}))
    assert banner(story).outlook == "1 of 2 deviating runs towards WARNING."


def test_a_critical_severity_without_a_bypass_is_a_danger(tmp_path: Path) -> None:
    """The model goes on answering, and the banner never says that this is safe."""
    story = begin(tmp_path)
    story.runs(2, tally(missing={"wind_speed": 0.11}))
    snapshot = take_snapshot(story.engine, story.settings, story.now + timedelta(minutes=3))
    assert snapshot.state is not None
    assert build_banner(snapshot).tone is Tone.WATCH
    withheld = build_banner(replace(snapshot, state=replace(snapshot.state, severity="CRITICAL")))
    assert (withheld.tone, withheld.word) == (Tone.DANGER, "WARNING")
    assert withheld.answering == "The model answers: no fallback is expected to do better."


def test_runs_without_a_severe_reading_are_counted(tmp_path: Path) -> None:
    """Beside the calm runs, while the state is DEGRADED."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally())
    snapshot = take_snapshot(story.engine, story.settings, story.now + timedelta(minutes=3))
    assert snapshot.state is not None
    memory = replace(snapshot.state.memory, runs_without_severe=2)
    outlook = build_banner(replace(snapshot, state=replace(snapshot.state, memory=memory))).outlook
    assert outlook.endswith("2 of 3 runs without a severe reading towards WARNING.")


def test_a_hold_is_an_alarm(tmp_path: Path) -> None:
    """A hold is DEGRADED, and the banner names the operator, the command that ends it and the state after it."""
    story = begin(tmp_path)
    story.runs(3, tally())
    story.hold("ada", "drill")
    held_banner = banner(story)
    assert held_banner.tone is Tone.DANGER
    assert held_banner.cause == "Held by ada: drill"
    assert any("Held by ada" in alarm and "stillsafe release" in alarm for alarm in held_banner.alarms)
    assert held_banner.outlook == "After the release the state is NORMAL."


def test_the_reason_stays_and_progress_stands_beside_it(tmp_path: Path) -> None:
    """While a degradation recovers the reason is its cause; what the last run concluded is the progress."""
    story = begin(tmp_path)
    decision = story.runs(3, faulty_tally())
    story.run(tally())
    recovering = banner(story)
    assert (recovering.word, recovering.reason) == ("DEGRADED", decision.reason)
    assert "DEGRADED ends after 3 consecutive calm runs (1 so far)." in recovering.progress


def test_rows_that_the_last_run_left_out_are_shown(tmp_path: Path) -> None:
    """Late, never judged and synthetic rows, each only where there are any."""
    story = begin(tmp_path)
    story.run(tally())
    assert banner(story).rows == ""
    story.run(tally(), late_count=3, expired_count=1_200, synthetic_count=7)
    assert banner(story).rows == "3 late, 1,200 never judged, 7 synthetic"
