"""Python's logging as JSON: the events that Stillsafe logs, and one line per event on standard error."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.tracing import TRACE

_VERSION = ("service", "model_version")
_STATES = (*_VERSION, "state_before", "state_after", "incident", "reason")


class LogEvent(Enum):
    """Every event that Stillsafe logs.

    Attributes:
        event: its name, the value of `event` in the line.
        level: its level, a constant of `logging`.
        meaning: what has happened, one sentence.
        fields: names of the line's further members. A line may lack one that has no value.
    """

    RUN = (
        "run",
        logging.INFO,
        "A monitoring run has evaluated a window.",
        (*_STATES, "run", "window_end", "predictions", "fresh", "evidence", "severity"),
    )
    ALERT_FAILED = (
        "alert_failed",
        logging.WARNING,
        "An alert did not reach a receiver; the next run tries again.",
        ("receiver", "alert_event", "alert_id", "error"),
    )
    ALERT_LOST = (
        "alert_lost",
        logging.ERROR,
        "Alerts could not be written to the outbox, or read; what they are about is stored.",
        ("error",),
    )
    HEARTBEAT_FAILED = (
        "heartbeat_failed",
        logging.WARNING,
        "`heartbeat_url` was not reached after a good run.",
        ("error",),
    )
    RUN_SKIPPED = (
        "run_skipped",
        logging.INFO,
        "A start of the monitor had nothing to do; `outcome` gives the cause.",
        (*_VERSION, "outcome"),
    )
    RUN_FAILED = (
        "run_failed",
        logging.ERROR,
        "A monitoring run failed and wrote nothing; `message` gives the cause and the remedy.",
        (*_VERSION, "message", "kind", "exit_code"),
    )
    STATE_CHANGE = (
        "state_change",
        logging.WARNING,
        "The state in force of a model version has changed, by a run or by an operator.",
        (*_STATES, "run"),
    )
    FALLBACK_STARTED = (
        "fallback_started",
        logging.WARNING,
        "The fallback answers instead of the model: logged by the run that decided it, and by each serving process "
        "(with `process`) when it begins to.",
        (*_VERSION, "state", "incident", "reason", "run", "process"),
    )
    FALLBACK_ENDED = (
        "fallback_ended",
        logging.WARNING,
        "The model answers again: logged by the run that decided it, and by each serving process (with `process`).",
        (*_VERSION, "state", "incident", "reason", "run", "process"),
    )
    INCIDENT = (
        "incident",
        logging.WARNING,
        "A run has opened or escalated an incident; see `event_kind`.",
        (*_STATES, "run", "event_kind"),
    )
    RECOVERY = (
        "recovery",
        logging.INFO,
        "A run has resolved an incident, or ended DEGRADED while the incident goes on; see `event_kind`.",
        (*_STATES, "run", "event_kind"),
    )
    REFUSALS = (
        "refusals",
        logging.WARNING,
        "Requests of a run's window were refused, counted since the last conclusive run; one line per run.",
        (*_VERSION, "run", "refusals", "predictions"),
    )
    LATE_ROWS = (
        "late_rows",
        logging.WARNING,
        "A run has read rows that came after an earlier run had covered their time (`late`), or rows are too old to "
        "be judged (`expired`).",
        (*_VERSION, "run", "late", "expired"),
    )
    NOT_JUDGED = (
        "not_judged",
        logging.WARNING,
        "Requests wait for a conclusive run longer than `not_judged_intervals`: logged by each such run, and by each "
        "serving process (with `process`) once.",
        (*_VERSION, "state", "run", "unjudged_since", "judged_at", "process"),
    )
    JUDGED_AGAIN = (
        "judged_again",
        logging.INFO,
        "A serving process has read that the service is judged again.",
        (*_VERSION, "state", "judged_at", "process"),
    )
    MONITOR_STALE = (
        "monitor_stale",
        logging.ERROR,
        "A serving process has found that no run has evaluated the service for two intervals, or ever; logged once.",
        (*_VERSION, "state", "reason", "process"),
    )
    MONITOR_RESUMED = (
        "monitor_resumed",
        logging.INFO,
        "A serving process has found that the monitor runs again.",
        (*_VERSION, "state", "reason", "process"),
    )
    SHADOW_SCORE_UNAVAILABLE = (
        "shadow_score_unavailable",
        logging.ERROR,
        "The model cannot be loaded, so that a run could not score bypassed requests and recovery would be impossible.",
        (*_VERSION, "state", "module", "remedy", "error", "message", "file"),
    )
    HOLD = (
        "hold",
        logging.WARNING,
        "An operator has forced DEGRADED.",
        (*_STATES, "by", "state"),
    )
    RELEASE = (
        "release",
        logging.WARNING,
        "An operator has ended the hold.",
        (*_STATES, "by", "state"),
    )
    DISCARD = (
        "discard",
        logging.WARNING,
        "An operator has superseded runs; the rows are judged again.",
        (*_STATES, "by", "state", "runs"),
    )
    SERVING = (
        "serving",
        logging.INFO,
        "A process has started to serve.",
        (*_VERSION, "process"),
    )
    CONNECTION_LIMIT = (
        "connection_limit",
        logging.WARNING,
        "Connections were refused or cut off: `limit` names the setting in `[serving]`. Logged once, and again after a "
        "minute without.",
        ("limit", "value", "process"),
    )
    REQUEST_UNREADABLE = (
        "request_unreadable",
        logging.WARNING,
        "Requests could not be read: no HTTP (`rubbish`), or for another protocol (`upgrade`). Logged once per reason, "
        "and again after a minute without.",
        ("reason", "process"),
    )
    LISTENING = (
        "listening",
        logging.INFO,
        "`serve` listens: where, under which names, whether clients need a key, and which limits hold.",
        ("address", "allowed_hosts", "keys", "trusted_proxies", "limits", "process"),
    )
    KEY = (
        "key",
        logging.WARNING,
        "An operator has created or revoked a key (`action`).",
        (*_VERSION, "action", "key", "scopes"),
    )
    ACCESS_REFUSED = (
        "access_refused",
        logging.WARNING,
        "Requests were refused for want of a valid key, of a scope, or by a key's rate (`reason`); `key` is its name "
        "or `unknown`. Logged once, and again after a minute without.",
        ("key", "reason", "process"),
    )
    KEYS_UNREADABLE = (
        "the keys cannot be read",
        logging.ERROR,
        "The store cannot be read: the keys that were read last stay valid. Logged once, when it begins.",
        ("error", "process"),
    )
    KEYS_READABLE = (
        "the keys are read again",
        logging.WARNING,
        "The keys were read again after an outage.",
        ("failures", "seconds", "process"),
    )
    MODEL_CHANGED = (
        "model_changed",
        logging.ERROR,
        "The model's answers for synthetic rows are not those of `init`, so the fallback answers until a person "
        "accepts them; `message` has the library versions and the remedy.",
        (*_VERSION, "message"),
    )
    MODEL_VERSIONS = (
        "model_versions",
        logging.WARNING,
        "The model file was saved with other versions of its libraries than those that load it.",
        (*_VERSION, "message"),
    )
    MODEL_ACCEPTED = (
        "model_accepted",
        logging.WARNING,
        "A person has accepted the model's answers with the libraries of this Python.",
        (*_VERSION, "by", "message"),
    )
    NOT_COMPILED = (
        "the model is not served compiled",
        logging.WARNING,
        "scikit-learn predicts, slower, because the compiled model is not shown to give the same answers.",
        ("why", "instead"),
    )
    MODEL_FAILED = (
        "the model failed on rows",
        logging.WARNING,
        "The model raised an error on some rows; the fallback has answered them.",
        ("rows", "failed", "failing_calls"),
    )
    MODEL_TIMED_OUT = (
        "the model timed out",
        logging.ERROR,
        "The model has not answered within `model.timeout`; the fallback has answered.",
        ("rows",),
    )
    RULE_FAILED = (
        "a fallback rule failed and was skipped",
        logging.ERROR,
        "A rule of the fallback raised an error on a row; `error` has its type and line, not its message, which may "
        "quote the row.",
        ("rule", "error"),
    )
    SETTING_IGNORED = (
        "setting_ignored",
        logging.WARNING,
        "A key of the settings file has no effect any more; `message` gives the reason.",
        ("service", "key", "message"),
    )
    WORKER_REPLACED = (
        "a worker is replaced",
        logging.WARNING,
        "A process of `serve --workers` has ended, or has not answered its parent (see `reason`); another starts.",
        ("process", "reason"),
    )
    ANSWERS_LOST = (
        "predictions cannot be recorded",
        logging.ERROR,
        "The state cannot be read or answers cannot be written, so requests get 503; logged once, when it begins.",
        ("error", "process"),
    )
    ANSWERS_BACK = (
        "predictions are recorded again",
        logging.WARNING,
        "The first answer was written after an outage.",
        ("failures", "seconds", "process"),
    )
    REFUSALS_LOST = (
        "refusals could not be recorded",
        logging.ERROR,
        "The store cannot be written, so refused requests are not counted; logged once, when it begins.",
        ("error", "process"),
    )
    REFUSALS_BACK = (
        "refusals are recorded again",
        logging.WARNING,
        "The first refused requests were recorded after an outage.",
        ("failures", "seconds", "process"),
    )
    STORE_OUT = (
        "the store is out; rows wait in the spool",
        logging.ERROR,
        "The database server does not answer; the last known state applies.",
        ("error",),
    )
    STORE_BACK = (
        "the store is back",
        logging.WARNING,
        "The database server answers again, and accepts rows.",
        ("spooled_rows",),
    )
    STORE_UNUSABLE = (
        "the store cannot be used",
        logging.ERROR,
        "The database server answers, and its database is missing, damaged or refuses rows; the check is repeated.",
        ("error", "process"),
    )
    STORE_USABLE = (
        "the store can be used again",
        logging.WARNING,
        "The database of the server can be used again.",
        ("failures", "seconds", "process"),
    )
    STORE_UNCHECKED = (
        "the store could not be checked",
        logging.ERROR,
        "The check of the database failed in an unexpected way; it is repeated.",
        ("exception",),
    )
    SPOOL_DRAIN = (
        "drained",
        logging.INFO,
        "A batch of the spool was written to the store.",
        ("entries",),
    )
    EXPLANATION = (
        "explained",
        logging.INFO,
        "The language model has explained an incident.",
        ("incident", "status", "model", "seconds", "unverified"),
    )
    NO_EXPLANATION = (
        "no explanation",
        logging.WARNING,
        "The language model gave no explanation; no decision depends on it.",
        ("incident", "status", "model", "failure", "told", "seconds"),
    )
    EXPLANATION_FAILED = (
        "the incident could not be explained; nothing else is affected",
        logging.ERROR,
        "Explaining failed in an unexpected way after the run was stored.",
        ("exception",),
    )
    DASHBOARD_FAILED = (
        "the dashboard cannot read the store",
        logging.ERROR,
        "A page of the dashboard could not be made; logged once, when that begins.",
        ("exception",),
    )
    PYTHON_WARNING = (
        "python_warning",
        logging.WARNING,
        "Python or a library has issued a warning during a monitoring run.",
        (*_VERSION, "category", "message", "file", "line"),
    )
    OUTPUT = (
        "output",
        logging.WARNING,
        "The model, a library or a command has printed a line during a monitoring run.",
        (*_VERSION, "message"),
    )

    def __init__(self, event: str, level: int, meaning: str, fields: tuple[str, ...]) -> None:
        self.event = event
        self.level = level
        self.meaning = meaning
        self.fields = fields


def log_event(
    logger: logging.Logger,
    event: LogEvent,
    fields: Mapping[str, object] | None = None,
    *,
    error: BaseException | None = None,
) -> None:
    """Log one event. A field without a value is left out; an error adds its traceback as `exception`."""
    members = {name: value for name, value in (fields or {}).items() if value is not None}
    logger.log(event.level, event.event, extra={"fields": members}, exc_info=error)


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object on one line, with the fields of `extra={"fields": {...}}` as members.

    Args:
        service: members of every line that has none of the same name, such as the service's name.
    """

    def __init__(self, service: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.service = dict(service or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end. A value that JSON does not support becomes its text."""
        line: dict[str, object] = {
            "at": exact_time_text(datetime.fromtimestamp(record.created, UTC), "milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in {**self.service, **(TRACE.get() or {}), **getattr(record, "fields", {})}.items():
            # A field never overwrites a member above, so one of the same name gets an underscore.
            line[f"{name}_" if name in line else str(name)] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return "{" + ", ".join(f"{json.dumps(name)}: {_json(value)}" for name, value in line.items()) + "}"


def _json(value: object) -> str:
    try:
        return json.dumps(value, default=_text, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a value without a text must not lose the log line
        return f"<{type(value).__name__}: {type(error).__name__}>"


def set_up(level: str = "INFO", *, service: str | None = None, model_version: str | None = None) -> None:
    """Send every record of this process to standard error as JSON lines. Only the command line calls this.

    Args:
        level: records below it are dropped.
        service: the name of the service that the process serves or watches, for every line.
        model_version: the served version, for every line.
    """
    handler = logging.StreamHandler(sys.stderr)
    names = {"service": service, "model_version": model_version}
    handler.setFormatter(JsonLine({name: value for name, value in names.items() if value is not None}))
    # At INFO Alembic logs that no migration is due, and the observer's client logs every request.
    for name in ("alembic", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(level=level, handlers=[handler], force=True)
