"""The dashboard's routes: `/` and its style. They read, and nothing else."""

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy import Engine

from stillsafe.dashboard import charts, deviations, formatting, snapshot, status_banner
from stillsafe.errors import StoreError
from stillsafe.settings import Settings

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
RUN_COUNTS = (72, 216, 720)
SHORTEST_REFRESH_SECONDS, LONGEST_REFRESH_SECONDS = 5, 60
LINES_SHOWN = 12
RUNS_LISTED = 15
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(engine: Engine, settings: Settings, clock: Callable[[], datetime]) -> APIRouter:
    """`/` and `/static/stillsafe.css`.

    Args:
        engine: the store, only ever read.
        settings: the service.
        clock: the current time, aware UTC.
    """
    pages = APIRouter(include_in_schema=False)
    style = (FOLDER / "static" / "stillsafe.css").read_bytes()
    templates = _templates(hashlib.sha256(style).hexdigest()[:12])

    @pages.api_route("/", methods=["GET", "HEAD"])
    def page(request: Request) -> Response:
        now = clock()
        shown = _run_count(request.query_params.get("runs"))
        refresh = None if request.query_params.get("refresh") == "off" else _refresh_seconds(settings)
        common = {"settings": settings, "now": now, "refresh": refresh, "shown": shown, "run_counts": RUN_COUNTS}
        try:
            seen = snapshot.take(engine, settings, now, shown)
        except StoreError as error:
            logger.exception("the dashboard cannot read the store")
            return _html(templates, "unavailable.html", 503, {**common, "problem": str(error)})
        return _html(templates, "page.html", 200, {**common, **_drawn(seen)})

    @pages.api_route("/static/stillsafe.css", methods=["GET", "HEAD"])
    def stylesheet() -> Response:
        headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(style, media_type="text/css", headers=headers)

    return pages


def _drawn(seen: snapshot.Snapshot) -> dict[str, Any]:
    drawn: dict[str, Any] = {"seen": seen, "verdict": status_banner.judge(seen), "stale": status_banner.stale(seen)}
    lines = deviations.table(seen)
    drawn |= {"lines": lines[:LINES_SHOWN], "more_lines": lines[LINES_SHOWN:]}
    drawn["runs"] = list(reversed(seen.runs))[:RUNS_LISTED]
    if not seen.runs:
        return drawn | {"timelines": [], "multiples": []}
    timelines = [charts.states(seen), charts.confidence(seen), charts.low_confidence(seen), charts.traffic(seen)]
    multiples = [charts.multiple(seen, key) for key in deviations.multiples(seen.runs)]
    return drawn | {"timelines": timelines, "multiples": multiples}


def _html(templates: Environment, name: str, status: int, context: dict[str, Any]) -> Response:
    text = templates.get_template(name).render(context)
    headers = HEADERS | ({"Retry-After": "5"} if status == 503 else {})
    # Half a surrogate pair in stored text must not cost the page.
    return Response(text.encode("utf-8", "replace"), status, headers, media_type="text/html")


def _templates(style_version: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style_version"] = style_version
    for words in (
        formatting.percent,
        formatting.decimal,
        formatting.count,
        formatting.span,
        formatting.moment,
        formatting.ago,
    ):
        environment.filters[words.__name__] = words
    environment.filters["with_code"] = with_code
    return environment


def with_code(text: str) -> Markup:
    """Our own sentences, what stands between backticks set as code; everything in them is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    marked = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(marked)


def _run_count(asked: str | None) -> int:
    """One of the offered numbers of runs; anything else is the first of them."""
    return next((offered for offered in RUN_COUNTS if str(offered) == asked), RUN_COUNTS[0])


def _refresh_seconds(settings: Settings) -> int:
    """A quarter of the monitor's interval, within reason."""
    quarter = round(settings.monitor.every / 4)
    return min(max(quarter, SHORTEST_REFRESH_SECONDS), LONGEST_REFRESH_SECONDS)
