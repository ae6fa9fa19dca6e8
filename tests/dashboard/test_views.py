"""The page: what it shows in every state, that it is read-only, and that no stored text can act on it."""

import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event, update
from starlette.testclient import TestClient

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import AnswerTally, LabelTally
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard import views
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.tables import current_window_metrics, incidents, system_state

from .story import Story, begin, faulty_tally, healthy, tally

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}\u202e"
VOID = {"meta", "link", "br", "img", "input"}
HEAD_SCRIPT = "static/stillsafe.js"


class Page(HTMLParser):
    """A parsed page: every tag with its attributes, and every text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that opens."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """A tag that closes the one opened last."""
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        """Text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def attributes_of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def classes(self, tag: str) -> list[str]:
        """The class of every such tag."""
        return [attributes.get("class", "") for attributes in self.attributes_of(tag)]


def client(story: Story, *, later: timedelta = timedelta(minutes=3)) -> TestClient:
    app = FastAPI()
    app.include_router(views.router(story.engine, story.settings, lambda: story.now + later))
    return TestClient(app)


def open_page(story: Story, *, later: timedelta = timedelta(minutes=3), query: str = "") -> Page:
    answer = client(story, later=later).get(f"/{query}")
    assert answer.status_code == 200
    return Page(answer.text)


def open_incident(story: Story, incident_id: str) -> Page:
    answer = client(story).get(f"/dashboard/incidents/{incident_id}")
    assert answer.status_code == 200
    return Page(answer.text)


def banner(page: Page) -> tuple[str, str]:
    """The banner's tone and the page's title."""
    tone = next(c for c in page.classes("section") if c.startswith("banner"))
    title = page.html[page.html.index("<title>") + 7 : page.html.index("</title>")]
    return tone.removeprefix("banner tone-"), title.split(" ")[0]


def test_a_calm_state_is_shown(tmp_path: Path) -> None:
    """NORMAL, judged by a running monitor: safe to trust, and the model answers."""
    story = begin(tmp_path)
    story.runs(4, tally())
    page = open_page(story)
    assert banner(page) == ("calm", "NORMAL")
    assert "Safe to trust." in page.text
    assert "The model answers." in page.text
    assert "running, ran 3 min ago" in page.text
    assert "alarms" not in page.classes("section")


def test_a_warning_is_shown(tmp_path: Path) -> None:
    """WARNING shows the incident's sentence with its numbers, and that the model still answers."""
    story = begin(tmp_path)
    story.runs(2, tally(missing={"wind_speed": 0.11}))
    page = open_page(story)
    assert banner(page) == ("watch", "WARNING")
    assert "wind_speed is missing in 11.0% of 600 predictions" in page.text
    assert "The model answers." in page.text
    story.run(tally())
    assert "1 of 2 calm runs towards NORMAL." in open_page(story).text


def test_degraded_is_shown(tmp_path: Path) -> None:
    """DEGRADED shows why, since when, what answers, which rules are skipped, and the way back."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally())
    page = open_page(story)
    assert banner(page) == ("danger", "DEGRADED")
    assert "Not safe to trust." in page.text
    assert "dep_delay is missing in 97.0%" in page.text
    assert "The fallback answers: on time." in page.text
    assert "Rules on dep_delay, wind_speed are skipped." in page.text
    assert 'stillsafe hold --reason "looking into it"' in page.text
    assert "Check the source of dep_delay and its last deployment." in page.text
    assert "0 of 3 calm runs towards recovery." in page.text
    assert "2026-03-01T12:30:00Z" in page.text


def test_the_price_of_a_bypass_is_shown(tmp_path: Path) -> None:
    """An incident says what its bypass won or lost once labels have come for it, and nothing before."""
    story = begin(tmp_path, watched=False)
    impact = PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}, row_count=4_000)
    story.baseline = replace(healthy(), harm=impact)
    story.watch()
    own = AnswerTally(200, (("late", "late", 120), ("late", "on time", 80)))
    for _ in range(3):
        story.run(tally(), labels=LabelTally(story.now, story.now, 200, model=own))
    assert "that the fallback answered" not in open_page(story).text
    model, fallback = (AnswerTally(200, (("late", "late", n), ("late", "on time", 200 - n))) for n in (60, 180))
    labels = LabelTally(story.now, story.now, 200, model=model, paired_model=model, fallback=fallback)
    story.run(tally(), labels=labels)
    price = "its accuracy was 0.9, and the model's would have been 0.3: the bypass won 0.6 per request, 120 in all."
    assert f"By the labels of 200 requests that the fallback answered, {price}" in open_page(story).text


def test_observe_mode_is_shown(tmp_path: Path) -> None:
    """In observe mode the page never claims that the fallback answers."""
    story = begin(tmp_path, service={"mode": "observe"})
    story.runs(3, faulty_tally())
    page = open_page(story)
    assert banner(page) == ("danger", "DEGRADED")
    assert "The model still answers: the mode is observe." in page.text
    assert "Observe mode:" in page.text
    assert "The model was not bypassed." in page.text


def test_a_stale_monitor_is_unknown(tmp_path: Path) -> None:
    """A state that no run has confirmed for two intervals is UNKNOWN, with the last known state as an alarm."""
    story = begin(tmp_path)
    story.runs(4, tally())
    assert banner(open_page(story, later=timedelta(minutes=20))) == ("calm", "NORMAL")
    page = open_page(story, later=timedelta(minutes=21))
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "the monitor has stopped" in page.text
    assert "STALE, ran 21 min ago" in page.text
    assert "The last known state is NORMAL." in page.text
    assert "No run for 21 min" in page.text


def test_a_stale_monitor_does_not_hide_degraded(tmp_path: Path) -> None:
    """DEGRADED stays DEGRADED when the monitor stops, which is an alarm of its own."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally())
    page = open_page(story, later=timedelta(hours=2))
    assert banner(page) == ("danger", "DEGRADED")
    assert "The monitor is stale: it last ran 2 h ago" in page.text


