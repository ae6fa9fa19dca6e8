"""The payload: the worst first, clients' text escaped, no value of a hidden feature, one JSON schema."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.signals import Level, Signal
from stillsafe.observer.payload import (
    LONGEST_CLIENT_TEXT,
    IncidentPayload,
    escape_own_text,
    escape_untrusted_text,
    from_json,
    quoted_forms,
    schema,
    to_json,
)
from tests.observer.incidents import HOSTILE, payload, payloads, reading


def test_the_worst_comes_first() -> None:
    """Severe before moderate, then by the distance beyond the limit."""
    mild = reading(Signal.OUT_OF_RANGE_RATE, "distance", 0.99, Level.MODERATE)
    incident = payload(mild, reading(value=0.3), reading(Signal.MISSING_RATE, "carrier", 0.9))
    assert [each.feature for each in incident.deviations] == ["carrier", "dep_delay", "distance"]
    assert incident.deviations[1].sentence == sentence(reading(value=0.3))
    assert (incident.deviations[1].deviating_runs, incident.deviations[1].severe_runs) == (3, 3)


def test_a_clients_text_is_escaped_and_truncated() -> None:
    """New categories enter only for the signal of unseen categories, the most frequent first."""
    unseen_categories = reading(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.4)
    many = {f"c{i}": i for i in range(20)}
    incident = payload(
        unseen_categories, reading(), new_values={"carrier": {HOSTILE: 99, **many}, "dep_delay": {HOSTILE: 9}}
    )
    new_values = {each.feature: each.new_values for each in incident.deviations}
    assert new_values["dep_delay"] == ()
    assert len(new_values["carrier"]) == 5
    assert new_values["carrier"][0].startswith('"\\u003cscript\\u003ealert(1)')
    assert new_values["carrier"][1] == '"c19"'


def test_a_hidden_feature_shows_no_value() -> None:
    """A payload holds no category and no number of a feature that the log hashes or drops."""
    secret, number = "4111-1111", 271828.0
    readings = (reading(Signal.UNSEEN_CATEGORY_RATE, "card"), reading(Signal.REPEATED_VALUE_RATE, "card"))
    build = partial(payload, *readings, new_values={"card": {secret: 3}}, repeated_values={"card": number})
    clear_json = to_json(build(kept_features=("card",)))
    hidden_json = to_json(build(kept_features=("dep_delay",)))
    assert secret in clear_json
    assert "271828" in clear_json
    assert secret not in hidden_json
    assert "271828" not in hidden_json


def test_names_are_escaped() -> None:
    """The service's own names stay readable, without characters that start a line, a tag or a terminal escape."""
    incident = payload(reading(feature="délai\n<b>\x1b[31m"))
    assert incident.deviations[0].feature == "délai\\u000a\\u003cb\\u003e\\u001b[31m"
    assert "\n" not in incident.deviations[0].sentence
    assert escape_own_text("x" * 200, 10) == "x" * 10 + "..."
    other = payload(reading(Signal.BROKEN_RELATION_RATE, instead_of=("délai\n<b>",))).deviations[0]
    assert other.instead_of == ("délai\\u000a\\u003cb\\u003e",)
    assert other.sentence.endswith(
        "Either dep_delay or délai\\u000a\\u003cb\\u003e is damaged: the data does not show which."
    )


@given(st.text())
def test_untrusted_text_becomes_short_and_printable(text: str) -> None:
    """Any text becomes one short printable line without markup, and can be decoded."""
    escaped_text = escape_untrusted_text(text)
    assert '"' not in escaped_text[1:-1].replace("\\\\", "").replace('\\"', "")
    assert escaped_text.isprintable()
    assert not set(escaped_text) & set("<>&'`{}[]|*#")
    assert len(escaped_text) <= 12 * (LONGEST_CLIENT_TEXT + 3) + 2
    assert json.loads(escaped_text).removesuffix("...") in text or text.startswith(
        json.loads(escaped_text)[:LONGEST_CLIENT_TEXT]
    )


@pytest.mark.parametrize(
    ("text", "escaped_text"),
    [
        ("Jörg", '"Jörg"'),
        ("日本 Łódź", '"日本 Łódź"'),
        ("a\u202eb\u200b", '"a\\u202eb\\u200b"'),
        ("x\u201d, ignore", '"x\\u201d, ignore"'),
        ("\uff1cb\uff1e\uff02", '"\\uff1cb\\uff1e\\uff02"'),
        ("\x7f\x85\U000e0041", '"\\u007f\\u0085\\udb40\\udc41"'),
        ("o" * 41, f'"{"o" * 40}..."'),
    ],
)
def test_letters_stay_and_signs_that_could_mislead_are_escaped(text: str, escaped_text: str) -> None:
    """Letters of any script are read as they were sent; controls, quotation marks and markup are not."""
    assert escape_untrusted_text(text) == escaped_text
    assert quoted_forms(text)[0] == escaped_text
    assert quoted_forms(text)[-1].isascii()


@given(payloads)
def test_a_payload_is_read_back_from_json(incident: IncidentPayload) -> None:
    """It is equal, and the schema has every field."""
    assert from_json(to_json(incident)) == incident
    assert set(json.loads(to_json(incident))) == set(schema()["properties"]) == set(schema()["required"])
