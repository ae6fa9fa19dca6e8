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
    from stillsafe.service import create_app

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
    "create_app",
    "decide",
]


def __getattr__(name: str) -> Any:
    """`create_app` is imported when asked for: the core needs no web framework."""
    if name == "create_app":
        from stillsafe.service import create_app

        return create_app
    raise AttributeError(f"module 'stillsafe' has no attribute {name!r}")