def test_what_answers_while_stale_follows_the_settings(tmp_path: Path) -> None:
    """Where the settings choose the fallback for a stale monitor, the page shows that it answers."""
    story = begin(tmp_path, serving={"on_stale_monitor": "fallback"})
    story.runs(3, tally())
    assert "The fallback answers" in open_page(story, later=timedelta(hours=2)).text
    assert "The model answers." in open_page(story).text


def test_an_empty_store_has_instructions(tmp_path: Path) -> None:
    """Before the first run the page is UNKNOWN and has instructions; there is nothing to draw."""
    page = open_page(begin(tmp_path, watched=False))
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "the monitor has never run" in page.text
    for command in ("stillsafe monitor", "stillsafe schedule install", "stillsafe baseline create"):
        assert command in page.text
    assert "at least 50 predictions in 15 min" in page.text
    assert not [svg for svg in page.attributes_of("svg") if svg.get("role") == "img"]


def test_an_unwatched_version_is_shown(tmp_path: Path) -> None:
    """A model version without a baseline is never shown as safe."""
    story = begin(tmp_path, watched=False)
    story.runs(3, tally())
    page = open_page(story)
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "Model version 1 is unmonitored: it has no baseline." in page.text
    assert "UNWATCHED" in page.text
    assert "No signal could be read" in page.text


def test_features_that_are_not_watched_are_named(tmp_path: Path) -> None:
    """One sentence on the page names them, and the limits of single features; without any there is none."""
    story = begin(tmp_path)
    story.runs(2, tally())
    assert "not watched" not in open_page(story).text
    features = [*story.settings.features]
    features[1] = features[1].model_copy(update={"watch": False})
    policy = replace(
        story.settings.policy, unwatched_features=("distance",), feature_limits={"missing_rate:carrier": 0.1}
    )
    story.settings = story.settings.model_copy(update={"features": tuple(features), "policy": policy})
    text = open_page(story).text
    assert "Features not watched: distance ( watch = false ); limits of their own: missing_rate:carrier 0.1." in text


def test_a_version_without_a_run_is_unknown(tmp_path: Path) -> None:
    """A calm run of an earlier version is no evidence about the served one."""
    story = begin(tmp_path)
    story.runs(3, tally())
    story.settings = story.settings.model_copy(
        update={"model": story.settings.model.model_copy(update={"version": "2"})}
    )
    story.baseline = healthy("2")
    story.watch()
    page = open_page(story)
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "No run has judged model version 2 yet." in page.text


def test_runs_without_traffic_are_no_calm(tmp_path: Path) -> None:
    """Where no run was ever conclusive the page does not call the model safe; later it shows how long ago one was."""
    story = begin(tmp_path)
    story.runs(3, tally(10))
    page = open_page(story)
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "No run has been conclusive yet: too little traffic." in page.text
    story.run(tally())
    story.run(tally(10))
    page = open_page(story)
    assert banner(page) == ("calm", "NORMAL")
    assert "too little traffic to be conclusive; the last conclusive run was 13 min ago" in page.text


