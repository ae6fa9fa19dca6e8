"""The payload: aggregates only, the worst first, a client's text spelt, hidden features without values, one schema."""

import json
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.incident import sentence
from stillsafe.core.signals import Level, Signal
from stillsafe.observer.payload import (
    LONGEST_CLIENT_TEXT,
    IncidentPayload,
    from_json,
    harmless,
    plain,
    schema,
    to_json,
)
from tests.observer.incidents import HOSTILE, payload, payloads, reading


def test_the_worst_comes_first() -> None:
    """Severe before moderate, and the farther beyond its limit the earlier."""
    mild = reading(Signal.OUT_OF_RANGE_RATE, "distance", 0.99, Level.MODERATE)
    made = payload(mild, reading(value=0.3), reading(Signal.MISSING_RATE, "carrier", 0.9))
    assert [each.feature for each in made.deviations] == ["carrier", "dep_delay", "distance"]
    assert made.deviations[1].sentence == sentence(reading(value=0.3))
    assert (made.deviations[1].deviating_runs, made.deviations[1].severe_runs) == (3, 3)


def test_a_clients_text_is_spelt_and_cut() -> None:
    """New categories enter quoted, cut and without markup, the most frequent first, where they are the cause."""
    found = reading(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.4)
    many = {f"c{i}": i for i in range(20)}
    made = payload(found, reading(), new_values={"carrier": {HOSTILE: 99, **many}, "dep_delay": {HOSTILE: 9}})
    told = {each.feature: each.new_values for each in made.deviations}
    assert told["dep_delay"] == ()
    assert len(told["carrier"]) == 5
    assert told["carrier"][0].startswith('"\\u003cscript\\u003ealert(1)')
    assert told["carrier"][1] == '"c19"'


def test_a_hidden_feature_shows_no_value() -> None:
    """Of a feature that the log hashes or drops, no category and no number of its own enters, in clear or hashed."""
    secret, number = "4111-1111", 271828.0
    found = (reading(Signal.UNSEEN_CATEGORY_RATE, "card"), reading(Signal.REPEATED_VALUE_RATE, "card"))
    made = partial(payload, *found, new_values={"card": {secret: 3}}, repeated_values={"card": number})
    shown = to_json(made(kept_features=("card",)))
    hidden = to_json(made(kept_features=("dep_delay",)))
    assert secret in shown
    assert "271828" in shown
    assert secret not in hidden
    assert "271828" not in hidden


def test_names_stay_on_their_line() -> None:
    """A feature's or service's own name is shown as it is, but for what could start a line, a tag or a colour."""
    made = payload(reading(feature="délai\n<b>\x1b[31m"))
    assert made.deviations[0].feature == "délai\\u000a\\u003cb\\u003e\\u001b[31m"
    assert "\n" not in made.deviations[0].sentence
    assert plain("x" * 200, 10) == "x" * 10 + "..."
    other = payload(reading(Signal.BROKEN_RELATION_RATE, instead_of=("délai\n<b>",))).deviations[0]
    assert other.instead_of == ("délai\\u000a\\u003cb\\u003e",)
    assert other.sentence.endswith("Either dep_delay is damaged or délai\\u000a\\u003cb\\u003e.")


@given(st.text())
def test_harmless_text_is_short_printable_ascii(text: str) -> None:
    """Whatever a client sends is one short line of printable ASCII without markup, and can be read back."""
    spelt = harmless(text)
    assert spelt.isascii()
    assert spelt.isprintable()
    assert not set(spelt) & set("<>&'`{}[]|*#")
    assert len(spelt) <= 12 * (LONGEST_CLIENT_TEXT + 3) + 2
    assert json.loads(spelt).removesuffix("...") in text or text.startswith(json.loads(spelt)[:LONGEST_CLIENT_TEXT])


@given(payloads)
def test_a_payload_survives_json(made: IncidentPayload) -> None:
    """Written and read back it is the same, and every field that it has is in the schema."""
    assert from_json(to_json(made)) == made
    assert set(json.loads(to_json(made))) == set(schema()["properties"]) == set(schema()["required"])
