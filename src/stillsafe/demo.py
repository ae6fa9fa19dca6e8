"""The whole story on real data: a model goes silently wrong, is noticed, is bypassed, and is taken back.

Flights that left New York's airports in 2013: will this one arrive more than 15 minutes late? The feed with the
departure delays breaks, and a well-meaning gateway fills in 999. The model is then surer than ever, and wrong.

It drives the real API over HTTP, the real monitor and the real store. Only the clock is simulated.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stillsafe import service
from stillsafe.errors import StillsafeError
from stillsafe.init.create import create_service
from stillsafe.model.model import Model
from stillsafe.model.model import load as load_model
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.run import Run
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import incident_explanations, recent_incidents

SERVICE = "late-flights"
LABEL = "label"
BROKEN_FEATURE = "dep_delay"
SENTINEL = 999.0
SEED = 2013
TRAINED_ON, SAMPLED = 16_000, 6_000
FLIGHTS_PER_RUN = 300
CLIENTS = 8
START = datetime(2026, 1, 12, 8, 0, tzinfo=UTC)
STEP = timedelta(minutes=10)
CHAPTERS = (("healthy", 3), ("broken", 5), ("mended", 5))
EXPECTED = ["NORMAL", "WARNING", "DEGRADED", "NORMAL"]
STATE_STYLE = {"NORMAL": "green", "WARNING": "yellow", "DEGRADED": "red"}


class StoryDidNotHappen(StillsafeError):
    """The demo did not show what it promises."""


@dataclass(slots=True)
class Clock:
    """Simulated time: it moves when the story says so."""

    now: datetime

    def __call__(self) -> datetime:
        """The current simulated time, aware UTC."""
        return self.now


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ten simulated minutes of traffic and the run that judged them.

    Attributes:
        chapter: `healthy`, `broken` or `mended`.
        until: the run's time.
        state: after the run.
        severity: the run's.
        answered_by_model, answered_by_fallback: how many flights.
        accuracy: of the answers that were given, in [0, 1].
        model_accuracy: of what the model alone would have answered.
        avg_confidence: over the window, or None.
        reason: the run's sentence.
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
    """Play the story and tell it; returns it for a program.

    Args:
        out: the service folder to write; a folder of an earlier demo is replaced.
        console: where it is told.
        keep_open: keep the API and the dashboard up until interrupted.
        quiet: do not tell it.

    Raises:
        StoryDidNotHappen: saying what was missing.
    """
    teller = Console(quiet=True) if quiet else console
    began = time.perf_counter()
    teller.rule("[bold]Stillsafe: a model goes silently wrong[/]")
    flights = _flights()
    with teller.status("Training a model on 16,000 real flights and writing a service folder"):
        traffic = _make_service(flights, out)
    settings = service.settings_of(out / "stillsafe.toml")
    clock = Clock(START)
    with _serving(service.create_app(settings, clock=clock), settings.serving.host) as port:
        address = f"http://{settings.serving.host}:{port}"
        teller.print(f"Trained, inspected, and serving on {address}. Each line is ten simulated minutes of traffic,")
        teller.print("who answered it, and the state after the monitoring run at its end.\n")
        stretches = list(_live(settings, traffic, clock, port, teller))
        told = _judge(settings, stretches)
        _tell(teller, told, out, time.perf_counter() - began)
        if keep_open:
            teller.print(f"\nThe dashboard is at [bold]{address}/[/]. Stop with Ctrl-C.")
            _wait_for_interrupt()
    return told


def _flights() -> pd.DataFrame:
    file = resources.files("stillsafe") / "data" / "nyc_flights.parquet"
    with resources.as_file(file) as path:
        flights = pd.read_parquet(path)
    # Drawn over the whole year: the season is a story of its own, and not this one.
    return flights.drop(columns="timestamp").sample(frac=1, random_state=SEED).reset_index(drop=True)


def _make_service(flights: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Train, write the model and a held-out sample, run `init`; returns the flights that neither has seen."""
    if out.exists() and not _made_by_a_demo(out):
        raise StoryDidNotHappen(f"{out} exists and was not made by a demo; name another one with --out.")
    shutil.rmtree(out, ignore_errors=True)
    work = out.with_name(f"{out.name}.inputs")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    training, sample = flights.iloc[:TRAINED_ON], flights.iloc[TRAINED_ON : TRAINED_ON + SAMPLED]
    _save(_fit(training), work / "model.skops")
    sample.to_parquet(work / "sample.parquet")
    create_service(
        work / "model.skops",
        work / "sample.parquet",
        label=LABEL,
        out=out,
        name=SERVICE,
        version=None,
        trust_joblib=False,
        force=False,
        now=START - timedelta(days=1),
        salt="demo",
        progress=lambda _message: None,
    )
    (work / "model.skops").unlink()
    (work / "sample.parquet").rename(out / "sample.parquet")
    work.rmdir()
    return flights.iloc[TRAINED_ON + SAMPLED :]


