"""A service whose clients need keys, with a key of each scope, and clients that present them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.dashboard import views
from stillsafe.monitoring import hold
from stillsafe.serving.access.keys import KeyScope, create_key
from stillsafe.serving.app import build
from stillsafe.serving.operator_routes import OperatorActions
from tests.serving.services import NOW, Service

ADDRESS = "http://testserver"


@dataclass
class KeyedService:
    """The application and its keys.

    Attributes:
        service: what it serves.
        app: the application.
        keys: a key of each scope; its name is the scope's.
    """

    service: Service
    app: FastAPI
    keys: dict[KeyScope, str] = field(default_factory=dict)

    @contextmanager
    def client(self, key: str | None = None, **options: Any) -> Iterator[TestClient]:
        """A client that presents a key, or none."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        options = {"follow_redirects": False, "raise_server_exceptions": False, **options}
        with TestClient(self.app, ADDRESS, headers=headers, **options) as client:
            yield client

    def create(self, name: str, *scopes: KeyScope, rate_per_minute: int | None = None) -> str:
        """A further key."""
        return create_key(self.service.engine, name, scopes, rate_per_minute=rate_per_minute, at=NOW)


def keyed_service_of(service: Service, **exposure: Any) -> KeyedService:
    """A service with keys in force, and with everything else that `service.create_app` gives it."""
    with_keys = service.with_settings(
        exposure={"keys": True, "allowed_hosts": ["*"], **exposure}, service={"hash_salt": "the salt of this service"}
    )
    with_keys.decide(State.NORMAL)
    engine, settings = with_keys.engine, with_keys.context.settings
    version = settings.model.version
    actions = OperatorActions(partial(hold.hold, engine, version), partial(hold.release, engine, version))
    pages = views.router(engine, settings, with_keys.clock, with_keys.context.reading_time)
    keys = {scope: create_key(engine, scope.value, [scope], at=NOW) for scope in KeyScope}
    return KeyedService(with_keys, build(with_keys.context, pages=pages, actions=actions), keys)
