"""What to type: every command is one that this version has, with its options."""

import shlex
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from stillsafe.cli.app import app
from stillsafe.dashboard.next_steps import next_steps
from stillsafe.dashboard.snapshot import take_snapshot

from .story import Story, begin, faulty_tally, tally


def commands(story: Story, later: timedelta = timedelta(minutes=3)) -> list[str]:
    snapshot = take_snapshot(story.engine, story.settings, story.now + later)
    return [command.text for command in next_steps(snapshot)]


def require_command(text: str) -> None:
    """Parse a command as the command line does, without running it."""
    program, *words = shlex.split(text)
    assert program == "stillsafe"
    command = typer.main.get_command(app)
    context = command.make_context("stillsafe", [*words[:1], "--help"], resilient_parsing=True)
    while isinstance(command, typer.core.TyperGroup):
        command, context = command.commands[words.pop(0)], context
    command.make_context("command", words, parent=context).close()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return begin(tmp_path)


def test_a_calm_service_needs_nothing(story: Story) -> None:
    """As long as the monitor runs; when it has stopped, how to find out why."""
    story.runs(2, tally())
    assert commands(story) == []
    assert commands(story, timedelta(hours=2)) == ["stillsafe monitor --try", "stillsafe schedule show"]


def test_an_incident_is_explained_and_the_fallback_kept(story: Story) -> None:
    """The commands name the incident; while an operator holds the state, the first one ends that."""
    incident = story.runs(2, faulty_tally()).incident
    assert incident is not None
    explain = f"stillsafe explain {incident.incident_id}"
    assert commands(story) == [explain, 'stillsafe hold --reason "looking into it"']
    story.hold()
    assert commands(story) == ['stillsafe release --reason "repaired"', explain]


def test_a_new_service_is_begun(tmp_path: Path) -> None:
    """Run the monitor, install it, make a baseline."""
    assert commands(begin(tmp_path, watched=False)) == [
        "stillsafe monitor",
        "stillsafe schedule install",
        "stillsafe baseline create",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("stillsafe monitor", "stillsafe monitor --try", "stillsafe schedule install", "stillsafe schedule show"),
        *("stillsafe baseline create", "stillsafe explain inc-1", 'stillsafe hold --reason "looking into it"'),
        *('stillsafe release --reason "repaired"', "stillsafe incidents export inc-1 --out incident.html"),
        *("stillsafe performance", "stillsafe windows show", "stillsafe incidents list"),
    ],
)
def test_every_command_exists(text: str) -> None:
    """Each command that a page shows is taken by the command line."""
    require_command(text)
