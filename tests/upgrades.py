"""A service whose libraries changed after `init`: its reference file is made to look as if others had measured it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD_VERSION = "1.5.2"


def edit_reference(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the document of the reference file."""
    path = folder / "reference.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def measured_with_old_version(document: dict[str, Any]) -> None:
    """`init` ran with another version of scikit-learn; the answers were the same."""
    document["model"]["library_versions"]["scikit-learn"] = OLD_VERSION


def saved_with_old_version(document: dict[str, Any]) -> None:
    """The model file came from another version of scikit-learn."""
    document["model"]["origin_versions"] = {"scikit-learn": OLD_VERSION}


def answered_otherwise(document: dict[str, Any]) -> None:
    """`init` ran with another version of scikit-learn, in which the first ten synthetic rows had other answers."""
    measured_with_old_version(document)
    probes = document["probes"]
    for row in range(10):
        probes["predictions"][row] = 1 - probes["predictions"][row]
        probes["probabilities"][row] = probes["probabilities"][row][::-1]
