"""The contenders: how each is started, how requests are sent, and how responses are read."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from tests.ports import free_port

from benchmarks import environments
from benchmarks.servers import NotStarted
from benchmarks.serving.workload import Answer, Row, Workload
from stillsafe.settings import DATABASE_VARIABLE

CONNECTIONS = 64  # kept open, each with one request at a time
REFERENCE = "FastAPI + scikit-learn"
_PEERS = Path(__file__).with_name("peers")
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_COUNT = "SELECT count(*) FROM {}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where rows are sent.

    Attributes:
        path: of the URL.
        body: the request for rows; a one-row endpoint is given one.
        read: the answers out of a response's JSON, in order.
    """

    path: str
    body: Callable[[Sequence[Row]], object]
    read: Callable[[Any], list[Answer]]


@dataclass(frozen=True, slots=True)
class Log:
    """A server's prediction log: measures its size in bytes and its rows while the server runs."""

    measure: Callable[[], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Server:
    """What is needed to start a server and to send requests.

    Attributes:
        command: starts it in the foreground.
        ready: a path that answers 200 once it can serve.
        one: for one row.
        many: for many rows in one request, where it has that.
        environment: variables.
        log: where it logs, if it does.
    """

    command: tuple[str, ...]
    ready: str
    one: Endpoint
    many: Endpoint | None
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Log | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one start happens.

    Attributes:
        workload: model and requests.
        folder: empty, for this start alone.
        port: where to listen.
        postgres: makes an empty database and gives its URL.
    """

    workload: Workload
    folder: Path
    port: int
    postgres: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of the tables.

    Attributes:
        name: shown.
        about: its packages with their versions, or what is special about it.
        prepare: makes ready for one start.
    """

    name: str
    about: str
    prepare: Callable[[Place], Server]


def _read_one(document: Any) -> list[Answer]:
    return [(document["prediction"], document["confidence"])]


def _read_list(document: Any) -> list[Answer]:
    return [(each["prediction"], each["confidence"]) for each in document]


# Stillsafe itself: `stillsafe serve` on the folder that `init` made, everything on.


@dataclass(frozen=True, slots=True)
class Ours:
    """A way to run Stillsafe.

    Attributes:
        postgresql: on a server over TCP, instead of SQLite.
        model: lines of the settings' `[model]` that differ from what `init` wrote, as TOML has them.
    """

    postgresql: bool = False
    model: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, place: Place) -> Server:
        """A copy of the service folder with an empty log."""
        service = place.folder / "service"
        shutil.copytree(place.workload.service, service)
        config = service / "stillsafe.toml"
        config.write_text(_with_model(config.read_text(encoding="utf-8"), self.model), encoding="utf-8")
        database = place.postgres() if self.postgresql else f"sqlite:///{service / 'stillsafe.db'}"
        program = str(Path(sys.executable).with_name("stillsafe"))
        upgrade = [program, "db", "upgrade", "--config", str(config)]
        subprocess.run(  # noqa: S603
            upgrade, env=os.environ | {DATABASE_VARIABLE: database}, check=True, capture_output=True
        )
        command = (program, "serve", "--config", str(config))
        return Server(
            (*command, "--port", str(place.port)),
            "/health/ready",
            Endpoint("/v1/predict", lambda rows: {"features": rows[0]}, _read_one),
            Endpoint("/v1/predict/batch", lambda rows: {"instances": list(rows)}, lambda d: _read_list(d["results"])),
            {**_THREADS, DATABASE_VARIABLE: database},
            Log(lambda: log_size(database)),
        )


def log_size(database: str) -> tuple[int, int]:
    """Bytes and rows of a prediction log, its indexes included."""
    if database.startswith("sqlite:///"):
        return _sqlite_size(Path(database.removeprefix("sqlite:///")), "prediction_logs")
    with psycopg.connect(database) as connection:
        size = connection.execute("SELECT pg_total_relation_size('prediction_logs')").fetchone()
        rows = connection.execute("SELECT count(*) FROM prediction_logs").fetchone()
    return (size or (0,))[0], (rows or (0,))[0]


def _sqlite_size(file: Path, table: str) -> tuple[int, int]:
    connection = sqlite3.connect(file, timeout=30)
    try:
        pages, size, rows = (
            connection.execute(query).fetchone()[0]
            for query in ("PRAGMA page_count", "PRAGMA page_size", _COUNT.format(table))
        )
    finally:
        connection.close()
    return pages * size, rows


def _with_model(settings: str, lines: Mapping[str, str]) -> str:
    """The settings with these lines in `[model]`; they replace lines with the same keys."""
    head, mark, rest = settings.partition("[model]\n")
    section, next_mark, tail = rest.partition("\n[")
    for name in lines:
        section = re.sub(rf"^{name} = .*\n?", "", section, flags=re.MULTILINE)
    new_lines = "".join(f"{name} = {value}\n" for name, value in lines.items())
    return head + mark + new_lines + section + next_mark + tail


# Peers, each in an environment of its own.


def _peer(name: str, about: str, prepare: Callable[[Place, str], Server]) -> Contender:
    """A contender whose environment is made when it is first needed."""

    def prepare_with_python(place: Place) -> Server:
        return prepare(place, str(environments.python(about)))

    return Contender(name, environments.versions(about), prepare_with_python)


