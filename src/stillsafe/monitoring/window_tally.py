"""Counts the rows that a run has read into a window: all of them, or those of some clients left out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.window import Tally, Window
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.disclosure import window_tally
from stillsafe.monitoring.local_time import fresh_slots
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.tally import tally


def both_tallies(
    columns: Columns, log_format: LogFormat, baseline: Baseline | None, refusals: int, fresh_refusals: int
) -> tuple[Tally, Tally]:
    """The tally of all rows and that of the fresh ones."""
    if baseline is not None:
        columns = log_format.comparable_columns(columns, baseline)
        baseline = log_format.comparable_baseline(baseline)
    total, is_fresh = window_tally(tally(columns, baseline, refusals), log_format.min_count), columns.fresh
    if is_fresh.all():
        return total, replace(total, refusal_count=fresh_refusals)
    return total, window_tally(tally(columns, baseline, fresh_refusals, is_fresh), log_format.min_count)


@dataclass(frozen=True, slots=True)
class WindowTallies:
    """The rows of a window.

    Attributes:
        columns: the predictions.
        judged_refusals, fresh_refusals: the source of each refusal, settled by earlier runs or not; None where unknown.
        baseline: the active one, or None.
        log_format: how the log shows the features.
    """

    columns: Columns
    judged_refusals: Sequence[str | None]
    fresh_refusals: Sequence[str | None]
    baseline: Baseline | None
    log_format: LogFormat

    def window(self, window: Window, without: Collection[str] = ()) -> Window:
        """The window with the counts of these rows, without those of some sources.

        Args:
            window: what it has besides its counts.
            without: hashed identities of the sources that are left out.
        """
        columns = self.columns
        if without and len(columns.sources):
            is_out = [name is not None and name in without for name in columns.sources.vocabulary]
            columns = columns[~np.array(is_out, dtype=np.bool_)[columns.sources.indices]]
        judged, fresh = (
            sum(source is None or source not in without for source in sources)
            for sources in (self.judged_refusals, self.fresh_refusals)
        )
        slots = fresh_slots(columns, self.baseline)
        baseline = None if self.baseline is None else composed_baseline(self.baseline, slots)
        total, fresh_tally = both_tallies(columns, self.log_format, baseline, judged + fresh, fresh)
        return replace(window, total=total, fresh=fresh_tally, slot_counts=slots)
