"""kill -9 while labels and identified requests come in: nothing acknowledged is lost, no retry is doubled evidence."""

import json
import subprocess
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from itertools import pairwise
from threading import Event, Thread

from sqlalchemy import select

from stillsafe.store import database
from stillsafe.store.tables import labels, request_duplicates, request_ids
from tests.cli.command_server import start
from tests.faults.api import BODY, Api, RequestRefused, wait_until
from tests.faults.conftest import repetitions
from tests.faults.figures import Figure
from tests.postgres import Postgres

CLIENTS, BATCH = 4, 5


class _Sender:
    """Clients that send requests with ids, and labels for them, and retry both until each is acknowledged.

    Attributes:
        answers: id -> every prediction_id that it was answered with.
        labels: id -> the label that was acknowledged.
    """

    def __init__(self, api: Api, prefix: str) -> None:
        self.api, self.prefix = api, prefix
        self.answers: dict[str, set[str]] = {}
        self.labels: dict[str, str] = {}
        self._stop_event = Event()
        self._threads = [Thread(target=self._work, args=(client,), daemon=True) for client in range(CLIENTS)]

    def __enter__(self) -> "_Sender":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_event.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait(self, more: int) -> None:
        """Wait until so many further labels are acknowledged."""
        count = len(self.labels) + more
        wait_until(lambda: len(self.labels) > count, self.api.log_text)

    def _work(self, client: int) -> None:
        number = 0
        while not self._stop_event.is_set():
            names = [f"{self.prefix}-{client}-{number + index}" for index in range(BATCH)]
            number += BATCH
            for name in names:
                body = json.dumps({"id": name, "features": BODY})
                document = self._until_acknowledged("/v1/predict", body)
                if document is None:
                    return
                self.answers.setdefault(name, set()).add(document["prediction_id"])
            truth = {name: str(hash(name) % 2) for name in names}
            body = json.dumps({"labels": [{"id": name, "label": int(label)} for name, label in truth.items()]})
            report = self._until_acknowledged("/v1/labels", body)
            if report is None:
                return
            if not report["unknown_count"]:
                self.labels |= truth

    def _until_acknowledged(self, path: str, body: str) -> "dict[str, str] | None":
        """The answer, however often the request has to be sent; None once the sender stops."""
        while not self._stop_event.is_set():
            with suppress(OSError, HTTPException, RequestRefused, ValueError):
                document: dict[str, str] = self.api.post(path, body)
                return document
            time.sleep(0.02)
        return None


def _rows(api: Api) -> tuple[dict[str, list[str]], dict[str, str], set[str]]:
    """Per prediction its labels in order; per id its prediction; predictions that are marked duplicates."""
    engine = database.connect(api.database)
    try:
        with database.reading(engine) as connection:
            history: dict[str, list[str]] = {}
            for row in connection.execute(select(labels).order_by(labels.c.id)):
                history.setdefault(row.prediction_id, []).append(row.label)
            owners = {row.id: row.prediction_id for row in connection.execute(select(request_ids))}
            duplicates = set(connection.execute(select(request_duplicates.c.prediction_id)).scalars())
    finally:
        engine.dispose()
    return history, owners, duplicates


def _assert_whole(api: Api, senders: list[_Sender], figure: Figure, what: str) -> None:
    history, owners, duplicates = _rows(api)
    truths = {name: label for sender in senders for name, label in sender.labels.items()}
    lost = [name for name, label in truths.items() if history.get(owners[name], [""])[-1] != label]
    evidence = Counter(row.prediction_id for row in api.prediction_log() if not row.synthetic)
    names = {prediction_id: name for name, prediction_id in owners.items()}
    doubled_ids = [each for each, count in Counter(names.get(each, each) for each in evidence).items() if count > 1]
    unknown = [each for each in evidence if each not in names]
    answers = {name: ids for sender in senders for name, ids in sender.answers.items()}
    others = [name for name, ids in answers.items() if not ids <= {owners[name]} | duplicates]
    counts = f"{len(lost)} / {len(doubled_ids)} of {len(truths)}"
    figure(f"{what}: acknowledged labels lost / ids doubled as evidence, of labels", counts)
    assert (lost, doubled_ids, unknown, others) == ([], [], [], [])
    assert truths


def test_kill_minus_nine_while_labels_come_in(on_either: Api, figure: Figure) -> None:
    """Each acknowledged label is in force, each id is one row, and a retry has the answer of the first attempt."""
    kills, senders = repetitions(2, 20), []
    for kill in range(kills):
        with _Sender(on_either, f"k{kill}") as sender:
            sender.wait(10 + 7 * (kill % 4))
            on_either.kill()
            on_either.start()
            sender.wait(CLIENTS * BATCH)
        senders.append(sender)
    _assert_whole(on_either, senders, figure, f"API killed {kills} times")


def test_retries_through_an_outage_are_one_piece_of_evidence(
    on_postgres: Api, server: Postgres, figure: Figure
) -> None:
    """An id that was answered twice, before and in the outage, has one row that counts; the other is marked."""
    outages, senders = repetitions(1, 10), []
    for outage in range(outages):
        with _Sender(on_postgres, f"o{outage}") as sender:
            sender.wait(10)
            server.kill()
            time.sleep(0.5)
            if outage % 2:
                on_postgres.kill()
            server.start()
            if outage % 2:
                on_postgres.start()
            wait_until(lambda: bool(on_postgres.get("/health/ready")["status"] == "ready"))
            sender.wait(CLIENTS * BATCH)
        senders.append(sender)
    _assert_whole(on_postgres, senders, figure, f"PostgreSQL killed {outages} times")


def test_a_killed_import_goes_on(on_either: Api, figure: Figure) -> None:
    """`labels add` that is killed and started again leaves each label once."""
    with _Sender(on_either, "i") as sender:
        wait_until(lambda: len(sender.answers) > 150)
    file = on_either.folder / "labels.csv"
    truths = {name: str(len(name) % 2) for name in sender.answers}
    file.write_text("id,label\n" + "".join(f"{name},{label}\n" for name, label in truths.items()))
    kills = repetitions(2, 20)
    for kill in range(kills):
        _killed_import(on_either, file.name, 0.6 + 0.1 * (kill % 10))
    process = on_either.command("labels", "add", file.name, "--json")
    assert process.returncode == 0, process.stderr
    history, owners, _ = _rows(on_either)
    lost = [name for name, label in truths.items() if history[owners[name]][-1] != label]
    # A label that is in force is not stored again, so two equal ones never follow each other.
    repetitions_of = [name for name in truths if any(a == b for a, b in pairwise(history[owners[name]]))]
    figure(
        f"`labels add` killed {kills} times: lost / stored twice",
        f"{len(lost)} / {len(repetitions_of)} of {len(truths)}",
    )
    assert (lost, repetitions_of) == ([], [])


def _killed_import(api: Api, file: str, seconds: float) -> None:
    with (api.folder / "labels.log").open("ab") as log:
        process = start("labels", "add", file, folder=api.folder, log=log, environment=api.environment)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
