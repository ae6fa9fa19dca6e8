"""No value of a single person stands where it must not, through the whole life of a service.

Values of persons are planted in the sample and in the requests. After everything that a service does, every table,
file, answer, log line, page, report and payload is searched for each of them.
"""

import io
import json
import logging
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io as skops_io
from sqlalchemy import select
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.cli import main
from stillsafe.core.evidence.quoted_text import quoted_forms
from stillsafe.logs import JsonLine
from stillsafe.settings import DATABASE_VARIABLE, Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.spool import Entry, Spool
from stillsafe.store.tables import metadata
from tests.stores import with_store

START, STEP = datetime(2026, 3, 2, 9, tzinfo=UTC), timedelta(minutes=10)
MIN_COUNT, SAMPLE_ROWS, RUN_ROWS = 5, 900, 120
FEATURES = ["income", "pay", "age", "mail", "phone", "town"]
HIDDEN_FEATURES = {"pay": "drop", "phone": "drop", "mail": "hash"}
HAMLET, NEWTOWN, LONELY = "Hamlet-4711", "Newtown-0815", "Lonely-0042"
CLIENT_KEY = "carol.4711@example.org"
OWN_FILES = {"model.skops"}
"""The model: what it learnt by heart is in it, as its owner made it."""


def people(seed: int, count: int, name: str) -> pd.DataFrame:
    """Persons with unique incomes and telephone numbers, and addresses that a few of them share."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "income": (random.lognormal(14, 0.5, count) + 0.0001).round(2),
            "pay": (random.lognormal(13, 0.5, count)).round(2),
            "age": random.integers(18, 80, count).astype(float),
            "mail": [f"{name}{i}@example.org" for i in random.integers(0, count // 3, count)],
            "phone": [f"+49-{seed}-{number}" for number in random.permutation(900_000)[:count] + 100_000],
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
        }
    )
    table.loc[:2, "town"] = HAMLET
    return table


def labels(table: pd.DataFrame) -> Any:
    """What all features but the telephone number explain, so that rules and models learn from them."""
    score = (
        table["age"] + (table["town"] == "Ulm") * 15 + (table["income"] > 1_300_000) * 15 + (table["pay"] > 450_000) * 9
    )
    return np.where(score > 65, "yes", "no")


def texts_of(table: pd.DataFrame, names: list[str], *, rare: bool = True) -> set[str]:
    """How the values of columns may be written, those that fewer rows than the threshold share."""
    texts: set[str] = set()
    for name in names:
        for value, count in Counter(table[name]).items():
            if rare and count >= MIN_COUNT:
                continue
            texts |= {value} if isinstance(value, str) else {repr(value), f"{value:,.2f}", f"{value:.2f}"}
    return texts


@dataclass
class Life:
    """A service from `init` to the archive, and everything that it let out.

    Attributes:
        folder: of the service.
        sample, requests: the persons in the healthy sample, and those whom clients asked about.
        outputs: what came out, by where.
    """

    folder: Path
    sample: pd.DataFrame
    requests: pd.DataFrame
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings of the service."""
        return service.settings_of(self.folder / "stillsafe.toml")

    def command(self, *words: str) -> str:
        """Run a command, and keep what it printed."""
        output, error_output = io.StringIO(), io.StringIO()
        handlers = logging.root.handlers[:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["stillsafe", *words])
            patch.setattr(sys, "stdout", output)
            patch.setattr(sys, "stderr", error_output)
            with pytest.raises(SystemExit) as exit_info:
                main()
        logging.root.handlers[:] = handlers
        text = output.getvalue() + error_output.getvalue()
        assert exit_info.value.code in (0, None, 1, 2), text
        self.outputs[" ".join(("stillsafe", *words))] = text
        return text

    def cells(self) -> Iterator[tuple[str, str]]:
        """Every cell of every table as text."""
        engine = service.open_store(self.settings)
        with database.reading(engine) as connection:
            for table in metadata.sorted_tables:
                for row in connection.execute(select(table)).mappings():
                    for column, value in row.items():
                        yield f"{table.name}.{column}", json.dumps(value, default=str, ensure_ascii=False)
        engine.dispose()


