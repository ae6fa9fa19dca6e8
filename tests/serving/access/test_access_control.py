"""Every route of a service with keys is closed to whoever has no key, a wrong one, or one without its scope."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.testclient import TestClient

from stillsafe.serving.access.access_control import AccessControl, presented_keys
from stillsafe.serving.access.keys import KeyScope, generate_key, revoke_key
from stillsafe.store import database
from tests.serving.access.keyed import KeyedService, keyed_service_of
from tests.serving.services import GOOD, NOW, Service
from tests.serving.test_inference_routes import INFER, inference_body

PREDICT, LABEL, READ, OPERATE = KeyScope.PREDICT, KeyScope.LABEL, KeyScope.READ, KeyScope.OPERATE
OPEN: frozenset[KeyScope] = frozenset()
MODEL_PATHS = ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}")
EXPECTED: dict[tuple[str, str], frozenset[KeyScope]] = {
    ("POST", "/v1/predict"): frozenset({PREDICT}),
    ("POST", "/v1/predict/batch"): frozenset({PREDICT}),
    ("POST", "/v1/record"): frozenset({PREDICT}),
    ("POST", "/v1/fallback"): frozenset({PREDICT}),
    ("POST", "/v1/labels"): frozenset({LABEL}),
    ("GET", "/v1/schema"): frozenset({PREDICT, READ}),
    ("GET", "/v2"): frozenset({PREDICT, READ}),
    **{("GET", path): OPEN for path in ("/v2/health/live", "/v2/health/ready")},
    **{("GET", f"{path}{end}"): frozenset({PREDICT, READ}) for path in MODEL_PATHS for end in ("", "/ready")},
    **{("POST", f"{path}/infer"): frozenset({PREDICT}) for path in MODEL_PATHS},
    **{
        ("GET", path): frozenset({READ})
        for path in (
            *("/v1/state", "/v1/incidents", "/v1/incidents/{incident_id}", "/v1/windows", "/v1/baseline", "/v1/model"),
            *("/v1/predictions", "/v1/predictions/{prediction_id}", "/v1/performance"),
            *("/metrics", "/", "/docs", "/openapi.json", "/dashboard/incidents/{incident_id}", "/static/stillsafe.js"),
            *("/docs/openapi.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"),
        )
    },
    ("POST", "/v1/hold"): frozenset({OPERATE}),
    ("POST", "/v1/release"): frozenset({OPERATE}),
    **{("GET", path): OPEN for path in ("/health/live", "/health/ready", "/login", "/static/stillsafe.css")},
    ("POST", "/login"): OPEN,
    ("POST", "/logout"): OPEN,
}
"""Each route, and the scopes that open it. A new route belongs here, with the scope that it needs."""
BODIES: dict[str, Any] = {
    "/v1/predict": {"features": GOOD},
    "/v1/predict/batch": {"instances": [GOOD]},
    "/v1/hold": {"reason": "a test"},
}
PAGES = {"/": "login", "/docs": "login", "/dashboard/incidents/{incident_id}": "../../login"}
"""Pages, and where they lead a person without a key."""
BAD_AND_GOOD: list[Any] = [{"features": GOOD}, {"features": {}}, "x"]


def flat_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """Every route, also those of routers that newer versions of FastAPI keep as one entry."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route
        else:
            yield from flat_routes(router.routes)


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route."""
    for route in flat_routes(app.routes):
        for method in route.methods - {"HEAD"}:
            yield method, route.path


def send(client: TestClient, method: str, path: str, **headers: str) -> Any:
    """The response to a request."""
    return client.request(method, path.replace("{incident_id}", "x"), json=BODIES.get(path), headers=headers)


def await_status(client: TestClient, status: int, **headers: str) -> None:
    """Predict until the answer has this status; the keys of another second decide. A minute is a failure."""
    end = monotonic() + 60
    while client.post("/v1/predict", json={"features": GOOD}, headers=headers).status_code != status:
        assert monotonic() < end
        sleep(0.05)


def test_every_route_is_in_the_table(keyed_service: KeyedService) -> None:
    """A route that is added and not named here fails: its author decides who may use it."""
    assert set(routes_of(keyed_service.app)) == set(EXPECTED)


@pytest.mark.parametrize(("method", "path"), EXPECTED, ids=lambda part: part)
def test_a_route_is_open_to_its_scopes_alone(keyed_service: KeyedService, method: str, path: str) -> None:
    """Without a key 401 with a challenge, or the login for a page; a wrong key 401; another scope 403."""
    needs = EXPECTED[method, path]
    with keyed_service.client() as client:
        without, wrong = send(client, method, path), send(client, method, path, **{"X-API-Key": generate_key()})
        answers = {
            scope: send(client, method, path, Authorization=f"Bearer {key}")
            for scope, key in keyed_service.keys.items()
        }
    if not needs:
        assert {each.status_code for each in (without, wrong, *answers.values())}.isdisjoint({401, 403}) or (
            path == "/login"
        )
        return
    if path in PAGES:
        assert (without.status_code, without.headers["location"].partition("?")[0]) == (303, PAGES[path])
    else:
        assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    for scope, answer in answers.items():
        assert (answer.status_code == 403) is (scope not in needs), (scope, answer.text)
        assert answer.status_code != 401
    media_type = "application/json" if path.startswith("/v2") else "application/problem+json"
    assert all(
        each.headers["content-type"] == media_type
        for each in (wrong, *answers.values())
        if each.status_code in (401, 403)
    )


def test_what_no_route_has_is_closed_as_well(keyed_service: KeyedService) -> None:
    """A client without a key does not learn which paths exist."""
    with keyed_service.client() as client:
        for path in ("/nowhere", "/v1/", "/v1/predict/x", "//v1/state", "/health", "/Login", "/v1/state/", "/v1/Hold"):
            for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
                assert client.request(method, path).status_code == 401, (method, path)


def test_refused_requests_are_no_evidence(keyed_service: KeyedService) -> None:
    """Neither the log nor the refusals have them, nor the counters of refusals; one metric has, by key."""
    with keyed_service.client() as client:
        for key in (None, "wrong", keyed_service.keys[READ]):
            headers = {} if key is None else {"X-API-Key": key}
            for body in BAD_AND_GOOD:
                assert client.post("/v1/predict", json=body, headers=headers).status_code in (401, 403)
        metrics = client.get("/metrics", headers={"X-API-Key": keyed_service.keys[READ]}).text
    assert (keyed_service.service.log(), keyed_service.service.refusals()) == ([], [])
    samples = [s for family in text_string_to_metric_families(metrics) for s in family.samples]
    assert not [s for s in samples if s.name == "stillsafe_refusals_total"]
    counts = {tuple(s.labels.values()): s.value for s in samples if s.name == "stillsafe_key_requests_total"}
    assert counts == {("unknown", "no_valid_key"): 6, ("read", "missing_scope"): 3, ("read", "admitted"): 1}


def test_a_revocation_is_in_force_without_a_restart(keyed_service: KeyedService) -> None:
    """While the service runs and is busy, and so is a new key of that name. `test_key_cache.py` has the seconds."""
    key = keyed_service.keys[PREDICT]
    with keyed_service.client(key) as client:
        assert client.post("/v1/predict", json={"features": GOOD}).status_code == 200
        revoke_key(keyed_service.service.engine, "predict", at=NOW)
        await_status(client, 401)
        new_key = keyed_service.create("predict", PREDICT)
        await_status(client, 200, Authorization=f"Bearer {new_key}")
        assert client.post("/v1/predict", json={"features": GOOD}).status_code == 401


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_header_that_was_let_in_opens_nothing_more(keyed_service: KeyedService, header: str) -> None:
    """It opens predictions alone, in its own place, and never with a second one that differs."""
    key, other = keyed_service.keys[PREDICT], keyed_service.keys[READ]
    value, other_header = (f"Bearer {key}", "X-API-Key") if header == "Authorization" else (key, "Authorization")
    with keyed_service.client() as client:

        def status(path: str = "/v1/predict", **headers: str) -> int:
            return int(client.post(path, json=BODIES[path], headers=headers).status_code)

        assert [status(**{header: value}) for _ in range(3)] == [200, 200, 200]
        assert status("/v1/hold", **{header: value}) == 403
        assert status(**{header: f"{value}x"}) == status(**{other_header: value}) == status() == 401
        both = {"Authorization": f"Bearer {other}", "X-API-Key": other}
        assert status(**(both | {header: value})) == 401
        assert status(**{header: value}) == 200


def test_credentials_beside_a_session_are_no_key(keyed_service: KeyedService) -> None:
    """A session reads pages with a proxy's own credentials in its requests; these let nobody in by themselves."""
    key = keyed_service.create("all", PREDICT, READ)
    proxy = {"Authorization": "Basic eDp5"}
    with keyed_service.client() as client:
        client.post("/login", data={"key": key}, headers={"Origin": "http://testserver"})
        assert client.get("/v1/schema", headers=proxy).status_code == 200
        assert client.post("/v1/predict", json={"features": GOOD}, headers=proxy).status_code == 401


