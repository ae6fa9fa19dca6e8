"""A served service to attack, and how long the attacks go on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.server_process import ServerProcess, serve_folder

LONG = os.environ.get("STILLSAFE_ATTACK") == "long"
"""Whether each attack is as long as for the figures of the security page: `make attack`."""


def size(short: int, long: int) -> int:
    """How often an attack is repeated."""
    return long if LONG else short


@pytest.fixture(scope="module")
def target(pristine_service: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A served service on SQLite, with the limits that it has by default; the tests of a module share it."""
    folder = Path(shutil.copytree(pristine_service, tmp_path_factory.mktemp("attack") / "service"))
    with serve_folder(folder) as process:
        yield process
