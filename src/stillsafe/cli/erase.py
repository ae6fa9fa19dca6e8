"""`erase`: removes the rows of persons on record."""

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.hold import Operator, one_line
from stillsafe.cli.output import print_plain, print_result, progress_bar
from stillsafe.core.evidence.time_text import time_text
from stillsafe.errors import ConfigurationError
from stillsafe.logged_value import logged_feature, logged_value
from stillsafe.monitoring import erasure
from stillsafe.monitoring.erasure import ErasureResult, Places
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import storable
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.erasures import ErasureRecord, all_erasures

HIDDEN_FIELDS = ("salt",)


@app.command()
def erase(
    config: Config = DEFAULT_CONFIG,
    request_id: Annotated[list[str] | None, typer.Option("--id", help="The client's id of a request.")] = None,
    prediction_id: Annotated[
        list[str] | None, typer.Option("--prediction-id", help="A prediction's identifier.")
    ] = None,
    ids: Annotated[Path | None, typer.Option("--ids", help="A file with a client's id in each line.")] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="NAME=VALUE: all rows with this value.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is recorded.")] = None,
    by: Operator = None,
    archive: Annotated[
        list[Path] | None, typer.Option("--archive", help="A folder of `prune --archive` that was moved.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Complete what was interrupted.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List the erasures so far.")] = False,
    as_json: Json = False,
) -> None:
    """Erase requests with their answers and labels for good: from log, archives, spool and explanations.

    Who, when, why, how many and salted hashes stay on record.
    """
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    if show:
        with database.reading(engine) as connection:
            records = all_erasures(connection)
        print_result([_document(each) for each in records], as_json, lambda: print_erasures(records))
        return
    places = Places(service.spool_of(settings), settings.folder, tuple(archive or ()), settings.privacy.min_count)
    if resume:
        with progress_bar("Erasing") as progress:
            results = erasure.resume(engine, places, progress)
        print_result([each.document() for each in results], as_json, lambda: print_results(results))
        return
    subjects = _subjects(settings, request_id or [], prediction_id or [], ids, feature or [])
    now, author = service.utc_now(), one_line(by or getpass.getuser())
    if reason is None:
        raise ConfigurationError("A reason is needed.", "Say with --reason why the rows are erased; it is recorded.")
    sentence = one_line(reason)
    result = erasure.preview(engine, places, subjects, now)
    if not dry_run:
        _require_consent(result, yes=yes)
        with progress_bar("Erasing") as progress:
            result = erasure.erase(engine, places, subjects, at=now, by=author, reason=sentence, progress=progress)
    print_result(result.document(), as_json, lambda: print_results([result]))


def _document(record: ErasureRecord) -> dict[str, Any]:
    names = [name for name in record.__dataclass_fields__ if name not in HIDDEN_FIELDS]
    return {name: getattr(record, name) for name in names}


def _subjects(
    settings: Settings, ids: Sequence[str], prediction_ids: Sequence[str], file: Path | None, features: Sequence[str]
) -> list[Subject]:
    """What is to be erased.

    Raises:
        ConfigurationError: nothing is named, the file cannot be read, or a feature is not in the log.
    """
    texts = [*ids, *([] if file is None else _lines(file))]
    subjects = [Subject(MarkKind.REQUEST, storable(each)) for each in texts]
    subjects += [Subject(MarkKind.PREDICTION, each) for each in prediction_ids]
    subjects += [_feature(settings, each) for each in features]
    if not subjects:
        raise ConfigurationError("Nothing is named.", "Give --id, --ids, --prediction-id or --feature.")
    return list(dict.fromkeys(subjects))


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.rstrip("\r") for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The ids cannot be read: {error}.", "Give a text file.", file=str(file)) from error
    return [line for line in lines if line]


def _feature(settings: Settings, text: str) -> Subject:
    names = settings.schema_of_features.names
    # A name may have an equals sign in it.
    name = next((each for each in sorted(names, key=len, reverse=True) if text.startswith(f"{each}=")), None)
    if name is None:
        raise ConfigurationError(f"{text!r} names no feature.", f"Write NAME=VALUE; there are: {', '.join(names)}.")
    spec = logged_feature(settings.schema_of_features, name)
    return Subject(MarkKind.FEATURE, logged_value(spec, text[len(name) + 1 :], settings.service.hash_salt), name)


def _require_consent(result: ErasureResult, *, yes: bool) -> None:
    """Require a yes from the person at the terminal.

    Raises:
        ConfigurationError: there is none, and `--yes` is not given.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("Nothing was erased: there is no terminal to ask at.", "Add --yes.")
    count = result.prediction_count + result.archived_count + result.spooled_count
    typer.confirm(f"Erase {count:,} rows and {result.label_count:,} labels for good?", abort=True, err=True)


def print_results(results: Sequence[ErasureResult]) -> None:
    """Print the text of `erase`: what went, and what a person still has to do."""
    if not results:
        print_plain("No erasure was interrupted.")
    for result in results:
        verb = "would be erased" if result.dry_run else "erased"
        print_plain(
            f"{result.prediction_count:,} predictions and {result.label_count:,} labels {verb} from the log, "
            f"{result.archived_count:,} rows from archives, {result.spooled_count:,} from the spool, "
            f"{result.text_count:,} texts."
        )
        if result.missing_archives:
            names = ", ".join(result.missing_archives)
            print_plain(f"These archives are not there, so their rows stay: {names}. Name them with --archive.")
        if not result.log_emptied:
            print_plain("Another process reads the database, so its write-ahead log still has the rows for a while.")
        if not result.dry_run:
            print_plain("Backups, exports and replicas are yours to delete.")


def print_erasures(records: Sequence[ErasureRecord]) -> None:
    """Print the text of `erase --list`: a line per erasure."""
    if not records:
        print_plain("Nothing was ever erased.")
    for record in records:
        end = "" if record.completed_at else " Interrupted: `stillsafe erase --resume` completes it."
        print_plain(
            f"{time_text(record.at)}, {record.by}: {record.prediction_count:,} predictions and "
            f"{record.label_count:,} labels. {record.reason.rstrip('.')}.{end}"
        )
