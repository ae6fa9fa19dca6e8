"""Python's own logging, set up once: one JSON line per event, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLine(logging.Formatter):
    """A record as one JSON object on one line; fields passed as `extra={"fields": {...}}` stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Never NaN: a value that JSON lacks is written as its text."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
            # What the line is about is never overwritten by what it carries.
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
    except Exception as error:  # noqa: BLE001 - a log line must not cost the event that it tells
        return f"<{type(value).__name__}: {type(error).__name__}>"


def set_up(level: str = "INFO") -> None:
    """Send every record of this process to standard error as JSON lines. Called by the command line only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    # Alembic tells at INFO that it looked and found nothing to do, and the observer's client every request.
    for chatty in ("alembic", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.basicConfig(level=level, handlers=[handler], force=True)
