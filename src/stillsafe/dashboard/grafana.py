"""A dashboard for Grafana over the metrics of `/metrics`, as the JSON that its import takes."""

from itertools import count
from typing import Any

SCHEMA_VERSION = 39
"""Of Grafana's dashboards: that of Grafana 10.4, which later ones convert."""
WIDTH, HEIGHT, COLUMNS = 12, 8, 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_STATES = [("NORMAL", 0, "green"), ("WARNING", 1, "orange"), ("DEGRADED", 2, "red")]
_BUCKETS = "sum by (le, endpoint) (rate(stillsafe_request_seconds_bucket{JOB}[$__rate_interval]))"
_REFERENCE = 'stillsafe_reading_reference{JOB,signal=~"$signal"}'
_LIMIT = 'stillsafe_reading_moderate_limit{JOB,signal=~"$signal"}'

PANELS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    (
        "State",
        "state-timeline",
        "none",
        {
            "state": "max(stillsafe_state{JOB,state='WARNING'}) + 2 * max(stillsafe_state{JOB,state='DEGRADED'})",
        },
    ),
    (
        "Age of the last conclusive run",
        "timeseries",
        "s",
        {"age": "max(stillsafe_last_conclusive_run_age_seconds{JOB})"},
    ),
    (
        "Answers",
        "timeseries",
        "reqps",
        {"{{decided_by}}": "sum by (decided_by) (rate(stillsafe_answers_total{JOB}[$__rate_interval]))"},
    ),
    (
        "Refusals",
        "timeseries",
        "reqps",
        {"{{kind}}": "sum by (kind) (rate(stillsafe_refusals_total{JOB}[$__rate_interval]))"},
    ),
    (
        "Time to answer",
        "timeseries",
        "s",
        {
            f"{name} {{{{endpoint}}}}": f"histogram_quantile({share}, {_BUCKETS})"
            for name, share in (("median", 0.5), ("99th percentile", 0.99))
        },
    ),
    (
        "Mean confidence of the window",
        "timeseries",
        "percentunit",
        {"confidence": "max(stillsafe_window_mean_confidence{JOB})"},
    ),
    (
        "Signals: level (1 moderate, 2 severe)",
        "timeseries",
        "none",
        {"{{signal}} {{feature}}": "max by (signal, feature) (stillsafe_reading_level{JOB}) > 0"},
    ),
    (
        "Streaks, in runs",
        "timeseries",
        "none",
        {"{{signal}} {{feature}}": "max by (signal, feature) (stillsafe_streak_runs{JOB}) > 0"},
    ),
    (
        "One signal and its limits",
        "timeseries",
        "none",
        {
            "{{feature}} value": 'max by (feature) (stillsafe_reading_value{JOB,signal=~"$signal"})',
            "{{feature}} moderate limit": f"max by (feature) ({_REFERENCE} + {_LIMIT})",
        },
    ),
    (
        "Database and spool",
        "timeseries",
        "none",
        {"up": "min(stillsafe_store_up{JOB})", "rows in the spool": "sum(stillsafe_spooled_rows{JOB})"},
    ),
)
"""Title, kind, unit, and legend -> query of each panel; `JOB` is the matcher of the job."""


def dashboard(name: str) -> dict[str, Any]:
    """The dashboard of a service.

    Args:
        name: the service, which is the job that is chosen first.
    """
    numbers = count(1)
    return {
        "title": f"Stillsafe: {name}",
        "uid": None,
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "1m",
        "tags": ["stillsafe"],
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": _variables(name)},
        "panels": [_panel(next(numbers), *panel) for panel in PANELS],
    }


def _variables(name: str) -> list[dict[str, Any]]:
    current = {"selected": True, "text": name, "value": name}
    query = {"type": "query", "datasource": _DATASOURCE, "refresh": 2, "hide": 0, "includeAll": False, "multi": False}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
        {**query, "name": "job", "label": "Job", "query": "label_values(stillsafe_state, job)", "current": current},
        {
            **query,
            "name": "signal",
            "label": "Signal",
            "query": 'label_values(stillsafe_reading_value{job="$job"}, signal)',
        },
    ]


def _panel(number: int, title: str, kind: str, unit: str, queries: dict[str, str]) -> dict[str, Any]:
    index = number - 1
    place = {"x": index * WIDTH % COLUMNS, "y": index * WIDTH // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
    names = [
        {"type": "value", "options": {str(value): {"text": text, "color": colour}}} for text, value, colour in _STATES
    ]
    return {
        "id": number,
        "title": title,
        "type": kind,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": unit, "mappings": names if kind == "state-timeline" else []},
            "overrides": [],
        },
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _DATASOURCE,
                "expr": query.replace("JOB", 'job="$job"'),
                "legendFormat": legend,
            }
            for position, (legend, query) in enumerate(queries.items())
        ],
    }
