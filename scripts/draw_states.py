"""Draw docs/states.svg: the three states and what leads from one to another, with the counts of the policy.

    python -m scripts.draw_states

`make fix` runs this. A test plays every story of the rules and fails where one makes a step that the picture lacks.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from stillsafe.core.policy import Policy
from stillsafe.core.state import State

FILE = Path(__file__).parents[1] / "docs" / "states.svg"
WIDTH, HEIGHT, BOX_WIDTH, BOX_HEIGHT = 900, 330, 150, 64
CENTRES = {State.NORMAL: (110, 165), State.WARNING: (450, 165), State.DEGRADED: (790, 165)}
ANSWERS = {
    State.NORMAL: "the model answers",
    State.WARNING: "the model answers",
    State.DEGRADED: "the fallback answers",
}
STYLE = """
:root { --paper: #ffffff; --ink: #1f2933; --line: #616e7c;
  --NORMAL: #d9f2e3; --WARNING: #fdf0c8; --DEGRADED: #fbdcdc; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #11181f; --ink: #e4e7eb; --line: #9aa5b1;
    --NORMAL: #1d4432; --WARNING: #564412; --DEGRADED: #5c2222; }
}
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--ink);
  text-anchor: middle; font-size: 12.5px; }
.name { font-size: 17px; font-weight: 700; }
.ground { fill: var(--paper); }
.step { fill: none; stroke: var(--line); stroke-width: 1.6; marker-end: url(#head); }
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A step from one state to another.

    Attributes:
        start, end: the states.
        label: what leads there, one line.
        bend: by how many pixels the arrow curves upwards; negative is downwards.
    """

    start: State
    end: State
    label: str
    bend: int


def steps(policy: Policy) -> tuple[Step, ...]:
    """Every step that a run or an operator can make, by the counts of a policy."""
    normal, warning, degraded = State.NORMAL, State.WARNING, State.DEGRADED
    return (
        Step(normal, warning, f"{policy.warning_runs} deviating runs in a row", 46),
        Step(warning, degraded, f"{policy.critical_runs} severe runs in a row", 46),
        Step(normal, degraded, "an operator's hold", 120),
        Step(warning, normal, f"{policy.warning_recovery_runs} calm runs in a row", -46),
        Step(degraded, warning, f"{policy.recovery_runs} runs without a severe reading", -46),
        Step(degraded, normal, f"{policy.recovery_runs} calm runs in a row, or a release", -120),
    )


def picture(policy: Policy) -> str:
    """The whole picture: self-contained, with its own ground for light and dark."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}">',
            "<title>The states NORMAL, WARNING and DEGRADED, and what leads from one to another</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" style="fill: var(--line)"/></marker></defs>',
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
            *(line for step in steps(policy) for line in _arrow(step)),
            *(line for state in State for line in _box(state)),
            "</svg>\n",
        ]
    )


def _box(state: State) -> Iterator[str]:
    x, y = CENTRES[state]
    yield (
        f'<rect x="{x - BOX_WIDTH // 2}" y="{y - BOX_HEIGHT // 2}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8" '
        f'style="fill: var(--{state.value}); stroke: var(--line)"/>'
    )
    yield f'<text class="name" x="{x}" y="{y - 2}">{state.value}</text>'
    yield f'<text x="{x}" y="{y + 18}">{ANSWERS[state]}</text>'


def _arrow(step: Step) -> Iterator[str]:
    """An arrow from the side of one box to that of another, with its text at its middle."""
    (x1, y1), (x2, y2) = CENTRES[step.start], CENTRES[step.end]
    side, is_long = (1 if step.bend > 0 else -1), abs(step.bend) > BOX_HEIGHT
    edge_y = y1 - side * BOX_HEIGHT // 2
    inset = 20 if is_long else 45
    direction = 1 if x2 > x1 else -1
    start_x, end_x = x1 + direction * inset, x2 - direction * inset
    top_y = edge_y - 1.4 * step.bend + (0.4 * side * BOX_HEIGHT if is_long else 0)
    yield (
        f'<path class="step" d="M{start_x} {edge_y}C{start_x + direction * 60} {top_y:g} {end_x - direction * 60} '
        f'{top_y:g} {end_x} {y2 - side * BOX_HEIGHT // 2 - side * 2}"/>'
    )
    text_y = (edge_y + 3 * top_y) / 4 - (7 if side > 0 else -17)
    yield f'<text x="{(x1 + x2) // 2}" y="{text_y:g}">{escape(step.label)}</text>'


def main() -> None:
    """Write the picture if it differs."""
    text = picture(Policy())
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        FILE.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {FILE.name}\n")


if __name__ == "__main__":
    main()
