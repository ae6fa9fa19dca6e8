"""Settings are edited as text: the edited key changes, and every other line stays as its owner wrote it."""

import tomllib

import pytest

from stillsafe.init.settings_edit import REMARK, edited_text

TEXT = """# mine
[service]
name = "loan"   # as it is called
  # hash_salt = "x"

[model]
reference = "reference.json"  # from init
file = "model.skops"

[fallback]
default = 1
[[fallback.rules]]
when = "a > 1.0"
answer = 0
[[features]]
name = "a"
"""


def test_a_key_is_replaced_on_its_line() -> None:
    """Only that line differs."""
    new_text = edited_text(TEXT, {"model": {"reference": "reference-2.json"}})
    differing = [pair for pair in zip(TEXT.splitlines(), new_text.splitlines(), strict=True) if pair[0] != pair[1]]
    assert differing == [('reference = "reference.json"  # from init', f'reference = "reference-2.json"  # {REMARK}')]


def test_missing_keys_and_sections_are_added_in_order() -> None:
    """Below the header of their section, and at the end where there is none; all other lines stay, in order."""
    new_text = edited_text(TEXT, {"fallback": {"model_score": 0.9, "bypass": "always"}, "privacy": {"min_count": 5}})
    document = tomllib.loads(new_text)
    assert document["fallback"] == {
        "model_score": 0.9,
        "bypass": "always",
        "default": 1,
        "rules": [{"when": "a > 1.0", "answer": 0}],
    }
    assert list(document["fallback"])[:2] == ["model_score", "bypass"]
    assert document["privacy"] == {"min_count": 5}
    lines = new_text.splitlines()
    assert [line for line in lines if line in TEXT.splitlines()] == [*TEXT.splitlines(), ""]


@pytest.mark.parametrize("header", ["[ service ]", "[service] # mine"])
def test_a_header_is_found_however_it_is_written(header: str) -> None:
    """With spaces and with a comment; a commented key is no key."""
    new_text = edited_text(TEXT.replace("[service]", header), {"service": {"hash_salt": "y"}})
    assert tomllib.loads(new_text)["service"] == {"hash_salt": "y", "name": "loan"}
