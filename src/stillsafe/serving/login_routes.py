"""`/login` and `/logout`: a person gives a key with the scope `read` once, and the browser keeps a session."""

import asyncio
import re
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from stillsafe.serving.access.access_control import AccessControl
from stillsafe.serving.access.keys import KeyScope
from stillsafe.serving.access.permissions import LOGIN, LOGOUT
from stillsafe.serving.problems import RefusedRequest, problem
from stillsafe.view_policy import PAGE_HEADERS

PAGE = Template((Path(__file__).parent / "static" / "login.html").read_text(encoding="utf-8"))
MOST_BYTES = 4_096
MOST_SECONDS = 30.0
FORM = "application/x-www-form-urlencoded"
INVALID = '<p role="alert">The key is not valid, or lacks the scope <code>read</code>.</p>'
NEXT_PAGE = re.compile(r"docs|dashboard/incidents/[A-Za-z0-9_-]{1,100}")
"""The pages to which the login leads back; for every other value it leads to the dashboard."""


def login_routes(access: AccessControl) -> APIRouter:
    """The two routes.

    Args:
        access: knows the keys and makes the sessions.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.api_route(LOGIN, methods=["GET", "HEAD"])
    async def form(request: Request) -> Response:
        return _page(request.query_params.get("next"), "", 200)

    @routes.post(LOGIN)
    async def login(request: Request) -> Response:
        fields = await _fields(request)
        record = (await access.cache.table()).key(fields.get("key", "").strip().encode())
        next_page = fields.get("next")
        if record is None or KeyScope.READ not in record.scopes:
            access.count_unknown()
            return _page(next_page, INVALID, 401)
        cookie = access.sessions.cookie(record, access.clock(), secure=_is_https(request))
        headers = {"Set-Cookie": cookie, "Cache-Control": "no-store"}
        return RedirectResponse(_next_page(next_page) or "./", 303, headers)

    @routes.post(LOGOUT)
    async def logout() -> Response:
        headers = {"Set-Cookie": access.sessions.end_cookie(), "Cache-Control": "no-store"}
        return RedirectResponse(LOGIN.removeprefix("/"), 303, headers)

    return routes


async def _fields(request: Request) -> dict[str, str]:
    """The fields of the form.

    Raises:
        RefusedRequest: the body is no form, too long or too late.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise RefusedRequest(problem(415, f"The body must be {FORM}.", Accept=FORM))
    content = bytearray()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > MOST_BYTES:
                    raise RefusedRequest(problem(413, f"The body must not exceed {MOST_BYTES} bytes."))
    except TimeoutError:
        detail = f"The body must arrive within {MOST_SECONDS:g} seconds."
        raise RefusedRequest(problem(408, detail, Connection="close")) from None
    fields = parse_qs(content.decode("latin-1"), max_num_fields=10) if content.count(b"&") < 10 else {}
    return {name: values[0] for name, values in fields.items()}


def _is_https(request: Request) -> bool:
    """Whether the browser came by HTTPS, also where a proxy ends it, by the browser's own origin."""
    return request.url.scheme == "https" or request.headers.get("origin", "").lower().startswith("https://")


def _next_page(text: str | None) -> str:
    """The page that led to the login, if it is one of ours; else empty."""
    return text if text is not None and NEXT_PAGE.fullmatch(text) else ""


def _page(next_page: str | None, message: str, status: int) -> Response:
    text = PAGE.substitute(message=message, next=_next_page(next_page))
    return Response(text, status, PAGE_HEADERS, media_type="text/html")
