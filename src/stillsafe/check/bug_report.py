"""The text of a bug report: what a developer needs, and nothing that is secret or of a person.

Only what is named here gets in: numbers, yes or no, words from a fixed list. Other texts of the settings, values of
features, categories, sentences about runs and rows stay out.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from stillsafe import service
from stillsafe.check.checks import check
from stillsafe.check.findings import Finding, Verdict
from stillsafe.check.hidden_texts import HiddenTexts
from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Policy
from stillsafe.core.signals import Level, Reading
from stillsafe.errors import StillsafeError
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import stored_value, to_document
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.runs import RunRecord, recent_runs

RUN_COUNT, INCIDENT_COUNT, LOG_LINE_COUNT = 50, 20, 200
LOG_BYTES = 1_000_000
"""Of the end of the log file that are read."""
LOG_FIELDS = (
    *("at", "level", "logger", "event", "run", "state_before", "state_after", "state", "evidence", "severity"),
    *("predictions", "fresh", "kind", "exit_code", "outcome", "event_kind", "process", "late", "expired"),
)
"""Members of a log line that hold no value of a feature and no text of a person."""
SHOWN_TEXTS = frozenset({"name", "version", "timezone", "host"})
"""Settings whose text is shown; features have names, too."""
_QUOTING_SUBJECTS = frozenset({"settings", "fallback"})
"""Subjects of `check` whose messages quote settings: categories, rules and answers."""


def bug_report(config: Path, now: datetime) -> str:
    """The whole report, as text with a heading per section.

    A part that cannot be had, such as the database during an outage, has the kind of the error in its place.

    Args:
        config: the settings file.
        now: aware UTC.
    """
    hidden_texts = HiddenTexts(config)
    lines = [f"Stillsafe bug report, {exact_time_text(now, 'seconds')}", *_section("versions", _versions())]
    findings = check(config, now=now)
    lines += _section("check", (_finding_line(each) for each in findings))
    try:
        settings = service.settings_of(config)
    except StillsafeError as error:
        lines += _section("settings", [f"not readable: {type(error).__name__}"])
    else:
        lines += _section("settings", _settings_lines("", settings))
        lines += _section("database", _database_lines(settings))
    lines += _section("log of the monitor", _log_lines(config.with_name(f"{config.stem}.monitor.log")))
    return hidden_texts.remove_from("\n".join(lines)) + "\n"


def _section(title: str, lines: Any) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _versions() -> Iterator[str]:
    yield f"stillsafe {metadata.version('stillsafe')}, rules {RULES_VERSION}, wording {WORDING_VERSION}"
    yield f"python {sys.version.split()[0]} ({platform.python_implementation()})"
    yield f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors"
    for requirement in sorted(metadata.requires("stillsafe") or []):
        name = requirement.partition(";")[0].partition("[")[0]
        for sign in "<>=!~ ":
            name = name.partition(sign)[0]
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} not installed"
    names = sorted(name for name in os.environ if name.startswith("STILLSAFE_"))
    yield f"variables that are set: {', '.join(names) or 'none'}"


def _finding_line(finding: Finding) -> str:
    """A finding; without its message where that may quote settings."""
    is_quoting = finding.subject in _QUOTING_SUBJECTS or finding.verdict is Verdict.OK
    return f"{finding.verdict.value:>7}  {finding.subject}" + ("" if is_quoting else f": {finding.message}")


def _settings_lines(path: str, section: Any) -> Iterator[str]:
    """The settings of a section by path: numbers and fixed words as they are, other texts by their length."""
    for name, about in type(section).model_fields.items():
        value, place = getattr(section, name), f"{path}{name}"
        if isinstance(value, Policy):
            default = to_document(Policy())
            yield from (f"{place}.{key} = {_plain(number)}" for key, number in _differences(value, default))
        elif isinstance(value, BaseModel):
            yield from _settings_lines(f"{place}.", value)
        elif isinstance(value, tuple) and value and all(isinstance(each, BaseModel) for each in value):
            for number, each in enumerate(value):
                yield from _settings_lines(f"{place}[{number}].", each)
        else:
            yield f"{place} = {_setting_text(name, value, about.annotation)}"


def _differences(policy: Policy, default: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The numbers of a policy that are not the default."""
    for key, value in to_document(policy).items():
        if isinstance(value, int | float | None) and value != default[key]:
            yield key, value


def _setting_text(name: str, value: Any, annotation: Any) -> str:
    has_fixed_words = isinstance(value, Enum) or Literal in {get_origin(each) for each in _types(annotation)}
    if value is None or isinstance(value, bool | int | float):
        return _plain(value)
    if isinstance(value, str) and (has_fixed_words or name in SHOWN_TEXTS):
        return str(value)
    size = len(value) if hasattr(value, "__len__") else 1
    return f"({type(value).__name__} of {size}, not shown)"


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(each for part in get_args(annotation) for each in _types(part))]


def _plain(value: Any) -> str:
    return "none" if value is None else str(value).lower()


def _database_lines(settings: Settings) -> Iterator[str]:
    try:
        engine = service.open_store(settings)
    except StillsafeError as error:
        yield f"out: {type(error).__name__}"
        return
    try:
        with database.reading(engine) as connection:
            runs, incidents = recent_runs(connection, RUN_COUNT), recent_incidents(connection, INCIDENT_COUNT)
    except StillsafeError as error:
        yield f"not readable: {type(error).__name__}"
        return
    finally:
        engine.dispose()
    library_version = getattr(engine.dialect.dbapi, "sqlite_version", "")
    yield f"{engine.dialect.name} {library_version}, schema {database.known_revisions()[0]}"
    yield from ("", f"Last {len(runs)} runs, newest first:", *map(_run_line, runs))
    yield from ("", f"Last {len(incidents)} incidents, newest first:")
    for each in incidents:
        end = exact_time_text(each.resolved_at) if each.resolved_at else "open"
        yield f"{each.incident_id} {each.severity} from {exact_time_text(each.detected_at)} to {end}"


def _run_line(run: RunRecord) -> str:
    """A run: its counts, its decision, and the readings that deviate, without a sentence."""
    readings = stored_value(tuple[Reading, ...], run.readings or [])
    deviations = [f"{each.key} {each.level.value} {each.value:.4g}" for each in readings if _deviates(each)]
    note = " superseded" if run.superseded_at else ""
    return (
        f"{run.id} until {exact_time_text(run.window_end)}: {run.prediction_count} predictions, {run.evidence}, "
        f"{run.severity}, {run.state_before} to {run.state_after}, rules {run.rules_version}{note}"
        + (f"; {', '.join(deviations)}" if deviations else "")
    )


def _deviates(reading: Reading) -> bool:
    return reading.level is not Level.NONE and reading.value is not None


def _log_lines(file: Path) -> Iterator[str]:
    """The last lines of a log, each with the members that are safe; text that is no JSON is counted."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LOG_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()[-LOG_LINE_COUNT:]
    except OSError as error:
        yield f"not readable: {type(error).__name__}"
        return
    plain_lines = 0
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if isinstance(document, dict):
            yield json.dumps({name: document[name] for name in LOG_FIELDS if name in document})
        else:
            plain_lines += 1
    yield f"{plain_lines} lines of plain text are left out."
