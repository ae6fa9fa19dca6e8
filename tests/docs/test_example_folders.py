"""The examples with a page of their own do what the page says, and every folder is on the list."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import psycopg
import pytest
from fastapi.testclient import TestClient

from stillsafe import service
from stillsafe.demo import serve
from stillsafe.monitoring import hold
from stillsafe.settings import DATABASE_VARIABLE
from tests.attack.front import NAME, running_nginx
from tests.cli.command_server import program
from tests.cli.commands import Command
from tests.ports import free_port
from tests.postgres import Postgres
from tests.stores import with_store

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = sorted(EXAMPLES.rglob("*.md"))
ROW = {"mean radius": 14.1, "mean texture": 19.0, "mean smoothness": 0.09, "worst area": 880.0}


def block(page: Path, language: str) -> str:
    """The fenced block of a page in a language."""
    text = page.read_text(encoding="utf-8")
    (body,) = re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```", text)
    return str(body)


def change_settings(folder: Path, sections: dict[str, dict[str, Any]]) -> Path:
    """The settings' file of a service with further keys in its sections; a key that stands there is replaced."""
    file = folder / "stillsafe.toml"
    text = file.read_text()
    for section, keys in sections.items():
        head, _, rest = text.partition(f"[{section}]\n")
        own, mark, others = rest.partition("\n[")
        for key, value in keys.items():
            own = re.sub(rf"(?m)^{key} = .*\n", "", own)
            own = f"{key} = {value!r}\n{own}"
        text = f"{head}[{section}]\n{own}{mark}{others}"
    file.write_text(text)
    return file


def test_every_folder_is_on_the_list() -> None:
    """The list names each folder of examples once, and no link of any page leads nowhere."""
    name_cells = re.findall(r"^\| (.+?) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)[2:]
    names = [name for cell in name_cells for name in re.findall(r"\[.+?\]\((.+?)\)", cell)]
    assert sorted(names) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page, target)


@pytest.fixture
def _own_modules_only() -> Iterator[None]:
    """Forget the example's module and its folder afterwards."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("tumour_features", None)


@pytest.mark.usefixtures("_own_modules_only")
def test_the_model_with_an_own_module_is_served(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of its page, in order; the settings are those that it shows, and they suffice to find the module."""
    folder = Path(shutil.copytree(EXAMPLES / "own-modules", tmp_path / "own"))
    page = folder / "README.md"
    train, *commands = block(page, "sh").splitlines()
    subprocess.run([sys.executable, *shlex.split(train)[1:]], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    for command in commands:
        code, _, errors = run(*shlex.split(command)[1:])
        assert code == 0, errors
    model_section = tomllib.loads((folder / "service" / "stillsafe.toml").read_text())["model"]
    assert {key: model_section[key] for key in ("python_path", "trusted_types")} == tomllib.loads(block(page, "toml"))[
        "model"
    ]
    sys.modules.pop("tumour_features", None)
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != folder]
    with TestClient(service.create_app(folder / "service" / "stillsafe.toml")) as client:
        answer = client.post("/v1/predict", json={"features": {key: ROW[key] for key in written_features(folder)}})
    assert answer.json()["decided_by"] == "model"


def written_features(folder: Path) -> list[str]:
    """The names of the features in the settings."""
    settings = tomllib.loads((folder / "service" / "stillsafe.toml").read_text())
    return [each["name"] for each in settings["features"]]


def test_a_service_below_a_path_of_nginx_is_whole(made_service: Path, tmp_path: Path) -> None:
    """Pages, their files, the API and its document through the real proxy, with the settings of the page."""
    port, folder = free_port(), tmp_path / "nginx"
    folder.mkdir()
    sections = tomllib.loads(re.sub(r"(?m)^ +", "", block(EXAMPLES / "nginx-prefix" / "README.md", "toml")))
    prefix = sections["serving"]["root_path"]
    file = change_settings(with_store(made_service), sections)
    with serve(service.create_app(file), "127.0.0.1") as own_port:
        locations = (EXAMPLES / "nginx-prefix" / "stillsafe.conf").read_text()
        assert all(f"{key} = " in locations for keys in sections.values() for key in keys)
        http = f"server {{ listen 127.0.0.1:{port};\n{locations.replace('127.0.0.1:8000', f'127.0.0.1:{own_port}')}}}"
        address = f"http://127.0.0.1:{port}{prefix}"
        with (
            running_nginx(http, folder, f"{address}/health/live"),
            httpx2.Client(headers={"Host": f"{NAME}:{port}"}) as client,
        ):
            bare = client.get(address)
            assert (bare.status_code, bare.headers["Location"].endswith(f"{prefix}/")) == (308, True)
            page = client.get(f"{address}/")
            files = re.findall(r'(?:href|src)="([^"#]*static/[^"]+)"', page.text)
            assert len(files) == 2
            for each in files:
                assert client.get(str(page.url.join(each))).status_code == 200, each
            answer = client.post(f"{address}/v1/predict", json={"features": ROW})
            assert answer.json()["decided_by"] == "model"
            assert client.get(f"{address}/openapi.json").json()["servers"] == [{"url": prefix}]
            assert client.get(f"{address}/docs").status_code == 200


