"""The page `/docs`: complete without a network, and closed to other sites."""

import re

from fastapi import FastAPI
from starlette.testclient import TestClient

from stillsafe.dashboard import views
from stillsafe.serving.app import build
from stillsafe.serving.openapi_routes import MEDIA_TYPES
from tests.serving.services import Service


def _addresses(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', html)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    """Each address in the page is relative, and the service itself answers it with the right type."""
    addresses = [each for each in _addresses(client.get("/docs").text) if not each.startswith("data:")]
    assert {"docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/openapi.js"} < set(addresses)
    for address in addresses:
        assert not re.match(r"\w+:|/", address)
        response = client.get(f"/{address}")
        assert response.status_code == 200
        expected = MEDIA_TYPES.get(address.removeprefix("docs/"), "application/json")
        assert response.headers["content-type"].partition(";")[0] == expected
    assert "http" not in client.get("/docs/openapi.js").text


def test_no_page_may_load_from_elsewhere_or_be_framed(service: Service) -> None:
    """Every answer in HTML has a policy that names this address alone and forbids frames."""
    dashboard = views.router(service.engine, service.context.settings, service.clock)
    with TestClient(build(service.context, pages=dashboard)) as client:
        paths = ["/", "/docs", "/redoc", "/docs/oauth2-redirect", *client.get("/openapi.json").json()["paths"]]
        answers = [client.get(path) for path in paths]
        service.close_store()
        service.engine.dispose()
        answers += [client.get(path) for path in paths]
    pages = [each for each in answers if "html" in each.headers.get("content-type", "")]
    assert {page.url.path for page in pages} == {"/", "/docs"}
    for page in pages:
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
        assert not re.search(r"https?:|\*", page.headers["content-security-policy"])
        assert "'unsafe-inline'" not in policy.get("script-src", "")
        assert "<script>" not in page.text
        assert page.headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_has_a_file_gets_no_second_copy(client: TestClient) -> None:
    """The files are a megabyte: a request with their tag is answered with 304."""
    first = client.get("/docs/swagger-ui-bundle.js")
    second = client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")


def test_the_page_works_in_a_mounted_app(service: Service) -> None:
    """Under another path, the addresses are relative to the page, and so is that of the document."""
    parent = FastAPI()
    parent.mount("/model", build(service.context))
    with TestClient(parent) as client:
        for address in ("docs", *_addresses(client.get("/model/docs").text)):
            if not address.startswith("data:"):
                assert client.get(f"/model/{address}").status_code == 200
