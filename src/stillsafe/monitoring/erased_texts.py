"""Removes what stored texts quote of rows that are erased: explanations, and the examples of unseen categories.

A value that enough other rows share is no value of these rows alone, and stays.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection

from stillsafe.core.evidence.quoted_text import LONGEST_CLIENT_TEXT, UNVERIFIED_MARK, quoted_forms
from stillsafe.monitoring.tally import EXAMPLE_LENGTH
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.erasures import LogRow, all_explanations, rows_by_id, shared_count, windows_between
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.write.decisions import replace_window
from stillsafe.store.write.erasures import replace_explanation

SHORTEST_QUOTE = 3
"""A shorter text stands in most sentences anyway, so it counts with quotation marks only."""
LONGEST_NUMBER = 1e15
"""Above it a whole number is not shown digit by digit."""
SHORTEST_NUMBER = 6
"""Digits of a number that no count and no date of a text is likely to be."""
BATCH_ROWS = 1_000
NOTICE = "Erased: this text quoted rows that were erased."
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])", re.IGNORECASE)
IsTheirs = Callable[[str, str | float], bool]
"""Whether hardly any other row has a feature's value, as an aggregate shows it."""
_QUOTES = ('"{}"', "'{}'", "`{}`", "\u201c{}\u201d", "\u2018{}\u2019", "\u00ab{}\u00bb", "\u201e{}\u201c")


@dataclass(slots=True)
class _Values:
    """The values of rows that are erased, which a text could quote.

    Attributes:
        ids: identifiers of predictions and requests.
        counts: feature and value, as an aggregate shows it -> rows that have it.
        texts: the whole texts, each with its feature and what an aggregate shows of it.
        numbers: a number as a text may round it -> features and numbers.
        first, last: times of the rows.
    """

    ids: set[str] = field(default_factory=set)
    counts: Counter[tuple[str, str | float]] = field(default_factory=Counter)
    texts: set[tuple[str, str, str]] = field(default_factory=set)
    numbers: defaultdict[float, set[tuple[str, float]]] = field(default_factory=lambda: defaultdict(set))
    first: datetime | None = None
    last: datetime | None = None

    def add(self, row: LogRow) -> None:
        """Add the values of a row."""
        traces = row.traces
        self.ids |= {each for each in (traces.prediction_id, traces.request_id) if each is not None}
        for name, value in traces.features.items():
            self.counts.update((name, form) for form in _shown_forms(value))
            if isinstance(value, str):
                self.texts.add((name, value, value[:EXAMPLE_LENGTH]))
            elif (number := _number(value)) is not None:
                for rounding in {number, float(f"{number:g}"), *(round(number, digits) for digits in range(3))}:
                    self.numbers[rounding].add((name, number))
        self.first = min(self.first or traces.timestamp, traces.timestamp)
        self.last = max(self.last or traces.timestamp, traces.timestamp)


def erase_texts(connection: Connection, row_ids: Sequence[int], min_count: int) -> int:
    """Replace explanations that quote rows, and drop their values from the windows of their time.

    Args:
        connection: of a transaction; the rows are still there.
        row_ids: of the rows that are erased.
        min_count: rows that share a value which may stay.

    Returns:
        The explanations and the windows that changed.
    """
    values = _values_of(connection, row_ids)
    if values.first is None or values.last is None:
        return 0

    @cache
    def is_theirs(feature: str, form: str | float) -> bool:
        """Whether fewer than `min_count` of the rows that stay have the value."""
        count = values.counts[feature, form]
        if not count:
            return False
        # The text of a number stands for the number too, which is searched for in all rows.
        is_text = isinstance(form, str) and not _is_numeric(form)
        subject, limit = Subject(MarkKind.FEATURE, form if is_text else None, feature), count + min_count
        return shared_count(connection, subject, lambda value: form in _shown_forms(value), limit) - count < min_count

    changes, erased_numbers = 0, set[float]()
    for run_id, window in windows_between(connection, values.first, values.last + timedelta(microseconds=1)):
        new_window = _without_examples(window, is_theirs, erased_numbers)
        if new_window != window:
            replace_window(connection, run_id, new_window)
            changes += 1
    for row_id, record in all_explanations(connection):
        if record.summary != NOTICE and _quotes_any(values, _text_of(record), is_theirs, erased_numbers):
            replace_explanation(connection, row_id, NOTICE)
            changes += 1
    return changes


def _values_of(connection: Connection, row_ids: Sequence[int]) -> _Values:
    values = _Values()
    for start in range(0, len(row_ids), BATCH_ROWS):
        for row in rows_by_id(connection, row_ids[start : start + BATCH_ROWS]):
            values.add(row)
    return values


