"""The map of the code is true: its picture is drawn from the code, its files exist, and no package is left out."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import draw_architecture

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BASES = (ROOT, ROOT / "src/stillsafe", ROOT / "docs")
TOP_LEVEL = ("src", "tests", "docs", "scripts", "benchmarks")
PLACEHOLDERS = ("a/b.py", "tests/a/test_b.py", "src/stillsafe/a/b.py")


def paths(page: Path) -> Iterator[str]:
    """The paths of files and folders of the repository that a page names between backticks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for word in re.findall(r"`([\w./*-]+)`", text):
        is_file = "/" in word and re.search(r"\.(py|svg|md|toml)$", word)
        is_folder = "/" in word and word.partition("/")[0] in TOP_LEVEL
        if (is_file or is_folder) and word not in PLACEHOLDERS and not word.startswith("/"):
            yield word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """A file that moves or goes takes its mentions along."""
    missing = [path for path in paths(page) if not any(list(base.glob(path.rstrip("/"))) for base in BASES)]
    assert missing == []


def test_a_path_that_is_missing_is_found() -> None:
    """The check above sees the paths of the map."""
    page_paths = set(paths(ROOT / "docs/architecture.md"))
    assert {
        "serving/batcher.py",
        "src/stillsafe/core/policy.py",
        "tests/faults/",
        "scripts/draw_architecture.py",
    } <= page_paths


def test_the_picture_is_what_the_code_gives() -> None:
    """The picture is the one that the script draws now (`make fix` writes it)."""
    assert draw_architecture.FILE.read_text(encoding="utf-8") == draw_architecture.picture(ROOT), "run `make fix`"


def test_the_picture_stands_alone() -> None:
    """It is well-formed, loads nothing, and has its own ground for light and dark."""
    text = draw_architecture.FILE.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
    assert not re.search(r"<script|<image|@import|url\(|href", text)
    assert "prefers-color-scheme: dark" in text
    assert "(architecture.svg)" in (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_the_two_stories_and_ten_changes_are_told() -> None:
    """The map has a request, a run, at least ten changes with their files, and the time that each check takes."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert re.findall(r"^\d\. `", parts["A request"], re.MULTILINE)
    assert re.findall(r"^\d\. `", parts["A run"], re.MULTILINE)
    assert len(re.findall(r"^\| ", parts["Where to change what"], re.MULTILINE)) - 2 >= 10
    assert "`make test`" in parts["How long each check takes"]


def test_layers_and_boxes_are_the_same() -> None:
    """Every layer of the contract is a box, and a box lies above everything that it imports."""
    boxes = {box.name: box for box in draw_architecture.boxes(ROOT)}
    assert set(boxes) == {name for layer in draw_architecture.layers(ROOT) for name in layer}
    for box in boxes.values():
        assert box.about, box.name
        assert all(boxes[name].y > box.y for name in box.uses if name in boxes), box.name
