"""The recording of the demo is a picture of its own, with the whole story in it."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import groupby

import pytest

from scripts import record_demo

MOMENTS = [
    ("Healthy traffic.", 5.0),
    ("  08:10  \x1b[1;32mNORMAL\x1b[0m  <ok>", 5.2),
    ("Why the model was bypassed " + "x" * 200, 90.0),
    ("The offline observer's explanation", 90.0),
    ("  many words", 90.0),
    ("Accuracy while the feed was broken", 90.1),
    ("Replay: 13 decisions", 90.2),
    ("Next:", 90.3),
]


def test_a_recording_is_short() -> None:
    """Long waits are cut, long lines end in an ellipsis, and the explanation and the end are left out."""
    lines = record_demo.shorten(MOMENTS)
    words = [line.text.plain for line in lines]
    assert [text.split()[0] for text in words] == ["Healthy", "08:10", "Why", "Accuracy", "Replay:"]
    assert max(map(len, words)) == record_demo.COLUMNS
    assert lines[2].at_seconds - lines[1].at_seconds == pytest.approx(record_demo.LONGEST_PAUSE_SECONDS)


def test_a_picture_is_self_contained() -> None:
    """Well-formed, with its colours, without a script, and every line is shown at its time."""
    text = record_demo.picture(record_demo.shorten(MOMENTS))
    assert ElementTree.fromstring(text).tag.endswith("svg")  # noqa: S314 - the script has written it
    assert "<script" not in text
    assert f'fill: {record_demo.COLOURS["color(2)"]}">NORMAL<' in text
    assert "&lt;ok&gt;" in text
    assert len(re.findall("@keyframes", text)) == text.count('class="line"') == 5


def test_the_picture_of_the_readme_has_the_story() -> None:
    """The committed recording shows the degradation and the recovery, as the demo plays them now."""
    text = record_demo.FILE.read_text(encoding="utf-8")
    states = re.findall(r">(NORMAL|WARNING|DEGRADED) *<", text)
    assert [state for state, _ in groupby(states)] == [*("NORMAL", "WARNING", "DEGRADED", "NORMAL")]
    assert "no difference" in text
