"""Texts that quote erased rows go; what others share stays."""

import pytest

from stillsafe.monitoring.erased_texts import NOTICE, erase_texts
from stillsafe.store import database
from stillsafe.store.read.erasures import all_explanations, windows_between
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.write.explanations import append_explanation
from tests.monitoring.conftest import START, Service


def _explain(service: Service, text: str) -> None:
    record = ExplanationRecord("i1", START, "Nothing.", text, "m", "opened", text[:9], "")
    with database.writing(service.engine) as connection:
        append_explanation(connection, record)


@pytest.mark.parametrize(
    ("text", "is_erased"),
    [
        ("New towns: Hamlet-4711 (6).", True),
        ("Prediction q1 was wrong.", True),
        ("New towns: Hamlet-47110.", False),
        ("Town Metropolis was seen often.", False),
    ],
)
def test_an_explanation_that_quotes_a_row_goes(bare_service: Service, text: str, is_erased: bool) -> None:
    """By its identifier, or a value that hardly any other row has."""
    bare_service.send(9, change=lambda _, row: row.update(town="Metropolis"))
    bare_service.prefix = "q"
    bare_service.sent_count = 0
    bare_service.send(6, change=lambda i, row: row.update(town="Hamlet-4711" if i else "Metropolis"))
    _explain(bare_service, text)
    with database.writing(bare_service.engine) as connection:
        assert erase_texts(connection, range(10, 16), 5) == is_erased
        assert erase_texts(connection, range(10, 16), 5) == 0
        assert erase_texts(connection, [], 5) == 0
        ((_, record),) = all_explanations(connection)
    assert (record.summary == NOTICE, text in record.recommendations) == (is_erased, not is_erased)


def test_a_window_no_longer_names_a_category_of_the_rows_alone(service: Service) -> None:
    """Its counts stay, so the decision that was made of it is the same."""
    service.step()
    service.step(change=lambda i, row: row.update(town="Hamlet-4711") if i < 9 else None)
    first = service.sent_count - 300 + 1
    span = START, service.now
    with database.writing(service.engine) as connection:
        old_windows = list(windows_between(connection, *span))
        assert "Hamlet-4711" in str(old_windows)
        erase_texts(connection, range(first, first + 9), 5)
        new_windows = list(windows_between(connection, *span))
    assert "Hamlet-4711" not in str(new_windows)
    assert len(old_windows) == len(new_windows) > 0
    counts = [
        [each["total"]["features"]["town"]["unseen_count"] for _, each in runs] for runs in (old_windows, new_windows)
    ]
    assert counts[0] == counts[1]
