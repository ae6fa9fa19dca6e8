"""The command line: the outermost composition, one function per command."""

from stillsafe.cli import operating, reading, serving
from stillsafe.cli.app import main

__all__ = ["main", "operating", "reading", "serving"]