def _made_by_a_demo(folder: Path) -> bool:
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
def _serving(app: FastAPI, host: str) -> Iterator[int]:
    """The app behind a real server on a free port, in a thread of this process so that it shares the clock."""
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, name="demo-server")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise StoryDidNotHappen("the API did not start.")
            time.sleep(0.02)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _live(settings: Settings, traffic: pd.DataFrame, clock: Clock, port: int, teller: Console) -> Iterator[Stretch]:
    """Ten simulated minutes at a time: traffic over HTTP, then one monitoring run."""
    alone = load_model(settings)
    clients = [http.client.HTTPConnection(settings.serving.host, port, timeout=60) for _ in range(CLIENTS)]
    line = 0
    for chapter, runs in CHAPTERS:
        teller.print(_CHAPTERS[chapter])
        for _ in range(runs):
            batch = traffic.iloc[line * FLIGHTS_PER_RUN : (line + 1) * FLIGHTS_PER_RUN]
            line += 1
            sent = _rows(batch, broken=chapter == "broken")
            answers = _send(clients, sent, clock)
            done = service.monitor(settings, now=clock.now)
            stretch = _stretch(chapter, done, answers, batch[LABEL].to_numpy(), alone, sent)
            _tell_stretch(teller, stretch)
            yield stretch
    for client in clients:
        client.close()


def _rows(batch: pd.DataFrame, *, broken: bool) -> list[dict[str, Any]]:
    features = batch.drop(columns=LABEL).astype(object)
    rows = [{str(k): v for k, v in row.items()} for row in features.where(features.notna(), None).to_dict("records")]
    return [{**row, BROKEN_FEATURE: SENTINEL} for row in rows] if broken else rows


def _send(
    clients: Sequence[http.client.HTTPConnection], rows: Sequence[dict[str, Any]], clock: Clock
) -> list[dict[str, Any]]:
    """One request a flight, from several clients at once, while the clock moves through ten minutes."""
    answers: list[dict[str, Any]] = []
    with ThreadPoolExecutor(len(clients)) as pool:
        for start in range(0, len(rows), len(clients)):
            together = rows[start : start + len(clients)]
            answers.extend(pool.map(_ask, clients, together))
            clock.now += STEP * (len(together) / len(rows))
    return answers


def _ask(client: http.client.HTTPConnection, row: dict[str, Any]) -> dict[str, Any]:
    client.request("POST", "/v1/predict", json.dumps({"features": row}), {"Content-Type": "application/json"})
    response = client.getresponse()
    document: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise StoryDidNotHappen(f"a prediction was answered with {response.status}: {document}")
    return document


def _stretch(
    chapter: str, done: Run, answers: list[dict[str, Any]], labels: Any, alone: Model, sent: list[dict[str, Any]]
) -> Stretch:
    if done.decision is None or done.window is None:
        raise StoryDidNotHappen(f"a monitoring run did not take place: {done.outcome.value}.")
    by_fallback = sum(answer["decided_by"] == "fallback" for answer in answers)
    own = np.array([score.prediction for score in alone.score(sent)])
    return Stretch(
        chapter,
        done.window.end,
        done.decision.memory.effective_state.value,
        done.decision.severity.value,
        len(answers) - by_fallback,
        by_fallback,
        float((np.array([answer["prediction"] for answer in answers]) == labels).mean()),
        float((own == labels).mean()),
        done.window.fresh.avg_confidence,
        done.decision.reason,
    )


