"""Recompute every stored decision from the stored windows, and these from the log: the first difference.

A decision has two halves. Readings and levels are recomputed where the run was decided by the installed version of the
rules; otherwise the stored ones are taken. Severity, state, memory and incident are folded from them for every version.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.monitoring.difference import Difference, present_difference
from stillsafe.monitoring.fold import Fold
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.recount import Recount
from stillsafe.progress import Progress, no_progress
from stillsafe.store import database
from stillsafe.store.codec import stored_value, to_document
from stillsafe.store.read.baselines import all_baseline_columns
from stillsafe.store.read.runs import all_actions, all_runs
from stillsafe.store.write.baselines import baseline_columns


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay.

    Attributes:
        runs: runs whose state was folded without a difference.
        windows: windows that were recounted from the log without a difference.
        not_recounted: run id -> why its window was not recounted.
        difference: the first one, or None.
        not_recomputed: version of the rules -> runs that it decided, whose levels were not recomputed.
    """

    runs: int
    windows: int
    not_recounted: dict[int, str]
    difference: Difference | None
    not_recomputed: dict[int, int] = field(default_factory=dict)


def replay(
    engine: Engine,
    *,
    from_logs: bool = False,
    log_format: LogFormat | None = None,
    model_version: str | None = None,
    score: ShadowScorer | None = None,
    archive: Archive | None = None,
    progress: Progress = no_progress,
) -> ReplayResult:
    """Fold the decision over the stored runs again.

    Args:
        engine: the store.
        from_logs: recount each window from the log too.
        log_format: the present one, needed for that.
        model_version: the version of the model at hand, needed for shadow scores.
        score: the model at hand, needed for shadow scores.
        archive: of pruned rows, which are counted with those in the log.
        progress: called with the number of runs that are recomputed.

    Raises:
        StoreError: the database cannot be read.
        RefusedError: the archive cannot be read.
    """
    with database.reading(engine) as connection:
        fold = Fold(connection, all_actions(connection))
        recount = Recount(connection, log_format, model_version, score, archive) if from_logs and log_format else None
        difference = None
        for run in all_runs(connection):
            difference = (recount.difference(run) if recount else None) or fold.difference(run)
            if difference is not None:
                break
            progress(f"Recomputing: {fold.runs:,} runs", None)
        difference = difference or fold.state_difference() or fold.incident_difference()
        difference = difference or baseline_difference(connection)
    return ReplayResult(
        fold.runs,
        recount.windows if recount else 0,
        recount.not_recounted if recount else {},
        difference,
        fold.not_recomputed,
    )


def baseline_difference(connection: Connection) -> Difference | None:
    """The first column of a baseline that differs from the document that it copies a part of."""
    for row in all_baseline_columns(connection):
        columns = baseline_columns(stored_value(Baseline, row.document))
        stored = {name: _plain_numbers(to_document(getattr(row, name))) for name in columns}
        copies = {name: _plain_numbers(to_document(value)) for name, value in columns.items()}
        if difference := present_difference(f"baseline_metrics.{row.baseline_id}", stored, copies):
            return difference
    return None


def _plain_numbers(document: Any) -> Any:
    """Numbers as floats, because JSONB does not preserve whether a number is an integer."""
    if isinstance(document, dict):
        return {key: _plain_numbers(value) for key, value in document.items()}
    return float(document) if isinstance(document, int) and not isinstance(document, bool) else document
