"""Every page in a real browser: without a violation of axe, on a phone as on a desk, by day and by night, and useful.

axe-core is Deque's (MPL-2.0), from the package axe-playwright-python.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, sync_playwright

from stillsafe.backtest import report
from stillsafe.dashboard import views
from stillsafe.dashboard.incident_page import read_incident
from stillsafe.dashboard.incident_report import render_incident
from stillsafe.demo import serve
from stillsafe.serving.access.keys import KeyScope
from tests.backtest.histories import backtest_context, past, run_backtest
from tests.dashboard.story import Story, begin, faulty_tally, tally
from tests.serving.access.keyed import KeyedService, keyed_service_of
from tests.serving.services import opened

DESK, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)
SMALL_TEXTS = """
() => {
    const small = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
        const scale = element.closest('svg') ? element.getScreenCTM().a : 1;
        if (scale * parseFloat(getComputedStyle(element).fontSize) < 12) small.add(element.outerHTML);
    }
    return [...small];
}
"""
"""The elements whose text is smaller than 12 pixels on the screen."""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True)
class Site:
    """Pages of a service with an open incident.

    Attributes:
        story: the service.
        addresses: its pages by name, and the files that it writes.
        incident_id: the incident.
        key: opens the pages behind the login.
    """

    story: Story
    addresses: dict[str, str]
    incident_id: str
    key: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: scripts/ensure-debian-packages chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that has degraded, one whose clients need keys, a report of a backtest and an exported incident."""
    folder = tmp_path_factory.mktemp("site")
    story = begin(folder, fallback={"rules": [{"when": "dep_delay > 15.0", "answer": "late"}]})
    story.runs(8, tally())
    incident = story.runs(2, faulty_tally(unseen={"ZZ": 200})).incident
    assert incident is not None
    story.explain(incident.incident_id, "The feed has failed.", "Look at the feed.\nCall the airport.")
    story.runs(4, faulty_tally(unseen={"ZZ": 200}))
    detail = read_incident(story.engine, story.settings, story.now, incident.incident_id)
    assert detail is not None
    (folder / "incident.html").write_text(render_incident(detail), encoding="utf-8")
    context = backtest_context(folder)
    result = run_backtest(past(1_500), context, rows_per_run=250, inject=["nulls:size"])
    text = report.render(
        result, context.settings, made_at=datetime(2026, 4, 1, tzinfo=UTC), command="stillsafe backtest"
    )
    (folder / "report.html").write_text(text, encoding="utf-8")
    pages = FastAPI()
    pages.include_router(views.router(story.engine, story.settings, lambda: story.now))
    keyed_folder = tmp_path_factory.mktemp("keyed")
    shutil.copy(model_file, keyed_folder)
    with ExitStack() as stack:
        service = stack.enter_context(keyed_service(keyed_folder))
        address = f"http://127.0.0.1:{stack.enter_context(serve(pages, '127.0.0.1'))}"
        keyed_address = f"http://127.0.0.1:{stack.enter_context(serve(service.app, '127.0.0.1'))}"
        addresses = {
            "dashboard": f"{address}/",
            "incident": f"{address}/dashboard/incidents/{incident.incident_id}",
            "no incident": f"{address}/dashboard/incidents/none",
            "exported incident": (folder / "incident.html").as_uri(),
            "report": (folder / "report.html").as_uri(),
            "login": f"{keyed_address}/login",
            "docs": f"{keyed_address}/docs",
        }
        yield Site(story, addresses, incident.incident_id, service.keys[KeyScope.READ])


@contextmanager
def keyed_service(folder: Path) -> Iterator[KeyedService]:
    """A service whose clients need keys, closed afterwards."""
    for service in opened(folder):
        yield keyed_service_of(service)


def open_page(browser: Browser, site: Site, name: str, **options: Any) -> Page:
    """A page of the site; the pages behind the login are opened by it."""
    page = browser.new_context(viewport=DESK, **options).new_page()
    page.goto(site.addresses[name])
    if name == "docs":
        page.fill("#key", site.key)
        page.click("main button")
        page.wait_for_selector(".opblock")
        assert page.url == site.addresses[name]
    return page


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds by some of its rules, or by all of them, with the first element of each."""
    results = Axe().run(page, options={"runOnly": list(rules)} if rules else None).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']} {each['nodes'][0]['failureSummary']}" for each in results]


@pytest.mark.parametrize(
    "name", ["dashboard", "incident", "no incident", "exported incident", "report", "login", "docs"]
)
def test_every_page_is_for_everybody(browser: Browser, site: Site, name: str) -> None:
    """No violation of axe, nothing wider than the screen, no text below 12 pixels; on both screens, light and dark."""
    page = open_page(browser, site, name)
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="light")
        assert violations(page) == [], size
        if name not in ("docs", "exported incident"):  # Swagger UI has light colours alone; the file's are the page's
            page.emulate_media(color_scheme="dark")  # which changes colours alone
            assert violations(page, "color-contrast") == [], size
        assert page.evaluate(OVERFLOW) == 0, size
        assert page.evaluate(SMALL_TEXTS) == [], size
    page.context.close()


@pytest.mark.parametrize("name", ["dashboard", "incident"])
def test_an_alert_leads_to_one_screen(browser: Browser, site: Site, name: str) -> None:
    """On a phone what is wrong, what answers, what to check and what to type are on the first screen."""
    page = open_page(browser, site, name)
    page.set_viewport_size(PHONE)
    for part in ("#word", "#cause", "#answering", "#advice", "#steps"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= PHONE["height"], part
    assert "dep_delay is missing in 97.0%" in page.inner_text("#cause")
    for chart in page.locator(".drawing").all():
        box = chart.bounding_box()
        assert box is not None
        assert 0 < box["x"] < box["x"] + box["width"] <= PHONE["width"]
    page.context.close()


def _append_text(texts: list[str], message: ConsoleMessage) -> None:
    texts.append(message.text)


def _append_address(addresses: list[str], request: Request) -> None:
    addresses.append(request.url)


def test_a_page_is_three_requests(browser: Browser, site: Site) -> None:
    """Page, style and script, and nothing that the policy blocks."""
    for name in ("dashboard", "incident"):
        page = browser.new_context().new_page()
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", partial(_append_text, problems))
        page.on("request", partial(_append_address, requests))
        page.goto(site.addresses[name], wait_until="networkidle")
        assert len([each for each in requests if not each.startswith("data:")]) == 3
        assert problems == []
        page.context.close()


def test_a_page_is_useful_without_a_script(browser: Browser, site: Site) -> None:
    """It has the same text, and a link that reloads it."""
    page = open_page(browser, site, "dashboard", java_script_enabled=False)
    assert page.locator("#word").inner_text() == "DEGRADED"
    page.click("text=Reload")
    assert page.locator("#cause").is_visible()
    page.context.close()


def test_the_page_updates_itself(browser: Browser, site: Site) -> None:
    """Without a reload: what a person has opened stays open; without a connection it says that it is old."""
    page = open_page(browser, site, "dashboard")
    page.click("#in-full-summary")
    page.evaluate("window.isSame = true")
    site.story.run(tally(fallback=True))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("text=1 of 3 calm runs towards recovery.")
    assert page.evaluate("window.isSame && document.getElementById('in-full').open && document.activeElement.id")
    page.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("text=no connection: this page is old")
    page.context.set_offline(False)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("text=updates every 1 min")
    page.click("text=Pause")
    assert page.inner_text("#live") == "paused Go on"
    page.context.close()