def _judge(settings: Settings, stretches: list[Stretch]) -> dict[str, Any]:
    """Whether the story happened, and its figures.

    Raises:
        StoryDidNotHappen: saying what was missing.
    """
    states = [stretch.state for stretch in stretches]
    path = [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]
    if path != EXPECTED:
        raise StoryDidNotHappen(f"the states were {' -> '.join(path)}, not {' -> '.join(EXPECTED)}.")
    bypassed = [b for a, b in pairwise(stretches) if a.state == "DEGRADED"]
    if any(stretch.answered_by_model for stretch in bypassed):
        raise StoryDidNotHappen("the model answered while the state was DEGRADED.")
    if stretches[-1].answered_by_fallback:
        raise StoryDidNotHappen("the fallback still answered after the recovery.")
    protected = [stretch for stretch in bypassed if stretch.chapter == "broken"]
    with_protection = float(np.mean([stretch.accuracy for stretch in protected]))
    without = float(np.mean([stretch.model_accuracy for stretch in protected]))
    if with_protection <= without:
        raise StoryDidNotHappen(f"the fallback ({with_protection:.1%}) did no better than the model ({without:.1%}).")
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        incident = recent_incidents(connection, 1)[0]
        explained = incident_explanations(connection, incident.incident_id)
    replays = {
        "metrics": replay(engine),
        "logs": replay(
            engine,
            from_logs=True,
            schema=settings.schema_of_features,
            model_version=settings.model.version,
            score=service.shadow_scorer(settings),
        ),
    }
    engine.dispose()
    for what, found in replays.items():
        if found.difference is not None:
            raise StoryDidNotHappen(f"replay from {what} differs. {found.difference}")
    healthy = [stretch.accuracy for stretch in stretches if stretch.chapter == "healthy"]
    return {
        "states": path,
        "runs": [asdict(stretch) for stretch in stretches],
        "incident": asdict(incident),
        "explanations": [asdict(explanation) for explanation in explained],
        "accuracy_healthy": float(np.mean(healthy)),
        "accuracy_with_protection": with_protection,
        "accuracy_without_protection": without,
        "decisions_replayed": replays["logs"].runs,
        "windows_recounted": replays["logs"].windows,
    }


_CHAPTERS = {
    "healthy": "[bold]Healthy traffic.[/]",
    "broken": f"[bold]The delay feed breaks[/]: a gateway fills in {BROKEN_FEATURE} = {SENTINEL:g} for every flight. "
    "Every request still succeeds.",
    "mended": "[bold]The feed is mended.[/] The monitor scores the bypassed flights aside until it trusts the model.",
}


def _tell_stretch(teller: Console, stretch: Stretch) -> None:
    line = Text(f"  {stretch.until:%H:%M}  ")
    line.append(f"{stretch.state:<9}", style=f"bold {STATE_STYLE[stretch.state]}")
    line.append(f"severity {stretch.severity:<9}")
    confidence = "  -  " if stretch.avg_confidence is None else f"{stretch.avg_confidence:.3f}"
    line.append(f"confidence {confidence}   answers right {stretch.accuracy:>4.0%}   ")
    line.append("model" if stretch.answered_by_model else "fallback", "green" if stretch.answered_by_model else "red")
    teller.print(line)


def _tell(teller: Console, told: dict[str, Any], out: Path, seconds: float) -> None:
    teller.print(f"\n[bold]What the monitor said[/] ({told['incident']['incident_id']})")
    teller.print(f"  {told['incident']['decision_reason']}", markup=False)
    for explanation in told["explanations"]:
        if explanation["incident_status"] == "escalated":
            teller.print("\n[bold]What the offline observer made of it then[/]")
            teller.print(f"  {explanation['summary']}", markup=False)
            for heading in ("likely_causes", "recommendations"):
                teller.print(f"  [bold]{heading.replace('_', ' ').capitalize()}[/]")
                for line in explanation[heading].splitlines():
                    teller.print(f"    - {line}", markup=False)
    table = Table("while the feed was broken and the model bypassed", "answers right", "")
    for who, key, style in (
        ("with Stillsafe (the fallback answered)", "accuracy_with_protection", "green"),
        ("without (the model, surer than ever)", "accuracy_without_protection", "red"),
        ("the same model on healthy flights", "accuracy_healthy", "blue"),
    ):
        share = told[key]
        table.add_row(who, f"{share:.1%}", Text("█" * round(30 * share), style=style))
    teller.print(table)
    teller.print(
        f"Replayed: {told['decisions_replayed']} decisions and {told['windows_recounted']} windows recomputed from the "
        f"log, no difference. {seconds:.0f} s in all."
    )
    config = out / "stillsafe.toml"
    teller.print(f"\nThe service folder is [bold]{out}[/]: settings, model, baseline, and the log in stillsafe.db.")
    teller.print("Next:", style="bold")
    for command, why in (
        ("windows", "every run"),
        ("explain", "the incident in plain words"),
        ("replay --from-logs", "recompute every decision"),
        ("serve", "the API and the dashboard"),
    ):
        teller.print(f"  {_command()} {command} --config {config}   # {why}", markup=False)


def _command() -> str:
    """How to call this program from here: by its name, or where it is not on the path, by its place."""
    return "stillsafe" if shutil.which("stillsafe") else os.path.relpath(Path(sys.executable).with_name("stillsafe"))


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
