"""The commands of the benchmarks' pages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"python -m (benchmarks[.\w]+)(.*)")


@pytest.mark.parametrize("name", ["detection", "estimate", "serving", "monitoring", "scale"])
def test_commands_that_are_shown_exist(name: str) -> None:
    """Every part and every option that a page shows is one that the command takes; `make` knows the benchmark."""
    commands = COMMAND.findall((ROOT / "benchmarks" / name / "README.md").read_text(encoding="utf-8"))
    assert commands
    module = f"benchmarks.{name}"
    helps = {other: _help(other) for other in {other for other, _ in commands}}
    for other, rest in commands:
        assert other == module or other.startswith(f"{module}.")
        words = rest.partition("#")[0].split()
        parts = words[:1] if words and not words[0].startswith("-") else []
        for word in (*parts, *(word for word in words if word.startswith("--"))):
            assert word in helps[other], word
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\nbenchmark-{name}:" in makefile
    assert f"-m {module}\n" in makefile


def _help(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
