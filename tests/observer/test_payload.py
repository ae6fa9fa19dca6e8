"""The payload: the worst first, clients' text escaped, no value of a hidden feature, one JSON schema."""

import json
from functools import partial

from hypothesis import given

from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.signals import Level, Signal
from stillsafe.observer.payload import (
    IncidentPayload,
    escape_own_text,
    from_json,
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


@given(payloads)
def test_a_payload_is_read_back_from_json(incident: IncidentPayload) -> None:
    """It is equal, and the schema has every field."""
    assert from_json(to_json(incident)) == incident
    assert set(json.loads(to_json(incident))) == set(schema()["properties"]) == set(schema()["required"])