def _number(value: object) -> float | None:
    """A value that is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type] # it is a number there
    return number if math.isfinite(number) else None


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown_forms(value: object) -> set[str | float]:
    """How a window may show a value: a number, or the beginning of a text; of a code in a category both."""
    if isinstance(value, str):
        return {value[:EXAMPLE_LENGTH]}
    number = _number(value)
    if number is None:
        return set()
    is_whole = number.is_integer() and abs(number) < LONGEST_NUMBER
    return {number, repr(number), str(value), *([str(int(number))] if is_whole else [])}


def _text_of(record: ExplanationRecord) -> str:
    """An explanation's text, as it was before the numbers in it were marked."""
    numbers = [str(each.get("number", "")) for each in record.unverified or []]
    text = "\n".join((record.summary, record.recommendations, record.likely_causes or "", *numbers))
    return unicodedata.normalize("NFC", text.replace(UNVERIFIED_MARK, ""))


def _quotes_any(values: _Values, text: str, is_theirs: IsTheirs, erased_numbers: Container[float]) -> bool:
    """Whether a text quotes an identifier or a value of the rows.

    A short number stands in any text, so it counts only where a window had to lose it.
    """
    if any(each in text for each in values.ids if not _is_small_number(each)):
        return True
    pairs: set[tuple[str, str | float]] = {
        (name, form) for name, value, form in values.texts if _is_quoted(value, text)
    }
    for figure in _NUMBER.findall(text):
        digits = figure.replace(",", "")
        for name, number in values.numbers.get(float(digits), ()):
            if number in erased_numbers or len(digits.strip("-0.").replace(".", "")) >= SHORTEST_NUMBER:
                pairs.add((name, number))
    return any(is_theirs(*pair) for pair in pairs)


def _is_small_number(identifier: str) -> bool:
    """Whether it is a number that counts and dates of any text may have."""
    return identifier.isdecimal() and len(identifier) < SHORTEST_NUMBER


def _is_quoted(value: str, text: str) -> bool:
    """Whether a text has a value: quoted as explanations quote it, as it is, or cut."""
    forms = quoted_forms(value)
    if any(form in text for form in forms):
        return True
    raw_value = " ".join(unicodedata.normalize("NFC", value).split())
    is_long = len(value) > LONGEST_CLIENT_TEXT
    part = " ".join(unicodedata.normalize("NFC", value[:LONGEST_CLIENT_TEXT]).split()) if is_long else raw_value
    if any(quotes.format(part) in text for quotes in _QUOTES if part):
        return True
    end = "" if is_long else r"(?!\w)"
    for plain_form in {part, *(form[1:-1].removesuffix("...") for form in forms)}:
        is_in = len(plain_form) >= SHORTEST_QUOTE and plain_form in text
        if is_in and re.search(rf"(?<!\w){re.escape(plain_form)}{end}", text):
            return True
    cut_lines = [line.removesuffix("...") for line in text.splitlines() if line.endswith("...")]
    return any(_ends_within(line, form) for line in cut_lines for form in (*forms, part))


def _ends_within(line: str, form: str) -> bool:
    """Whether a line that was cut ends with the beginning of a form."""
    return any(line.endswith(form[:length]) for length in range(SHORTEST_QUOTE + 1, len(form)))


def _without_examples(document: Any, is_theirs: IsTheirs, erased_numbers: set[float]) -> Any:
    """A window's document without values that are the rows' own, in each of its tallies; counts stay."""
    if not isinstance(document, dict):
        return document
    new_document = {
        key: _without_examples(value, is_theirs, erased_numbers) for key, value in document.items() if key != "features"
    }
    features = document.get("features")
    if isinstance(features, dict):
        new_document["features"] = {
            name: _visible_tally(name, tally, is_theirs, erased_numbers) for name, tally in features.items()
        }
    return new_document


def _visible_tally(
    feature: str, tally: Mapping[str, Any], is_theirs: IsTheirs, erased_numbers: set[float]
) -> Mapping[str, Any]:
    examples = tally.get("unseen_examples") or {}
    visible = {text: count for text, count in examples.items() if not is_theirs(feature, text)}
    new_tally = tally if len(visible) == len(examples) else {**tally, "unseen_examples": visible}
    number, count = tally.get("commonest") or (None, 0)
    if number is None or not is_theirs(feature, float(number)):
        return new_tally
    erased_numbers.add(float(number))
    return {**new_tally, "commonest": [None, count]}
