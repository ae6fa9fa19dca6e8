"""Takes labels in: finds the prediction of each, and stores what is new or a correction.

Labels may come late, in any order, and more than once. The last one that arrived is in force; earlier ones stay as
history. A label that is in force already is not stored again, so a delivery may be repeated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from stillsafe.core.fallback import Answer
from stillsafe.core.score import as_text
from stillsafe.store.read.labels import LabelTarget, label_targets
from stillsafe.store.write.labels import append_labels

MOST_EXAMPLES = 20
"""Most unknown identifiers, and most refused labels, that a report lists."""
MOST_CLASSES = 10


class LabelItem(NamedTuple):
    """One label that came in.

    Attributes:
        prediction_id: the service's identifier of the prediction, or None.
        request_id: else the client's id of the request.
        label: the label, as the log stores it.
    """

    prediction_id: str | None
    request_id: str | None
    label: str

    @property
    def name(self) -> str:
        """The identifier that the sender used."""
        return self.prediction_id or self.request_id or ""


@dataclass(slots=True)
class LabelReport:
    """What became of labels that came in.

    Attributes:
        new_count: first labels of their predictions.
        correction_count: labels that replaced other ones.
        repeat_count: labels that were in force already.
        absent_count: rows of a file without a label.
        unknown_count: identifiers that the log does not have.
        refusal_count: labels that are no class of the model, or no finite number.
        unknown_ids, refusals: the first of them.
    """

    new_count: int = 0
    correction_count: int = 0
    repeat_count: int = 0
    absent_count: int = 0
    unknown_count: int = 0
    refusal_count: int = 0
    unknown_ids: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def add(self, other: "LabelReport") -> None:
        """Add the counts of another batch."""
        for name in ("new_count", "correction_count", "repeat_count", "absent_count", "unknown_count", "refusal_count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("unknown_ids", "refusals"):
            setattr(self, name, (getattr(self, name) + getattr(other, name))[:MOST_EXAMPLES])

    def refuse(self, reason: str) -> None:
        """Count a label that is refused."""
        self.refusal_count += 1
        if len(self.refusals) < MOST_EXAMPLES:
            self.refusals.append(reason)

    def document(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class LabelForm:
    """The texts of labels: how the log stores a class or a number.

    Args:
        classes: the model's classes; empty for a regressor.
    """

    def __init__(self, classes: Sequence[Answer]) -> None:
        names = ", ".join(as_text(each) for each in classes[:MOST_CLASSES])
        self.allowed = f"a class of the model ({names})" if classes else "a finite number"
        self._texts: Mapping[str, str] | None = None
        if classes:
            self._texts = {form: as_text(each) for each in classes for form in (str(each), as_text(each))}

    def text(self, value: object) -> str | None:
        """The text of a label, or None if it is no label of the model.

        A file may hold `True` for true and `1.0` for 1.
        """
        if self._texts is None:
            return _number_text(value)
        text = as_text(value) if isinstance(value, bool | int | float | str) else ""
        if text in self._texts:
            return self._texts[text]
        number = _number(value)
        return self._texts.get(str(int(number))) if number is not None and number.is_integer() else None


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _number_text(value: object) -> str | None:
    number = _number(value)
    return None if number is None else as_text(number)


def take_in(connection: Connection, items: Sequence[LabelItem], at: datetime, *, dry_run: bool = False) -> LabelReport:
    """Store labels in the transaction of a connection; with `dry_run` only count them.

    Args:
        connection: of the service; the labels are durable once it has committed.
        items: those of one transaction.
        at: the time of arrival, aware UTC.
        dry_run: store nothing.
    """
    report = LabelReport()
    targets = {
        by_request_id: _targets(connection, items, by_request_id=by_request_id) for by_request_id in (False, True)
    }
    labels_in_force: dict[str, str | None] = {}
    new_pairs: list[tuple[str, str]] = []
    for item in items:
        target = targets[item.prediction_id is None].get(item.name)
        if target is None:
            report.unknown_count += 1
            if len(report.unknown_ids) < MOST_EXAMPLES:
                report.unknown_ids.append(item.name)
            continue
        prediction_id = target.prediction_id
        previous = labels_in_force.get(prediction_id, target.label)
        if previous == item.label:
            report.repeat_count += 1
            continue
        report.new_count += previous is None
        report.correction_count += previous is not None
        labels_in_force[prediction_id] = item.label
        new_pairs.append((prediction_id, item.label))
    if not dry_run:
        append_labels(connection, new_pairs, at)
    return report


def _targets(connection: Connection, items: Sequence[LabelItem], *, by_request_id: bool) -> dict[str, LabelTarget]:
    names = sorted({item.name for item in items if (item.prediction_id is None) is by_request_id})
    return label_targets(connection, names, by_request_id=by_request_id) if names else {}
