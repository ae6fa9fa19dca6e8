"""Five minutes at one's own keyboard: a service that runs, which the reader breaks, watches, holds, mends and checks.

As in the demo the model predicts late flights, and a gateway fills in 999. Here nothing is simulated: traffic comes
over HTTP all the time, the monitor runs every few seconds, and each step names what to look at from another terminal.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from stillsafe import demo, service
from stillsafe.demo import DemoFailed
from stillsafe.monitoring import hold
from stillsafe.settings import DEFAULT_FILE, Settings

SCHEDULE = {"every": "4s", "window": "30s", "# max_gap": "5m"}
"""The monitor's settings of the tour; a run that a busy machine delays still follows the one before."""
FLIGHTS_PER_RUN = 100
PATIENCE_SECONDS = 180.0
"""How long a state may take to come; most come within 15 seconds."""
POLL_SECONDS = 0.2
OPERATOR, REASON = "the tour", "a drill"


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at in a step.

    Attributes:
        command: of `stillsafe`, without `--config`; or an address.
        purpose: what it shows now.
    """

    command: str
    purpose: str


@dataclass(slots=True)
class Traffic:
    """Flights that are sent all the time, and a monitoring run after each batch, on a thread of its own.

    Attributes:
        settings: of the service.
        port: where it is served.
        flights: what is sent, from the start again at its end.
        is_broken: whether the gateway fills in 999.
        states: the states after the runs so far, each once in a row.
        failure: what ended the thread, or None.
    """

    settings: Settings
    port: int
    flights: pd.DataFrame
    is_broken: bool = False
    states: list[str] = field(default_factory=list)
    failure: Exception | None = None
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Traffic":
        """Start."""
        self._thread = threading.Thread(target=self._run, name="tour-traffic")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the run that is under way."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        host = self.settings.serving.host
        clients = [http.client.HTTPConnection(host, self.port, timeout=60) for _ in range(demo.CLIENT_COUNT)]
        start = 0
        try:
            while not self._end.is_set():
                begin = time.monotonic()
                batch = self.flights.iloc[start : start + FLIGHTS_PER_RUN]
                start = (start + FLIGHTS_PER_RUN) % (len(self.flights) - FLIGHTS_PER_RUN)
                demo.send(clients, demo.request_rows(batch, broken_feed=self.is_broken), demo.Clock(demo.START))
                run = service.monitor(self.settings, now=service.utc_now())
                if run.decision is not None:
                    self._note(run.decision.memory.effective_state.value)
                self._end.wait(max(0.0, self.settings.monitor.every - (time.monotonic() - begin)))
        except Exception as error:  # noqa: BLE001 - the tour's own thread reports it
            self.failure = error
        finally:
            for client in clients:
                client.close()

    def _note(self, state: str) -> None:
        if self.states[-1:] != [state]:
            self.states.append(state)


def play(out: Path, *, console: Console, ask: Callable[[], None], program: str = "stillsafe") -> dict[str, Any]:
    """Play the tour.

    Args:
        out: the service folder to write; a folder of an earlier demo is replaced.
        console: where to print.
        ask: waits for the reader before each step.
        program: how the reader's terminal starts Stillsafe.

    Returns:
        The states, an answer of the fallback, and what the replay recomputed, for a program.

    Raises:
        DemoFailed: a step did not show what it announces.
    """
    console.rule("[bold]Stillsafe: a tour at your own keyboard[/]")
    with console.status("Training a model on 16,000 real flights and writing a service folder"):
        flights = demo.create_demo_service(demo.read_flights(), out)
    file = (out / DEFAULT_FILE).absolute()
    _hasten(file)
    settings = service.settings_of(file)
    guide = _Guide(console, ask, f"{program} {{}} --config {file}")
    with demo.serve(service.create_app(settings), settings.serving.host) as port:
        address = f"http://{settings.serving.host}:{port}"
        with Traffic(settings, port, flights) as traffic:
            answer = _steps(guide, traffic, address)
            states = list(traffic.states)
    guide.step(
        "7. Check the arithmetic",
        "Every decision is recomputed from the logged requests. None may differ.",
        Look("replay --from-logs", "the same, at your own keyboard"),
    )
    result = demo.stored_results(settings)
    counts = f"{result['decisions_replayed']} decisions and {result['windows_recounted']} windows"
    console.print(f"  {counts} recomputed, no difference.")
    return {"states": states, "answer": answer, **{key: result[key] for key in ("decisions_replayed", "incident")}}


def _hasten(file: Path) -> None:
    """Give the service a monitor that runs every few seconds."""
    text = file.read_text(encoding="utf-8")
    for key, value in SCHEDULE.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line, f'{key.removeprefix("# ")} = "{value}"', 1)
    file.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Guide:
    """Prints steps, and waits for the reader and for states."""

    console: Console
    ask: Callable[[], None]
    command: str

    def step(self, title: str, text: str, *looks: Look) -> None:
        """Wait for the reader, then print a step."""
        self.ask()
        self.console.print(f"\n[bold]{escape(title)}[/]\n  {escape(text)}")
        for look in looks:
            is_address = look.command.startswith("http")
            command = look.command if is_address else self.command.format(look.command)
            self.console.print(f"  [cyan]{escape(command)}[/]   # {escape(look.purpose)}")

    def wait_for(self, traffic: Traffic, state: str) -> None:
        """Wait until the last run has left a state.

        Raises:
            DemoFailed: it does not come, or traffic has ended.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        with self.console.status(f"Waiting for {state}"):
            while traffic.states[-1:] != [state]:
                if traffic.failure is not None:
                    raise DemoFailed(f"the traffic ended: {traffic.failure}")
                if time.monotonic() > end:
                    raise DemoFailed(f"{state} did not come; the states were {' -> '.join(traffic.states)}.")
                time.sleep(POLL_SECONDS)
        style = demo.STATE_STYLE[state]
        self.console.print(f"  The state is [bold {style}]{state}[/].")


