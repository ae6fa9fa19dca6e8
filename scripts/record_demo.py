"""Record docs/demo.svg: the demo as a terminal shows it, line by line, from a real run. Takes half a minute.

    python -m scripts.record_demo

The picture moves by itself, without a script, and stands still for readers who prefer that.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from rich.text import Text

FILE = Path(__file__).parents[1] / "docs" / "demo.svg"
COLUMNS, LINE_HEIGHT, FONT_SIZE, EDGE = 100, 19, 13.5, 16
CHARACTER_WIDTH = 8.1
LONGEST_PAUSE_SECONDS = 0.9
"""A longer wait of the real run is shown so long."""
DURATION = " The demo took"
"""What begins with it is about the machine, and is left out."""
LAST_SECONDS = 6.0
"""How long the whole picture stands before it starts again."""
COLOURS = {
    "color(2)": "#7ee2a8",
    "color(3)": "#f5d76e",
    "color(1)": "#ff8a80",
    "color(4)": "#8ab4f8",
    "bold": "#ffffff",
}
"""Part of a style's name -> colour; the first that fits. The numbers are those of terminals."""
STYLE = """
.ground { fill: #11181f; }
text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #c9d1d9; white-space: pre; }
@media (prefers-reduced-motion: no-preference) {
  .line { animation: show var(--all) steps(1, end) infinite; }
}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the recording.

    Attributes:
        text: with its colours.
        at_seconds: since the first line, as it is shown.
    """

    text: Text
    at_seconds: float


def record() -> list[Line]:
    """Play the demo, and note when each line came."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stillsafe", "demo", "--out", str(Path(folder) / "stillsafe-demo")]
        variables = {
            **os.environ,
            "COLUMNS": str(COLUMNS),
            "FORCE_COLOR": "1",
            "TTY_INTERACTIVE": "0",
            "PYTHONUNBUFFERED": "1",
        }
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables, cwd=folder) as process:  # noqa: S603 - the line above
            if process.stdout is None:
                raise RuntimeError("the demo has no output")
            moments = [(line.rstrip("\n"), time.monotonic()) for line in process.stdout]
    if process.returncode:
        raise RuntimeError("the demo failed")
    return shorten(moments)


def shorten(moments: Sequence[tuple[str, float]]) -> list[Line]:
    """The lines up to the replay, without the long explanation, and without long waits.

    Args:
        moments: text with escape sequences, and when it came, in seconds.
    """
    lines: list[Line] = []
    at, last, is_explanation = 0.0, moments[0][1] if moments else 0.0, False
    for text, moment in moments:
        line = Text.from_ansi(text.partition(DURATION)[0])
        at, last = at + min(max(moment - last, 0.0), LONGEST_PAUSE_SECONDS), moment
        if line.plain.startswith("The offline observer"):
            is_explanation = True
        if line.plain.startswith("Accuracy while"):
            is_explanation = False
        if is_explanation:
            continue
        line.truncate(COLUMNS, overflow="ellipsis")
        lines.append(Line(line, at))
        if line.plain.startswith("Replay:"):
            break
    return lines


def picture(lines: Sequence[Line]) -> str:
    """The whole picture."""
    width, height = COLUMNS * CHARACTER_WIDTH + 2 * EDGE, len(lines) * LINE_HEIGHT + 2 * EDGE
    duration = (lines[-1].at_seconds if lines else 0.0) + LAST_SECONDS
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" style="--all: {duration:.1f}s">',
            "<title>stillsafe demo: a feed breaks, the model is bypassed, and comes back</title>",
            f"<style>{STYLE}{''.join(_keyframes(lines, duration))}</style>",
            f'<rect class="ground" width="{width:g}" height="{height:g}" rx="8"/>',
            *_texts(lines),
            "</svg>\n",
        ]
    )


def _keyframes(lines: Sequence[Line], duration: float) -> Iterator[str]:
    for number, line in enumerate(lines):
        share = max(100 * line.at_seconds / duration, 0.01)
        yield f"@keyframes l{number} {{ 0% {{ opacity: 0; }} {share:.2f}%, 100% {{ opacity: 1; }} }}\n"


def _texts(lines: Sequence[Line]) -> Iterator[str]:
    for number, line in enumerate(lines):
        y = EDGE + (number + 0.75) * LINE_HEIGHT
        spans = "".join(_spans(line.text))
        yield (
            f'<text class="line" style="animation-name: l{number}" x="{EDGE}" y="{y:g}" font-size="{FONT_SIZE}" '
            f'xml:space="preserve">{spans}</text>'
        )


def _spans(text: Text) -> Iterator[str]:
    """The text in pieces of one colour each."""
    styles = [""] * len(text)
    for span in text.spans:
        styles[span.start : span.end] = [f"{style} {span.style}" for style in styles[span.start : span.end]]
    colours = [next((value for name, value in COLOURS.items() if name in style), None) for style in styles]
    for colour, characters in groupby(zip(colours, text.plain, strict=True), key=itemgetter(0)):
        content = escape("".join(character for _, character in characters))
        yield f'<tspan style="fill: {colour}">{content}</tspan>' if colour else content


def main() -> None:
    """Record and write the picture."""
    FILE.write_text(picture(record()), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")


if __name__ == "__main__":
    main()
