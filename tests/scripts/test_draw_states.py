"""The picture of the states is current, and has every step that the rules can make."""

from pathlib import Path

from scripts import draw_states
from stillsafe.core.policy import Policy
from stillsafe.core.state import State
from tests.core.stories import load, play

STORIES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.toml"))


def test_the_picture_is_that_of_the_policy() -> None:
    """Its counts are the defaults (`make fix` draws it anew)."""
    assert draw_states.FILE.read_text(encoding="utf-8") == draw_states.picture(Policy())


def test_no_story_makes_another_step() -> None:
    """Every step from state to state of every story of the rules is drawn, and every step of a run is in a story."""
    arrows = {(step.start, step.end) for step in draw_states.steps(Policy())}
    story_steps = set()
    for story in STORIES:
        state = State.NORMAL
        for outcome in play(load(story)):
            story_steps.add((state, outcome.decision.memory.effective_state))
            state = outcome.decision.memory.effective_state
    assert {(start, end) for start, end in story_steps if start is not end} == arrows
