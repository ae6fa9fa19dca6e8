"""The model's answer to one row, and answers as text."""

import pytest

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
