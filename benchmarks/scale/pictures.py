"""Draws curves as one picture: a panel per cost, both axes logarithmic."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.scale.curves import Curve, Part, decades

COLUMNS, WIDTH, HEIGHT = 3, 320, 236
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 44, 40
COLOURS = ("a", "b", "c")
STYLE = """
:root { --paper: #ffffff; --ink: #1f2933; --line: #cbd2d9; --a: #1f6feb; --b: #c2410c; --c: #15803d; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #11181f; --ink: #e4e7eb; --line: #3e4c59; --a: #79b8ff; --b: #fdae6b; --c: #7ee2a8; }
}
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--ink);
  font-size: 11px; }
.title { font-size: 12.5px; font-weight: 600; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.ground { fill: var(--paper); }
.grid { stroke: var(--line); stroke-width: 0.7; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.a { stroke: var(--a); } .b { stroke: var(--b); } .c { stroke: var(--c); }
.dot.a, .key.a { fill: var(--a); stroke: none; }
.dot.b, .key.b { fill: var(--b); stroke: none; }
.dot.c, .key.c { fill: var(--c); stroke: none; }
"""


def picture(parts: Sequence[Part]) -> str:
    """The whole picture: self-contained, with its own ground for light and dark.

    Args:
        parts: at least one; a panel has the curves with the same size and cost, at most three.
    """
    panels = list(_panels(parts))
    rows = math.ceil(len(panels) / COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">',
        f"<title>How costs grow: {escape(', '.join(dict.fromkeys(panel[0].size for panel in panels)))}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="10"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        lines += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _panels(parts: Sequence[Part]) -> Iterator[list[Curve]]:
    """The curves of each panel."""
    for part in parts:
        for cost in dict.fromkeys(curve.cost for curve in part.curves):
            yield [curve for curve in part.curves if curve.cost == cost]


def _panel(curves: Sequence[Curve]) -> Iterator[str]:
    points = [[(size, each.median) for size, each in curve.spreads().items() if size > 0] for curve in curves]
    sizes, costs = ([point[i] for line in points for point in line] for i in (0, 1))
    x_ends, y_ends = decades(sizes), decades(costs)
    yield f'<text class="title" x="{LEFT - 40}" y="18">{escape(curves[0].cost)}</text>'
    yield from _grid(x_ends, y_ends)
    yield f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}">{escape(curves[0].size)}</text>'
    for colour, line in zip(COLOURS, points, strict=False):
        places = [(_x(size, x_ends), _y(cost, y_ends)) for size, cost in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield f'<path class="curve {colour}" d="M{path}"/>'
        yield from (f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    for number, (colour, curve) in enumerate(zip(COLOURS, curves, strict=False)):
        x = LEFT - 40 + number * 140
        name = f"{curve.line or 'exponent'} {round(curve.exponent().median, 2) + 0.0:.2f}"
        yield f'<circle class="key {colour}" cx="{x + 4}" cy="30" r="4"/>'
        yield f'<text x="{x + 13}" y="34">{escape(name)}</text>'


def _grid(x_ends: tuple[int, int], y_ends: tuple[int, int]) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for power in range(x_ends[0], x_ends[1] + 1):
        x = _x(10.0**power, x_ends)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{bottom + 14}">{tick(power)}</text>'
    for power in range(y_ends[0], y_ends[1] + 1):
        y = _y(10.0**power, y_ends)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{tick(power)}</text>'


def tick(power: int) -> str:
    """A power of ten in few letters: `0.01`, `100`, `10 k`, `1 M`."""
    if power < 0:
        return f"{10.0**power:.{-power}f}"
    thousands = min(power // 3, 3)
    return f"{10 ** (power - 3 * thousands)}{('', ' k', ' M', ' G')[thousands]}"


def _x(size: float, ends: tuple[int, int]) -> float:
    return LEFT + (math.log10(size) - ends[0]) / (ends[1] - ends[0]) * (WIDTH - LEFT - RIGHT)


def _y(cost: float, ends: tuple[int, int]) -> float:
    return HEIGHT - BOTTOM - (math.log10(cost) - ends[0]) / (ends[1] - ends[0]) * (HEIGHT - TOP - BOTTOM)
