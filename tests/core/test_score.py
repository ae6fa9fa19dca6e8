"""The model's answer to one row, and answers as text."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.fallback import Answer
from stillsafe.core.score import Score, as_text


@pytest.mark.parametrize(
    ("answer", "text"), [("yes", "yes"), ("1", "1"), (1, "1"), (0.5, "0.5"), (True, "true"), (1e22, "1e+22")]
)
def test_a_string_is_its_own_text_and_other_answers_are_json(answer: Answer, text: str) -> None:
    """The audit log and a baseline's counts use the same text."""
    assert as_text(answer) == text
    assert Score(answer, 0.9, None, None).text == text


def test_a_failed_row_has_no_text() -> None:
    """No answer is not the text of an answer."""
    assert Score(None, None, None, "raised ValueError").text is None


class _Grade(int):
    """A whole number with a text of its own."""

    def __repr__(self) -> str:
        return "a grade"


@given(st.one_of(st.booleans(), st.integers(), st.floats(), st.sampled_from([-0.0, math.nan, math.inf, _Grade(3)])))
def test_a_number_is_written_as_json_writes_it(answer: Answer) -> None:
    """The fast way writes any number, also one of a subclass, as the encoder does."""
    assert as_text(answer) == json.dumps(answer)