def test_a_hold_is_shown(tmp_path: Path) -> None:
    """Held by an operator: DEGRADED, with who, why, since when and how to end it."""
    story = begin(tmp_path)
    story.runs(3, tally())
    story.hold("ada", "drill at dawn")
    page = open_page(story)
    assert banner(page) == ("danger", "DEGRADED")
    assert "Held by ada since 2026-03-01T12:30:00Z: drill at dawn" in page.text
    assert "stillsafe release" in page.text
    assert "The fallback answers" in page.text
    assert "hold by ada , drill at dawn" in page.text


def test_a_hold_before_the_first_run_is_shown(tmp_path: Path) -> None:
    """A hold applies and is shown without any run."""
    story = begin(tmp_path)
    story.hold()
    page = open_page(story)
    assert banner(page) == ("danger", "DEGRADED")
    assert "The monitor has never run." in page.text


def test_an_unreadable_database_is_a_clear_503(tmp_path: Path) -> None:
    """Where the store cannot be read the page shows that, with a status that a probe understands."""
    story = begin(tmp_path)
    story.engine.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "stillsafe.db").write_bytes(b"this is no database at all" * 100)
    answer = client(story).get("/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    page = Page(answer.text)
    assert banner(page) == ("unknown", "UNKNOWN")
    assert "not a database" in page.text
    assert "stillsafe check" in page.text
    assert "Traceback" not in page.text


def test_a_database_without_tables_is_a_clear_503(tmp_path: Path) -> None:
    """An empty database file is not an empty history."""
    story = begin(tmp_path)
    story.engine = database.connect(f"sqlite:///{tmp_path / 'other.db'}")
    assert client(story).get("/").status_code == 503


def test_an_unknown_state_is_a_clear_503(tmp_path: Path) -> None:
    """A state that another program wrote is an error on the page, neither calm nor an exception."""
    story = begin(tmp_path)
    story.runs(3, tally())
    with database.writing(story.engine) as connection:
        connection.execute(update(system_state).values(current_state="FINE"))
    answer = client(story).get("/")
    assert answer.status_code == 503
    assert "damaged state" in answer.text


@pytest.mark.parametrize("document", [None, "text", 3, [1], {"total": {}}, [{"signal": "other"}]])
def test_runs_with_invalid_documents_are_shown(tmp_path: Path, document: object) -> None:
    """A run without valid documents has no readings, and the page is shown."""
    story = begin(tmp_path)
    story.runs(2, tally())
    blank = {"evidence": None, "state_after": None, "reason": None, "severity": None}
    with database.writing(story.engine) as connection:
        connection.execute(update(current_window_metrics).values(window=document, readings=document, **blank))
    assert "UNKNOWN" in open_page(story).text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Reasons, categories, names, explanations: whatever was stored is shown as text and cannot act."""
    story = begin(tmp_path, service={"name": HOSTILE}, fallback={"default": HOSTILE})
    incident = story.runs(3, faulty_tally(unseen={HOSTILE: 200, "Q" * 500: 100})).incident
    assert incident is not None
    story.explain(incident.incident_id, HOSTILE, f"{HOSTILE}\n{HOSTILE}")
    story.hold(HOSTILE, HOSTILE)
    with database.writing(story.engine) as connection:
        connection.execute(update(incidents).values(decision_reason=HOSTILE, trigger_signals=[HOSTILE]))
        connection.execute(update(current_window_metrics).values(reason=HOSTILE))
    for page in (open_page(story), open_incident(story, incident.incident_id)):
        (script,) = page.attributes_of("script")
        assert script["src"].split("?")[0].endswith(HEAD_SCRIPT)
        assert "img" not in {tag for tag, _ in page.tags}
        assert page.html.count("<script>") == 0
        assert page.html.count("{{7*7}}") > 5
        assert "Q" * 60 not in page.html
        for _, attributes in page.tags:
            names = [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "formaction")]
            assert not names
            assert "javascript" not in attributes.get("href", "")


def test_invalid_unicode_is_replaced(tmp_path: Path) -> None:
    """Half a surrogate pair in a stored document is replaced, and the page is shown."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally(unseen={"lone": 200}))
    file = tmp_path / "stillsafe.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE incidents SET trigger_signals = ?", ('["\\ud800"]',))
    connection.close()
    assert "?" in open_page(story).text


