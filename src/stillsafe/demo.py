"""A degradation and its recovery, on real data: a feed breaks, the monitor detects it, and the fallback takes over.

The model predicts whether a flight from New York in 2013 arrives more than 15 minutes late. The feed of departure
delays breaks, and a gateway fills in 999 for every flight. The model's confidence rises while its accuracy falls.

The demo calls the real API over HTTP, the real monitor and the real store. Only the clock is simulated.
"""

import http.client
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.text import Text

from stillsafe import service
from stillsafe.dashboard.cause import new_sentences
from stillsafe.errors import StillsafeError
from stillsafe.init.create import ServiceRequest, create_service
from stillsafe.model.load import load_model
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.run import Run
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import incident_explanations, recent_incidents

FLIGHTS = "nyc_flights.csv.gz"
_TEXTS = ["carrier", "origin", "dest", "weekday"]
SERVICE = "late-flights"
LABEL = "label"
BROKEN_FEATURE = "dep_delay"
SENTINEL = 999.0
SEED = 2013
TRAINING_ROWS, SAMPLE_ROWS = 16_000, 6_000
FLIGHTS_PER_RUN = 300
CLIENT_COUNT = 8
KEEP_ALIVE_SECONDS = 600  # a slow monitoring run pauses the traffic, and the connections must stay open meanwhile
START = datetime(2026, 1, 12, 8, 0, tzinfo=UTC)
STEP = timedelta(minutes=10)
CHAPTERS = (("healthy", 3), ("broken", 5), ("mended", 5))
EXPECTED_STATES = ["NORMAL", "WARNING", "DEGRADED", "NORMAL"]
STATE_STYLE = {"NORMAL": "green", "WARNING": "yellow", "DEGRADED": "red"}
HEADINGS = {
    "healthy": "[bold]Healthy traffic.[/]",
    "broken": f"[bold]The delay feed breaks[/]: a gateway fills in {BROKEN_FEATURE} = {SENTINEL:g} for every flight. "
    "Every request still succeeds.",
    "mended": "[bold]The feed is repaired.[/] The monitor scores the bypassed flights in the background until the "
    "model recovers.",
}


class DemoFailed(StillsafeError):
    """The demo did not show what it is meant to show."""


@dataclass(slots=True)
class Clock:
    """Simulated time, which the demo sets."""

    now: datetime

    def __call__(self) -> datetime:
        """The current simulated time, aware UTC."""
        return self.now


@dataclass(frozen=True, slots=True)
class DemoRun:
    """Ten simulated minutes of traffic and the monitoring run at their end.

    Attributes:
        chapter: `healthy`, `broken` or `mended`.
        until: the run's time.
        state: after the run.
        severity: the run's.
        answered_by_model, answered_by_fallback: counts of flights.
        accuracy: of the answers that were served, in [0, 1].
        model_accuracy: of the model's own predictions, in [0, 1], also where it was bypassed.
        avg_confidence: over the window, or None.
        reason: the run's reason.
    """

    chapter: str
    until: datetime
    state: str
    severity: str
    answered_by_model: int
    answered_by_fallback: int
    accuracy: float
    model_accuracy: float
    avg_confidence: float | None
    reason: str


