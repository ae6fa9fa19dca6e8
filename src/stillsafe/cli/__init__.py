"""The command line: the outermost composition, one function per command."""

from stillsafe.cli import backtesting, database, operating, reading, serving
from stillsafe.cli.app import main

__all__ = ["backtesting", "database", "main", "operating", "reading", "serving"]
