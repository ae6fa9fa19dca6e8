"""The command line: one module per command or group of commands, with what it prints."""

from stillsafe.cli.app import main

__all__ = ["main"]
