"""The units and the container file in `examples/` are well-formed and narrow, and their commands run as set up."""

import configparser
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from stillsafe.settings import DATABASE_VARIABLE
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
UNITS = sorted((EXAMPLES / "systemd").glob("*.service"))
STILLSAFE = Path(sys.executable).with_name("stillsafe")
PLACES = {"/srv/venv/bin/stillsafe": str(STILLSAFE), "0.0.0.0": "127.0.0.1"}  # noqa: S104 - of the container
MOST_EXPOSURE = 15
"""In tenths, by `systemd-analyze security`, whose scale ends at 100 and calls up to 20 fine."""
SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictNamespaces": "yes",
    "LockPersonality": "yes",
    "UMask": "0077",
    "ReadOnlyPaths": "/srv/stillsafe",
    "StateDirectory": "stillsafe",
    "User": "stillsafe",
}


class _Unit(configparser.RawConfigParser):
    """A unit, whose keys keep their case; of a key that is repeated the last value."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def service_section(file: Path) -> Mapping[str, str]:
    """The section [Service] of a unit."""
    unit = _Unit(strict=False, delimiters="=")
    unit.read_string(file.read_text())
    return unit["Service"]


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a container file, with their arguments on one line."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in text.splitlines()]


CONTAINER = instructions(EXAMPLES / "container" / "Containerfile")


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.stem)
def test_a_unit_is_sandboxed(file: Path, tmp_path: Path) -> None:
    """No privileges, no writable place but its state; where systemd's own analysis is installed, that agrees."""
    section = service_section(file)
    assert {name: section.get(name) for name in SANDBOX} == SANDBOX
    program = shutil.which("systemd-analyze")
    if program is not None:
        local = tmp_path / file.name
        local.write_text(file.read_text().replace("/srv/venv/bin/stillsafe", sys.executable))
        for command in (["verify", "--man=no"], ["security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]):
            process = subprocess.run([program, *command, str(local)], capture_output=True, text=True)
            assert process.returncode == 0, process.stdout + process.stderr
            assert "Unknown" not in process.stderr


def test_both_units_have_the_same_sandbox() -> None:
    """The monitor may do no more than the service."""
    service, monitor = (
        service_section(EXAMPLES / "systemd" / name) for name in ("stillsafe.service", "stillsafe-monitor.service")
    )
    own = {"Type", "ExecStart", "Restart", "RestartSec", "TimeoutStopSec", "TimeoutStartSec", "LimitNOFILE"}
    assert {k: v for k, v in service.items() if k not in own} == {k: v for k, v in monitor.items() if k not in own}


def test_the_timer_starts_the_monitor() -> None:
    """The timer has the monitor's name, and its interval is the settings' default."""
    timer = _Unit(strict=False, delimiters="=")
    timer.read_string((EXAMPLES / "systemd" / "stillsafe-monitor.timer").read_text())
    assert timer["Timer"]["OnCalendar"] == "*:0/10"


def test_the_container_runs_as_nobody() -> None:
    """A numeric user after everything that root does, commands without a shell, no secret, nothing from the network."""
    names = [name for name, _ in CONTAINER]
    last_stage = CONTAINER[max(index for index, name in enumerate(names) if name == "FROM") :]
    users = [argument for name, argument in last_stage if name == "USER"]
    assert users == ["10001:10001"]
    order = [name for name, _ in last_stage]
    assert order.index("USER") > max(index for index, name in enumerate(order) if name in ("RUN", "COPY"))
    assert "ADD" not in names
    for name, argument in CONTAINER:
        if name in ("CMD", "ENTRYPOINT"):
            assert json.loads(argument)
        if name in ("ENV", "ARG"):
            assert not re.search("password|secret|token|key", argument, re.IGNORECASE)


def test_the_container_has_what_the_package_is_built_from() -> None:
    """Every file that the build of the package reads is copied into the image that builds it."""
    copies = {word for name, argument in CONTAINER if name == "COPY" for word in argument.split()[:-1]}
    project = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["path"]
    assert {"pyproject.toml", "README.md", *project["project"]["license-files"], hook, "src"} <= copies


def test_the_pods_run_as_nobody() -> None:
    """In Kubernetes, too: no root, nothing writable, probes on the routes of health, one monitor at a time."""
    text = (EXAMPLES / "kubernetes" / "stillsafe.yaml").read_text()
    kinds = re.findall(r"^kind: (\w+)$", text, re.MULTILINE)
    assert kinds == ["Deployment", "Service", "CronJob"]
    assert [text.count(line) for line in POD_LINES] == [2] * len(POD_LINES)
    assert "concurrencyPolicy: Forbid" in text
    assert 'schedule: "*/10 * * * *"' in text
    for probe, path in (("liveness", "live"), ("readiness", "ready"), ("startup", "live")):
        assert f"{probe}Probe: {{httpGet: {{path: /health/{path}, port: 8000}}" in text
    commands = [json.loads(each) for each in re.findall(r"args: (\[.*\])", text)]
    assert [command[0] for command in commands] == ["serve", "monitor"]
    assert not re.search(r"postgresql://|password:", text)


POD_LINES = (
    "runAsNonRoot: true",
    "readOnlyRootFilesystem: true",
    "allowPrivilegeEscalation: false",
    "automountServiceAccountToken: false",
    "{name: service, mountPath: /srv/stillsafe, readOnly: true}",
)


def test_the_application_with_a_guard_answers(made_service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The FastAPI example guards its own route and mounts the service; both answer, and both are recorded."""
    monkeypatch.setenv("STILLSAFE_CONFIG", str(made_service / "stillsafe.toml"))
    names = runpy.run_path(str(EXAMPLES / "fastapi" / "app.py"))
    row = {"mean radius": 14.1, "mean texture": 19.0, "mean smoothness": 0.09}
    with TestClient(names["app"]) as client:
        own = client.post("/diagnose", json={**row, "worst area": 880.0})
        assert (own.status_code, own.json()["decided_by"]) == (200, "model")
        refusal = client.post("/diagnose", json={**row, "worst area": "large"})
        assert (refusal.status_code, refusal.json()["detail"][0]["feature"]) == (422, "worst area")
        state = client.get("/stillsafe/v1/state").json()
        record = client.get(f"/stillsafe/v1/predictions/{own.json()['prediction_id']}")
    assert (state["state"], record.status_code) == ("NORMAL", 200)


def test_the_notebook_runs(made_service: Path, pristine_service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells run in order in the folder of a service, with a history beside it, and draw the runs."""
    notebook = json.loads((EXAMPLES / "notebook" / "backtest.ipynb").read_text())
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    shutil.copy(pristine_service.parent / "sample.csv", made_service / "history.csv")
    monkeypatch.chdir(made_service)
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102 - it is the example's own
    assert "DEGRADED" in str(names["summary"])


def _commands() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    for file in UNITS:
        section = service_section(file)
        yield file.stem, shlex.split(section["ExecStart"]), dict([section["Environment"].split("=", 1)])
    arguments = dict(CONTAINER)
    command = [*json.loads(arguments["ENTRYPOINT"]), *json.loads(arguments["CMD"])]
    variables = dict(pair.split("=", 1) for pair in arguments["ENV"].split())
    yield "container", ["/srv/venv/bin/stillsafe", *command[1:]], {DATABASE_VARIABLE: variables[DATABASE_VARIABLE]}


@pytest.mark.parametrize(
    ("name", "command", "variables"), list(_commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_commands_write_only_into_the_state_directory(
    made_service: Path, tmp_path: Path, name: str, command: list[str], variables: dict[str, str]
) -> None:
    """As if service folder and home were read-only: the database is in its directory, and nothing else changes."""
    state, home = tmp_path / "state", tmp_path / "home"
    state.mkdir()
    home.mkdir()
    (made_service / "stillsafe.db").rename(state / "stillsafe.db")
    places = {**PLACES, "/srv/stillsafe": str(made_service), "/var/lib/stillsafe": str(state)}
    local = [_place(word, places) for word in command]
    environment = {key: _place(value, places) for key, value in variables.items()} | {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    contents = _contents(made_service)
    if "monitor" in name:
        process = subprocess.run(local, cwd=made_service, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
    else:
        with _serving(local, made_service, environment) as connection:
            connection.request("GET", "/metrics")
            assert list(text_string_to_metric_families(connection.getresponse().read().decode()))
    assert (_contents(made_service), list(home.iterdir())) == (contents, [])
    assert {file.name.partition(".")[0] for file in state.iterdir()} == {"stillsafe"}


def _place(word: str, places: Mapping[str, str]) -> str:
    for place, local in places.items():
        word = word.replace(place, local)
    return word


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


@contextmanager
def _serving(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[HTTPConnection]:
    """A connection to the service that a command starts."""
    port = free_port()
    with subprocess.Popen(
        [*command, "--port", str(port)], cwd=folder, env={**environment}, stderr=subprocess.DEVNULL
    ) as process:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            for _ in range(600):
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield connection
        finally:
            connection.close()
            process.terminate()
            process.wait()