def test_a_rate_is_kept_and_told(keyed_service: KeyedService) -> None:
    """Beyond it 429 with the seconds to wait, and nothing is recorded; other keys are not concerned."""
    key = keyed_service.create("slow", PREDICT, rate_per_minute=3)
    with keyed_service.client(key) as client:
        answers = [client.post("/v1/predict", json={"features": GOOD}) for _ in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 20
        headers = {"Authorization": f"Bearer {keyed_service.keys[PREDICT]}"}
        assert client.post("/v1/predict", json={"features": GOOD}, headers=headers).status_code == 200
    assert len(keyed_service.service.log()) == 4
    assert keyed_service.service.refusals() == []


def test_each_item_of_a_request_counts(keyed_service: KeyedService) -> None:
    """Neither batches, labels nor tensors get past a rate; a request may leave a debt, which the next one learns of."""
    bodies: dict[str, Any] = {
        "/v1/predict/batch": {"instances": [GOOD, {}, GOOD, GOOD]},
        "/v1/labels": {"labels": [{"prediction_id": "x", "label": "1"}] * 4},
        INFER: inference_body(*[GOOD] * 4),
    }
    keys = {
        path: keyed_service.create(path[4:].replace("/", "-"), PREDICT, LABEL, rate_per_minute=5) for path in bodies
    }
    for path, key in keys.items():
        with keyed_service.client(key) as client:
            answers = [client.post(path, json=bodies[path]) for _ in range(3)]
            assert [each.status_code for each in answers] == [200, 200, 429]
            assert 36 < int(answers[-1].headers["retry-after"]) <= 48  # 3 of debt and one, at 12 seconds each
    assert len(keyed_service.service.log()) == 14


def test_the_last_keys_stay_valid_while_the_store_is_out(keyed_service: KeyedService) -> None:
    """A server that never read any lets nobody in: 503. Health goes on without them."""
    with database.writing(keyed_service.service.engine) as connection:
        connection.execute(text("ALTER TABLE api_keys RENAME TO away"))
    with keyed_service.client(keyed_service.keys[READ]) as client:
        assert client.get("/v1/schema").status_code == 503
        assert client.get("/health/live", headers={"Authorization": ""}).status_code == 200
        with database.writing(keyed_service.service.engine) as connection:
            connection.execute(text("ALTER TABLE away RENAME TO api_keys"))
        assert client.get("/v1/schema").status_code == 200
        with database.writing(keyed_service.service.engine) as connection:
            connection.execute(text("ALTER TABLE api_keys RENAME TO away"))
        sleep(1.2)
        assert client.get("/v1/schema").status_code == 200
        assert client.get("/v1/schema", headers={"Authorization": "Bearer x"}).status_code == 401


def test_several_different_keys_are_none(keyed_service: KeyedService) -> None:
    """Which one a proxy or a log reads is not known; the same key twice is one."""
    read, predict = keyed_service.keys[READ], keyed_service.keys[PREDICT]
    with keyed_service.client() as client:
        same = client.get("/v1/state", headers={"Authorization": f"Bearer {read}", "X-API-Key": read})
        different = client.get("/v1/state", headers={"Authorization": f"Bearer {read}", "X-API-Key": predict})
    assert (same.status_code, different.status_code) == (200, 401)


def test_keys_are_read_from_both_headers() -> None:
    """The scheme in any case; credentials of another scheme, which a proxy may have asked for, are no key."""
    headers = [(b"authorization", b"bEARER  a "), (b"authorization", b"Basic b"), (b"x-api-key", b" c ")]
    assert list(presented_keys(headers)) == [b"a", b"c"]


@pytest.mark.parametrize("path", ["/health/ready", "/health/live"])
def test_health_says_no_internals_without_a_key(keyed_service: KeyedService, path: str) -> None:
    """Status and whether the model is judged; a key with `read` gets what a service without keys says."""
    with keyed_service.client() as client:
        short = client.get(path).json()
        full = client.get(path, headers={"X-API-Key": keyed_service.keys[READ]}).json()
        predicting = client.get(path, headers={"X-API-Key": keyed_service.keys[PREDICT]}).json()
    assert set(short) <= {"status", "judged"}
    assert short == predicting
    assert short.items() <= full.items()
    assert ("model_version" in full) is (path == "/health/ready")


def test_health_does_not_say_why_it_fails(keyed_service: KeyedService) -> None:
    """503 without the store's words, and without those about a model that answers as never before; a key gets both."""
    consistency = keyed_service.service.context.consistency
    with keyed_service.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(consistency), "problem", "The model answers otherwise", raising=False)
        short = client.get("/health/ready")
        full = client.get("/health/ready", headers={"X-API-Key": keyed_service.keys[READ]})
    assert (short.status_code, short.json()["detail"]) == (503, "The service is not ready.")
    assert (full.status_code, "answers otherwise" in full.json()["detail"]) == (503, True)
    keyed_service.service.close_store()
    with database.writing(keyed_service.service.engine) as connection:
        connection.execute(text("ALTER TABLE system_state RENAME TO state_away"))
    with keyed_service.client() as client:
        short = client.get("/health/ready")
        full = client.get("/health/ready", headers={"X-API-Key": keyed_service.keys[READ]})
    assert (short.status_code, short.json()["detail"]) == (503, "The service is not ready.")
    assert (full.status_code, "database" in full.json()["detail"]) == (503, True)


