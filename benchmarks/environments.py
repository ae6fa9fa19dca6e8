"""Environments of their own for what Stillsafe is measured beside: nothing of them is imported here."""

import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "benchmarks"  # keeps itself out of version control
REQUIREMENTS = Path(__file__).parent / "requirements"
_LONGEST_MESSAGE = 300  # characters of an installer's complaint


class NotInstalled(Exception):
    """An environment cannot be made here; the message is the installer's last word."""


def python(name: str) -> Path:
    """The interpreter of an environment, which is made once, and anew when its requirements change.

    Args:
        name: of a file in `requirements`, without its suffix.

    Raises:
        NotInstalled: the packages cannot be had.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = CACHE / "environments" / name
    interpreter, ready = folder / "bin" / "python", folder / "ready"
    specification = requirements.read_text(encoding="utf-8")
    if not ready.exists() or ready.read_text(encoding="utf-8") != specification:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(interpreter), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r", str(requirements)])
        ready.write_text(specification, encoding="utf-8")
    return interpreter


def versions(name: str) -> str:
    """The pinned versions of an environment, as `package==version`, separated by commas."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return ", ".join(line for line in lines if line and not line.startswith("#"))


def _run(command: list[str]) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if process.returncode:
        raise NotInstalled(" ".join(process.stderr.split())[-_LONGEST_MESSAGE:])
