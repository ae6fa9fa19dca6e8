"""The prompt: only the fact sheet is sent, and any answer becomes clean, short text or None."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.observer import facts, prompt
from tests.observer.incidents import payload
from tests.observer.server import GOOD, MODEL


@pytest.mark.parametrize("as_json", [True, False])
def test_the_messages_are_the_instructions_and_the_fact_sheet(as_json: bool) -> None:
    """The facts are delimited, and the instructions name the format."""
    system, user = prompt.messages(payload(), as_json=as_json)
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == f"FACTS\n{facts.fact_sheet(payload())}\nEND OF FACTS"
    assert ("JSON object" in system["content"]) is as_json


def test_the_schema_describes_a_usable_answer() -> None:
    """Its fields are those that are read; limits are added only where they are requested."""
    schema, limited_schema = prompt.schema(), prompt.schema(with_limits=True)
    assert schema["required"] == list(schema["properties"]) == list(GOOD)
    assert "maxLength" not in json.dumps(schema)
    assert limited_schema["properties"]["summary"]["maxLength"] == 500
    assert limited_schema["properties"]["recommendations"]["maxItems"] == 3


def test_text_is_cleaned_and_truncated() -> None:
    """Escapes, control characters and text directions are removed, and lines are joined."""
    assert prompt.clean("a\x1b[31mb\x1b]0;t\x07c\n\td\u202ee\x00", 100) == "abc d e"
    assert prompt.clean("x" * 50, 10) == "xxxxxxx..."


def test_a_long_answer_is_truncated() -> None:
    """Points beyond the limit are dropped, and each point has a limited length."""
    answer = json.dumps({"summary": "s", "likely_causes": ["c"] * 99, "recommendations": ["r" * 9999]})
    explanation = prompt.from_json(answer, MODEL)
    assert explanation is not None
    assert len(explanation.likely_causes.splitlines()) == prompt.MOST_POINTS
    assert len(explanation.recommendations) == prompt.LONGEST_POINT


@pytest.mark.parametrize(
    "answer", ["", "no JSON", "{}", '{"summary": ""}', '{"summary": "\\u0000 "}', '{"summary": 3}']
)
def test_an_answer_without_a_summary_is_none(answer: str) -> None:
    """An explanation always has a summary."""
    assert prompt.from_json(answer, MODEL) is None


def test_headings_divide_a_plain_answer() -> None:
    """In any usual style; text before the first heading is the summary, and bullets are removed."""
    text = "It broke.\n**Likely causes**\n- The feed.\n2) The join.\nRecommendations: Check.\n* Call."
    explanation = prompt.from_text(text, MODEL, is_truncated=False)
    assert explanation is not None
    assert (explanation.summary, explanation.likely_causes) == ("It broke.", "The feed.\nThe join.")
    assert explanation.recommendations == "Check.\nCall."


@given(st.text(), st.booleans())
def test_any_answer_becomes_printable_text_or_none(text: str, is_truncated: bool) -> None:
    """Whatever a server sends, every line is printable and no text exceeds its limit."""
    for explanation in (prompt.from_json(text, MODEL), prompt.from_text(text, MODEL, is_truncated=is_truncated)):
        if explanation is not None:
            assert 0 < len(explanation.summary) <= prompt.LONGEST_SUMMARY
            for lines in (explanation.summary, explanation.likely_causes, explanation.recommendations):
                assert lines.replace("\n", "").isprintable()
