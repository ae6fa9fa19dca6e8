"""Work reports its progress to one kind of callable, and to none by default."""

import ast
import re
from pathlib import Path

import stillsafe
from stillsafe.progress import Progress, no_progress


def test_no_progress_accepts_what_a_bar_accepts() -> None:
    """The default takes an activity with a known and with an unknown share, and has no effect."""
    progress: Progress = no_progress
    for share in (None, 0.0, 1.0):
        progress("Reading the sample", share)


def test_there_is_one_notion_of_progress() -> None:
    """No other module defines a progress type of its own."""
    package = Path(stillsafe.__file__).parent
    modules = [
        str(file.relative_to(package))
        for file in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assign | ast.ClassDef)
        and re.search(
            "progress$",
            node.name if isinstance(node, ast.ClassDef) else " ".join(map(ast.unparse, node.targets)),
            re.IGNORECASE,
        )
    ]
    assert modules == ["progress.py"]