def play(out: Path, *, console: Console, keep_open: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Play the demo and print it.

    Args:
        out: the service folder to write; a folder of an earlier demo is replaced.
        console: where to print.
        keep_open: keep serving the API and the dashboard until interrupted.
        quiet: print nothing.

    Returns:
        The states, the runs, the incident, its explanations and the accuracies, for a program.

    Raises:
        DemoFailed: with what was missing.
    """
    terminal = Console(quiet=True) if quiet else console
    start_time = time.perf_counter()
    terminal.rule("[bold]Stillsafe: a model fails silently[/]")
    flights = read_flights()
    with terminal.status("Training a model on 16,000 real flights and writing a service folder"):
        traffic = create_demo_service(flights, out)
    settings = service.settings_of(out / "stillsafe.toml")
    clock = Clock(START)
    with serve(service.create_app(settings, clock=clock), settings.serving.host) as port:
        address = f"http://{settings.serving.host}:{port}"
        terminal.print(f"The model is trained and served on {address}. Each line is ten simulated minutes of traffic:")
        terminal.print("the state after the monitoring run at their end, the accuracy, and who answered.\n")
        runs = list(_play_chapters(settings, traffic, clock, port, terminal))
        result = _evaluate(settings, runs)
        _print_summary(terminal, result, out, time.perf_counter() - start_time)
        if keep_open:
            terminal.print(f"\nThe dashboard is at [bold]{address}/[/]. Stop with Ctrl-C.")
            _wait_for_interrupt()
    return result


def read_flights() -> pd.DataFrame:
    """The flights, in an order without seasons."""
    # Seasons shift the features too, so the rows are shuffled over the whole year.
    return shipped_flights().drop(columns="timestamp").sample(frac=1, random_state=SEED).reset_index(drop=True)


def shipped_flights() -> pd.DataFrame:
    """The data that the package ships, in time order."""
    file = resources.files("stillsafe") / "data" / FLIGHTS
    with resources.as_file(file) as path:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    numbers = [name for name in cells if name not in ("timestamp", *_TEXTS)]
    # Python's own conversion is exact in every version of pandas.
    flights = cells.astype(object).assign(**cells[_TEXTS]).astype(dict.fromkeys(numbers, float))
    return flights.assign(timestamp=pd.to_datetime(cells["timestamp"]), label=flights[LABEL].astype(int))


def create_demo_service(flights: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Train a model and run `init` with it and a held-out sample; returns the flights that neither has used."""
    if out.exists() and not _is_demo_folder(out):
        raise DemoFailed(f"{out} exists and was not made by a demo; name another one with --out.")
    shutil.rmtree(out, ignore_errors=True)
    inputs = out.with_name(f"{out.name}.inputs")
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    training, sample = flights.iloc[:TRAINING_ROWS], flights.iloc[TRAINING_ROWS : TRAINING_ROWS + SAMPLE_ROWS]
    _save(_fit(training), inputs / "model.skops")
    sample.to_csv(inputs / "sample.csv", index=False)
    create_service(
        ServiceRequest(
            inputs / "model.skops",
            inputs / "sample.csv",
            label=LABEL,
            out=out,
            name=SERVICE,
            now=START - timedelta(days=1),
            salt="demo",
        )
    )
    service.open_store(service.settings_of(out / DEFAULT_FILE), create=True).dispose()
    (inputs / "model.skops").unlink()
    (inputs / "sample.csv").rename(out / "sample.csv")
    inputs.rmdir()
    return flights.iloc[TRAINING_ROWS + SAMPLE_ROWS :]


def _is_demo_folder(folder: Path) -> bool:
    file = folder / "stillsafe.toml"
    return file.exists() and f'name = "{SERVICE}"' in file.read_text(encoding="utf-8")


def _fit(training: pd.DataFrame) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    features = training.drop(columns=LABEL)
    categories = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False)
    columns = make_column_transformer((encoder, categories), remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=80, random_state=SEED))
    return model.fit(features.astype(dict.fromkeys(categories, object)), training[LABEL])


def _save(model: Any, path: Path) -> None:
    from skops import io

    io.dump(model, path)


@contextmanager
def serve(app: FastAPI, host: str) -> Iterator[int]:
    """Serve the app on a free port, which is yielded. A thread of this process serves, so it shares the clock."""
    config = uvicorn.Config(
        app, host=host, port=0, log_config=None, access_log=False, timeout_keep_alive=KEEP_ALIVE_SECONDS
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="demo-server")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise DemoFailed("the API did not start.")
            time.sleep(0.02)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _play_chapters(
    settings: Settings, traffic: pd.DataFrame, clock: Clock, port: int, terminal: Console
) -> Iterator[DemoRun]:
    """For every ten simulated minutes, send traffic over HTTP and then do one monitoring run."""
    model = load_model(settings)
    clients = [http.client.HTTPConnection(settings.serving.host, port, timeout=60) for _ in range(CLIENT_COUNT)]
    batches = (traffic.iloc[start : start + FLIGHTS_PER_RUN] for start in range(0, len(traffic), FLIGHTS_PER_RUN))
    for chapter, run_count in CHAPTERS:
        terminal.print(HEADINGS[chapter])
        for batch in islice(batches, run_count):
            rows = request_rows(batch, broken_feed=chapter == "broken")
            answers = send(clients, rows, clock)
            monitoring_run = service.monitor(settings, now=clock.now)
            predictions = [score.prediction for score in model.score(rows)]
            run = demo_run(chapter, monitoring_run, answers, predictions, batch[LABEL].to_numpy())
            print_run(terminal, run)
            yield run
    for client in clients:
        client.close()


