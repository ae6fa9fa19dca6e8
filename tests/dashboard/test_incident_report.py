"""The exported incident is one self-contained file with what the page has."""

import re
from datetime import timedelta
from pathlib import Path

from stillsafe.dashboard.incident_page import read_incident
from stillsafe.dashboard.incident_report import render_incident

from .story import begin, faulty_tally
from .test_views import Page


def test_the_file_is_self_contained(tmp_path: Path) -> None:
    """No script, no file, no address, no link; the figures of the page are in it."""
    story = begin(tmp_path)
    incident = story.runs(2, faulty_tally()).incident
    assert incident is not None
    detail = read_incident(story.engine, story.settings, story.now + timedelta(minutes=3), incident.incident_id)
    assert detail is not None
    page = Page(render_incident(detail))
    assert not {"script", "img", "iframe", "form", "object", "button"} & {tag for tag, _ in page.tags}
    assert [link["href"].split(",")[0] for link in page.attributes_of("link")] == ["data:image/svg+xml"]
    assert [link["href"] for link in page.attributes_of("a")] == ["#main"]
    without_icon = re.sub(r"data:image/svg[^>]*", "", page.html)
    assert not re.search(r"https?://|@import|url\(", without_icon)
    assert "dep_delay is missing in 97.0% of 600 predictions. Also: wind_speed." in page.text
    assert "default-src 'none'" in page.html
