"""Of a text its length, script and words are known, and nothing of it can be read from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.monitoring.text_values import MOST_WORDS, SCRIPTS, script_of, text_values, word_codes


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("The parcel came late", "Latin"),
        ("Größe über 5 €", "Latin"),
        ("Посылка пришла поздно, track 12", "Cyrillic"),
        ("荷物が遅れて届きました", "Kana"),
        ("包裹迟到了", "Han"),
        ("وصل الطرد متأخرا", "Arabic"),
        ("Το δέμα άργησε", "Greek"),
        ("12:30 - 17", "no letters"),
        ("", "no letters"),
        ("Gr\ufffd\ufffde \ufffdber", "garbled"),
        ("Gr\xc3\xb6\x9fe", "garbled"),
    ],
)
def test_the_script_of_most_letters_counts(text: str, script: str) -> None:
    """Another script, and text in a wrong encoding, have names of their own."""
    assert script_of(text) == script


@given(st.text())
def test_any_text_has_facts(text: str) -> None:
    """Whatever a client sends, a script and at most so many different words in ascending order are known of it."""
    assert script_of(text) in SCRIPTS
    codes = word_codes(text)
    assert codes == sorted(set(codes))
    assert len(codes) <= MOST_WORDS
    assert all(0 < code < 2**32 for code in codes)


@given(st.lists(st.sampled_from(["late", "parcel", "größe", "никогда"]), min_size=1, max_size=9), st.randoms())
def test_words_count_once_in_any_order_and_case(words: list[str], random: object) -> None:
    """Order, case, punctuation and numbers change no word."""
    other = [word.upper() for word in words]
    getattr(random, "shuffle")(other)  # noqa: B009 - hypothesis gives an untyped generator
    assert word_codes(" ".join(words)) == word_codes(f"{', '.join(other)}! 4711 (12)")


def test_scripts_without_spaces_have_characters_as_words() -> None:
    """A sentence without spaces is more than one word that nobody has seen."""
    assert len(word_codes("包裹迟到了")) == 5


def test_columns_keep_their_rows() -> None:
    """A missing text has no facts, and a selection has those of its rows."""
    values = text_values(["late parcel", None, "", 7])
    assert values.lengths.tolist()[0] == 11
    assert np.isnan(values.lengths).tolist() == [False, True, False, True]
    assert values.scripts.tolist()[1::2] == [-1, -1]
    assert (values.words > 0).sum(axis=1).tolist() == [2, 0, 0, 0]
    assert values[np.array([2, 0])].lengths.tolist() == [0, 11]