def test_a_mounted_app_has_the_same_table(keyed_service: KeyedService) -> None:
    """Below another path each route needs the same scopes."""
    outer = FastAPI()
    outer.mount("/below", keyed_service.app)
    with TestClient(outer, raise_server_exceptions=False, follow_redirects=False) as client:
        for (method, path), needs in EXPECTED.items():
            if not path.startswith("/v1/predict"):  # whose batcher the outer app does not start
                status = send(client, method, f"/below{path}").status_code
                assert (status in (401, 303)) is bool(needs) or path in ("/login", "/logout"), path
                status = send(client, method, f"/below{path}", **{"X-API-Key": keyed_service.keys[READ]}).status_code
                assert (status == 403) is (bool(needs) and READ not in needs), path


def test_nothing_of_a_key_is_written_anywhere(keyed_service: KeyedService, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a table nor the log nor an answer has a key, or a part of it, whatever became of the request."""
    caplog.set_level(logging.DEBUG)
    wrong_key = generate_key()
    contents = []
    with keyed_service.client() as client:
        for key in (*keyed_service.keys.values(), wrong_key):
            for method, path in EXPECTED:
                answer = send(client, method, path, Authorization=f"Bearer {key}")
                contents.append(answer.text + str(answer.headers))
            contents.append(client.post("/login", data={"key": key}, headers={"Origin": "http://testserver"}).text)
    with database.reading(keyed_service.service.engine) as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        rows = [str(connection.execute(text(f'SELECT * FROM "{name}"')).all()) for name in names]  # noqa: S608 - our own tables
    file = keyed_service.service.context.settings.folder / "stillsafe.db"
    content = b"".join(each.read_bytes() for each in file.parent.glob("stillsafe.db*"))
    everything = "".join([*contents, *rows, caplog.text, *(str(vars(record)) for record in caplog.records)])
    for key in (*keyed_service.keys.values(), wrong_key):
        assert key[5:25] not in everything
        assert key[5:25].encode() not in content


def test_refusals_are_logged_once_per_kind(keyed_service: KeyedService, caplog: pytest.LogCaptureFixture) -> None:
    """One line per key and reason, however many requests."""
    with keyed_service.client() as client:
        for _ in range(5):
            client.get("/v1/state")
            client.get("/v1/state", headers={"X-API-Key": keyed_service.keys[PREDICT]})
    lines = [vars(r)["fields"] for r in caplog.records if r.getMessage() == "access_refused"]
    assert [(line["key"], line["reason"]) for line in lines] == [
        ("unknown", "no_valid_key"),
        ("predict", "missing_scope"),
    ]


def test_without_keys_nothing_needs_one(service: Service) -> None:
    """The default: no route asks, hold and release over HTTP do not work, and there is no login."""
    plain = keyed_service_of(service, keys=None)
    with plain.client() as client:
        assert client.get("/v1/state").status_code == 200
        assert client.get("/").status_code == 200
        assert client.get("/health/ready").json()["model_version"] == "v1"
        assert client.get("/login").status_code == 404
        assert client.post("/v1/hold", json={"reason": "x"}).status_code == 403
        assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_the_document_says_which_scope_each_operation_needs(keyed_service: KeyedService) -> None:
    """Two ways to present a key, none for health; each operation with a key may answer 401, 403 and 429."""
    with keyed_service.client(keyed_service.keys[READ]) as client:
        document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needs = EXPECTED[method.upper(), path]
            assert bool(operation["security"]) is bool(needs)
            assert not needs or {"401", "403", "429"} <= set(operation["responses"])
            assert not needs or "`" + sorted(needs)[0] + "`" in operation["description"]


def test_access_control_needs_no_lifespan(keyed_service: KeyedService) -> None:
    """Each event loop reads the keys for itself, so that a server may restart one."""
    access = keyed_service.app.access  # type: ignore[attr-defined] # of FastPathApp
    assert isinstance(access, AccessControl)
    scope = {"method": "GET", "path": "/v1/state", "headers": [(b"x-api-key", keyed_service.keys[READ].encode())]}
    for _ in range(2):
        assert asyncio.run(access.refusal(dict(scope))) is None
        sleep(1.1)


def test_a_key_that_may_not_read_learns_no_internals_from_an_answer(keyed_service: KeyedService) -> None:
    """The reason is public; the log has the whole one."""
    with keyed_service.client() as client:
        headers = {"X-API-Key": keyed_service.keys[PREDICT]}
        answer = client.post("/v1/predict", json={"features": GOOD}, headers=headers).json()
        record = client.get(
            f"/v1/predictions/{answer['prediction_id']}", headers={"X-API-Key": keyed_service.keys[READ]}
        ).json()
    assert answer["reason"] == f"The state is {answer['system_state']}."
    assert len(record["reason"]) > len(answer["reason"])
