"""schemathesis, a tool that nobody here wrote, finds no request that the service answers against its own document."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.conftest import size
from tests.cli.commands import stillsafe
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess, serve_folder

SCHEMATHESIS = Path(sys.executable).with_name("st")
OUTSIDE = "--exclude-path-regex=/(infer|record)$"
"""JSON Schema cannot state that tensors fit one another and the features, nor that probabilities have the sum 1, so
valid bodies of these are refused."""
PHASES = ("coverage", "fuzzing", "stateful")
OPERATIONS = {
    "POST /v1/predict",
    "POST /v1/predict/batch",
    "GET /v1/incidents",
    "GET /v1/incidents/{incident_id}",
    "GET /v1/windows",
    "GET /v1/state",
    "GET /v1/baseline",
    "GET /v1/model",
    "GET /v1/schema",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
}
"""Operations that must be among those that are attacked."""


@pytest.fixture(scope="module")
def keyed_target(
    pristine_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, str]]:
    """A served service that asks for keys, and a key with every scope."""
    folder = Path(shutil.copytree(pristine_service, tmp_path_factory.mktemp("keyed") / "service"))
    file = folder / "stillsafe.toml"
    file.write_text(file.read_text().replace("[exposure]\n", "[exposure]\nkeys = true\n"))
    scopes = [f"--scope={scope}" for scope in ("predict", "label", "read", "operate")]
    key_output = stillsafe(folder, "key", "create", "all", *scopes, "--json")
    assert key_output.returncode == 0, key_output.stderr
    with serve_folder(folder) as process:
        yield process, json.loads(key_output.stdout)["key"]


def test_no_case_fails_any_check(target: ServerProcess, tmp_path: Path, figure: Figure) -> None:
    """Every operation of the OpenAPI document, valid and invalid requests, every check of the tool: no failure."""
    _attack(target, tmp_path, figure, "open")


def test_no_case_fails_any_check_with_keys(
    keyed_target: tuple[ServerProcess, str], tmp_path: Path, figure: Figure
) -> None:
    """Also whether a wrong key, or none, is refused everywhere; hold and release are among the operations."""
    target, key = keyed_target
    _attack(target, tmp_path, figure, "keyed", f"--header=Authorization: Bearer {key}")


def _attack(target: ServerProcess, tmp_path: Path, figure: Figure, kind: str, *more: str) -> None:
    report_file = tmp_path / "report.json"
    address = f"http://127.0.0.1:{target.port}/openapi.json"
    options = ["--checks=all", "--seed=1", f"--max-examples={size(20, 900)}", "--continue-on-failure", OUTSIDE]
    reports = ["--report=json", f"--report-json-path={report_file}", "--output-truncate=true", "--no-color"]
    command = [str(SCHEMATHESIS), "run", address, *options, *reports, *more]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3_000)
    report = json.loads(report_file.read_text())
    assert (process.returncode, report["failures"], report["errors"]) == (0, [], []), process.stdout[-5_000:]
    assert all(report["phases"][phase]["status"] == "success" for phase in PHASES)
    assert report["operations"]["tested"] == report["operations"]["selected"] > 20
    operator_operations = {"POST /v1/hold", "POST /v1/release"} if more else set()  # without keys they always refuse
    assert set(report["valid_rates"]) >= OPERATIONS | operator_operations
    assert report["test_cases"]["generated"] > size(200, 20_000)
    figure(f"schemathesis, {kind}: operations, cases, failures of any check", _counts(report))
    assert "Traceback" not in target.log_file.read_text()


def _counts(report: dict[str, dict[str, int]]) -> str:
    cases = report["test_cases"]
    return f"{report['operations']['tested']}, {cases['generated']}, {cases['with_failures']}"
