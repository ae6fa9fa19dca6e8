"""Draw docs/architecture.svg from the code: the packages in their layers, and what each imports.

    python -m scripts.draw_architecture

The layers come from the contracts in `pyproject.toml`, the names behind the arrows from the imports, the texts from the
docstrings of the packages. Where A imports B and B imports C, A's import of C is left out. `make fix` runs this, and
a test fails where the picture is not the one that the code gives.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from scripts.check_contracts import imports, source

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "architecture.svg"
WIDTH, EDGE, BOX_HEIGHT, GAP, LAYER_GAP = 1080, 16, 78, 12, 10
CHARACTER_WIDTH = 5.9
STYLE = """
:root { --paper: #ffffff; --ink: #1f2933; --faint: #616e7c; --card: #f1f5f9; --line: #9aa5b1; --core: #d9f2e3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #11181f; --ink: #e4e7eb; --faint: #9aa5b1; --card: #1f2a35; --line: #52606d; --core: #1d4432; }
}
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--ink); }
.name { font-size: 15px; font-weight: 600; }
.about { font-size: 11px; fill: var(--faint); }
.ground { fill: var(--paper); }
.box { fill: var(--card); stroke: var(--line); }
.use { font-size: 11px; }
.core { fill: var(--core); }
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A package or module of the top level, at its place in the picture.

    Attributes:
        name: its name.
        about: the first sentence of its docstring.
        uses: the boxes that it imports, below it.
        x: left edge in pixels.
        y: upper edge in pixels.
        width: width in pixels.
    """

    name: str
    about: str
    uses: tuple[str, ...]
    x: float
    y: float
    width: float


def layers(root: Path) -> list[list[str]]:
    """The layers of the contract, from the top; the packages of one layer may not import one another."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (each for each in contracts if each["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def files(root: Path, name: str) -> list[Path]:
    """The files of a package or module of the top level, its own first."""
    package = source(root) / name
    return sorted(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]


def about(root: Path, name: str) -> str:
    """The first sentence of its docstring."""
    text = ast.get_docstring(ast.parse(files(root, name)[0].read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()))[0].rstrip(".")


def uses(root: Path, name: str) -> set[str]:
    """The packages and modules of the top level that it imports."""
    targets: set[str] = set()
    for file in files(root, name):
        for module, member in imports(ast.parse(file.read_text(encoding="utf-8"))):
            path = f"{module}.{member}" if module == "stillsafe" else module
            if path.startswith("stillsafe."):
                targets.add(path.split(".")[1])
    return targets - {name}


def boxes(root: Path) -> Iterator[Box]:
    """Every box, from the upper left to the lower right."""
    for row, names in enumerate(layers(root)):
        width = (WIDTH - 2 * EDGE - GAP * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            yield Box(
                name,
                about(root, name),
                tuple(sorted(uses(root, name))),
                EDGE + column * (width + GAP),
                EDGE + row * (BOX_HEIGHT + LAYER_GAP),
                width,
            )


def lines(text: str, width: float) -> list[str]:
    """A text cut into at most two lines that fit into a width in pixels."""
    limit, cut = int(width / CHARACTER_WIDTH), list[str]()
    for word in text.split():
        if cut and len(cut[-1]) + len(word) < limit:
            cut[-1] += f" {word}"
        else:
            cut.append(word)
    return cut if len(cut) <= 2 else [cut[0], f"{cut[1][: limit - 2]} …"]


def picture(root: Path) -> str:
    """The whole picture: self-contained, with its own ground for light and dark."""
    drawn_boxes = {box.name: box for box in boxes(root)}
    height = max(box.y for box in drawn_boxes.values()) + BOX_HEIGHT + EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}">',
            "<title>The packages of Stillsafe in their layers: each imports only from layers below</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height:g}" rx="10"/>',
            *(line for box in drawn_boxes.values() for line in _box_lines(box, drawn_boxes)),
            "</svg>\n",
        ]
    )


def nearest(box: Box, others: Mapping[str, Box]) -> list[str]:
    """The packages that a box imports and that none of its other imports leads to."""
    targets = [name for name in others if name in box.uses]
    return [name for name in targets if not any(name in reach(others[other], others) for other in targets)]


def reach(box: Box, others: Mapping[str, Box]) -> set[str]:
    """Everything that a box imports, directly or through others."""
    direct = {name for name in box.uses if name in others}
    return direct.union(*(reach(others[name], others) for name in direct))


def _box_lines(box: Box, others: Mapping[str, Box]) -> Sequence[str]:
    """A box: its name, what it is for, and the packages that it imports."""
    direct = nearest(box, others)
    texts = [(f"{box.y + 20:g}", "name", box.name)]
    texts += [
        (f"{box.y + 37 + 14 * number:g}", "about", line) for number, line in enumerate(lines(box.about, box.width - 20))
    ]
    texts += [(f"{box.y + BOX_HEIGHT - 9:g}", "use", f"\N{RIGHTWARDS ARROW} {', '.join(direct)}")] if direct else []
    kind = "box core" if box.name == "core" else "box"
    return [
        f'<rect class="{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{BOX_HEIGHT}" rx="6"/>',
        *(f'<text class="{style}" x="{box.x + 10:g}" y="{y}">{escape(text)}</text>' for y, style, text in texts),
    ]


def main() -> None:
    """Write the picture if it differs."""
    text = picture(ROOT)
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        FILE.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {FILE.name}\n")


if __name__ == "__main__":
    main()
