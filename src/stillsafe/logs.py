"""Python's logging as JSON: one line per event on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object on one line, with the fields of `extra={"fields": {...}}` as members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end. A value that JSON does not support becomes its text."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
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


def set_up(level: str = "INFO") -> None:
    """Send every record of this process to standard error as JSON lines. Only the command line calls this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    # At INFO Alembic logs that no migration is due, and the observer's client logs every request.
    for name in ("alembic", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(level=level, handlers=[handler], force=True)
