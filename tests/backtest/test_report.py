"""The report of a backtest: one file that needs nothing else, says the same as the result, and trusts no text."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stillsafe.backtest import report, text
from stillsafe.backtest.result import Backtest, Basis
from stillsafe.dashboard.status_banner import Tone
from tests.backtest.pasts import broken, judges, past, played

NOW = datetime(2026, 4, 1, tzinfo=UTC)
COMMAND = "stillsafe backtest past.csv --inject nulls:size"
HOSTILE = "<script>alert(1)</script>&\"'"
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """The tags of a page, and whether each that was opened is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that opens, or stands alone."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """A tag that closes: the last one that was opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """What stands between the tags."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """What a person reads, in one line."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def found(folder: Path) -> Backtest:
    """A history of which a part is broken on purpose, by rows, with labels."""
    return played(past(6_000), judges(folder), rows_per_run=300, inject=["nulls:size"])


@pytest.fixture(scope="module")
def by_time(folder: Path) -> Backtest:
    """A history by time, broken by itself, without labels."""
    table = broken(past(4_800, every_seconds=2.0), 1_500, 3_000).drop(columns="label")
    return played(table, judges(folder))


def rendered(found: Backtest, folder: Path) -> str:
    return report.render(found, judges(folder).settings, made_at=NOW, command=COMMAND)


def test_it_needs_nothing_else(found: Backtest, by_time: Backtest, folder: Path) -> None:
    """No script, no style sheet, no image, no font and no address: the file alone is the report, and well formed."""
    for one in (found, by_time):
        text = rendered(one, folder)
        page = Page(text)
        assert page.open == []
        assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "form"}
        assert not re.search(r"https?://|@import|url\(", text)
        assert all(not name.startswith("on") for _, given in page.tags for name in given)
        assert all((given.get("href") or "#").startswith("#") for _, given in page.tags)
        assert "nan" not in {word.lower() for word in re.findall(r"[A-Za-z]+", page.text)}


def test_it_says_what_was_found(found: Backtest, folder: Path) -> None:
    """The verdict, the price, the broken stretch, the incidents and how to repeat it are all there."""
    page = Page(rendered(found, folder))
    assert text.headline(found) in page.text
    assert found.injection is not None
    assert text.injection_sentence(found.injection) in page.text
    assert all(sentence in page.text for sentence in text.price_sentences(found))
    assert all(incident.reason in page.text for incident in found.incidents)
    assert COMMAND in page.text
    assert "BYPASSED" in page.text
    kinds = [given.get("class") for tag, given in page.tags if tag == "rect"]
    assert kinds.count("state-DEGRADED") == sum(run.state.value == "DEGRADED" for run in found.runs)
    assert "injected" in kinds
    drawn = {given.get("class") for tag, given in page.tags if tag == "path"}
    assert {"score-model", "score-fallback", "score-served"} <= drawn


def test_what_is_not_known_is_not_drawn(by_time: Backtest, folder: Path) -> None:
    """Without labels there is no score and no price, and the page says so."""
    page = Page(rendered(by_time, folder))
    assert by_time.basis is Basis.TIME
    assert "Without labels nobody can say" in page.text
    assert not [given for _, given in page.tags if str(given.get("class")).startswith("score-")]


def test_suggested_limits_are_lines_to_copy(by_time: Backtest, folder: Path) -> None:
    """As they stand in the settings."""
    page = Page(rendered(by_time, folder))
    assert by_time.suggested_toml
    assert all(line in "".join(page.texts) for line in by_time.suggested_toml)


def test_texts_of_others_are_escaped(found: Backtest, folder: Path) -> None:
    """Names, reasons, keys and the command are data, wherever they are shown."""
    run, incident = found.runs[5], found.incidents[0]
    reading = replace(run.readings[-2], feature=HOSTILE)
    hostile = replace(
        found,
        service=HOSTILE,
        model_version=HOSTILE,
        baseline_id=HOSTILE,
        runs=(*found.runs[:5], replace(run, reason=HOSTILE, readings=(reading,)), *found.runs[6:]),
        incidents=(replace(incident, reason=HOSTILE, trigger_signals=(f"missing_rate:{HOSTILE}",)),),
        signals=(replace(found.signals[0], key=f"missing_rate:{HOSTILE}"),),
        suggested_toml=(HOSTILE,),
        injection=None if found.injection is None else replace(found.injection, faults=(HOSTILE,)),
        notices=(HOSTILE,),
    )
    text = report.render(hostile, judges(folder).settings, made_at=NOW, command=HOSTILE)
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in text
    assert page.text.count("<script>alert(1)</script>&\"'") >= 9


def test_the_tone_is_never_calmer_than_the_truth(found: Backtest, folder: Path) -> None:
    """Unknown is not calm; a bypass is danger; a warning alone is to be watched."""
    assert report.tone_of(found) is Tone.DANGER
    assert report.tone_of(replace(found, conclusive_rate=0.0)) is Tone.UNKNOWN
    assert report.tone_of(replace(found, degraded_count=0)) is Tone.WATCH
    calm = played(past(2_000), judges(folder), rows_per_run=500)
    assert report.tone_of(calm) is Tone.CALM
    assert "All calm" in Page(rendered(calm, folder)).text


def test_a_calm_history_shows_what_came_nearest(folder: Path) -> None:
    """Where nothing deviated the page still shows something to look at."""
    calm = played(past(2_000), judges(folder), rows_per_run=500)
    assert len(report.shown_signals(calm)) == report.NEAREST_SHOWN
    assert "these came nearest" in Page(rendered(calm, folder)).text


@pytest.mark.parametrize("count", [1, 30, 700])
def test_any_number_of_runs_can_be_drawn(folder: Path, count: int) -> None:
    """One run, conclusive or not, and hundreds."""
    one = played(past(60 * count), judges(folder), rows_per_run=60)
    assert len(one.runs) == count
    assert f"{count} runs" in Page(rendered(one, folder)).text
