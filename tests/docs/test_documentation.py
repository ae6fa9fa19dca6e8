"""The documentation is true: commands run, generated pages are current, links have targets."""

import configparser
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from scripts.write_reference import FOLDER, pages

from stillsafe import service
from stillsafe.errors import Failure
from stillsafe.guard import Guard
from stillsafe.monitoring import hold
from stillsafe.observer.transport import SENT_HEADERS
from tests.cli.command_server import program
from tests.init.external import external_service
from tests.ports import free_port
from tests.postgres import running_postgres
from tests.stores import with_store

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    about: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*(part.strip(" ") for part in match)) for match in BLOCK.findall(page.read_text(encoding="utf-8"))]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{program().parent}:{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def run(script: str, folder: Path, **more: str) -> str:
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, f"{script}\n{process.stdout}\n{process.stderr}"
    return process.stdout


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the service did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the service did not listen in time")


def test_the_tutorial_is_true(tmp_path: Path) -> None:
    """Every command of the tutorial runs in order, with the result that it describes."""
    port, outputs, servers = str(free_port()), [], []
    try:
        for block in blocks(ROOT / "docs" / "tutorial.md"):
            text = block.text.replace("8123", port)
            if block.about.startswith("file="):
                (tmp_path / block.about.removeprefix("file=")).write_text(text)
            elif block.about == "background":
                servers.append(subprocess.Popen(["bash", "-c", f"exec {text}"], cwd=tmp_path, env=environment()))
                wait_for(int(port), servers[-1])
            else:
                outputs.append(run(text, tmp_path))
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    story = "\n".join(outputs)
    assert '"decided_by":"model"' in story.replace(" ", "")
    assert "violations" in story
    order = ["NORMAL -> WARNING", "WARNING -> DEGRADED", "'fallback': 100", "DEGRADED -> NORMAL"]
    places = [story.index(words) for words in order]
    assert places == sorted(places), story
    rest_of_story = story[places[-1] :]
    assert "'model': 100" in rest_of_story
    assert "No difference" in rest_of_story


@pytest.fixture
def labelled_sample(pristine_service: Path, made_service: Path) -> pd.DataFrame:
    """The sample with the labels that the service was made from; the pages name it `sample.csv`."""
    sample_file = Path(shutil.copy(pristine_service.parent / "sample.csv", made_service))
    return pd.read_csv(sample_file)


def judge_healthy_traffic(folder: Path, labelled_sample: pd.DataFrame) -> None:
    """Serve the rows of the sample once, and start the monitor: the pages speak of a service in use."""
    rows = labelled_sample.drop(columns="benign").sample(frac=1, random_state=3).to_dict("records")
    with TestClient(service.create_app(with_store(folder) / "stillsafe.toml")) as client:
        assert client.post("/v1/predict/batch", json={"instances": rows}).status_code == 200
    assert f"Calm: {len(rows)} new predictions" in run("stillsafe monitor", folder)


def test_the_recipes_run(made_service: Path, labelled_sample: pd.DataFrame) -> None:
    """Every command of the how-to runs in the folder of a service whose healthy traffic was judged."""
    judge_healthy_traffic(made_service, labelled_sample)
    for block in blocks(ROOT / "docs" / "how-to.md"):
        assert block.language in ("sh", "python")
        if block.language == "sh":
            run(block.text, made_service)


def how_to_code(word: str) -> str:
    """The Python code of the how-to that has a word."""
    page = blocks(ROOT / "docs" / "how-to.md")
    (code,) = [each.text for each in page if each.language == "python" and word in each.text]
    return code


def test_the_guard_of_the_how_to_answers(
    made_service: Path,
    labelled_sample: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The code of the how-to, with the features of the service."""
    row = labelled_sample.drop(columns="benign").iloc[0].to_dict()
    monkeypatch.chdir(made_service.parent)
    with_store(made_service)
    code = (
        how_to_code("Guard(").replace('{"age": 30, "town": "Ulm"}', repr(row)).replace("service/", f"{made_service}/")
    )
    names: dict[str, Any] = {}
    exec(compile(code, "how-to", "exec"), names)  # noqa: S102 - it is the documentation's own
    names["guard"].close()
    assert capsys.readouterr().out.split()[1:] == ["model", "NORMAL"]


def test_the_caller_of_a_model_elsewhere_obeys_the_guard(tmp_path: Path) -> None:
    """The code of the how-to asks the model in NORMAL, and in DEGRADED the fallback."""
    names: dict[str, Any] = {}
    exec(compile(how_to_code("guard.record("), "how-to", "exec"), names)  # noqa: S102 - it is the documentation's own
    folder, row = with_store(external_service(tmp_path).folder), {"age": 20.0, "income": 2e4, "town": "Ulm"}
    with Guard(folder / "stillsafe.toml") as guard:
        answers = [names["answer"](guard, lambda _: ("yes", {"no": 0.2, "yes": 0.8}), row)]
        engine = service.connect(guard.settings)
        hold.hold(engine, guard.settings.model.version, by="a test", reason="a test", at=service.utc_now())
        engine.dispose()
        answers.append(names["answer"](guard, lambda _: pytest.fail("the model was asked"), row))
    assert answers == ["yes", "no"]


def test_the_mounted_application_of_the_how_to_answers(
    made_service: Path, labelled_sample: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the how-to, in the folder of a service, gives an application that answers below its path."""
    code = how_to_code("create_app")
    monkeypatch.chdir(made_service)
    with_store(made_service)
    names: dict[str, Any] = {}
    exec(compile(code, "how-to", "exec"), names)  # noqa: S102 - it is the documentation's own
    row = labelled_sample.drop(columns="benign").iloc[0].to_dict()
    with TestClient(names["app"]) as client:
        assert client.post("/model/v1/predict", json={"features": row}).status_code == 200


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_the_operations_commands_run(
    made_service: Path, labelled_sample: pd.DataFrame, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the operations page runs in the folder of a service in use, on its store or on both."""
    page = blocks(ROOT / "docs" / "operations.md")
    assert {block.language for block in page} == {"sh", "ini", "yaml"}
    shell_blocks = [block for block in page if block.language == "sh"]
    assert {block.about for block in shell_blocks} == {"", "only=sqlite", "only=postgresql"}
    with running_postgres() as server:
        path = f"{server.programs}:{environment()['PATH']}"
        if store == "postgresql":
            monkeypatch.setenv("STILLSAFE_DATABASE_URL", server.url())
        judge_healthy_traffic(made_service, labelled_sample)
        for block in shell_blocks:
            if block.about in {"", f"only={store}"}:
                run(block.text, made_service, PATH=path)


def test_replacements_of_cron_start_the_monitor(made_service: Path) -> None:
    """The commands of the systemd unit and of the CronJob run the monitor, with the paths of a service."""
    page = blocks(ROOT / "docs" / "operations.md")
    unit = configparser.ConfigParser(delimiters="=")
    unit.read_string(next(block.text for block in page if block.about == "file=stillsafe-monitor.service"))
    job = next(block.text for block in page if block.language == "yaml")
    command_list = re.search(r"command: (\[.*\])", job)
    assert command_list is not None
    for command in (unit["Service"]["ExecStart"], shlex.join(json.loads(command_list[1]))):
        local_command = command.replace("/srv/venv/bin/", "").replace("/srv/stillsafe", str(made_service))
        assert "NORMAL" in run(local_command, made_service)


def test_the_observer_page_is_true(made_service: Path) -> None:
    """Its commands run, its settings are settings, and it names every failure and every header that is sent."""
    page = ROOT / "docs" / "observer.md"
    shell_blocks = blocks(page)
    file = made_service / "stillsafe.toml"
    text = file.read_text()
    for block in shell_blocks:
        if block.language == "sh":
            run(block.text, made_service)
        else:
            head, _, rest = text.partition("[observer]")
            file.write_text(head + block.text + rest[rest.index("\n[") :])
            assert service.settings_of(file).observer.use == "llm"
            file.write_text(text)
    text_of_page = page.read_text()
    assert all(f"| `{failure.value}` |" in text_of_page for failure in Failure)
    assert all(f"`{name}" in text_of_page.lower() for name in SENT_HEADERS)


def test_the_readme_shows_only_commands_that_are_tested(made_service: Path) -> None:
    """The README's make targets exist, and its stillsafe commands take the options that it shows."""
    makefile = (ROOT / "Makefile").read_text()
    commands = [line for block in blocks(ROOT / "README.md") for line in block.text.splitlines()]
    for line in commands:
        if line.startswith("make "):
            assert re.search(rf"^{line.removeprefix('make ')}:", makefile, re.MULTILINE), line
        elif line.startswith("pip install "):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            names = set(line.partition("[")[2].partition("]")[0].split(","))
            assert names <= set(project["optional-dependencies"]), line
        else:
            words = line.split()
            path = [word for word in words[1:] if not word.startswith("-")][: 2 if words[1] == "schedule" else 1]
            help_text = run(f"stillsafe {' '.join(path)} --help", made_service)
            assert all(word in help_text for word in words if word.startswith("--")), line
    assert {"make demo", "make test"} <= set(commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_have_targets(page: Path) -> None:
    """Every relative link in a page names a file or folder that exists."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_reference_is_generated_from_the_code() -> None:
    """The generated pages are the ones that the code generates now (`make fix` writes them)."""
    for name, text in pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: run `make fix`"


def test_no_address_of_a_package_index_is_committed() -> None:
    """The pinned versions name packages and hashes, and no index to get them from; the project names its own pages."""
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        text = re.sub(r"(?ms)^\[project\.urls\]$.*?(?=^\[)", "", (ROOT / name).read_text())
        assert not re.search(r"index-url|find-links|https?://", text), name


def test_the_version_is_in_the_changelog() -> None:
    """The newest section of the changelog is the package's version, or announces the version that it leads to."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    release, is_development = re.sub(r"\.dev\d+$", "", version), "dev" in version
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert newest.startswith(f"Unreleased\n\nVersion {release} to come." if is_development else release)
