"""The versions that `make test-versions` tests as the oldest are the floors of `pyproject.toml`."""

import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDITIONS = {"httpx", "scipy"}
"""Packages that only old versions need, or need in an old version."""


def test_each_oldest_version_is_a_floor() -> None:
    """Neither list promises what the other does not test."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["parquet"]]
    floors = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(needs), re.MULTILINE))
    lines = (ROOT / "scripts" / "oldest-versions.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([\w-]+)(?:==([\d.]+)\.\*)?", line) for line in lines if not line.startswith("#")]
    for pin in pins:
        assert pin is not None
        name, version = pin.groups()
        assert name in ADDITIONS or floors[name] == version, name


def test_the_script_can_be_started() -> None:
    """The target of the Makefile names a script that exists and is executable, for both sets."""
    script = ROOT / "scripts" / "test-versions"
    assert os.access(script, os.X_OK)
    for name in ("oldest", "newest"):
        assert f"scripts/test-versions {name}" in (ROOT / "Makefile").read_text()