@dataclass
class Clock:
    """Simulated time."""

    now: datetime = START

    def __call__(self) -> datetime:
        """Now."""
        return self.now


def begin(folder: Path) -> Life:
    """`init`, hide three features, and measure the sample again."""
    sample = people(1, SAMPLE_ROWS, "alice")
    life = Life(folder / "service", sample, people(2, 8 * RUN_ROWS, "bob"))
    training = people(4, SAMPLE_ROWS, "dave")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["town", "mail"]), (StandardScaler(), ["income", "pay", "age"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(training[FEATURES], labels(training))
    skops_io.dump(model, folder / "model.skops")
    sample.assign(label=labels(sample)).to_csv(folder / "sample.csv", index=False)
    files = ("--sample", str(folder / "sample.csv"), "--label", "label")
    life.command("init", *files, "--model", str(folder / "model.skops"), "--out", str(life.folder))
    settings = life.folder / "stillsafe.toml"
    text = settings.read_text()
    for name, mode in HIDDEN_FEATURES.items():
        text, count = re.subn(rf'(?s)(name = "{name}" .*?\nlog = )"keep"', rf'\g<1>"{mode}"', text, count=1)
        assert count == 1
    settings.write_text(text)
    life.command("init", "--refresh", *files, "--out", str(life.folder))
    life.command("db", "upgrade", "--config", str(settings))
    return life


def instances(table: pd.DataFrame, start: int, count: int, **features: Any) -> list[dict[str, Any]]:
    """The requests of some persons."""
    rows = table[FEATURES].iloc[start : start + count].to_dict("records")
    return [{str(name): value for name, value in row.items()} | features for row in rows]


def serve(life: Life) -> None:
    """Healthy traffic, a feed that breaks, refusals, an incident and the fallback's answers; every answer is kept."""
    clock, start = Clock(), 0
    with TestClient(service.create_app(life.settings, clock=clock)) as client:
        for number in range(7):
            broken_values: dict[str, Any] = {"age": 870.0} if number > 2 else {}
            for _ in range(4):
                clock.now += STEP / 5
                rows = instances(life.requests, start, RUN_ROWS // 4, **broken_values)
                for row in rows[:3]:
                    row["town"] = NEWTOWN if number == 4 and start % RUN_ROWS == 0 else row["town"]
                answer = client.post("/v1/predict/batch", json={"instances": rows})
                assert answer.status_code == 200, answer.text
                life.outputs[f"answer {number} {start}"] = answer.text
                start += RUN_ROWS // 4
            if number > 2:
                refuse(life, client, start)
            clock.now += STEP / 5
            service.monitor(life.settings, now=clock.now)
        read(life, client)


def refuse(life: Life, client: TestClient, start: int) -> None:
    """Requests that are refused, with values and names of a person in all the wrong places."""
    (row,) = instances(life.requests, start, 1)
    bodies: list[Any] = [
        {"features": {**row, CLIENT_KEY: 1}},
        {"features": {**row, "income": LONELY, "mail": 7}},
        {"features": {**row, "income": -row["income"], "phone": "9" * 300}},
        {"features": row, CLIENT_KEY: row["mail"]},
        [row["phone"]],
        {"features": row["pay"]},
    ]
    for number, body in enumerate(bodies):
        answer = client.post("/v1/predict", json=body)
        assert answer.status_code == 422
        life.outputs[f"problem {number}"] = answer.text
    answer = client.get("/v1/incidents", params={"limit": row["mail"]})
    life.outputs["problem of a query"] = answer.text


def read(life: Life, client: TestClient) -> None:
    """Every page and document that may be read."""
    pages = ["/", "/metrics", "/docs", "/openapi.json", "/health/ready"]
    pages += [f"/v1/{name}" for name in ("state", "incidents", "windows", "baseline", "model", "schema")]
    incidents = client.get("/v1/incidents").json()["incidents"]
    for page in [*pages, *(f"/v1/incidents/{each['incident_id']}" for each in incidents)]:
        answer = client.get(page)
        assert answer.status_code == 200, page
        life.outputs[page] = answer.text


def operate(life: Life) -> None:
    """Every command that reads, a backtest with its report, a baseline of the log, and a replay."""
    config = ("--config", str(life.folder / "stillsafe.toml"))
    for words in (
        ("status",),
        ("windows", "list"),
        ("windows", "show", "--json"),
        ("incidents", "list"),
        ("explain", "--show-request", "--json"),
        ("explain", "--show-request"),
        ("baseline", "create", "--first", "300"),
        ("baseline", "list"),
        ("check",),
        ("check", "--json"),
        ("replay", "--from-logs", "--json"),
    ):
        life.command(*words, *config)
    history = life.folder.parent / "history.csv"
    table = people(3, 600, "erin")
    table.assign(label=labels(table)).to_csv(history, index=False)
    report, result = life.folder / "report.html", life.folder / "result.json"
    files = ("--html", str(report), "--json", str(result), "--rows-per-run", "100", "--inject", "nulls:age")
    life.command("backtest", str(history), "--label", "label", *files, *config)
    for file in (report, result):
        life.outputs[file.name] = file.read_text()


def audit(life: Life) -> list[str]:
    """Where a planted value stands and must not, with the value: after the whole life, before a prune."""
    persons = texts_of(life.sample, ["income", "pay", "mail", "phone"])
    persons |= texts_of(people(3, 600, "erin"), ["income", "pay", "mail", "phone"])
    hidden_texts = texts_of(life.requests, [*HIDDEN_FEATURES], rare=False) | {CLIENT_KEY, LONELY} | persons
    logged_texts = texts_of(life.requests, ["income"]) | {HAMLET, NEWTOWN}
    all_texts = hidden_texts | logged_texts
    places = [(place, text, all_texts) for place, text in life.outputs.items()]
    for place, text in life.cells():
        places.append((place, text, hidden_texts if place == "prediction_logs.input_summary" else all_texts))
    for file in sorted(life.folder.iterdir()):
        is_store = file.name.startswith("stillsafe.db")
        if file.name not in OWN_FILES:
            text = file.read_bytes().decode("latin-1")
            places.append((file.name, text, hidden_texts if is_store else all_texts))
    whole = "\n".join(content for _, content, _ in places)
    suspects = {text for text in all_texts if text in whole}  # most stand nowhere, so few are searched place by place
    problems = {f"problem {number}": {CLIENT_KEY} for number in (0, 3)}  # a client is told its own wrong key
    findings = [
        (place, text)
        for place, content, texts in places
        for text in sorted((texts & suspects) - problems.get(place, set()))
        if text in content
    ]
    return sorted({f"{place}: {text}" for place, text in findings})


@pytest.fixture(scope="module")
def new_service(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A service folder whose owner hides three features."""
    return begin(tmp_path_factory.mktemp("personal"))


@pytest.fixture(params=["sqlite", "postgresql"])
def life(
    request: pytest.FixtureRequest, new_service: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Life]:
    """A copy of that service on each store, with a log that is kept."""
    folder = Path(shutil.copytree(new_service.folder, tmp_path / "service"))
    life = replace(new_service, folder=folder, outputs=dict(new_service.outputs))
    if request.param == "postgresql":
        monkeypatch.setenv(DATABASE_VARIABLE, str(request.getfixturevalue("postgres_url")))
    with_store(folder)
    stream, level = io.StringIO(), logging.root.level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine())
    logging.root.addHandler(handler)
    logging.root.setLevel("INFO")
    yield life
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)
    assert stream.getvalue() == "" or found_in(stream.getvalue(), life) == []


def found_in(log: str, life: Life) -> list[str]:
    """The planted values in the log's lines."""
    texts = texts_of(life.requests, ["income", *HIDDEN_FEATURES], rare=False) | texts_of(
        life.sample, ["income", *HIDDEN_FEATURES]
    )
    return sorted(text for text in {*texts, CLIENT_KEY, LONELY, HAMLET, NEWTOWN} if text in log)


def test_no_value_of_a_person_stands_where_it_must_not(life: Life) -> None:
    """Hidden values stand nowhere; logged ones in the log alone; values of the sample only in the model's file."""
    serve(life)
    operate(life)
    with database.reading(engine := service.open_store(life.settings)) as connection:
        (incident,) = recent_incidents(connection, 5)
    engine.dispose()
    assert (incident.severity, incident.fallback_activated) == ("CRITICAL", True)
    assert any(place.startswith("reference") for place in (file.name for file in life.folder.iterdir()))
    assert len(dict(life.cells())) > 50
    assert audit(life) == []


def test_a_pruned_row_stands_in_no_file(life: Life) -> None:
    """After `prune` with an archive, its values are in the archive and nowhere else, in no free page either."""
    clock, archive = Clock(), life.folder.parent / "archive"
    with TestClient(service.create_app(life.settings, clock=clock)) as client:
        for number in range(4):
            rows = instances(life.requests, number * RUN_ROWS, RUN_ROWS)
            assert client.post("/v1/predict/batch", json={"instances": rows}).status_code == 200
            clock.now += STEP
    # The last batch stays: silence is counted from it.
    incomes = {repr(value) for value in life.requests["income"].iloc[: 3 * RUN_ROWS]}
    config = ("--config", str(life.folder / "stillsafe.toml"))
    life.command("prune", "--older-than", "1d", "--archive", str(archive), *config)
    contents = [file.read_bytes().decode("latin-1") for file in life.folder.iterdir() if file.name not in OWN_FILES]
    contents += [text for _, text in life.cells()]
    assert not [income for income in incomes if any(income in content for content in contents)]
    archived_rows = pd.concat([pd.read_parquet(file) for file in sorted(archive.rglob("*.parquet"))]).to_csv()
    assert [income for income in incomes if income not in archived_rows] == []
    assert not [text for text in texts_of(life.requests, [*HIDDEN_FEATURES], rare=False) if text in archived_rows]


def test_an_erased_text_stands_nowhere_whatever_its_signs(life: Life) -> None:
    """Windows and explanations showed it, cut, quoted or escaped; after `erase` no table has it."""
    towns = ['Jörg "Ø" Müller', "ßß", "日本", f"Carol {'of a long name ' * 6}", "O'Neill <b>"]
    clock, config = Clock(), ("--config", str(life.folder / "stillsafe.toml"))
    with TestClient(service.create_app(life.settings, clock=clock)) as client:
        for number in range(5):
            rows = instances(life.requests, number * RUN_ROWS, RUN_ROWS)
            for i, row in enumerate(rows if number else ()):
                row["town"] = towns[i % 5] if i % 10 < 7 else row["town"]
            assert client.post("/v1/predict/batch", json={"instances": rows}).status_code == 200
            clock.now += STEP
            service.monitor(life.settings, now=clock.now)
    forms = {
        town: {json.dumps(town, ensure_ascii=False)[1:-1][:40], *map(json.dumps, quoted_forms(town))} for town in towns
    }
    forms = {town: {form.strip('"') for form in each} for town, each in forms.items()}

    def places(town: str) -> set[str]:
        return {place for place, cell in life.cells() if any(form in cell for form in forms[town])}

    first_places = set.union(*map(places, towns))
    assert {"current_window_metrics.window", "prediction_logs.input_summary"} <= first_places
    life.command("explain", *config)
    subjects = [word for town in towns for word in ("--feature", f"town={town}")]
    life.command("erase", *subjects, "--reason", "asked", "--by", "me", "--yes", *config)
    assert {town: places(town) for town in towns} == {town: set() for town in towns}


def test_a_drained_spool_holds_nothing(tmp_path: Path) -> None:
    """Of rows that waited for the database nothing is left in its files."""
    spool = Spool(tmp_path / "spool.db")
    spool.append([Entry("prediction", {"income": f"4711{number}.25"}) for number in range(500)])
    files = [file for file in tmp_path.iterdir() if file.name.startswith("spool.db")]
    assert any(b"47110.25" in file.read_bytes() for file in files)
    spool.delete_up_to(spool.oldest(500)[-1].id)
    assert [file.name for file in tmp_path.iterdir() if b"4711" in file.read_bytes()] == []
    spool.close()
