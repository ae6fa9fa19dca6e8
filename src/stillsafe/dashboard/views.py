"""The routes of the dashboard: the page `/` and its style sheet. They only read."""

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy import Engine

from stillsafe.dashboard import charts, deviations, formatting
from stillsafe.dashboard.estimate_chart import estimate_chart
from stillsafe.dashboard.realised import label_context, read_days
from stillsafe.dashboard.snapshot import Snapshot, take_snapshot
from stillsafe.dashboard.status_banner import build_banner, is_stale
from stillsafe.errors import StoreError
from stillsafe.label_summary import RecentSummaries
from stillsafe.logs import LogEvent, log_event
from stillsafe.settings import Settings
from stillsafe.time_share import TimeShare
from stillsafe.view_policy import PAGE_HEADERS

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
RUN_COUNTS = (72, 216, 720)
SHORTEST_REFRESH_SECONDS, LONGEST_REFRESH_SECONDS = 5, 60
READING_ROWS = 12  # further rows are folded away
RUN_ROWS = 15


class _Outage:
    """Whether the last page could not be made, so that an outage is logged once and not with each refresh."""

    is_known = False

    def report(self, error: StoreError) -> None:
        """Log a failure, if it is the first."""
        if not self.is_known:
            log_event(logger, LogEvent.DASHBOARD_FAILED, error=error)
        self.is_known = True


def router(
    engine: Engine, settings: Settings, clock: Callable[[], datetime], reading_time: TimeShare | None = None
) -> APIRouter:
    """The routes `/` and `/static/stillsafe.css`.

    Args:
        engine: the store, only ever read.
        settings: the service.
        clock: the current time, aware UTC.
        reading_time: makes the pages, beside what else reads; one of its own if None.
    """
    reading_time = reading_time or TimeShare()
    pages = APIRouter(include_in_schema=False)
    style = (FOLDER / "static" / "stillsafe.css").read_bytes()
    templates = build_templates()
    outage = _Outage()
    summaries = RecentSummaries(partial(read_days, engine, settings))
    templates.globals |= {"style_version": hashlib.sha256(style).hexdigest()[:12], "run_counts": RUN_COUNTS}
    templates.globals["settings"] = settings

    def page(request: Request) -> Response:
        now = clock()
        run_count = _run_count(request.query_params.get("runs"))
        refresh = None if request.query_params.get("refresh") == "off" else _refresh_seconds(settings)
        context = {"now": now, "refresh": refresh, "run_count": run_count}
        try:
            snapshot, days = take_snapshot(engine, settings, now, run_count), summaries(now)
        except StoreError as error:
            outage.report(error)
            outage_context = {"problem": str(error), "has_failover": engine.dialect.name != "sqlite"}
            return _html(templates, "unavailable.html", 503, context | outage_context)
        outage.is_known = False
        return _html(templates, "page.html", 200, {**context, **_page_context(snapshot), **label_context(days)})

    @pages.api_route("/", methods=["GET", "HEAD"])
    async def dashboard(request: Request) -> Response:
        return await reading_time.run(partial(page, request))

    @pages.api_route("/static/stillsafe.css", methods=["GET", "HEAD"])
    async def stylesheet() -> Response:
        headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(style, media_type="text/css", headers=headers)

    return pages


def _page_context(snapshot: Snapshot) -> dict[str, Any]:
    rows = deviations.reading_rows(snapshot)
    timelines, signal_charts = [], []
    if snapshot.runs:
        timelines = [
            charts.state_chart(snapshot),
            charts.confidence_chart(snapshot),
            charts.low_confidence_chart(snapshot),
            charts.traffic_chart(snapshot),
        ]
        account = estimate_chart(snapshot)
        timelines += [] if account is None else [account]
        signal_charts = [charts.signal_chart(snapshot, key) for key in deviations.deviating_keys(snapshot.runs)]
    return {
        "snapshot": snapshot,
        "banner": build_banner(snapshot),
        "stale": is_stale(snapshot),
        "rows": rows[:READING_ROWS],
        "more_rows": rows[READING_ROWS:],
        "runs": list(reversed(snapshot.runs))[:RUN_ROWS],
        "timelines": timelines,
        "signal_charts": signal_charts,
    }


def _html(templates: Environment, name: str, status: int, context: dict[str, Any]) -> Response:
    text = templates.get_template(name).render(context)
    headers = PAGE_HEADERS | ({"Retry-After": "5"} if status == 503 else {})
    # Stored text may hold half a surrogate pair, which UTF-8 cannot encode, so it is replaced.
    return Response(text.encode("utf-8", "replace"), status, headers, media_type="text/html")


def build_templates() -> Environment:
    """The templates of the dashboard and of the backtest report, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for formatter in (
        formatting.percent,
        formatting.decimal,
        formatting.count,
        formatting.span,
        formatting.moment,
        formatting.time_since,
    ):
        environment.filters[formatter.__name__] = formatter
    environment.filters["with_code"] = with_code
    return environment


def with_code(text: str) -> Markup:
    """A sentence of ours as HTML: the parts between backticks become code, and all of it is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    elements = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(elements)


def _run_count(query: str | None) -> int:
    """One of `RUN_COUNTS`; the first one for any other query."""
    return next((run_count for run_count in RUN_COUNTS if str(run_count) == query), RUN_COUNTS[0])


def _refresh_seconds(settings: Settings) -> int:
    """A quarter of the monitor's interval, between `SHORTEST_` and `LONGEST_REFRESH_SECONDS`."""
    quarter = round(settings.monitor.every / 4)
    return min(max(quarter, SHORTEST_REFRESH_SECONDS), LONGEST_REFRESH_SECONDS)
