"""A person logs in with a key once; the session opens the pages, and nothing that changes anything."""

import re
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from stillsafe.serving.access.keys import KeyScope, revoke_key
from stillsafe.serving.access.session import LENGTH
from stillsafe.serving.login_routes import MOST_BYTES
from tests.serving.access.keyed import KeyedService, keyed_service_of
from tests.serving.services import GOOD, NOW, Service

ORIGIN = {
    "Origin": "http://testserver",
    "Sec-Fetch-Site": "same-origin",
    "Content-Type": "application/x-www-form-urlencoded",
}
"""What a browser sends with the forms of the service's own pages."""
SAME_SITE = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def keyed_service(service: Service) -> KeyedService:
    """A service whose clients need keys."""
    return keyed_service_of(service)


def log_in(client: TestClient, key: str, next_page: str = "") -> int:
    """Send the form; the status."""
    return client.post("/login", data={"key": key, "next": next_page}, headers=ORIGIN).status_code


def test_the_form_has_no_script_and_a_policy(keyed_service: KeyedService) -> None:
    """Nothing is loaded from elsewhere, no page may frame it, and it sends to this service alone."""
    with keyed_service.client() as client:
        page = client.get("/login?next=%22%3E%3Cscript%3E")
    tags = set(re.findall(r"<([a-z]+)", page.text))
    assert "form" in tags
    assert not {"script", "iframe", "object"} & tags
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["referrer-policy"] == "same-origin"


def test_a_login_opens_the_pages_until_the_end(keyed_service: KeyedService) -> None:
    """Twelve hours, or until the logout, or until the key is revoked."""
    key = keyed_service.keys[KeyScope.READ]
    clock = keyed_service.service.clock
    with keyed_service.client() as client:
        assert client.get("/").headers["location"] == "login"
        assert client.get("/docs").headers["location"] == "login?next=docs"
        assert log_in(client, key) == 303
        assert client.get("/").status_code == 200
        assert 'action="logout"' in client.get("/").text
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        assert client.get("/v1/state").status_code == client.get("/metrics").status_code == 200
        clock.now += LENGTH
        assert client.get("/").status_code == 303
        clock.now -= LENGTH - timedelta(seconds=1)
        assert client.post("/logout", headers=ORIGIN).status_code == 303
        assert client.get("/").status_code == 303
        assert log_in(client, key) == 303
        revoke_key(keyed_service.service.engine, "read", at=NOW)
        keyed_service.app.access.cache._checked_at = float("-inf")  # type: ignore[attr-defined] # as after a second
        assert client.get("/").status_code == 303


def test_a_session_changes_nothing(keyed_service: KeyedService) -> None:
    """A page that a browser could be made to send with the cookie has no effect: not a prediction, not a hold."""
    key = keyed_service.create("all", *KeyScope)
    with keyed_service.client() as client:
        assert log_in(client, key) == 303
        assert client.post("/v1/predict", json={"features": GOOD}, headers=SAME_SITE).status_code == 401
        assert client.post("/v1/hold", json={"reason": "x"}, headers=SAME_SITE).status_code == 401
    assert keyed_service.service.log() == []


def test_the_login_leads_to_its_own_pages_alone(keyed_service: KeyedService) -> None:
    """Whatever a link to it says."""
    with keyed_service.client() as client:
        for next_page, location in (("docs", "docs"), ("", "./"), ("//evil.example", "./"), ("https://e.x", "./")):
            form = {"key": keyed_service.keys[KeyScope.READ], "next": next_page}
            assert client.post("/login", data=form, headers=ORIGIN).headers["location"] == location


def test_a_key_that_may_not_read_does_not_log_in(keyed_service: KeyedService) -> None:
    """Nor a wrong one, nor none: 401 with the form, without a cookie and without what was typed."""
    with keyed_service.client() as client:
        for key in (keyed_service.keys[KeyScope.PREDICT], "wrong <b>", "", "\udcff".encode("utf-8", "surrogateescape")):
            answer = client.post("/login", data={"key": key}, headers=ORIGIN)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert "wrong" not in answer.text
            assert "not valid" in answer.text


def test_another_site_can_neither_log_in_nor_out(keyed_service: KeyedService) -> None:
    """The gate is before the login: a page cannot make a browser take somebody else's session."""
    key = keyed_service.keys[KeyScope.READ]
    with keyed_service.client() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = client.post("/login", data={"key": key}, headers=headers)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
            assert client.post("/logout", headers=headers).status_code == 403


def test_the_cookie_is_secure_where_the_browser_came_by_https(keyed_service: KeyedService) -> None:
    """Also behind a proxy that ends TLS: the browser's own origin says so."""
    form = {"key": keyed_service.keys[KeyScope.READ]}
    with keyed_service.client() as client:
        plain = client.post("/login", data=form, headers=ORIGIN).headers["set-cookie"]
        secure = client.post("/login", data=form, headers={"Origin": "https://testserver"}).headers["set-cookie"]
    assert "Secure" not in plain
    assert "Secure" in secure


def test_a_body_that_is_no_form_is_refused(keyed_service: KeyedService) -> None:
    """Too long, of another type, or with too many fields."""
    with keyed_service.client() as client:
        assert client.post("/login", json={"key": "x"}).status_code == 415
        assert client.post("/login", data={"key": "x" * MOST_BYTES}).status_code == 413
        assert (
            client.post(
                "/login",
                content="&".join("a=b" for _ in range(100)),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            ).status_code
            == 401
        )


def test_the_login_leads_back_to_the_incident_of_an_alert(keyed_service: KeyedService) -> None:
    """And to no other address, however it is written."""
    key = keyed_service.keys[KeyScope.READ]
    page = "dashboard/incidents/inc-20260301T122000-000000-1"
    with keyed_service.client() as client:
        assert client.get(f"/{page}").headers["location"] == f"../../login?next={page}"
        assert f'value="{page}"' in client.get(f"/login?next={page}").text
        form = {"key": key, "next": page}
        assert client.post("/login", data=form, headers=ORIGIN).headers["location"] == page
        for other in ("//evil.example", "https://evil.example", f"{page}/../..", f"/{page}", "dashboard/incidents/"):
            form = {"key": key, "next": other}
            assert client.post("/login", data=form, headers=ORIGIN).headers["location"] == "./"
