"""`key`: who may predict, label, read and operate, where clients need keys."""

import logging
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.hold import log_action
from stillsafe.cli.output import error_console, format_time, print_plain, print_result, print_rows
from stillsafe.logs import LogEvent, log_event
from stillsafe.serving.access import keys
from stillsafe.serving.access.keys import KeyScope
from stillsafe.settings import Settings
from stillsafe.store.read.keys import KeyRecord

logger = logging.getLogger(__name__)

key_app = command_group("Keys of clients: who may predict, label, read and operate.")
app.add_typer(key_app, name="key")

Name = Annotated[str, typer.Argument(help="Who uses the key.", show_default=False)]


@key_app.command("create")
def create(
    name: Name,
    config: Config = DEFAULT_CONFIG,
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="What the key may be used for; repeat it for several.", show_default=False),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Most requests a minute in each process, such as 600/min; each instance and label counts. "
            "Default: any number."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It is shown this once; the database has only its SHA-256."""
    settings = service.settings_of(config)
    log_action(settings)
    rate_per_minute = None if rate is None else keys.parse_rate(rate)
    now = service.utc_now()
    key = keys.create_key(service.open_store(settings), name, scope or (), rate_per_minute=rate_per_minute, at=now)
    scopes = sorted({each.value for each in scope or ()})
    _log(settings, "create", name, scopes)
    document = {"name": name, "scopes": scopes, "rate_per_minute": rate_per_minute, "created_at": now, "key": key}
    print_result(document, as_json, lambda: _print_key(key, settings))


@key_app.command("list")
def list_all(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """The keys of the service, also the revoked ones, without the keys themselves."""
    records = keys.list_keys(service.open_store(service.settings_of(config)))
    print_result([_document(record) for record in records], as_json, lambda: _print_keys(records))


@key_app.command("revoke")
def revoke(name: Name, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Revoke a key for good. Servers that run refuse it within two seconds, and end its sessions."""
    settings = service.settings_of(config)
    log_action(settings)
    now = service.utc_now()
    keys.revoke_key(service.open_store(settings), name, at=now)
    _log(settings, "revoke", name, None)
    document = {"name": name, "revoked_at": now}
    print_result(document, as_json, lambda: print_plain(f"Revoked: {name}. Servers refuse it within two seconds."))


def _document(record: KeyRecord) -> dict[str, Any]:
    """The JSON of one key: what is stored, without the digest."""
    return {name: value for name, value in asdict(record).items() if name not in ("id", "digest")}


def _log(settings: Settings, action: str, name: str, scopes: list[str] | None) -> None:
    names = {"service": settings.service.name, "model_version": settings.model.version}
    log_event(logger, LogEvent.KEY, {**names, "action": action, "key": name, "scopes": scopes})


def _print_key(key: str, settings: Settings) -> None:
    """The key alone on standard output, for a script; what to do with it on standard error."""
    print_plain(key)
    hint = "The key is not shown again. Clients send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
    if settings.exposure.keys is not True:
        hint += " `keys = true` in [exposure] makes the service require keys."
    error_console.print(hint, markup=False)


def _print_keys(records: list[KeyRecord]) -> None:
    if not records:
        print_plain("There is no key. Make one with `stillsafe key create NAME --scope predict`.")
        return
    print_rows(
        [
            {
                "name": escape(record.name),
                "scopes": ", ".join(record.scopes),
                "rate": "-" if record.rate_per_minute is None else f"{record.rate_per_minute}/min",
                "created": format_time(record.created_at),
                "revoked": "" if record.revoked_at is None else format_time(record.revoked_at),
            }
            for record in records
        ]
    )
