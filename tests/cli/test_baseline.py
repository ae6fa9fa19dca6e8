"""`baseline` creates, activates, lists and shows baselines."""

import json
from pathlib import Path

from .commands import Command, document


def test_the_reference_baseline_is_active_and_shown(run: Command, made_service: Path) -> None:
    """A new database has the reference baseline, which `list` and `show` print as text and as JSON."""
    reference = json.loads((made_service / "reference.json").read_text())["baseline"]
    (baseline,) = document(run("baseline", "list", "--json")[1])
    assert (baseline["baseline_id"], baseline["active"]) == (reference["baseline_id"], True)
    assert document(run("baseline", "show", "--json")[1]) == baseline
    text = run("baseline", "show")[1]
    assert f"{reference['baseline_id']} (active)" in text
    assert "worst area" in text
    assert "yes" in run("baseline", "list")[1]


def test_a_baseline_is_created_from_a_file_and_activated(run: Command, made_service: Path) -> None:
    """`create --file` reads a reference file, and `activate` accepts its identifier."""
    code, out, errors = run("baseline", "create", "--file", "reference.json", "--json")
    assert code == 0, errors
    baseline_id = document(out)["baseline_id"]
    code, out, _ = run("baseline", "activate", baseline_id)
    assert code == 0
    assert f"{baseline_id} is now the active baseline" in out