def _steps(guide: _Guide, traffic: Traffic, address: str) -> dict[str, Any]:
    """Steps 1 to 6; returns an answer that the fallback gave."""
    guide.step(
        "1. It serves",
        f"{FLIGHTS_PER_RUN} flights come in every {traffic.settings.monitor.every:g} seconds. The monitor judges them.",
        Look(address, "the dashboard: state, signals, who answers"),
        Look("status", "the same in words"),
    )
    guide.wait_for(traffic, "NORMAL")
    guide.step(
        "2. You break it",
        f"From now on the gateway fills in {demo.BROKEN_FEATURE} = {demo.SENTINEL:g}. Every request still gets a 200. "
        "One deviating run changes nothing; two are a WARNING.",
        Look("windows", "the confidence rises while the answers get worse"),
    )
    traffic.is_broken = True
    guide.wait_for(traffic, "WARNING")
    guide.step("3. It bypasses the model", "The third severe run. Look at the next answer: who decided, and why.")
    guide.wait_for(traffic, "DEGRADED")
    answer = _answer(traffic)
    guide.console.print(f"  decided_by: {answer['decided_by']}; reason: {answer['reason']}", markup=False)
    guide.step(
        "4. It explains itself",
        "Which feature, what it costs, what to check first: written without a language model.",
        Look("explain", "the incident in plain words"),
        Look("windows show last", "every reading with its limits"),
    )
    guide.step(
        "5. You mend it",
        "The monitor scores the bypassed flights in the background. Three calm runs in a row end the degradation.",
        Look("status", "how many calm runs are missing"),
    )
    traffic.is_broken = False
    guide.wait_for(traffic, "NORMAL")
    _drill(guide, traffic)
    return answer


def _drill(guide: _Guide, traffic: Traffic) -> None:
    """Step 6: an operator holds the model and releases it."""
    guide.step(
        "6. You pull the brake",
        "An operator knows something that no signal shows. A hold bypasses the model at once, on record.",
        Look(f'hold --reason "{REASON}"', "what the tour does now"),
    )
    version, engine = traffic.settings.model.version, service.open_store(traffic.settings)
    try:
        hold.hold(engine, version, by=OPERATOR, reason=REASON, at=service.utc_now())
        guide.wait_for(traffic, "DEGRADED")
        guide.console.print("  And released: the monitor's evidence decides again.")
        hold.release(engine, version, by=OPERATOR, reason="the drill is over", at=service.utc_now())
    finally:
        engine.dispose()
    guide.wait_for(traffic, "NORMAL")


def _answer(traffic: Traffic) -> dict[str, Any]:
    """The answer to one more flight.

    Raises:
        DemoFailed: the model has given it.
    """
    (row,) = demo.request_rows(traffic.flights.iloc[:1], broken_feed=True)
    client = http.client.HTTPConnection(traffic.settings.serving.host, traffic.port, timeout=60)
    try:
        client.request("POST", "/v1/predict", json.dumps({"features": row}), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(client.getresponse().read())
    finally:
        client.close()
    if answer.get("decided_by") != "fallback":
        raise DemoFailed(f"the answer in DEGRADED was {answer}.")
    return answer
