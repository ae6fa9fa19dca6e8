"""Serve a scikit-learn model, notice when it can no longer be trusted, and fall back until it can.

The public names are the ones in `__all__`; everything else may change from one version to the next.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillsafe.core.baseline import Baseline
    from stillsafe.core.decide import Decision, decide
    from stillsafe.core.policy import Policy
    from stillsafe.core.signals import Evidence, Level, Reading, Signal
    from stillsafe.core.state import Memory, Severity, State
    from stillsafe.core.window import Window
    from stillsafe.errors import ConfigurationError, NoModel, StillsafeError, StoreError
    from stillsafe.guard import Guard, IdInUse, InvalidFeatures
    from stillsafe.service import backtest, create_app

__all__ = [
    "Baseline",
    "ConfigurationError",
    "Decision",
    "Evidence",
    "Guard",
    "IdInUse",
    "InvalidFeatures",
    "Level",
    "Memory",
    "NoModel",
    "Policy",
    "Reading",
    "Severity",
    "Signal",
    "State",
    "StillsafeError",
    "StoreError",
    "Window",
    "backtest",
    "create_app",
    "decide",
]


_HOMES = {
    "Baseline": "core.baseline",
    "ConfigurationError": "errors",
    "Decision": "core.decide",
    "Evidence": "core.signals",
    "Guard": "guard",
    "IdInUse": "guard",
    "InvalidFeatures": "guard",
    "Level": "core.signals",
    "Memory": "core.state",
    "NoModel": "errors",
    "Policy": "core.policy",
    "Reading": "core.signals",
    "Severity": "core.state",
    "Signal": "core.signals",
    "State": "core.state",
    "StillsafeError": "errors",
    "StoreError": "errors",
    "Window": "core.window",
    "create_app": "service",
    "decide": "core.decide",
}
"""Public name -> the module that has it."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the core needs neither model nor web framework, and the help needs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stillsafe' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"stillsafe.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """The public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps the function `stillsafe.backtest` although a package has the same name.

    Python binds a package to its parent when it is first imported, which would replace the function. The setter ignores
    that binding, so `stillsafe.backtest` is always the function and `from stillsafe.backtest import ...` the package.
    """

    @property
    def backtest(self) -> Any:
        """The public function."""
        from stillsafe import service

        return service.backtest

    @backtest.setter
    def backtest(self, _package: ModuleType) -> None:
        """Ignore the binding of the package."""


sys.modules[__name__].__class__ = _Package
