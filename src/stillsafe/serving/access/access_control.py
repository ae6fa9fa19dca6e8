"""Access control: each request needs a key with the scope of its path, before any route sees it.

What is refused here was no request to the model: nothing records it, and it is no evidence. A metric counts it.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from time import monotonic
from urllib.parse import quote

from prometheus_client import Counter
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from stillsafe.logs import LogEvent, log_event
from stillsafe.serving.access.key_cache import KeyCache, KeyTable
from stillsafe.serving.access.keys import UNKNOWN, KeyScope
from stillsafe.serving.access.permissions import (
    INCIDENT_PAGES,
    LOGIN,
    PAGES,
    PREDICT_PATHS,
    SAFE_METHODS,
    required_scopes,
)
from stillsafe.serving.access.rate_limit import BUCKET, TokenBucket
from stillsafe.serving.access.session import Sessions
from stillsafe.serving.client import KEY_NAME, path_below
from stillsafe.serving.predict import Context
from stillsafe.serving.problems import Problem, problem
from stillsafe.store.read.keys import KeyRecord, stored_keys

logger = logging.getLogger(__name__)

SCOPES = "stillsafe.scopes"
"""Where an ASGI scope has the scopes of the key that the request presents."""
SPELL_SECONDS = 60.0
"""A kind of refusal that did not happen for so long is logged again when it happens."""
ADMISSION, NO_KEY, NO_SCOPE, TOO_MANY = "admitted", "no_valid_key", "missing_scope", "rate_limit"
"""The result of a request in the metric and in the log."""
MISSING_KEY = problem(
    401,
    "The service needs a key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
    WWW_Authenticate="Bearer",
)
INVALID_KEY = problem(401, "The key is not valid, or not valid any more.", WWW_Authenticate="Bearer")
REPEATED_KEY = problem(401, "The request has several different keys.", WWW_Authenticate="Bearer")
_BEARER = b"bearer "
CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
"""The headers that can have a key."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """A client whose key has the scope `predict`.

    Attributes:
        record: the key.
        bucket: of the key's rate, or None without one.
        count: counts a request that is let in.
    """

    record: KeyRecord
    bucket: TokenBucket | None
    count: Callable[[], None]


class AccessControl:
    """Lets requests in by their keys.

    Args:
        context: the service; its store has the keys.
        requests: counts requests by the name of their key and by what became of them.
    """

    def __init__(self, context: Context, requests: Counter) -> None:
        self.sessions = Sessions(context.settings.service.name, context.settings.service.hash_salt)
        self.clock = context.clock
        self.cache = KeyCache(lambda: _valid_keys(context))
        self._requests = requests
        self._counters: dict[tuple[str, str], Callable[[], None]] = {}
        self._buckets: dict[int, TokenBucket] = {}
        self._refused_at: dict[tuple[str, str], float] = {}
        self._table: KeyTable | None = None
        self._predictors: dict[tuple[bytes, bytes], Predictor] = {}

    def admits(self, scope: Scope) -> bool:
        """Let in a prediction request whose key was let in before, in a fraction of the time of `refusal`.

        False means nothing: `refusal` then decides. A header is found here only where `refusal` let the same one in by
        the keys that are valid now.
        """
        if self.cache.fresh_table() is not self._table or scope["path"] not in PREDICT_PATHS:
            return False
        credentials = [each for each in scope["headers"] if each[0] in CREDENTIALS]
        predictor = self._predictors.get(credentials[0]) if len(credentials) == 1 else None
        if predictor is None or (predictor.bucket is not None and predictor.bucket.seconds_until_next(monotonic())):
            return False
        scope[KEY_NAME], scope[SCOPES] = predictor.record.name, predictor.record.scopes
        if predictor.bucket is not None:
            scope[BUCKET] = predictor.bucket
        predictor.count()
        return True

    async def refusal(self, scope: Scope) -> Problem | Response | None:
        """Why an HTTP request is not let in, as a problem, or as the way to the login; None if it is.

        The name and the scopes of its key are put into the ASGI scope.

        Raises:
            StoreError: the keys could never be read.
        """
        method, path = scope["method"], path_below(scope)
        needs = required_scopes(method, path)
        keys = set(presented_keys(scope["headers"]))
        if not needs and not keys and not _has_cookie(scope):
            return None
        if len(keys) > 1:
            return self._refuse(REPEATED_KEY, UNKNOWN, NO_KEY) if needs else None
        table = await self.cache.table()
        record = table.key(next(iter(keys))) if keys else self._session_key(scope, table)
        if record is not None:
            scope[KEY_NAME], scope[SCOPES] = record.name, record.scopes
        if not needs:
            return None
        if record is None:
            return self._unknown_client(scope, path)
        refusal = self._refuse_known(scope, record, needs)
        if refusal is None and keys and path in PREDICT_PATHS:
            self._remember(scope, record, table)
        return refusal

    def _remember(self, scope: Scope, record: KeyRecord, table: KeyTable) -> None:
        """Keep a header that has a valid key, for as long as the valid keys do not change."""
        if table is not self._table:
            self._table = table
            self._predictors.clear()
        credentials = [each for each in scope["headers"] if each[0] in CREDENTIALS]
        if len(credentials) == 1:
            count = self._counters[record.name, ADMISSION]
            self._predictors[credentials[0]] = Predictor(record, scope.get(BUCKET), count)

    def count_unknown(self) -> None:
        """Count and log a key that is not valid."""
        self._note(UNKNOWN, NO_KEY)

    def _session_key(self, scope: Scope, table: KeyTable) -> KeyRecord | None:
        """The key of the dashboard's session. It only reads: a page of another site cannot use it to do anything."""
        return self.sessions.key(scope["headers"], table, self.clock()) if scope["method"] in SAFE_METHODS else None

    def _unknown_client(self, scope: Scope, path: str) -> Problem | Response:
        """The login for a person who opens a page, 401 for all other requests."""
        has_key = any(True for _ in presented_keys(scope["headers"]))
        is_page = path in PAGES or path.startswith(INCIDENT_PAGES)
        if is_page and not has_key and scope["method"] in ("GET", "HEAD"):
            # Relative, because a proxy may serve this under another path.
            up = "../" * (path.count("/") - 1)
            query = "" if path == "/" else f"?next={quote(path.removeprefix('/'))}"
            location = f"{up}{LOGIN.removeprefix('/')}{query}"
            return RedirectResponse(location, 303, headers={"Cache-Control": "no-store"})
        return self._refuse(INVALID_KEY if has_key else MISSING_KEY, UNKNOWN, NO_KEY)

    def _refuse_known(self, scope: Scope, record: KeyRecord, needs: frozenset[KeyScope]) -> Problem | None:
        """Refuse a valid key that lacks the scope, or that makes too many requests."""
        if needs.isdisjoint(record.scopes):
            names = " or ".join(f"`{each}`" for each in sorted(needs))
            return self._refuse(problem(403, f"The key lacks the scope {names}."), record.name, NO_SCOPE)
        if record.rate_per_minute is not None:
            bucket = scope[BUCKET] = self._bucket(record.id, record.rate_per_minute)
            seconds = bucket.seconds_until_next(monotonic())
            if seconds:
                rate = record.rate_per_minute
                detail = f"The key may make {rate} requests a minute; each instance or label of a request counts."
                refusal = problem(429, detail, Retry_After=str(ceil(seconds)))
                return self._refuse(refusal, record.name, TOO_MANY)
        self._count(record.name, ADMISSION)
        return None

    def _bucket(self, key_id: int, rate_per_minute: int) -> TokenBucket:
        bucket = self._buckets.get(key_id)
        if bucket is None:
            bucket = self._buckets[key_id] = TokenBucket(rate_per_minute, rate_per_minute, monotonic())
        return bucket

    def _refuse(self, refusal: Problem, name: str, reason: str) -> Problem:
        self._note(name, reason)
        return refusal

    def _note(self, name: str, reason: str) -> None:
        """Count a refusal, and log it once until none of its kind happened for a while."""
        self._count(name, reason)
        now = monotonic()
        if now - self._refused_at.get((name, reason), float("-inf")) > SPELL_SECONDS:
            log_event(logger, LogEvent.ACCESS_REFUSED, {"key": name, "reason": reason, "process": os.getpid()})
        self._refused_at[name, reason] = now

    def _count(self, name: str, result: str) -> None:
        count = self._counters.get((name, result))
        if count is None:
            count = self._counters[name, result] = self._requests.labels(name, result).inc
        count()


def has_scope(scope: Scope, name: KeyScope) -> bool:
    """Whether the request presents a key with that scope."""
    return name in scope.get(SCOPES, ())


def presented_keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The keys in the headers of a request; credentials of another kind are none."""
    for name, value in headers:
        if name == b"x-api-key":
            yield value.strip()
        elif name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            yield value[len(_BEARER) :].strip()


def _has_cookie(scope: Scope) -> bool:
    return any(name == b"cookie" for name, _ in scope["headers"])


def _valid_keys(context: Context) -> list[KeyRecord]:
    with context.reading() as connection:
        return stored_keys(connection, valid_only=True)
