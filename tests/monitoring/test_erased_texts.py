"""Texts that quote erased rows go; what others share stays."""

import pytest

from stillsafe.core.evidence.evidence_policy import EvidencePolicy
from stillsafe.core.evidence.measures import _repeated_measure
from stillsafe.core.evidence.quoted_text import escape_untrusted_text, quoted_forms
from stillsafe.core.window import Window
from stillsafe.monitoring.erased_texts import NOTICE, _quotes_any, _Values, _values_of, erase_texts
from stillsafe.monitoring.tally import EXAMPLE_LENGTH
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.erasures import all_explanations, windows_between
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.write.explanations import append_explanation
from tests.monitoring.conftest import START, Service


def _explain(service: Service, text: str) -> None:
    with database.writing(service.engine) as connection:
        count = len(all_explanations(connection))
        record = ExplanationRecord(f"i{count}", START, "Nothing.", text, "m", "opened", "llm", "")
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


VALUES = (
    "Jörg",
    "Zoë Ångström-Łódź",
    "X",
    "ß",
    "日本",
    'quo"ted\\value',
    "it's <b>|bold|</b> #1",
    "line\nend\ttab",
    "so long a name that it is cut somewhere before its end Müller-Lüdenscheidt the third",
    "a text of fifty characters, which is cut at forty.",
    "Straße 7, 12345 Ulm",
    "12345",
)


def _quotes_of(value: str) -> list[str]:
    """Sentences that show a value: as it is quoted now and in older releases, by a language model, and cut."""
    now, old = escape_untrusted_text(value), quoted_forms(value)[-1]
    start = " ".join(value.split())[:40]
    plain_texts = [f"It sent {start} often."] if len(value) > 2 else []
    cut_texts = [f"It sent {now[:-3]}..."] if len(now) > 7 else []
    return [f"New: {now}, others.", f"New: {old}.", f"It sent '{start}'.", *plain_texts, *cut_texts]


def test_any_text_goes_however_it_is_quoted(bare_service: Service) -> None:
    """Of any letters, signs and length; the same sentence stays where enough other rows share the value."""
    bare_service.send(20, change=lambda i, row: row.update(town=VALUES[i % len(VALUES)] if i < 12 else "Bonn"))
    for number, value in enumerate(VALUES, start=1):
        sentences = _quotes_of(value)
        for sentence in sentences:
            assert _quotes_any(_values(bare_service, number), sentence, lambda *_: True, ()), sentence
        _explain(bare_service, sentences[0])
    _explain(bare_service, "New: \"Bonn\", after 12 of 300 values, for Y and 'Jorg' in 2026-03-01.")
    with database.writing(bare_service.engine) as connection:
        assert erase_texts(connection, range(1, 13), 5) == len(VALUES)
        records = {record.incident_id: record for _, record in all_explanations(connection)}
    last_record = records.pop(f"i{len(VALUES)}")
    assert [each.recommendations for each in records.values() if each.summary != NOTICE] == []
    assert "Bonn" in last_record.recommendations


def _values(service: Service, row_id: int) -> _Values:
    with database.reading(service.engine) as connection:
        return _values_of(connection, [row_id])


def test_a_number_goes_where_only_the_rows_repeat_it(service: Service) -> None:
    """From the window, which keeps the count and its measures, and from texts; a number of others stays."""
    service.step()
    service.step(change=lambda i, row: row.update(size=1234567.25) if i < 40 else None)
    first, span = service.sent_count - 300 + 1, (START, service.now)
    for text in ("It repeats one number, 1.23457e+06, often.", "It repeats 1,234,567.25.", "It has 300 values."):
        _explain(service, text)
    with database.writing(service.engine) as connection:
        *_, (_, old_window) = windows_between(connection, *span)
        assert erase_texts(connection, range(first, first + 30), 5) == 0  # ten others have it
        assert erase_texts(connection, range(first, first + 40), 5) > 2
        *_, (_, new_window) = windows_between(connection, *span)
        texts = [record.summary for _, record in all_explanations(connection)]
    assert "1234567.25" in str(old_window)
    assert "1234567.25" not in str(new_window)
    assert [text == NOTICE for text in texts] == [True, True, False]
    windows = [stored_value(Window, document) for document in (old_window, new_window)]
    assert windows[1].fresh.features["size"].commonest == (None, 40)
    with database.reading(service.engine) as connection:
        baseline = active_baseline(connection, "1")
    assert baseline is not None
    healthy = baseline.features["size"]
    measures = [_repeated_measure(EvidencePolicy(), "size", healthy, each.fresh.features["size"]) for each in windows]
    assert measures[0] == measures[1] != []


def test_windows_lose_any_text_of_the_rows_alone(service: Service) -> None:
    """Of any letters and length: examples in windows are cut, and no two of these begin alike."""
    for start in range(0, len(VALUES), 4):
        part = VALUES[start : start + 4]
        first = service.sent_count + 1
        service.step(change=lambda i, row, part=part: row.update(town=part[i % 4]) if i < 36 else None)
        with database.writing(service.engine) as connection:
            examples_of_part = [text[:EXAMPLE_LENGTH] for text in part]
            (*_, (_, window)) = windows_between(connection, START, service.now)
            assert set(examples_of_part) <= set(window["fresh"]["features"]["town"]["unseen_examples"])
            assert erase_texts(connection, range(first, first + 36), 5) > 0
            windows = list(windows_between(connection, START, service.now))
        examples = [window["fresh"]["features"]["town"].get("unseen_examples") for _, window in windows]
        assert [text for text in examples_of_part if any(text in (each or {}) for each in examples)] == []


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
