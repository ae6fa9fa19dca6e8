"""No page in a real browser moves or reads a service that the browser reaches."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.attack.rows import is_served, refusal_count, stored_ids
from tests.attack.web_pages import ATTACK, other_site
from tests.faults.api import BODY
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess

GOOD = json.dumps({"features": BODY})
EVIL, REBOUND = "evil.example", "rebound.example"
OWN_FETCH = """
async ([path, body]) => {
    const headers = {'Content-Type': 'application/json'};
    const response = await fetch(path, body === null ? {} : {method: 'POST', headers, body});
    return [response.status, await response.text()];
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, in which two foreign names resolve to this machine."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: scripts/ensure-debian-packages chromium"
    rules = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP {REBOUND} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", rules])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without cookies or cache."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_a_page_of_another_site_moves_nothing(target: ServerProcess, page: Page, figure: Figure) -> None:
    """Fetches, beacons, forms, frames, scripts, workers and sockets: no row, no refusal, and nothing is read.

    The same page is first pointed at another server, which shows that the browser does send what the service refuses.
    """
    first_counts = stored_ids(target)
    with other_site() as (port, _), other_site() as (victim_port, requests):
        page.goto(f"http://{EVIL}:{port}/")
        page.evaluate(ATTACK, [f"http://127.0.0.1:{victim_port}", GOOD])
        simple_posts = sum(each.startswith("POST /v1/predict") for each in requests)
        assert simple_posts >= 10
        assert {"OPTIONS /v1/predict", "GET /v1/state", "GET /docs"} <= set(requests)
        for site in (f"http://{EVIL}:{port}/", f"http://localhost:{port}/", "data:text/html,<body></body>"):
            page.goto(site)
            read = page.evaluate(ATTACK, [f"http://127.0.0.1:{target.port}", GOOD])
            assert {name: text for name, text in read.items() if text} == {}
    assert (stored_ids(target), refusal_count(target)) == (first_counts, 0)
    assert is_served(target)
    figure("web pages: kinds of requests sent, rows, refusals", f"{len(set(requests))} from 3 sites, 0, 0")


def test_a_name_that_was_rebound_reaches_nothing(target: ServerProcess, page: Page) -> None:
    """The page's own name resolves to this machine, so that the browser takes both for one site."""
    first_counts = stored_ids(target)
    page.goto(f"http://{REBOUND}:{target.port}/")
    for path, body in (("/v1/predict", GOOD), ("/v1/state", None), ("/metrics", None), ("/", None)):
        code, text = page.evaluate(OWN_FETCH, [path, body])
        assert (code, json.loads(text)["status"]) == (403, 403), path
    assert (stored_ids(target), refusal_count(target)) == (first_counts, 0)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_services_own_pages_work(target: ServerProcess, page: Page, path: str) -> None:
    """Without an error or a blocked file, and a request of the user from there is answered."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto(f"http://127.0.0.1:{target.port}{path}", wait_until="networkidle")
    page.wait_for_selector("h1, .opblock")  # the policies let no test evaluate a condition again and again
    assert problems == []
    if path == "/docs":  # the dashboard's own script only reads its page anew
        first_counts = stored_ids(target)
        assert page.evaluate(OWN_FETCH, ["/v1/predict", GOOD])[0] == 200
        assert len(stored_ids(target) - first_counts) == 1
