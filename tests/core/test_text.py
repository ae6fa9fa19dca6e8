"""Text of limited length, and names from clients that are safe to show."""

import pytest

from stillsafe.core.text import LONGEST_NAME, display_name, join_names, truncate


@pytest.mark.parametrize(("text", "expected"), [("", ""), ("abc", "abc"), ("abcd", "abc..."), ("äöüß", "äöü...")])
def test_a_long_text_ends_in_dots(text: str, expected: str) -> None:
    """A text within the limit is unchanged; a longer one keeps `longest` characters."""
    assert truncate(text, 3) == expected


def test_a_display_name_is_valid_unicode_of_limited_length() -> None:
    """A lone surrogate, which cannot be encoded, is replaced; a name of any type is shown as text."""
    assert display_name("a\ud800b").encode() == b"a?b"
    assert display_name("x" * 1_000) == "x" * LONGEST_NAME + "..."
    assert display_name(7) == "7"


@pytest.mark.parametrize(
    ("names", "expected"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b, ...")]
)
def test_many_names_are_cut_to_the_first(names: list[str], expected: str) -> None:
    """`...` appears only if names are left out."""
    assert join_names(iter(names), 2) == expected
