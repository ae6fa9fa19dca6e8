"""The command line: one module per command or group of commands, with what it prints."""

from stillsafe.cli import (  # noqa: F401 - each registers its commands
    backtest,
    baseline,
    check,
    database,
    demo,
    hold,
    incidents,
    init,
    key,
    labels,
    model,
    monitor,
    performance,
    predictions,
    replay,
    schedule,
    score,
    serve,
    status,
    windows,
)
from stillsafe.cli.app import main

__all__ = ["main"]