@pytest.mark.usefixtures("postgres_url")  # which closes the connections of the commands
def test_the_role_that_serves_changes_no_table(
    made_service: Path, run: Command, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One role makes the tables, the other answers and judges and may neither create nor drop any."""
    administrator = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    script = str(EXAMPLES / "postgresql" / "roles.sql")
    psql = [str(postgres.programs / "psql"), "--no-psqlrc", "--file", script]
    process = subprocess.run(psql, env={**os.environ, **administrator}, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    url = f"postgresql://{{}}@127.0.0.1:{postgres.port}/stillsafe"
    try:
        monkeypatch.setenv(DATABASE_VARIABLE, url.format("stillsafe_owner"))
        code, _, errors = run("db", "upgrade")
        assert code == 0, errors
        monkeypatch.setenv(DATABASE_VARIABLE, url.format("stillsafe"))
        with TestClient(service.create_app(made_service / "stillsafe.toml")) as client:
            assert client.post("/v1/predict", json={"features": ROW}).json()["decided_by"] == "model"
        for command in (["monitor"], ["hold", "--reason", "drill"], ["status"]):
            code, _, errors = run(*command)
            assert code == 0, errors
        with psycopg.connect(url.format("stillsafe"), autocommit=True) as connection:
            for statement in ("CREATE TABLE own (a int)", "DROP TABLE prediction_logs", "TRUNCATE incidents"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
    finally:
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute("DROP DATABASE stillsafe WITH (FORCE)")
            connection.execute("DROP ROLE stillsafe")
            connection.execute("DROP ROLE stillsafe_owner")


class Nights:
    """A folder for the nightly job, and a service that is judged at night."""

    def __init__(self, folder: Path, rows: pd.DataFrame) -> None:
        self.file = change_settings(
            with_store(folder),
            tomllib.loads(re.sub(r"(?m)^ +", "", block(EXAMPLES / "nightly-batch" / "README.md", "toml"))),
        )
        self.rows = rows
        self.folder = folder

    def run(self, name: str, *parts: pd.DataFrame) -> tuple[int, list[str]]:
        """The exit code of a night, and the names of the files that were handed on."""
        day = self.folder / "in" / name
        day.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(parts):
            part.to_csv(day / f"part-{number}.csv", index=False)
        path = f"{program().parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "STILLSAFE_CONFIG": str(self.file)}
        process = subprocess.run([EXAMPLES / "nightly-batch" / "nightly.sh", day], env=environment, check=False)
        return process.returncode, sorted(file.name for file in (day / "answers").glob("*"))


@pytest.fixture
def nights(made_service: Path, healthy_rows: list[dict[str, float]]) -> Nights:
    """Nights with healthy rows."""
    return Nights(made_service, pd.DataFrame(healthy_rows))


def test_a_night_is_handed_on_unless_degraded(nights: Nights) -> None:
    """A healthy night is; while an operator holds the model nothing is, and the answers of that night are gone."""
    assert nights.run("monday", nights.rows[:100]) == (0, ["part-0.csv"])
    settings = service.settings_of(nights.file)
    engine = service.connect(settings)
    hold.hold(engine, settings.model.version, by="a test", reason="a test", at=service.utc_now())
    engine.dispose()
    assert nights.run("tuesday", nights.rows[100:200]) == (4, [])
    assert sorted(file.name for file in (nights.folder / "in" / "tuesday").iterdir()) == ["part-0.csv"]


def test_a_broken_night_is_stopped_and_recovers(nights: Nights) -> None:
    """Three broken parts degrade; with the feed repaired the next start recovers, and the one after hands on."""
    parts = [nights.rows[start : start + 90] for start in (0, 90, 180)]
    damaged_parts = [part.assign(**{"worst area": part["worst area"] / 100}) for part in parts]
    assert nights.run("monday", *damaged_parts) == (4, [])
    assert nights.run("monday", *parts) == (4, [])
    assert nights.run("monday") == (0, ["part-0.csv", "part-1.csv", "part-2.csv"])