def request_rows(batch: pd.DataFrame, *, broken_feed: bool = False) -> list[dict[str, Any]]:
    """The features of flights, as a client sends them."""
    features = batch.drop(columns=LABEL).astype(object)
    rows = [{str(k): v for k, v in row.items()} for row in features.where(features.notna(), None).to_dict("records")]
    return [{**row, BROKEN_FEATURE: SENTINEL} for row in rows] if broken_feed else rows


def send(
    clients: Sequence[http.client.HTTPConnection], rows: Sequence[dict[str, Any]], clock: Clock
) -> list[dict[str, Any]]:
    """Send one request per flight, from several clients at once, while the clock moves by ten minutes."""
    answers: list[dict[str, Any]] = []
    with ThreadPoolExecutor(len(clients)) as pool:
        for start in range(0, len(rows), len(clients)):
            batch = rows[start : start + len(clients)]
            answers.extend(pool.map(_predict, clients, batch))
            clock.now += STEP * (len(batch) / len(rows))
    return answers


def _predict(client: http.client.HTTPConnection, row: dict[str, Any]) -> dict[str, Any]:
    client.request("POST", "/v1/predict", json.dumps({"features": row}), {"Content-Type": "application/json"})
    response = client.getresponse()
    document: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise DemoFailed(f"a prediction was answered with {response.status}: {document}")
    return document


def demo_run(
    chapter: str, run: Run, answers: Sequence[dict[str, Any]], predictions: Sequence[Any], labels: Any
) -> DemoRun:
    """A chapter's traffic and the run at its end.

    Raises:
        DemoFailed: the run did not take place.
    """
    if run.decision is None or run.window is None:
        raise DemoFailed(f"a monitoring run did not take place: {run.outcome.value}.")
    fallback_count = sum(answer["decided_by"] == "fallback" for answer in answers)
    return DemoRun(
        chapter,
        run.window.end,
        run.decision.memory.effective_state.value,
        run.decision.severity.value,
        len(answers) - fallback_count,
        fallback_count,
        float((np.array([answer["prediction"] for answer in answers]) == labels).mean()),
        float((np.array(predictions) == labels).mean()),
        run.window.fresh.avg_confidence,
        run.decision.reason,
    )


def _evaluate(settings: Settings, runs: Sequence[DemoRun]) -> dict[str, Any]:
    """The demo's result as a document.

    Raises:
        DemoFailed: the runs do not show the degradation and the recovery, or a replay differs.
    """
    states = [state for state, _ in groupby(run.state for run in runs)]
    if states != EXPECTED_STATES:
        raise DemoFailed(f"the states were {' -> '.join(states)}, not {' -> '.join(EXPECTED_STATES)}.")
    bypassed_runs = [run for previous, run in pairwise(runs) if previous.state == "DEGRADED"]
    if any(run.answered_by_model for run in bypassed_runs):
        raise DemoFailed("the model answered while the state was DEGRADED.")
    if runs[-1].answered_by_fallback:
        raise DemoFailed("the fallback still answered after the recovery.")
    protected_runs = [run for run in bypassed_runs if run.chapter == "broken"]
    with_protection = float(np.mean([run.accuracy for run in protected_runs]))
    without_protection = float(np.mean([run.model_accuracy for run in protected_runs]))
    if with_protection <= without_protection:
        raise DemoFailed(
            f"the fallback ({with_protection:.1%}) did no better than the model ({without_protection:.1%})."
        )
    return {
        "states": states,
        "runs": [asdict(run) for run in runs],
        **stored_results(settings),
        "accuracy_healthy": float(np.mean([run.accuracy for run in runs if run.chapter == "healthy"])),
        "accuracy_with_protection": with_protection,
        "accuracy_without_protection": without_protection,
    }


