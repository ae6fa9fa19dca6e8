"""When which state was in force, when no run took place, and which runs stand for a long time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.store.read.runs import RunMark

UNKNOWN = "UNKNOWN"
_CAUTION = {State.DEGRADED.value: 3, State.WARNING.value: 2, State.NORMAL.value: 0}
"""How bad a state is; one that this version does not know is between WARNING and NORMAL."""


@dataclass(frozen=True, slots=True)
class StateSpan:
    """One state in force.

    Attributes:
        state: its word.
        is_inconclusive: whether the runs of that time had too little traffic.
        begin, end: aware UTC.
    """

    state: str
    is_inconclusive: bool
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Timeline:
    """The runs of a time, without their figures.

    Attributes:
        states: the states in force, oldest first; where nothing is known there is none.
        gaps: begin and end of each time without a run: from a run to the next one, or to now.
        run_count: of the runs.
    """

    states: tuple[StateSpan, ...]
    gaps: tuple[tuple[datetime, datetime], ...]
    run_count: int

    def is_apart(self, first: datetime, second: datetime) -> bool:
        """Whether there is a gap between two times."""
        return any(first <= begin and end <= second for begin, end in self.gaps)


def timeline_of(marks: Sequence[RunMark], now: datetime, interval: timedelta, longest_interval: timedelta) -> Timeline:
    """The timeline of runs.

    Args:
        marks: the runs, oldest first.
        now: where it ends.
        interval: of the monitor.
        longest_interval: runs further apart are not consecutive.
    """
    times = [mark.window_end for mark in marks]
    gaps = [(a, b) for a, b in pairwise(times) if b - a > longest_interval]
    if times and now - times[-1] > 2 * interval:
        gaps.append((times[-1], now))
    begins = {begin for begin, _ in gaps}
    ends = [*times[1:], max(now, times[-1])] if times else []
    spans: list[StateSpan] = []
    for mark, next_time in zip(marks, ends, strict=True):
        is_inconclusive = mark.evidence == Evidence.INSUFFICIENT.value
        end = mark.window_end + interval if mark.window_end in begins else next_time
        span = StateSpan(mark.state_after or UNKNOWN, is_inconclusive, mark.window_end, end)
        last = spans[-1] if spans else None
        if (
            last is not None
            and last.end == span.begin
            and (last.state, last.is_inconclusive)
            == (
                span.state,
                is_inconclusive,
            )
        ):
            spans[-1] = StateSpan(last.state, is_inconclusive, last.begin, end)
        else:
            spans.append(span)
    return Timeline(tuple(spans), tuple(gaps), len(marks))


def representative_ids(marks: Sequence[RunMark], start: datetime, end: datetime, most: int) -> list[int]:
    """Ids of the runs that stand for a time: all of them if they are few, else the worst of each part of it.

    Args:
        marks: the runs, oldest first.
        start: of the time; earlier runs are left out.
        end: of the time.
        most: at most about this many.
    """
    inside = [mark for mark in marks if mark.window_end > start]
    if len(inside) <= most:
        return [mark.id for mark in inside]
    part = max((end - start) / most, timedelta(seconds=1))
    worst = [
        max(group, key=_badness) for _, group in groupby(inside, key=lambda mark: int((mark.window_end - start) / part))
    ]
    return [mark.id for mark in worst] + ([inside[-1].id] if worst[-1] is not inside[-1] else [])


def _badness(mark: RunMark) -> tuple[int, bool, datetime]:
    """Of the runs of a part the one with the worst state counts, then one that deviated, then the last."""
    return _CAUTION.get(mark.state_after or UNKNOWN, 1), mark.evidence == Evidence.BAD.value, mark.window_end
