"""The picture of the architecture follows from contracts, imports and docstrings, on a small repository."""

from pathlib import Path

import pytest

from scripts import draw_architecture

CONTRACT = """
[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
layers = ["cli", "model | rules", "core"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three layers: a command line, two packages beside each other, a core."""
    (tmp_path / "pyproject.toml").write_text(CONTRACT)
    package = tmp_path / "src/stillsafe"
    texts = {
        "cli/__init__.py": '"""Commands & options. More."""\n',
        "cli/app.py": "import stillsafe.core.policy\nfrom stillsafe import rules\nfrom stillsafe.model import load\n",
        "model/__init__.py": '"""The model."""\nfrom stillsafe.core import schema\n',
        "rules.py": '"""The rules."""\n',
        "core/__init__.py": '"""The core."""\n',
    }
    for path, text in texts.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    return tmp_path


def test_a_box_has_its_text_and_its_imports(repository: Path) -> None:
    """The text is the first sentence of the docstring; imports are those of all files of the package."""
    boxes = {box.name: box for box in draw_architecture.boxes(repository)}
    assert boxes["cli"].about == "Commands & options"
    assert boxes["cli"].uses == ("core", "model", "rules")
    assert boxes["model"].uses == ("core",)
    assert boxes["model"].y == boxes["rules"].y > boxes["cli"].y
    assert boxes["model"].x + boxes["model"].width < boxes["rules"].x


def test_an_import_that_follows_from_another_is_left_out(repository: Path) -> None:
    """The command line imports the model, which imports the core: only the model is shown."""
    boxes = {box.name: box for box in draw_architecture.boxes(repository)}
    assert draw_architecture.nearest(boxes["cli"], boxes) == ["model", "rules"]


def test_the_picture_escapes_its_texts(repository: Path) -> None:
    """A docstring cannot break the SVG."""
    picture = draw_architecture.picture(repository)
    assert "Commands &amp; options" in picture
    assert picture.count("<rect") == 5


def test_a_long_text_is_cut_to_two_lines() -> None:
    """Two lines at most, each within its width, and a mark where the text goes on."""
    cut = draw_architecture.lines("word " * 60, 200)
    assert len(cut) == 2
    assert all(len(line) * draw_architecture.CHARACTER_WIDTH <= 210 for line in cut)
    assert cut[1].endswith("…")