def stored_results(settings: Settings) -> dict[str, Any]:
    """The incident, its explanations, and how many decisions and windows a replay recomputes without a difference."""
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        incident = recent_incidents(connection, 1)[0]
        explanations = incident_explanations(connection, incident.incident_id)
    from_metrics = replay(engine)
    from_logs = replay(
        engine,
        from_logs=True,
        log_format=LogFormat.of(settings),
        model_version=settings.model.version,
        score=service.shadow_scorer(settings),
    )
    engine.dispose()
    for source, result in (("metrics", from_metrics), ("logs", from_logs)):
        if result.difference is not None:
            raise DemoFailed(f"replay from {source} differs. {result.difference}")
    return {
        "incident": asdict(incident),
        "explanations": [asdict(explanation) for explanation in explanations],
        "decisions_replayed": from_logs.runs,
        "windows_recounted": from_logs.windows,
    }


def print_run(terminal: Console, run: DemoRun, time_format: str = "%H:%M") -> None:
    """One line for a run."""
    line = Text(f"  {run.until:{time_format}}  ")
    line.append(f"{run.state:<9}", style=f"bold {STATE_STYLE[run.state]}")
    line.append(f"severity {run.severity:<9}")
    confidence = "  -  " if run.avg_confidence is None else f"{run.avg_confidence:.3f}"
    line.append(f"confidence {confidence}   accuracy {run.accuracy:>4.0%}   ")
    line.append("model" if run.answered_by_model else "fallback", "green" if run.answered_by_model else "red")
    terminal.print(line)


def _print_summary(terminal: Console, result: dict[str, Any], out: Path, seconds: float) -> None:
    terminal.print(f"\n[bold]Why the model was bypassed[/] ({result['incident']['incident_id']})")
    terminal.print(f"  {result['incident']['decision_reason']}", markup=False)
    for explanation in result["explanations"]:
        if explanation["incident_status"] == "escalated":
            _print_explanation(terminal, explanation, result["incident"]["decision_reason"])
    terminal.print("\n[bold]Accuracy while the feed was broken[/]")
    for case, key, style in (
        ("with Stillsafe: the fallback answers", "accuracy_with_protection", "green"),
        ("without: the model answers", "accuracy_without_protection", "red"),
        ("for comparison: the model on healthy flights", "accuracy_healthy", "blue"),
    ):
        terminal.print(f"  {result[key]:>6.1%}  [{style}]{'█' * round(20 * result[key]):<20}[/]  {case}")
    terminal.print(
        f"Replay: {result['decisions_replayed']} decisions and {result['windows_recounted']} windows recomputed from "
        f"the log, no difference. The demo took {seconds:.0f} s."
    )
    terminal.print(f"\nThe service folder is [bold]{out}[/]: settings, model, baseline, and the log in stillsafe.db.")
    terminal.print("Next:", style="bold")
    for command, purpose in (
        ("windows", "every run"),
        ("explain", "the incident in plain words"),
        ("replay --from-logs", "recompute every decision"),
    ):
        terminal.print(f"  {program()} {command} --config {out / 'stillsafe.toml'}   # {purpose}", markup=False)
    # The demo's clock is simulated: a dashboard of today would show that its monitor stopped long ago.
    terminal.print(
        f"  {program()} demo --open   # the same, and the dashboard stays open at the demo's time", markup=False
    )
    terminal.print(f"  {program()} tour   # break it yourself, in real time", markup=False)


def _print_explanation(terminal: Console, explanation: dict[str, Any], reason: str) -> None:
    """An explanation without the sentences of the reason above it."""
    terminal.print("\n[bold]The offline observer's explanation[/]")
    terminal.print(f"  {new_sentences(explanation['summary'], [reason])}", markup=False)
    for heading in ("likely_causes", "recommendations"):
        terminal.print(f"  [bold]{heading.replace('_', ' ').capitalize()}[/]")
        for line in explanation[heading].splitlines():
            terminal.print(f"    - {line}", markup=False)


def program() -> str:
    """How to call this program from here: by its name, or by its relative path where it is not on the PATH."""
    return "stillsafe" if shutil.which("stillsafe") else os.path.relpath(Path(sys.executable).with_name("stillsafe"))


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