def test_nothing_on_the_page_can_run_or_load(tmp_path: Path) -> None:
    """The policy allows the service's own script and style alone: no frame, no form, nothing inline or foreign."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally())
    answer = client(story).get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    page = Page(answer.text)
    assert not {"style", "iframe", "form", "object"} & {tag for tag, _ in page.tags}
    assert [attributes["src"].split("?")[0] for attributes in page.attributes_of("script")] == [HEAD_SCRIPT]
    assert {link["href"].split("?")[0].split(",")[0] for link in page.attributes_of("link")} == {
        "static/stillsafe.css",
        "data:image/svg+xml",
    }


def test_the_style_is_served(tmp_path: Path) -> None:
    """Style and script are there, and no other file of the folder is."""
    pages = client(begin(tmp_path))
    style = pages.get("/static/stillsafe.css")
    assert style.status_code == 200
    assert style.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in style.text
    assert pages.get("/static/stillsafe.js").headers["content-type"].startswith("text/javascript")
    for path in ("/static/../views.py", "/static/%2e%2e/views.py", "/static/none.css"):
        assert pages.get(path).status_code == 404


def test_the_page_only_reads(tmp_path: Path) -> None:
    """A page leaves the database unchanged: only SELECT is sent, and questions for tables."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally())
    statements: list[str] = []
    listening: Engine = story.engine
    event.listen(listening, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
    open_page(story)
    assert statements
    queries = [each for each in statements if "table_info" not in each and "table_xinfo" not in each]
    assert {statement.split()[0] for statement in queries} <= {"SELECT", "BEGIN"}
    answer = client(story)
    assert answer.post("/").status_code == 405
    assert answer.head("/").status_code == 200


@pytest.mark.parametrize(
    "query", ["?time=week", "?time=month", "?time=999999999", "?time=-1", "?time=<b>", "?version=<b>", "?x=1"]
)
def test_any_query_is_a_page(tmp_path: Path, query: str) -> None:
    """Any other query is the first of the choices; nothing of it reaches the page."""
    story = begin(tmp_path)
    story.runs(2, tally())
    page = open_page(story, query=query)
    assert "<b>" not in page.html
    assert "999999999" not in page.html


def test_the_page_updates_itself_without_a_reload(tmp_path: Path) -> None:
    """The script replaces the main part after a quarter of the interval; without scripts a link reloads the page."""
    story = begin(tmp_path, monitor={"every": "2m", "window": "3m"})
    page = open_page(story)
    assert not [meta for meta in page.attributes_of("meta") if "http-equiv" in meta]
    (live,) = [span for span in page.attributes_of("span") if span.get("id") == "live"]
    assert (live["data-seconds"], live["data-text"]) == ("30", "updates every 30 s")
    assert [link for link in page.attributes_of("a") if link.get("href") == ""]


def sentences_of(page: Page) -> list[str]:
    """The sentences of a page that are long enough to be a nuisance twice."""
    sentences = [each for text in page.texts for each in re.split(r"(?<=[.!?])\s+", " ".join(text.split()))]
    return [each for each in sentences if len(each) > 40]


def test_no_sentence_stands_twice(tmp_path: Path) -> None:
    """Neither on the dashboard nor on the page of the incident, however many runs and explanations there are."""
    story = begin(tmp_path)
    incident = story.runs(2, faulty_tally()).incident
    assert incident is not None
    story.explain(incident.incident_id, f"It began. {incident.reason}", "Look at the feed of the departure delays.")
    worse = story.run(faulty_tally()).incident
    assert worse is not None
    story.explain(incident.incident_id, worse.reason, "Look at the feed of the departure delays.", "escalated")
    story.runs(8, faulty_tally())
    for page in (open_page(story), open_incident(story, incident.incident_id)):
        sentences = sentences_of(page)
        assert [each for each in sentences if sentences.count(each) > 1] == []


def test_a_page_is_small_however_much_there_is(tmp_path: Path) -> None:
    """With its two files below 150 KB, with many deviating runs and three requests in all."""
    story = begin(tmp_path)
    incident = story.run(faulty_tally(unseen={"ZZ": 200})).incident or story.run(faulty_tally()).incident
    assert incident is not None
    story.runs(75, faulty_tally(unseen={"ZZ": 200, "YY": 80}))
    pages = client(story)
    for path in ("/", f"/dashboard/incidents/{incident.incident_id}"):
        page = Page(pages.get(path).text)
        files = [each["href"] for each in page.attributes_of("link") if not each["href"].startswith("data:")]
        files += [each["src"] for each in page.attributes_of("script")]
        assert len(files) == 2
        sizes = [len(pages.get("/static/" + each.split("/static/")[-1].split("static/")[-1]).content) for each in files]
        assert len(page.html.encode()) + sum(sizes) < 150_000


def test_charts_have_descriptions(tmp_path: Path) -> None:
    """Every chart has a title and a unique description."""
    story = begin(tmp_path)
    story.runs(3, faulty_tally(unseen={"ZZ": 200}))
    page = open_page(story)
    pictures = [svg for svg in page.attributes_of("svg") if svg.get("role") == "img"]
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(pictures) >= 6
    assert len(identifiers) == len(set(identifiers))
    for svg in pictures:
        assert set(svg["aria-labelledby"].split()) <= set(identifiers)
    assert "Mean confidence: now 0.660, from 0.660 to 0.660 in these runs; healthy is 0.842." in page.text
    assert page.attributes_of("html")[0]["lang"] == "en"
    assert page.html.count("<h1") == 1


def test_the_worst_reading_is_the_first(tmp_path: Path) -> None:
    """The table begins with the worst reading, with its value, reference, limits and streak."""
    story = begin(tmp_path)
    story.runs(2, faulty_tally())
    text = open_page(story).text
    table = text[text.index("Readings of") :]
    assert table.index("SEVERE Missing values dep_delay 97.0% 2.0%") < table.index("MODERATE Missing values wind_speed")
    assert table.index("MODERATE Missing values wind_speed") < table.index("NONE ")
    assert "moderate > 7.0%, severe > 27.0%" in table
    assert "2 (2 severe)" in table


def test_alternative_features_are_shown(tmp_path: Path) -> None:
    """Where it is not known which features are damaged, the table names both alternatives, as text."""
    story = begin(tmp_path)
    story.runs(2, faulty_tally())
    sides = Reading(
        Signal.BROKEN_RELATION_RATE, "dep_delay", Evidence.BAD, Level.SEVERE, 0.9, 0.0, 0.1, 0.3, 600, ("temp", HOSTILE)
    )
    with database.writing(story.engine) as connection:
        connection.execute(update(current_window_metrics).values(readings=[to_document(sides)]))
    page = open_page(story)
    assert f"Broken relations dep_delay or else temp and {HOSTILE} 90.0%" in page.text
    assert page.html.count("<script>") == 0


def test_an_incident_has_a_page_of_its_own(tmp_path: Path) -> None:
    """What is wrong, what answers, what to type, what happened, before and after, rules, explanation."""
    story = begin(tmp_path, fallback={"rules": [{"when": "dep_delay > 15.0", "answer": "late"}]})
    incident = story.runs(2, faulty_tally()).incident
    assert incident is not None
    story.explain(incident.incident_id, "The feed has failed.", "Look at the feed.\nCall the airport.")
    story.run(faulty_tally())
    assert f"dashboard/incidents/{incident.incident_id}" in open_page(story).html
    page = open_incident(story, incident.incident_id)
    assert banner(page) == ("danger", "DEGRADED")
    for text in (
        "Incident since 2026-03-01T12:20:00Z, for",
        "Not safe to trust.",
        "dep_delay is missing in 97.0% of 600 predictions. Also: wind_speed.",
        "Type in the service folder",
        "The fallback answers: on time.",
        f"stillsafe explain {incident.incident_id}",
        "Opened",
        "Escalated to CRITICAL",
        "missing 2.0% 97.0%",
        "dep_delay > 15.0",
        "not used: reads dep_delay",
        "The feed has failed.",
        "Look at the feed.",
        "Call the airport.",
        "Advice only",
        "by offline",
        f"stillsafe incidents export {incident.incident_id} --out incident.html",
    ):
        assert text in page.text, text
    assert {link["href"] for link in page.attributes_of("a")} >= {"../../", ""}
    story.runs(3, tally(fallback=True))
    page = open_incident(story, incident.incident_id)
    assert banner(page) == ("calm", "RESOLVED")
    assert "2026-03-01T12:20:00Z to 2026-03-01T13:00:00Z, 40 min" in page.text
    assert "The model, again." in page.text
    assert "stillsafe hold" not in page.text
    text = open_page(story).text
    assert "resolved 2026-03-01T13:00:00Z after 40 min" in text
    assert "The fallback answered." in text


def test_an_incident_that_does_not_exist_is_a_404(tmp_path: Path) -> None:
    """Whatever is in its place in the address is text."""
    pages = client(begin(tmp_path))
    assert pages.get("/dashboard/incidents/%3Cscript%3Ealert(1)%3C%2Fscript%3E").status_code == 404
    answer = pages.get("/dashboard/incidents/<b>x")
    assert answer.status_code == 404
    assert "<b>x" not in answer.text
    assert "There is no such incident" in answer.text
