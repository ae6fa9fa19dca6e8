"""Errors of prices that have none: where they are added, and that every other line stays."""

import tomllib

import pytest

from stillsafe.init.price_errors import split_errors, text_with_errors

LISTS = """# My lists.
[[lists]]  # the first
reads = ["age"]
score = 0.8
rules = [{when = "age > 3.0", answer = 1}]
[[lists]]
reads = ["income"]
score = 0.7
error = 0.02
rules = [{when = "income > 3.0", answer = 1}]

[[lists]]
reads = []
score = 0.6
rules = [{when = "true", answer = 1}]
"""


def test_an_error_is_added_to_its_own_list() -> None:
    """By position; the owner's error of another list stays."""
    text = text_with_errors(LISTS, {"lists": {0: 0.011, 2: 0.033}})
    assert [each.get("error") for each in tomllib.loads(text)["lists"]] == [0.011, 0.02, 0.033]
    assert [line for line in text.splitlines() if line not in LISTS.splitlines()] == [
        "error = 0.011  # by `stillsafe init --refresh`",
        "error = 0.033  # by `stillsafe init --refresh`",
    ]


@pytest.mark.parametrize("text", ["", "lists = [{reads = [], score = 0.5, rules = []}]\n"])
def test_tables_without_a_header_stay_as_they_are(text: str) -> None:
    """An inline table has no line below which a key can be added."""
    assert tomllib.loads(text_with_errors(text, {"lists": {0: 0.01}})) == tomllib.loads(text)


def test_a_settings_file_has_the_tables_below_its_section() -> None:
    """Their names begin with that of the section."""
    text = text_with_errors(
        "[fallback]\ndefault = 1\n[[fallback.lists]]\nreads = []\n", {"lists": {0: 0.01}}, "fallback."
    )
    assert tomllib.loads(text)["fallback"]["lists"] == [{"reads": [], "error": 0.01}]


def test_the_lists_of_the_file_come_before_those_of_the_settings() -> None:
    """Positions count over both."""
    errors = {"lists": {0: 0.1, 2: 0.2, 3: 0.3}, "models": {0: 0.4}}
    assert split_errors(errors, {"lists": 2}) == (
        {"lists": {0: 0.1}},
        {"lists": {0: 0.2, 1: 0.3}, "models": {0: 0.4}},
    )
