"""Removes what stored texts quote of rows that are erased: explanations, and the examples of unseen categories.

A category that enough other rows share is no value of these rows alone, and stays.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection

from stillsafe.store.read.erasures import all_explanations, rows_by_id, shared_count, windows_between
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.write.decisions import replace_window
from stillsafe.store.write.erasures import replace_explanation

SHORTEST_QUOTE = 3
"""A shorter value stands in most texts anyway."""
BATCH_ROWS = 1_000
NOTICE = "Erased: this text quoted rows that were erased."


@dataclass(slots=True)
class _Values:
    """The values of rows that are erased, which a text could quote.

    Attributes:
        ids: identifiers of predictions and requests.
        counts: feature and text -> rows that have it.
        first, last: times of the rows.
    """

    ids: set[str] = field(default_factory=set)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None


def erase_texts(connection: Connection, row_ids: Sequence[int], min_count: int) -> int:
    """Replace explanations that quote rows, and drop their values from the windows of their time.

    Args:
        connection: of a transaction; the rows are still there.
        row_ids: of the rows that are erased.
        min_count: rows that share a text which may stay.

    Returns:
        The explanations and the windows that changed.
    """
    values = _values_of(connection, row_ids)
    if values.first is None or values.last is None:
        return 0

    @cache
    def is_theirs(feature: str, text: str) -> bool:
        """Whether fewer than `min_count` of the rows that stay have the value."""
        count = values.counts[feature, text]
        return count > 0 and shared_count(connection, feature, text, count + min_count) - count < min_count

    changes = 0
    for row_id, record in all_explanations(connection):
        text = _text_of(record)
        quotes = any(each in text for each in values.ids if not _is_small_number(each)) or any(
            is_theirs(*pair) for pair in values.counts if _is_quoted(pair[1], text)
        )
        if quotes and record.summary != NOTICE:
            replace_explanation(connection, row_id, NOTICE)
            changes += 1
    for run_id, window in windows_between(connection, values.first, values.last + timedelta(microseconds=1)):
        new_window = _without_examples(window, is_theirs)
        if new_window != window:
            replace_window(connection, run_id, new_window)
            changes += 1
    return changes


def _values_of(connection: Connection, row_ids: Sequence[int]) -> _Values:
    values = _Values()
    for start in range(0, len(row_ids), BATCH_ROWS):
        for row in rows_by_id(connection, row_ids[start : start + BATCH_ROWS]):
            traces = row.traces
            values.ids |= {each for each in (traces.prediction_id, traces.request_id) if each is not None}
            texts = ((name, value) for name, value in traces.features.items() if isinstance(value, str))
            values.counts.update(texts)
            values.first = min(values.first or traces.timestamp, traces.timestamp)
            values.last = max(values.last or traces.timestamp, traces.timestamp)
    return values


def _text_of(record: ExplanationRecord) -> str:
    return "\n".join((record.summary, record.recommendations, record.likely_causes or "", str(record.unverified)))


def _is_small_number(identifier: str) -> bool:
    """Whether it is a number that counts and dates of any text may have."""
    return identifier.isdecimal() and len(identifier) < 6


def _is_quoted(value: str, text: str) -> bool:
    if len(value) < SHORTEST_QUOTE or value not in text:
        return False
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _without_examples(document: Any, is_theirs: Callable[[str, str], bool]) -> Any:
    """A window's document without examples that are the rows' own, in each of its tallies."""
    if not isinstance(document, dict):
        return document
    new_document = {key: _without_examples(value, is_theirs) for key, value in document.items() if key != "features"}
    features = document.get("features")
    if isinstance(features, dict):
        new_document["features"] = {name: _visible_tally(name, tally, is_theirs) for name, tally in features.items()}
    return new_document


def _visible_tally(feature: str, tally: Mapping[str, Any], is_theirs: Callable[[str, str], bool]) -> Mapping[str, Any]:
    examples = tally.get("unseen_examples") or {}
    visible = {text: count for text, count in examples.items() if not is_theirs(feature, text)}
    return tally if len(visible) == len(examples) else {**tally, "unseen_examples": visible}
