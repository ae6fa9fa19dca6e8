"""The report is one self-contained file, agrees with the result, and escapes every text."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stillsafe.backtest import report, text
from stillsafe.backtest.result import Backtest, Basis
from stillsafe.dashboard.status_banner import Tone
from tests.backtest.histories import backtest_context, past, run_backtest, without_sizes

NOW = datetime(2026, 4, 1, tzinfo=UTC)
COMMAND = "stillsafe backtest past.csv --inject nulls:size"
HOSTILE = "<script>alert(1)</script>&\"'"
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """The tags of a page; asserts that they are nested correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An opening tag, or a tag without content."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A self-closing tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """A closing tag: it has to match the last open one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """The visible text in one line."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def result(folder: Path) -> Backtest:
    """Runs by rows, with labels and an injected fault."""
    return run_backtest(past(6_000), backtest_context(folder), rows_per_run=300, inject=["nulls:size"])


@pytest.fixture(scope="module")
def by_time(folder: Path) -> Backtest:
    """Runs by time, without labels, with values missing from the table itself."""
    table = without_sizes(past(4_800, every_seconds=2.0), 1_500, 3_000).drop(columns="label")
    return run_backtest(table, backtest_context(folder))


def render_report(result: Backtest, folder: Path) -> str:
    return report.render(result, backtest_context(folder).settings, made_at=NOW, command=COMMAND)


def test_the_report_is_self_contained(result: Backtest, by_time: Backtest, folder: Path) -> None:
    """It has no script, style sheet, image, font or address, and it is well formed."""
    for one in (result, by_time):
        text = render_report(one, folder)
        page = Page(text)
        assert page.open == []
        assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "form"}
        assert not re.search(r"https?://|@import|url\(", text)
        assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert all((attributes.get("href") or "#").startswith("#") for _, attributes in page.tags)
        assert "nan" not in {word.lower() for word in re.findall(r"[A-Za-z]+", page.text)}


def test_the_report_contains_the_whole_result(result: Backtest, folder: Path) -> None:
    """Headline, fallback comparison, injected faults, incidents and the command are on the page."""
    page = Page(render_report(result, folder))
    assert text.headline(result) in page.text
    assert result.injection is not None
    assert text.injection_sentence(result.injection) in page.text
    assert all(sentence in page.text for sentence in text.fallback_sentences(result))
    assert all(incident.reason in page.text for incident in result.incidents)
    assert COMMAND in page.text
    assert "BYPASSED" in page.text
    kinds = [attributes.get("class") for tag, attributes in page.tags if tag == "rect"]
    assert kinds.count("state-DEGRADED") == sum(run.state.value == "DEGRADED" for run in result.runs)
    assert "injected" in kinds
    path_kinds = {attributes.get("class") for tag, attributes in page.tags if tag == "path"}
    assert {"score-model", "score-fallback", "score-served"} <= path_kinds


def test_unknown_scores_are_not_drawn(by_time: Backtest, folder: Path) -> None:
    """Without labels there is no score and no fallback comparison, and a sentence explains why."""
    page = Page(render_report(by_time, folder))
    assert by_time.basis is Basis.TIME
    assert "Without labels the benefit of the fallback is unknown" in page.text
    assert not [attributes for _, attributes in page.tags if str(attributes.get("class")).startswith("score-")]


def test_suggested_limits_are_toml_lines(by_time: Backtest, folder: Path) -> None:
    """They can be copied into the settings."""
    page = Page(render_report(by_time, folder))
    assert by_time.suggested_toml
    assert all(line in "".join(page.texts) for line in by_time.suggested_toml)


def test_untrusted_texts_are_escaped(result: Backtest, folder: Path) -> None:
    """Names, reasons, keys and the command are never markup."""
    run, incident = result.runs[5], result.incidents[0]
    reading = replace(run.readings[-2], feature=HOSTILE)
    hostile = replace(
        result,
        service=HOSTILE,
        model_version=HOSTILE,
        baseline_id=HOSTILE,
        runs=(*result.runs[:5], replace(run, reason=HOSTILE, readings=(reading,)), *result.runs[6:]),
        incidents=(replace(incident, reason=HOSTILE, trigger_signals=(f"missing_rate:{HOSTILE}",)),),
        signals=(replace(result.signals[0], key=f"missing_rate:{HOSTILE}"),),
        suggested_toml=(HOSTILE,),
        injection=None if result.injection is None else replace(result.injection, faults=(HOSTILE,)),
        notices=(HOSTILE,),
    )
    text = report.render(hostile, backtest_context(folder).settings, made_at=NOW, command=HOSTILE)
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in text
    assert page.text.count("<script>alert(1)</script>&\"'") >= 9


def test_the_tone_follows_from_the_result(result: Backtest, folder: Path) -> None:
    """No conclusion is UNKNOWN, a bypass DANGER, a warning alone WATCH."""
    assert report.banner_tone(result) is Tone.DANGER
    assert report.banner_tone(replace(result, conclusive_rate=0.0)) is Tone.UNKNOWN
    assert report.banner_tone(replace(result, degraded_count=0)) is Tone.WATCH
    calm = run_backtest(past(2_000), backtest_context(folder), rows_per_run=500)
    assert report.banner_tone(calm) is Tone.CALM
    assert "No alarm" in Page(render_report(calm, folder)).text


def test_without_deviations_the_closest_signals_are_drawn(folder: Path) -> None:
    """The page always has some charts."""
    calm = run_backtest(past(2_000), backtest_context(folder), rows_per_run=500)
    assert len(report.charted_signals(calm)) == report.NEAREST_CHARTS
    assert "these are closest to their limits" in Page(render_report(calm, folder)).text


@pytest.mark.parametrize("count", [1, 30, 700])
def test_any_number_of_runs_can_be_drawn(folder: Path, count: int) -> None:
    """One run, inconclusive or not, and hundreds."""
    one = run_backtest(past(60 * count), backtest_context(folder), rows_per_run=60)
    assert len(one.runs) == count
    assert f"{count} runs" in Page(render_report(one, folder)).text
