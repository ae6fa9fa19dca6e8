"""The page `/docs`, which shows the OpenAPI document in a browser: Swagger UI from an installed package."""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from stillsafe.time_share import TimeShare

FOLDER = Path(__file__).parent / "static"
SWAGGER_UI = files("fastapi_swagger.resources")
"""Where the files of Swagger UI are."""
MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "openapi.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from another address, and no page of another address around it. Swagger UI sets styles at its elements."""
MOST_ROOTS = 8
"""Most paths under which an app is mounted whose document is kept."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def openapi_routes(make_document: Callable[[], dict[str, Any]]) -> APIRouter:
    """`/openapi.json`, which is encoded once, and `/docs` with the files that it loads.

    These are loaded by addresses relative to the page, so that it works in a mounted app.

    Args:
        make_document: the OpenAPI document.
    """
    routes = APIRouter(include_in_schema=False)
    html = (FOLDER / "openapi.html").read_bytes()
    contents = {
        "openapi.js": (FOLDER / "openapi.js").read_bytes(),
        "swagger-ui-bundle.js": (SWAGGER_UI / "swagger-ui-bundle.js").read_bytes(),
        "swagger-ui.css": (SWAGGER_UI / "swagger-ui.css").read_bytes(),
    }

    @routes.api_route("/docs", methods=["GET", "HEAD"])
    async def page() -> Response:
        headers = {**HEADERS, "Content-Security-Policy": CONTENT_POLICY, "Cache-Control": "no-store"}
        return Response(html, headers=headers, media_type="text/html")

    share = TimeShare()  # to make the document takes a tenth of a second

    @lru_cache(maxsize=MOST_ROOTS)
    def document_below(root: str) -> bytes:
        document = make_document()
        own_servers = [{"url": root}] if root else []
        servers = own_servers + [each for each in document.get("servers", []) if each.get("url") != root]
        return bytes(JSONResponse({**document, **({"servers": servers} if servers else {})}).body)

    @routes.api_route("/openapi.json", methods=["GET", "HEAD"])
    async def openapi(request: Request) -> Response:
        content = await share.run(partial(document_below, request.scope.get("root_path", "").rstrip("/")))
        return Response(content, media_type="application/json")

    for name, content in contents.items():
        _add_file(routes, name, content)
    return routes


def _add_file(routes: APIRouter, name: str, content: bytes) -> None:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    @routes.api_route(f"/docs/{name}", methods=["GET", "HEAD"], name=name)
    async def file(request: Request) -> Response:
        headers = {**HEADERS, "ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=MEDIA_TYPES[name])
