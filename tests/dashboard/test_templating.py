"""The templates and the static files."""

import re
from pathlib import Path

from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from stillsafe.backtest import report
from stillsafe.dashboard import views
from stillsafe.dashboard.incident_page import read_incident
from stillsafe.dashboard.incident_report import render_incident
from stillsafe.dashboard.templating import build_templates, static_file, version_of, with_code
from tests.backtest.histories import backtest_context, past, run_backtest

from .story import START, begin, faulty_tally, tally

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
PART_OF_A_TIME = r"\d{4}-\d\d-\d\d|\d\d-\d\d \d\d|\d:\d\d|\d UTC"
STYLES_AND_TICKS = r"(?s)<style>.*?</style>|<text class=\"time.*?</text>"


@given(st.text())
def test_code_is_escaped(text: str) -> None:
    """Whatever a sentence has in it, only our own tags are markup."""
    html = str(with_code(text)).replace("<code>", "").replace("</code>", "")
    assert "<" not in html
    assert ">" not in html


def test_parts_between_backticks_are_code() -> None:
    """In pairs."""
    assert str(with_code("use `a <b>` now")) == "use <code>a &lt;b&gt;</code> now"
    assert str(with_code("one ` alone")) == "one ` alone"


def test_files_have_versions() -> None:
    """Twelve digits that change with the file; templates escape by default."""
    assert len(version_of("stillsafe.css")) == 12
    assert version_of("stillsafe.css") != version_of("stillsafe.js")
    assert b"prefers-color-scheme" in static_file("stillsafe.css")
    assert build_templates().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"


def test_every_page_writes_times_as_commands_do(tmp_path: Path) -> None:
    """ISO 8601 with `Z`, also in tooltips, descriptions and attributes; only ticks of an axis are shorter."""
    story = begin(tmp_path)
    story.runs(3, tally())
    story.runs(4, faulty_tally())
    story.hold("ada", "drill")
    incident_id = story.memory.incident_id
    assert incident_id is not None
    story.explain(incident_id, "It began.", "Look at the feed.")
    pages = FastAPI()
    pages.include_router(views.router(story.engine, story.settings, lambda: story.now))
    detail = read_incident(story.engine, story.settings, story.now, incident_id)
    assert detail is not None
    context = backtest_context(tmp_path)
    result = run_backtest(past(1_500), context, rows_per_run=250, inject=["nulls:size"])
    with TestClient(pages) as client:
        texts = [
            *(client.get(path).text for path in ("/", "/?time=week", "/dashboard/incidents/none")),
            client.get(f"/dashboard/incidents/{incident_id}").text,
            render_incident(detail),
            report.render(result, context.settings, made_at=START, command="stillsafe backtest"),
        ]
    for text in texts:
        rest, count = re.subn(TIME, "", re.sub(STYLES_AND_TICKS, "", text))
        assert count
        assert re.findall(f".{{0,30}}(?:{PART_OF_A_TIME})", rest) == []