def _surroundings(place: Place) -> dict[str, str]:
    folder = str(place.workload.folder)
    return {**_THREADS, "BENCHMARK_FOLDER": folder, "PYTHONPATH": str(_PEERS), "PYTHONWARNINGS": "ignore"}


def _fastapi(place: Place, python: str, *, log: bool = False) -> Server:
    file = place.folder / "log.db"
    logging = {"BENCHMARK_LOG": str(file)} if log else {}
    options = ("--port", str(place.port), "--no-access-log", "--log-level", "warning")
    return Server(
        (python, "-m", "uvicorn", "fastapi_app:app", *options),
        "/ready",
        Endpoint("/predict", lambda rows: {"features": rows[0]}, _read_one),
        Endpoint("/batch", lambda rows: {"instances": list(rows)}, _read_list),
        {**_surroundings(place), **logging},
        Log(lambda: _sqlite_size(file, "log")) if log else None,
    )


def _bentoml(place: Place, python: str) -> Server:
    rows = Endpoint("/predict", lambda rows: {"rows": list(rows)}, _read_list)
    command = (python, "-m", "bentoml", "serve", "bentoml_service:Flights", "--working-dir", str(_PEERS))
    home = {"BENTOML_HOME": str(place.folder), "BENTOML_DO_NOT_TRACK": "true"}
    return Server((*command, "--port", str(place.port)), "/readyz", rows, rows, {**_surroundings(place), **home})


def _litserve(place: Place, python: str) -> Server:
    command = (python, str(_PEERS / "litserve_app.py"), str(place.port))
    one = Endpoint("/predict", lambda rows: {"features": rows[0]}, _read_one)
    return Server(command, "/health", one, None, _surroundings(place))


def _mlserver(place: Place, python: str) -> Server:
    """In one process, as suits one model; what waits is taken together, at most five milliseconds after the first."""
    ports = {"http_port": place.port, "grpc_port": free_port(), "metrics_port": free_port()}
    server = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "metrics_endpoint": None, "debug": False}
    batching = {"max_batch_size": CONNECTIONS, "max_batch_time": 0.005}
    model = {"name": "flights", "implementation": "mlserver_runtime.Flights", **batching}
    for name, settings in (("settings", server), ("model-settings", model)):
        (place.folder / f"{name}.json").write_text(json.dumps(settings), encoding="utf-8")
    columns = json.loads((place.workload.folder / "columns.json").read_text(encoding="utf-8"))

    def body(rows: Sequence[Row]) -> object:
        shapes = {"shape": [len(rows), 1]}
        tensors = [
            {"name": name, "datatype": "FP64" if number else "BYTES", **shapes, "data": [row[name] for row in rows]}
            for name, number in columns.items()
        ]
        return {"inputs": tensors}

    def read(document: Any) -> list[Answer]:
        tensor = document["outputs"][0]
        return _read_chances([tensor["data"][i : i + 2] for i in range(0, len(tensor["data"]), 2)])

    rows = Endpoint("/v2/models/flights/infer", body, read)
    command = (python, "-m", "mlserver.cli.main", "start", str(place.folder))
    return Server(command, "/v2/models/flights/ready", rows, rows, _surroundings(place))


def _mlflow(place: Place, python: str) -> Server:
    """Its own scoring server, which has no batching."""
    model = place.folder / "model"
    surroundings = {**_surroundings(place), "MLFLOW_DISABLE_TELEMETRY": "true"}
    save = [python, str(_PEERS / "mlflow_save.py"), str(model)]
    process = subprocess.run(  # noqa: S603
        save, cwd=place.folder, env={**os.environ, **surroundings}, capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise NotStarted(f"the model could not be saved: {process.stderr[-300:]}")
    options = ("--env-manager", "local", "--host", "127.0.0.1", "--port", str(place.port), "--workers", "1")
    command = (python, "-m", "mlflow", "models", "serve", "--model-uri", str(model), *options)
    rows = Endpoint(
        "/invocations",
        lambda rows: {"dataframe_records": list(rows)},
        lambda document: _read_chances(document["predictions"]),
    )
    return Server(command, "/ping", rows, rows, {**surroundings, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"})


def _read_chances(chances: Sequence[Sequence[float]]) -> list[Answer]:
    return [(max(range(len(row)), key=row.__getitem__), max(row)) for row in chances]


CONTENDERS = (
    _peer(REFERENCE, "fastapi", _fastapi),
    _peer("the same, a commit per request", "fastapi", partial(_fastapi, log=True)),
    _peer("MLflow", "mlflow", _mlflow),
    _peer("BentoML", "bentoml", _bentoml),
    _peer("MLServer", "mlserver", _mlserver),
    _peer("LitServe", "litserve", _litserve),
    Contender("Stillsafe, SQLite", "as `init` makes it", Ours().prepare),
    Contender(
        "Stillsafe, SQLite, not compiled", "scikit-learn's own pipeline", Ours(model={"compiled": "false"}).prepare
    ),
    Contender("Stillsafe, PostgreSQL", "the same folder", Ours(postgresql=True).prepare),
)
"""Add a line to try another way of running Stillsafe, for instance `Ours(model={"timeout": '"1s"'})`."""
