"""The page `/docs`, which shows the OpenAPI document in a browser: Swagger UI from an installed package."""

import hashlib
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

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
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def openapi_routes() -> APIRouter:
    """`/docs` and the files that it loads, by addresses relative to it, so that it works in a mounted app."""
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
