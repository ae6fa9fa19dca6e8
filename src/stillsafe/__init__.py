"""Serve a scikit-learn model, notice when it can no longer be trusted, and fall back until it can.

The public names are the ones in `__all__`; everything else may change from one version to the next.
"""

from typing import TYPE_CHECKING, Any

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State
from stillsafe.core.window import Window
from stillsafe.errors import StillsafeError

if TYPE_CHECKING:
    from stillsafe.service import backtest, create_app

__all__ = [
    "Baseline",
    "Decision",
    "Evidence",
    "Level",
    "Memory",
    "Policy",
    "Reading",
    "Severity",
    "Signal",
    "State",
    "StillsafeError",
    "Window",
    "backtest",
    "create_app",
    "decide",
]


def __getattr__(name: str) -> Any:
    """`backtest` and `create_app` are imported when asked for: the core needs neither model nor web framework."""
    if name in ("backtest", "create_app"):
        from stillsafe import service

        return getattr(service, name)
    raise AttributeError(f"module 'stillsafe' has no attribute {name!r}")
