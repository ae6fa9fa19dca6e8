"""`alerts`: tries the receivers of alerts, and shows the outbox."""

from dataclasses import asdict
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.alerting.channel import AlertFailed, send
from stillsafe.alerting.message import document_of, title_of
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, Limit, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import format_time, print_plain, print_result
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.identifiers import new_ids
from stillsafe.settings_alerts import AlertEvent
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, recent_alerts

alerts_app = command_group("Alerts: who is told of what happens.")
app.add_typer(alerts_app, name="alerts")


@alerts_app.command("test")
def alerts_test(
    config: Config = DEFAULT_CONFIG,
    receiver: Annotated[str | None, typer.Option(help="Only the receiver of this name.")] = None,
) -> None:
    """Send a trial to each receiver now, and print what became of it; exit 1 if one was not reached."""
    settings, now = service.settings_of(config), service.utc_now()
    receivers = [each for each in settings.alerts if receiver in (None, each.name)]
    if not receivers:
        raise ConfigurationError("There is no such receiver.", "Describe it in an `[[alerts]]` table.")
    words = {"state": "NORMAL", "severity": None, "text": "This is a trial: nothing has happened."}
    record = AlertRecord(f"trial-{new_ids(1)[0]}", AlertEvent.JUDGED.value, settings.model.version, None, now, words)
    failures = []
    for each in receivers:
        document = document_of(settings.service.name, record, each.dashboard_url)
        try:
            send(each, {**document, "event": "test", "title": f"Trial: {document['title']}"}, int(now.timestamp()))
            print_plain(f"{each.name}: delivered.")
        except AlertFailed as error:
            failures.append(each.name)
            print_plain(f"{each.name}: not delivered: {error}.")
    if failures:
        raise RefusedError(f"Not delivered to: {', '.join(failures)}.")


@alerts_app.command("list")
def alerts_list(config: Config = DEFAULT_CONFIG, limit: Limit = 20, as_json: Json = False) -> None:
    """The outbox, newest first: each alert, whom it reached, and why it did not."""
    settings = service.settings_of(config)
    with database.reading(service.open_store(settings)) as connection:
        records = recent_alerts(connection, limit)
    documents = [asdict(record) for record in records]
    print_result(documents, as_json, lambda: print_alerts(settings.service.name, records))


def print_alerts(name: str, records: list[AlertRecord]) -> None:
    """Print the text of `alerts list`: two lines for each."""
    if not records:
        print_plain("The outbox is empty.")
    for record in records:
        print_plain(f"{format_time(record.at)} {title_of(name, record)}")
        receivers = ", ".join(record.deliveries) or "nobody yet"
        failure = f"; {record.failure}" if record.failure else ""
        print_plain(f"  {record.alert_id} reached {receivers}{failure}")
