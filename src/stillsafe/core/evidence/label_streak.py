"""What labels have made of the state: a streak of its own, counted in runs to which enough new labels came.

Labels come hours or weeks late and in one file, so runs between them neither add to the streak nor end it, and no gap
does. What labels made DEGRADED ends on labels of rows that are newer, or by an operator's release.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal

NORMAL, WARNING, DEGRADED = LEVELS = ("NORMAL", "WARNING", "DEGRADED")
"""The states by their names, the mildest first."""


@dataclass(frozen=True, slots=True)
class LabelStreak:
    """What labels have made of the state so far.

    Attributes:
        level: the state by labels alone: NORMAL, WARNING or DEGRADED.
        others: the state by everything else.
        deviating, severe: consecutive labelled runs that deviated, and that were severe.
        calm: consecutive labelled runs that lead out of `level`.
        rows_from: rows before it are no evidence any more, aware UTC, or None.
        has_advantage: whether labels last showed the fallback better than the model, or None where they show nothing
            since the state was last NORMAL by labels.
        is_released: whether an operator has ended what labels made DEGRADED; the next run takes note.
    """

    level: str = NORMAL
    others: str = NORMAL
    deviating: int = 0
    severe: int = 0
    calm: int = 0
    rows_from: datetime | None = None
    has_advantage: bool | None = None
    is_released: bool = False

    @property
    def state(self) -> str:
        """The state by labels and everything else."""
        return worst(self.level, self.others)

    @property
    def state_in_force(self) -> str:
        """The state, with an operator's release."""
        return worst(WARNING, self.others) if self.is_released else self.state

    def release(self) -> "LabelStreak":
        """The streak after an operator's release; the same where labels do not make it DEGRADED."""
        return replace(self, is_released=True) if self.level == DEGRADED else self


def worst(*states: str) -> str:
    """The least mild of some states."""
    return max(states, key=LEVELS.index)


def runs_to_leave(policy: Policy, streak: LabelStreak) -> int:
    """Labelled runs in a row that lead out of a level; 0 in NORMAL."""
    return {WARNING: policy.warning_recovery_runs, DEGRADED: policy.recovery_runs}.get(streak.level, 0)


def next_streak(
    policy: Policy, streak: LabelStreak | None, readings: Sequence[Reading], at: datetime, *, is_comparable: bool
) -> LabelStreak | None:
    """The streak after one run; None as long as no run was labelled.

    Args:
        policy: the rules' numbers.
        streak: before the run.
        readings: of the run.
        at: the run's time.
        is_comparable: whether the run before had the same baseline, so that counts go on.
    """
    if streak is not None and not is_comparable:
        streak = replace(streak, deviating=0, severe=0, calm=0)
    if streak is not None and streak.is_released:
        streak = LabelStreak(WARNING, streak.others, rows_from=at)
    reading = next((each for each in readings if each.signal is Signal.REALISED_LOSS), None)
    if reading is None or reading.evidence is Evidence.INSUFFICIENT:
        return streak
    return _streak_after(policy, streak or LabelStreak(), reading, at)


def _streak_after(policy: Policy, streak: LabelStreak, reading: Reading, at: datetime) -> LabelStreak:
    is_bad, is_severe = reading.evidence is Evidence.BAD, reading.level is Level.SEVERE
    advantage = None if reading.truth is None else reading.truth.advantage
    has_advantage = streak.has_advantage if advantage is None else advantage > 0
    pays = has_advantage is not False
    is_quiet = not (is_severe and pays) if streak.level == DEGRADED else not is_bad
    streak = replace(
        streak,
        deviating=streak.deviating + 1 if is_bad else 0,
        severe=streak.severe + 1 if is_severe else 0,
        calm=streak.calm + 1 if is_quiet else 0,
        has_advantage=has_advantage,
    )
    warns = streak.deviating >= policy.warning_runs
    if streak.level == DEGRADED:
        if streak.calm < runs_to_leave(policy, streak):
            return streak
        return replace(streak, level=WARNING, calm=0) if is_bad else _at_ease(streak)
    if streak.severe >= policy.critical_runs and pays:
        return replace(streak, level=DEGRADED, calm=0, rows_from=at)
    if warns:
        return replace(streak, level=WARNING)
    is_over = streak.level == WARNING and streak.calm >= runs_to_leave(policy, streak)
    return _at_ease(streak) if is_over else streak


def _at_ease(streak: LabelStreak) -> LabelStreak:
    return replace(streak, level=NORMAL, calm=0, has_advantage=None)
