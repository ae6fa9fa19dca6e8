"""The form of a text says how long it is and what it consists of, and nothing of what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.monitoring.text_form import text_form, text_forms


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Sale", "letters, 1 to 4 characters"),
        ("Senior data engineer", "letters, 17 to 32 characters"),
        ("Größe", "letters, 5 to 8 characters"),
        ("20260131", "digits, 5 to 8 characters"),
        ("2026-01-31", "digits, 9 to 16 characters"),
        ("A1B2", "mixed characters, 1 to 4 characters"),
        ("?!?!?", "other characters, 5 to 8 characters"),
        ("  ", "empty"),
        ("", "empty"),
    ],
)
def test_forms_in_words(text: str, form: str) -> None:
    """What most of the characters are, and the length as a power of two."""
    assert text_form(text) == form


@given(st.text(max_size=300), st.text(max_size=300))
def test_the_form_is_one_of_few(one: str, other: str) -> None:
    """Texts of one form differ in length by less than the factor two; the form never repeats the text."""
    if text_form(one) == text_form(other) and len(one) > 4:
        assert 0.5 < len(one) / len(other) < 2
    assert text_form(one).split(",")[0] in {"letters", "digits", "other characters", "mixed characters", "empty"}


def test_missing_values_stay_missing() -> None:
    """Anything but a text stays, so that its rate is counted."""
    assert text_forms(["Sale", None, "Sale", 3]) == [text_form("Sale"), None, text_form("Sale"), 3]
