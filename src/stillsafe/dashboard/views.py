"""The routes of the dashboard: its page, the page of an incident, and the two files that they load. They only read."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment
from sqlalchemy import Engine

from stillsafe.dashboard import charts, deviations
from stillsafe.dashboard.cause import new_sentences
from stillsafe.dashboard.estimate_chart import estimate_chart
from stillsafe.dashboard.incident_page import incident_context, read_incident
from stillsafe.dashboard.next_steps import next_steps
from stillsafe.dashboard.realised import label_context, read_days
from stillsafe.dashboard.snapshot import DEFAULT_HISTORY, HISTORIES, History, Snapshot, take_snapshot
from stillsafe.dashboard.status_banner import build_banner, is_stale
from stillsafe.dashboard.templating import build_templates, static_file, version_of
from stillsafe.errors import StoreError
from stillsafe.label_summary import RecentSummaries
from stillsafe.logs import LogEvent, log_event
from stillsafe.settings import Settings
from stillsafe.time_share import TimeShare
from stillsafe.view_policy import LIVE_PAGE_HEADERS

logger = logging.getLogger(__name__)

SHORTEST_REFRESH_SECONDS, LONGEST_REFRESH_SECONDS = 5, 60
READING_ROWS, MOST_READING_ROWS, MOST_CALM_ROWS = 6, 30, 60
"""Readings in the table, more of them where they deviate, and those that are folded away: a page stays small."""
STYLE, SCRIPT = "stillsafe.css", "stillsafe.js"
MEDIA_TYPES = {STYLE: "text/css", SCRIPT: "text/javascript"}
ABOVE_INCIDENT = "../../"
"""The service's own address, relative to that of an incident's page."""


class _Outage:
    """Whether the last page could not be made, so that an outage is logged once and not with each refresh."""

    is_known = False

    def report(self, error: StoreError) -> None:
        """Log a failure, if it is the first."""
        if not self.is_known:
            log_event(logger, LogEvent.DASHBOARD_FAILED, error=error)
        self.is_known = True


class _Pages:
    """Makes the pages of one service.

    Args:
        engine: the store, only ever read.
        settings: the service.
        clock: the current time, aware UTC.
    """

    def __init__(self, engine: Engine, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._engine, self._settings, self._clock = engine, settings, clock
        self._summaries = RecentSummaries(partial(read_days, engine, settings))
        self._outage = _Outage()
        self._templates = build_templates()
        self._templates.globals |= {
            "style_version": version_of(STYLE),
            "script_version": version_of(SCRIPT),
            "histories": HISTORIES,
            "settings": settings,
            "standalone": False,
        }

    def dashboard(self, request: Request) -> Response:
        """The page `/`."""
        now = self._clock()
        context = self._context(now, "")
        try:
            snapshot = take_snapshot(self._engine, self._settings, now, _history(request))
            days = self._summaries(now)
        except StoreError as error:
            return self._unavailable(error, context)
        self._outage.is_known = False
        content = {**_page_context(snapshot), **label_context(days)}
        return _html(self._templates, "page.html", 200, {**context, **content})

    def incident(self, incident_id: str) -> Response:
        """The page of an incident."""
        now = self._clock()
        context = self._context(now, ABOVE_INCIDENT)
        try:
            detail = read_incident(self._engine, self._settings, now, incident_id)
        except StoreError as error:
            return self._unavailable(error, context)
        self._outage.is_known = False
        if detail is None:
            return _html(self._templates, "no_incident.html", 404, {**context, "incident_id": incident_id})
        return _html(self._templates, "incident.html", 200, {**context, **incident_context(detail)})

    def _context(self, now: datetime, root: str) -> dict[str, Any]:
        return {"now": now, "refresh": _refresh_seconds(self._settings), "root": root}

    def _unavailable(self, error: StoreError, context: dict[str, Any]) -> Response:
        self._outage.report(error)
        facts = {"problem": str(error), "has_failover": not self._settings.database_url.startswith("sqlite")}
        return _html(self._templates, "unavailable.html", 503, context | facts)


def router(
    engine: Engine, settings: Settings, clock: Callable[[], datetime], reading_time: TimeShare | None = None
) -> APIRouter:
    """The routes `/`, `/dashboard/incidents/{incident_id}` and `/static/...`.

    Args:
        engine: the store, only ever read.
        settings: the service.
        clock: the current time, aware UTC.
        reading_time: makes the pages, beside what else reads; one of its own if None.
    """
    reading_time = reading_time or TimeShare()
    routes = APIRouter(include_in_schema=False)
    pages = _Pages(engine, settings, clock)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def dashboard(request: Request) -> Response:
        return await reading_time.run(partial(pages.dashboard, request))

    @routes.api_route("/dashboard/incidents/{incident_id}", methods=["GET", "HEAD"])
    async def incident(incident_id: str) -> Response:
        return await reading_time.run(partial(pages.incident, incident_id))

    for name in MEDIA_TYPES:
        _add_file(routes, name)
    return routes


def _add_file(routes: APIRouter, name: str) -> None:
    headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}

    @routes.api_route(f"/static/{name}", methods=["GET", "HEAD"], name=name)
    async def file() -> Response:
        return Response(static_file(name), media_type=MEDIA_TYPES[name], headers=headers)


def _page_context(snapshot: Snapshot) -> dict[str, Any]:
    rows = deviations.reading_rows(snapshot)
    row_count = min(max(READING_ROWS, sum(row.is_deviating for row in rows)), MOST_READING_ROWS)
    banner = build_banner(snapshot)
    timelines, signal_charts = [], []
    if snapshot.runs:
        timelines = [charts.state_chart(snapshot), charts.traffic_chart(snapshot)]
        account = estimate_chart(snapshot)
        signal_charts = [
            charts.confidence_chart(snapshot),
            charts.low_confidence_chart(snapshot),
            *(charts.signal_chart(snapshot, key) for key in deviations.deviating_keys(snapshot.runs)),
            *([] if account is None else [account]),
        ]
    return {
        "snapshot": snapshot,
        "banner": banner,
        "commands": next_steps(snapshot),
        "progress": new_sentences(banner.progress, [banner.reason]),
        "stale": is_stale(snapshot),
        "rows": rows[:row_count],
        "more_rows": rows[row_count:][:MOST_CALM_ROWS],
        "left_out": max(len(rows) - row_count - MOST_CALM_ROWS, 0),
        "runs": deviations.run_notes(snapshot.recent),
        "timelines": timelines,
        "signal_charts": signal_charts,
    }


def _html(templates: Environment, name: str, status: int, context: dict[str, Any]) -> Response:
    text = templates.get_template(name).render(context)
    headers = LIVE_PAGE_HEADERS | ({"Retry-After": "5"} if status == 503 else {})
    # Stored text may hold half a surrogate pair, which UTF-8 cannot encode, so it is replaced.
    return Response(text.encode("utf-8", "replace"), status, headers, media_type="text/html")


def _history(request: Request) -> History:
    """Which time of which version the address chooses; the first choice for any other one."""
    name, version = request.query_params.get("time"), request.query_params.get("version")
    choice = next((each for each in HISTORIES if each.name == name), DEFAULT_HISTORY)
    return replace(choice, version=version) if version else choice


def _refresh_seconds(settings: Settings) -> int:
    """A quarter of the monitor's interval, between `SHORTEST_` and `LONGEST_REFRESH_SECONDS`."""
    quarter = round(settings.monitor.every / 4)
    return min(max(quarter, SHORTEST_REFRESH_SECONDS), LONGEST_REFRESH_SECONDS)
