"""The demo's second act: the inputs stay healthy and the world changes its mind, which only labels can show.

Ground crews refuse to work in the evening, so flights that depart then arrive late, however punctual they departed. No
feature, no prediction and no confidence changes. What happened to a flight is known two days later, and comes in by
`POST /v1/labels`, a day's flights at once. The flights are real; only the clock and the strike are not.
"""

import http.client
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from stillsafe import service
from stillsafe.demo import (
    CLIENT_COUNT,
    EXPECTED_STATES,
    FLIGHTS_PER_RUN,
    LABEL,
    START,
    STEP,
    Clock,
    DemoFailed,
    DemoRun,
    create_demo_service,
    demo_run,
    print_run,
    read_flights,
    request_rows,
    send,
    serve,
    stored_results,
)
from stillsafe.model.load import load_model
from stillsafe.settings import DEFAULT_FILE, Settings

DAY = timedelta(days=1)
LABEL_DELAY_DAYS = 2
EVENING_HOUR = 17.0
"""Flights that depart from this hour on arrive late during the strike."""
CHAPTERS = (("healthy", 4), ("strike", 5), ("peace", 6))
HEADINGS = {
    "healthy": "[bold]Healthy traffic[/]. Each line is a day; the truth about its flights comes two days later.",
    "strike": "[bold]Ground crews strike in the evenings[/]: flights that depart then arrive late. The requests are "
    "the same as before, and so are the answers.",
    "peace": "[bold]The strike is over.[/] Labels of flights since the degradation show it, two days later.",
}


def play(out: Path, *, console: Console, quiet: bool = False) -> dict[str, Any]:
    """Play the act and print it.

    Args:
        out: the service folder to write; a folder of an earlier demo is replaced.
        console: where to print.
        quiet: print nothing.

    Returns:
        The states, the runs, the incident and the accuracies, for a program.

    Raises:
        DemoFailed: with what was missing.
    """
    terminal = Console(quiet=True) if quiet else console
    terminal.rule("[bold]Stillsafe: the world changes its mind[/]")
    flights = read_flights()
    with terminal.status("Training a model on 16,000 real flights and writing a service folder"):
        traffic = create_demo_service(flights, out)
    file = out / DEFAULT_FILE
    _run_daily(file)
    settings, clock = service.settings_of(file), Clock(START)
    with serve(service.create_app(settings, clock=clock), settings.serving.host) as port:
        runs = list(_play_days(settings, traffic, clock, port, terminal))
    result = _evaluate(settings, runs)
    terminal.print(f"\n[bold]Why the model was bypassed[/] ({result['incident']['incident_id']})")
    terminal.print(f"  {result['incident']['decision_reason']}", markup=False)
    terminal.print(f"  {result['incident']['resolution']}", markup=False)
    terminal.print(
        f"\nThe model was right about {result['accuracy_healthy']:.1%} of the flights, and about "
        f"{result['accuracy_strike']:.1%} during the strike. Its inputs never deviated."
    )
    terminal.print(f"Replay: {result['decisions_replayed']} decisions recomputed from log and labels, no difference.")
    return result


def _run_daily(file: Path) -> None:
    """One run a day: the file's schedule is that of a service with more traffic."""
    text = file.read_text(encoding="utf-8")
    for key, value in (("every", "1d"), ("window", "36h")):
        line = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line, f'{key} = "{value}"', 1)
    file.write_text(text, encoding="utf-8")


def _play_days(
    settings: Settings, traffic: pd.DataFrame, clock: Clock, port: int, terminal: Console
) -> Iterator[DemoRun]:
    """Each day: traffic over HTTP, the labels of the day before yesterday, and one monitoring run."""
    model = load_model(settings)
    clients = [http.client.HTTPConnection(settings.serving.host, port, timeout=60) for _ in range(CLIENT_COUNT)]
    batches = (traffic.iloc[start : start + FLIGHTS_PER_RUN] for start in range(0, len(traffic), FLIGHTS_PER_RUN))
    days: list[list[dict[str, Any]]] = []
    service.monitor(settings, now=clock.now)  # a service without any run is stale
    for chapter, day_count in CHAPTERS:
        terminal.print(HEADINGS[chapter])
        for batch in islice(batches, day_count):
            rows, labels = request_rows(batch), _labels(batch, is_strike=chapter == "strike")
            answers = send(clients, rows, clock)
            days.append(
                [
                    {"prediction_id": answer["prediction_id"], "label": label}
                    for answer, label in zip(answers, labels.tolist(), strict=True)
                ]
            )
            clock.now += DAY - STEP
            if len(days) > LABEL_DELAY_DAYS:
                _add_labels(clients[0], days[-1 - LABEL_DELAY_DAYS])
            monitoring_run = service.monitor(settings, now=clock.now)
            predictions = [score.prediction for score in model.score(rows)]
            run = demo_run(chapter, monitoring_run, answers, predictions, labels)
            print_run(terminal, run, "%a %d %b")
            yield run
    for client in clients:
        client.close()


def _labels(batch: pd.DataFrame, *, is_strike: bool) -> Any:
    """What happened to the flights: 1 if they arrived late."""
    labels = batch[LABEL].to_numpy(copy=True)
    if is_strike:
        labels[batch["hour"].to_numpy() >= EVENING_HOUR] = 1
    return labels


def _add_labels(client: http.client.HTTPConnection, labels: Sequence[dict[str, Any]]) -> None:
    client.request("POST", "/v1/labels", json.dumps({"labels": labels}), {"Content-Type": "application/json"})
    response = client.getresponse()
    document = json.loads(response.read())
    if response.status != 200 or document["new_count"] != len(labels):
        raise DemoFailed(f"labels were answered with {response.status}: {document}")


def _evaluate(settings: Settings, runs: Sequence[DemoRun]) -> dict[str, Any]:
    """The act's result as a document.

    Raises:
        DemoFailed: the runs do not show the degradation and the recovery, or labels did not open the incident.
    """
    states = [state for state, _ in groupby(run.state for run in runs)]
    if states != EXPECTED_STATES:
        raise DemoFailed(f"the states were {' -> '.join(states)}, not {' -> '.join(EXPECTED_STATES)}.")
    if any(run.answered_by_model for previous, run in pairwise(runs) if previous.state == "DEGRADED"):
        raise DemoFailed("the model answered while the state was DEGRADED.")
    results = stored_results(settings)
    if results["incident"]["trigger_signals"] != ["realised_loss"]:
        raise DemoFailed(f"the incident was made by {results['incident']['trigger_signals']}, not by labels alone.")
    return {
        "states": states,
        "runs": [asdict(run) for run in runs],
        **results,
        "accuracy_healthy": _model_accuracy(runs, "healthy"),
        "accuracy_strike": _model_accuracy(runs, "strike"),
    }


def _model_accuracy(runs: Sequence[DemoRun], chapter: str) -> float:
    return float(np.mean([run.model_accuracy for run in runs if run.chapter == chapter]))
