"""What keys cost: two services that differ in nothing else, side by side, loaded in turn."""

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from benchmarks import servers
from benchmarks.serving import load
from benchmarks.serving.contenders import CONNECTIONS, Ours, Place, Server
from benchmarks.serving.load import Load
from benchmarks.serving.visit import WARM_SECONDS, Report
from benchmarks.serving.workload import write_bodies

OFF, ON = "keys off", "keys on"
RATE = 999_999_999
"""Requests a minute of the key: a limit that is counted and never reached."""


def with_key(server: Server, place: Place) -> tuple[Server, str]:
    """The server of a service with keys, and one that may predict at a limited rate."""
    program, config = server.command[0], str(place.folder / "service" / "stillsafe.toml")
    command = (program, "key", "create", "load", "--scope", "predict", "--rate", str(RATE), "--json")
    process = subprocess.run(  # noqa: S603 - the project's own command
        [*command, "--config", config],
        env={**os.environ, **server.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return replace(server, command=(*server.command, "--keys")), json.loads(process.stdout)["key"]


def measure(
    ours: Ours, make_place: Callable[[], Place], *, rounds: int, seconds: float, report: Report
) -> dict[str, list[Load]]:
    """The loads of each round with 64 connections, by whether keys are needed; who is first changes with each round.

    Args:
        ours: on either store.
        make_place: makes a place of its own for each of the two servers.
        rounds: how many.
        seconds: of each load.
        report: called with the progress.

    Raises:
        NotStarted, LoadFailed: why it cannot be measured.
    """
    loads: dict[str, list[Load]] = {OFF: [], ON: []}
    with ExitStack() as stack:
        lines: dict[str, tuple[Server, Place, str]] = {}
        for name in loads:
            place = make_place()
            server, key = ours.prepare(place), ""
            if name == ON:
                server, key = with_key(server, place)
            write_bodies(place.folder / "one.jsonl", [server.one.body([row]) for row in place.workload.rows])
            stack.enter_context(
                servers.running(
                    server.command,
                    port=place.port,
                    ready=server.ready,
                    folder=place.folder,
                    environment=server.environment,
                )
            )
            lines[name] = (server, place, key)
            _load(*lines[name], seconds=WARM_SECONDS)
        for number in range(rounds):
            for name in (OFF, ON) if number % 2 else (ON, OFF):
                report(f"round {number + 1}, {name}")
                loads[name].append(_load(*lines[name], seconds=seconds))
    return loads


def _load(server: Server, place: Place, key: str, *, seconds: float) -> Load:
    bodies = place.folder / "one.jsonl"
    return load.run(place.port, server.one.path, bodies, connections=CONNECTIONS, seconds=seconds, key=key)
