"""Nothing but JSON lines in the file that cron writes: what a command, the model or a library prints becomes events."""

import io
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from stillsafe.logs import JsonLine, LogEvent, log_event

logger = logging.getLogger(__name__)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads the stream on a terminal."""
    try:
        return stream.isatty()
    except ValueError:  # a closed stream raises it
        return False


def is_json_asked() -> bool:
    """Whether a program reads the result: the command line has `--json`."""
    return any(word == "--json" or word.startswith("--json=") for word in sys.argv)


def output_is_log() -> bool:
    """Whether standard output and standard error are one file that is no terminal, as in the crontab entry."""
    try:
        files = [os.fstat(stream.fileno()) for stream in (sys.stdout, sys.stderr)]
    except (OSError, ValueError, AttributeError):  # a stream without a file descriptor, or a closed one
        return False
    return not is_terminal(sys.stderr) and len({(file.st_dev, file.st_ino) for file in files}) == 1


class JsonLineStream(io.TextIOBase):
    """A text stream that turns every line into a JSON line: `output` with the text, unless it is JSON already.

    Args:
        stream: receives the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rest = ""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        """Always true."""
        return True

    def fileno(self) -> int:
        """The file descriptor of the stream below."""
        return self.stream.fileno()

    def write(self, text: str) -> int:
        """Write the complete lines; the rest waits for its end."""
        with self._lock:
            if self._rest and _is_json_object(text.removesuffix("\n")):
                self.end_line()  # a log line never continues a text
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._write_line(line)
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self.stream.flush()

    def end_line(self) -> None:
        """Write the rest as a line of its own."""
        with self._lock:
            rest, self._rest = self._rest, ""
            self._write_line(rest)

    def _write_line(self, line: str) -> None:
        if not line.strip():
            return
        if not _is_json_object(line):
            record = logging.LogRecord(__name__, LogEvent.OUTPUT.level, "", 0, LogEvent.OUTPUT.event, (), None)
            record.fields = {"message": line.rstrip()}
            line = _formatter().format(record)
        self.stream.write(f"{line}\n")


def _is_json_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _formatter() -> logging.Formatter:
    """The formatter that `set_up` has installed, or one without the service's name."""
    formatters = (handler.formatter for handler in logging.root.handlers)
    return next((each for each in formatters if isinstance(each, JsonLine)), JsonLine())


@contextmanager
def json_lines_only() -> Iterator[None]:
    """Write nothing but JSON lines to standard error for the block, and to standard output where both are one file.

    Warnings and tracebacks become events; any other text becomes `output`, line by line. No effect on a terminal.
    """
    if is_terminal(sys.stderr):
        yield
        return
    old_streams, is_one_file = (sys.stdout, sys.stderr), output_is_log()
    errors = JsonLineStream(sys.stderr)
    old_hooks: dict[tuple[Any, str], Any] = {}
    hooks = {(warnings, "showwarning"): _log_warning, (sys, "unraisablehook"): _log_unraisable}
    for (module, name), hook in {**hooks, (threading, "excepthook"): _log_thread_error}.items():
        old_hooks[module, name] = getattr(module, name)
        setattr(module, name, hook)
    sys.stderr = errors
    sys.stdout = errors if is_one_file else sys.stdout
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old_streams
        errors.end_line()
        for (module, name), hook in old_hooks.items():
            setattr(module, name, hook)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    _file: TextIO | None = None,
    _line: str | None = None,
) -> None:
    fields = {"category": category.__name__, "message": str(message), "file": filename, "line": lineno}
    log_event(logger, LogEvent.PYTHON_WARNING, fields)


def _log_unraisable(unraisable: Any) -> None:
    text = f"{unraisable.err_msg or 'Exception ignored in'}: {unraisable.object!r}"
    _log_traceback(text, unraisable.exc_value, unraisable.exc_traceback)


def _log_thread_error(thread_error: Any) -> None:
    name = thread_error.thread.name if thread_error.thread else "?"
    _log_traceback(f"Exception in thread {name}", thread_error.exc_value, thread_error.exc_traceback)


def _log_traceback(text: str, error: BaseException | None, trace: TracebackType | None) -> None:
    lines = "" if error is None else "".join(traceback.format_exception(type(error), error, trace))
    log_event(logger, LogEvent.OUTPUT, {"message": f"{text}\n{lines}".rstrip()})
