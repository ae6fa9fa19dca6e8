"""The rows of a stored run, read again, and its window, counted again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.label_tally import LabelTally
from stillsafe.core.policy import RULES_VERSION, Policy
from stillsafe.core.schema import Schema
from stillsafe.core.window import Window
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.columns import ShadowScorer
from stillsafe.monitoring.difference import FIRST_VERSION, Difference, complete, run_difference
from stillsafe.monitoring.fold import run_baseline
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.run import (
    WindowRowsRead,
    count_columns,
    label_marks,
    observe,
    row_marks,
    with_labels,
)
from stillsafe.monitoring.window_tally import both_tallies
from stillsafe.store.codec import dumps, stored_value, to_document
from stillsafe.store.read.erasures import erased_rows
from stillsafe.store.read.label_rows import LabelSelection
from stillsafe.store.read.requests import (
    RequestTable,
    WindowRows,
    last_request_at,
    pruned_before,
    request_ids,
    window_batches,
)
from stillsafe.store.read.row_selection import RowMarks, RowSelection
from stillsafe.store.read.runs import RunRecord, feature_schema, run_before
from stillsafe.store.row_ranges import RowRanges

ROWS_PRUNED = "rows of its time were pruned"
REDACTED_DOCUMENTS = "values of few rows were removed from it or from its baseline, so it is no longer recountable"
ROWS_ERASED = "rows of its time were erased"
ROWS_NOT_ARCHIVED = "rows of its time were pruned, and are not in that archive"


def rows_of_run(connection: Connection, run: RunRecord) -> WindowRowsRead:
    """Which rows a run read, from what it stored."""
    policy, window = stored_value(Policy, run.policy), stored_value(Window, run.window)
    earlier = run_before(connection, run.model_version or "", run.id)
    old = row_marks(earlier)
    predictions, refusals = (stored_value(RowMarks, run.rows[name]) for name in ("predictions", "refusals"))
    start = window.end - timedelta(seconds=policy.window_seconds)
    return WindowRowsRead(
        start,
        window.end,
        window.end - timedelta(seconds=policy.max_carry_seconds),
        old,
        RowSelection(
            predictions.settled_to,
            RowRanges(predictions.read),
            oldest_at=window.start,
            oldest_unjudged_at=window.oldest_unjudged_at,
            late_count=window.late_count,
            expired_count=window.expired_count,
            gaps=predictions.gaps(),
        ),
        RowSelection(refusals.settled_to, RowRanges(refusals.read), gaps=refusals.gaps()),
        window.synthetic_count,
        None if earlier is None else earlier.window_end,
        policy,
        LabelSelection(label_marks(earlier), 0, RowRanges(label_marks(run).read)),
    )


def shared_window(
    connection: Connection,
    log_format: LogFormat,
    run: RunRecord,
    baseline: Baseline | None,
    score: ShadowScorer | None,
    archive: Archive | None,
) -> Window:
    """Count the window of a run of rules 1, which read all rows of a time up to the newest row ids."""
    bounds = _TimeBounds(run)
    columns, shadow = count_columns(bounds.batches(connection, archive), log_format.schema, score)
    refusals, fresh_refusals = (
        bounds.refusal_count(connection, since, archive) for since in (bounds.start, bounds.fresh_start)
    )
    last_at = last_request_at(connection, bounds.end, *bounds.newest)
    if archive is not None:
        last_at = archive.last_request_at(last_at, bounds.end, *bounds.newest)
    total, fresh = both_tallies(columns, log_format, baseline, refusals, fresh_refusals)
    silent_seconds = None if last_at is None else (bounds.end - last_at).total_seconds()
    return Window(
        bounds.start,
        bounds.end,
        bounds.model_version,
        total,
        fresh,
        shadow,
        silent_seconds,
        min_count=log_format.min_count,
    )


@dataclass(frozen=True, slots=True)
class _TimeBounds:
    """Which rows a run of rules 1 read: by their times, and up to the newest row ids."""

    run: RunRecord

    @property
    def start(self) -> datetime:
        return self.run.window_start

    @property
    def end(self) -> datetime:
        return self.run.window_end

    @property
    def fresh_start(self) -> datetime:
        return max(self.start, self.run.fresh_since or self.start)

    @property
    def model_version(self) -> str:
        return self.run.model_version or ""

    @property
    def newest(self) -> tuple[int, int]:
        return self.run.last_prediction_row or 0, self.run.last_refusal_row or 0

    def batches(self, connection: Connection, archive: Archive | None) -> Iterator[WindowRows]:
        """The rows, first those of the log and then those that only the archive has."""
        log_ids: set[int] = set()
        span = (self.start, self.end, self.fresh_start, self.model_version, self.newest[0])
        for rows in window_batches(connection, *span, with_ids=archive is not None):
            log_ids.update(rows.ids)
            yield rows
        if archive is not None:
            yield archive.window_rows(
                (self.start, self.end),
                self.model_version,
                lambda _at, row_id: row_id <= self.newest[0],
                log_ids,
                fresh=self.fresh_start,
            )

    def refusal_count(self, connection: Connection, since: datetime, archive: Archive | None) -> int:
        """Refusals from a time on."""
        ids = set(request_ids(connection, RequestTable.REFUSALS, since, self.end, self.model_version))
        if archive is not None:
            ids |= set(archive.refusal_sources(since, self.end, self.model_version, lambda _at, _id: True))
        return sum(row_id <= self.newest[1] for row_id in ids)


class Recount:
    """The windows that were counted from the log again, and those that could not be."""

    def __init__(
        self,
        connection: Connection,
        log_format: LogFormat,
        model_version: str | None,
        score: ShadowScorer | None,
        archive: Archive | None,
    ) -> None:
        self.connection, self.log_format, self.archive = connection, log_format, archive
        self.model_version, self.score = model_version, score
        self.pruned_before = pruned_before(connection)
        self.erased_rows = erased_rows(connection)
        self.windows = 0
        self.not_recounted: dict[int, str] = {}

    def difference(self, run: RunRecord) -> Difference | None:
        """Count one more window; its first difference, if no row is missing on purpose."""
        old_labels = stored_value(Window, run.window).labels
        is_scored = run.shadow or _are_labels_scored(old_labels)
        if is_scored and (run.model_version != self.model_version or self.score is None):
            reason = f"shadow scores need model version {run.model_version}, which is not the one at hand"
            self.not_recounted[run.id] = reason
            return None
        window = self._window(run)
        stored, new_window = complete("window", run.window), to_document(window)
        if dumps(stored) == dumps(new_window):
            self.windows += 1
        elif run.is_redacted:
            self.not_recounted[run.id] = REDACTED_DOCUMENTS
        elif self._is_erased(run, window) or self._lacks_erased_labels(run, old_labels, window.labels):
            self.not_recounted[run.id] = ROWS_ERASED
        elif self._is_pruned(run, window) or self._lacks_labels(old_labels, window.labels):
            self.not_recounted[run.id] = ROWS_PRUNED if self.archive is None else ROWS_NOT_ARCHIVED
        elif (run.rules_version or FIRST_VERSION) != RULES_VERSION:
            self.not_recounted[run.id] = f"rules {run.rules_version} counted it, and these rules count otherwise"
        else:
            return run_difference(run, "window", stored, new_window)
        return None

    def _window(self, run: RunRecord) -> Window:
        log_format, version = self._log_format(run), run.model_version or ""
        baseline, score = run_baseline(self.connection, run), self.score if run.shadow else None
        if run.rows is None:
            return shared_window(self.connection, log_format, run, baseline, score, self.archive)
        rows = rows_of_run(self.connection, run)
        window = observe(self.connection, log_format, version, baseline, rows, score, self.archive)
        labels = stored_value(Window, run.window).labels
        label_score = self.score if _are_labels_scored(labels) else None
        rows_from = None if labels is None else labels.rows_from
        return with_labels(self.connection, log_format.schema, baseline, rows, window, rows_from, label_score)[0]

    def _log_format(self, run: RunRecord) -> LogFormat:
        """What the window was counted by; the present schema for runs that do not name theirs."""
        document = None if run.schema_digest is None else feature_schema(self.connection, run.schema_digest)
        log_format = replace(self.log_format, min_count=stored_value(Window, run.window).min_count)
        return log_format if document is None else replace(log_format, schema=stored_value(Schema, document))

    def _is_erased(self, run: RunRecord, new_window: Window) -> bool:
        """Whether a window lacks no more rows than were erased of it."""
        window = stored_value(Window, run.window)
        fresh, total = self._erased_counts(run)
        if not window.total.prediction_count:  # its silence was counted from an earlier request
            newest, version = run.last_prediction_row or 0, run.model_version
            is_older = any(
                row_id <= newest for row_id, model_version, _ in self.erased_rows if model_version == version
            )
            return is_older and not new_window.total.prediction_count
        missing = window.total.prediction_count - new_window.total.prediction_count
        missing_fresh = window.fresh.prediction_count - new_window.fresh.prediction_count
        is_same_otherwise = window.total.refusal_count == new_window.total.refusal_count
        return 0 < missing <= total and 0 <= missing_fresh <= fresh and is_same_otherwise

    def _erased_counts(self, run: RunRecord) -> tuple[int, int]:
        """Erased rows that a run read fresh, and of its whole window, which earlier runs may have read."""
        own = [(row_id, hour) for row_id, version, hour in self.erased_rows if version == run.model_version]
        if run.rows is None:
            span = run.window_start - timedelta(hours=1), run.window_end
            count = sum(span[0] < hour < span[1] for _, hour in own)
            return count, count
        read = RowRanges(stored_value(RowMarks, run.rows["predictions"]).read)
        earlier = self._overlapping_reads(run)
        fresh = sum(row_id in read for row_id, _ in own)
        return fresh, fresh + sum(row_id in earlier and row_id not in read for row_id, _ in own)

    def _overlapping_reads(self, run: RunRecord) -> RowRanges:
        """The rows that earlier runs of the version read, whose windows overlap this one."""
        earlier, ranges = run_before(self.connection, run.model_version or "", run.id), RowRanges()
        while earlier is not None and earlier.rows is not None and earlier.window_end > run.window_start:
            ranges |= RowRanges(stored_value(RowMarks, earlier.rows["predictions"]).read)
            earlier = run_before(self.connection, earlier.model_version or "", earlier.id)
        return ranges

    def _lacks_erased_labels(self, run: RunRecord, old: LabelTally | None, new: LabelTally | None) -> bool:
        """Whether labels of a run, or rows that they are a share of, were erased."""
        if 0 < _missing_labels(old, new) <= len(self.erased_rows):
            return True
        if old is None or new is None or old.start is None or old.end is None:
            return False
        first, last = old.start - timedelta(hours=1), old.end
        count = sum(version == run.model_version and first < hour <= last for _, version, hour in self.erased_rows)
        return 0 < old.prediction_count - new.prediction_count <= count

    def _lacks_labels(self, old_labels: LabelTally | None, labels: LabelTally | None) -> bool:
        """Whether labels of a run were deleted on purpose, with their rows."""
        if self.pruned_before is None or old_labels is None:
            return False
        is_before = old_labels.start is None or old_labels.start < self.pruned_before
        return is_before and _missing_labels(old_labels, labels) > 0

    def _is_pruned(self, run: RunRecord, new_window: Window) -> bool:
        """Whether rows of a window were deleted on purpose.

        A log with as many rows of the window as were counted has lost none, so its rows were changed.
        """
        if self.pruned_before is None or self.pruned_before <= run.window_start:
            return False
        rows, refusals = new_window.total.prediction_count, new_window.total.refusal_count
        total = stored_value(Window, run.window).total
        # Without any row the silence was counted from a request before the window, which may be deleted too.
        return not (rows or refusals) or rows < total.prediction_count or refusals < total.refusal_count


def _are_labels_scored(labels: LabelTally | None) -> bool:
    """Whether the model scored rows with these labels outside of requests."""
    return labels is not None and labels.scored_count + labels.rescored_count > 0


def _missing_labels(old: LabelTally | None, new: LabelTally | None) -> int:
    """How many labels of a run are no longer stored."""
    old_count, new_count = (0 if each is None else each.model.count + each.old_count for each in (old, new))
    return old_count - new_count
