"""How long-running work reports its progress: one signature for every command, library call and test."""

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with the current activity and the share of it that is complete, in [0, 1], or None where it is unknown."""


def no_progress(_activity: str, _share: float | None) -> None:
    """Ignore the progress; the default of every function that reports one."""
