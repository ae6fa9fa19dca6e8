"""A row is recognised by hashes of what identifies it, and nothing else is."""

from datetime import timedelta
from typing import Any

import pytest

from stillsafe.store.erasure_marks import MarkKind, RowMatcher, RowTraces, Subject, value_text
from tests.store.conftest import START, at

SALT = "ab" * 16


def _row(**fields: Any) -> RowTraces:
    values = {"prediction_id": "p1", "request_id": None, "timestamp": START, "features": {"age": 41.0}, **fields}
    return RowTraces(**values)


@pytest.mark.parametrize(
    ("subject", "row"),
    [
        (Subject(MarkKind.PREDICTION, "p7"), _row(prediction_id="p7")),
        (Subject(MarkKind.REQUEST, "order"), _row(request_id="order")),
        (Subject(MarkKind.FEATURE, 41, "age"), _row(features={"age": 41.0})),
        (Subject(MarkKind.FEATURE, "Ulm", "town"), _row(features={"town": "Ulm"})),
        (Subject(MarkKind.FEATURE, True, "lift"), _row(features={"lift": True})),
    ],
)
def test_a_row_is_recognised_by_each_kind(subject: Subject, row: RowTraces) -> None:
    """By that value of that kind, and by no other kind, feature or salt."""
    matcher = RowMatcher.of([subject], at(1), SALT)
    assert matcher.matches(row)
    assert not matcher.matches(_row(prediction_id=None, request_id="p7", features={"town": "order", "age": True}))
    assert subject.hash(SALT) != subject.hash("cd" * 16)


def test_a_later_request_with_the_same_id_is_another_matter() -> None:
    """An id or a value of a later request is not erased with the earlier one; the prediction's own identifier is."""
    subjects = [Subject(MarkKind.REQUEST, "order"), Subject(MarkKind.PREDICTION, "p7")]
    matcher = RowMatcher.of(subjects, START, SALT)
    later = START + timedelta(seconds=1)
    assert matcher.matches(_row(request_id="order"))
    assert not matcher.matches(_row(request_id="order", timestamp=later))
    assert matcher.matches(_row(prediction_id="p7", timestamp=later))


def test_equal_numbers_have_one_text_and_strings_another() -> None:
    """Whatever type the log read them as."""
    assert value_text(1) == value_text(1.0)
    assert len({value_text(each) for each in (1, "1", True, "True", None, "None", 1.5)}) == 7
