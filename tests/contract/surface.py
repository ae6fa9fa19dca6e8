"""List what outside users rely on, through public entry points: command line, `stillsafe.__all__`, HTTP, files.

    python -m tests.contract.surface > tests/contract/released.json

writes the lists of the installed version. `tests/test_contract.py` compares them with the lists of the last release.
"""

import ast
import enum
import inspect
import io
import json
import re
import sqlite3
import sys
import tempfile
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skops import io as skops_io
from starlette.testclient import TestClient

import stillsafe
from stillsafe import cli
from stillsafe.settings import Settings

START = datetime(2026, 2, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=10)
ROWS_PER_RUN = 120


@dataclass
class Service:
    """A service folder with a healthy day, a failure, a recovery and an operator's hold in its database.

    Attributes:
        folder: the service folder that `init` wrote.
        documents: command -> the JSON documents that it documents.
        log_lines: the JSON log lines of all commands.
        metrics: what `/metrics` answered.
        openapi: the API's own description.
    """

    folder: Path
    documents: dict[str, list[Any]] = field(default_factory=dict)
    log_lines: list[dict[str, Any]] = field(default_factory=list)
    metrics: str = ""
    openapi: Mapping[str, Any] = field(default_factory=dict)

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command in this process: its exit code and its standard output. Its log lines are kept."""
        out, err = io.StringIO(), io.StringIO()
        takes_config = words[0] not in ("init", "demo") and "--config" not in words
        config = ["--config", str(self.folder / "stillsafe.toml")] if takes_config else []
        with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["stillsafe", *words, *config]):
            try:
                cli.main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        for line in err.getvalue().splitlines():
            if line.startswith("{"):
                self.log_lines.append(json.loads(line))
        return code, out.getvalue()

    def print_json(self, command: str, *options: str) -> Any:
        """Run a command with `--json` and keep its document under the command's name."""
        json_option = ["--json", "-"] if command == "backtest" else ["--json"]
        code, out = self.run(*command.split(), *options, *json_option)
        assert code == 0, (command, options, out)
        self.documents.setdefault(command, []).append(json.loads(out))
        return self.documents[command][-1]


def sample(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Healthy data: three numbers and one category that depend on one another, and a label."""
    random = np.random.default_rng(seed)
    x = random.normal(50, 10, rows)
    y = 2 * x + random.normal(0, 5, rows)
    z = random.normal(0, 1, rows)
    kind = np.where(x + random.normal(0, 4, rows) > 50, "high", "low")
    label = (x + 5 * z + random.normal(0, 3, rows) > 50).astype(int)
    return pd.DataFrame({"x": x, "y": y, "z": z, "kind": kind, "label": label})


def make_service(folder: Path) -> Service:
    """A service folder from a small pipeline, made by `stillsafe init`."""
    training = sample(seed=1)
    numbers, categories = ["x", "y", "z"], ["kind"]
    model = make_pipeline(
        make_column_transformer(
            (SimpleImputer(), numbers), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories)
        ),
        LogisticRegression(max_iter=1000),
    ).fit(training[numbers + categories], training["label"])
    skops_io.dump(model, folder / "model.skops")
    healthy = sample()
    healthy.loc[::50, "z"] = np.nan
    healthy.to_csv(folder / "sample.csv", index=False)
    service = Service(folder / "service")
    words = ("--model", folder / "model.skops", "--sample", folder / "sample.csv", "--label", "label")
    service.print_json("init", *map(str, words), "--out", str(service.folder), "--name", "contract")
    return service


def play(service: Service) -> None:
    """Traffic and runs of the monitor: healthy, a lost and a broken feature, healthy again, a hold and its release."""
    now = START

    def send(**changes: Any) -> None:
        rows = sample(ROWS_PER_RUN, seed=int(now.timestamp())).drop(columns="label").to_dict("records")
        answer = client.post("/v1/predict/batch", json={"instances": [{**row, **changes} for row in rows]})
        assert answer.status_code == 200, answer.text

    application = stillsafe.create_app(service.folder / "stillsafe.toml", clock=lambda: now)
    with TestClient(application) as client:
        healthy, failure = dict[str, Any](), {"x": 999.0, "kind": "new"}
        for number, changes in enumerate([healthy, *[failure] * 4, *[healthy] * 6]):
            send(**changes)
            client.post("/v1/predict", json={"features": {"x": "wrong"}})
            now += STEP
            service.print_json("monitor", "--now", now.isoformat())
            if number == 5:
                service.print_json("status")
                service.print_json("hold", "--reason", "a drill", "--by", "Ada")
                service.print_json("status")
                service.print_json("release", "--reason", "the drill is over", "--by", "Ada")
        service.metrics = client.get("/metrics").text
        service.openapi = client.get("/openapi.json").json()


def print_everything(service: Service) -> None:
    """Every other command that prints JSON."""
    for command in ("status", "windows", "incidents list", "explain", "baseline list", "baseline show", "check"):
        service.print_json(command)
    service.print_json("monitor", "--now", (START + 11 * STEP).isoformat())
    service.print_json("incidents show", service.documents["incidents list"][0][0]["incident_id"])
    service.print_json("explain --show-request")
    service.print_json("explain --pending")
    service.print_json("replay --from-logs")
    baseline = service.print_json("baseline create", "--file", str(service.folder / "reference.json"))
    service.print_json("baseline activate", baseline["baseline_id"])
    service.print_json("db current")
    service.print_json("db upgrade")
    service.print_json("db backup", str(service.folder / "copy.db"))
    service.print_json("prune", "--older-than", "90d", "--dry-run")
    history = str(service.folder.parent / "sample.csv")
    service.print_json("backtest", history, "--rows-per-run", "60", "--inject", "nulls:x")


def key_paths(document: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a JSON document with its place: `runs[].state`. `*` stands for the name of a feature."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            name = re.sub(r"\b(x|y|z|kind)$", "*", str(key))
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from key_paths(value, path)
    elif isinstance(document, Sequence) and not isinstance(document, str):
        for value in document:
            yield from key_paths(value, f"{prefix}[]")


def attribute_paths() -> list[str]:
    """Every public attribute that can be reached from `stillsafe.__all__`, and the parameters of its functions.

    `Decision.readings: Reading` names the type where it is public itself, so its attributes are listed once.
    """
    paths: list[str] = []
    for name in stillsafe.__all__:
        value = getattr(stillsafe, name)
        if inspect.isclass(value):
            paths += _attributes(value, name, ())
            continue
        paths += [f"{name}({parameter})" for parameter in inspect.signature(value).parameters]
        paths += _inner_attributes(_hints(value).get("return"), f"{name}()", ())
    return sorted(set(paths))


def _hints(value: Any) -> dict[str, Any]:
    return typing.get_type_hints(value, localns={"pd": pd})


def _attributes(kind: Any, path: str, above: tuple[Any, ...]) -> Iterator[str]:
    """The members of an enum; the fields, properties and methods of a dataclass, and what they hold."""
    if issubclass(kind, enum.Enum):
        yield from (f"{path}.{member.name} = {member.value}" for member in kind)
    if not is_dataclass(kind):
        return
    hints = _hints(kind)
    for each in fields(kind):
        yield f"{path}.{each.name}"
        yield from _inner_attributes(hints[each.name], f"{path}.{each.name}", (*above, kind))
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or name in hints:
            continue
        if isinstance(member, property):
            yield f"{path}.{name}"
            yield from _inner_attributes(_hints(member.fget).get("return"), f"{path}.{name}", (*above, kind))
        elif callable(member) and not above:
            yield f"{path}.{name}()"


def _inner_attributes(hint: Any, path: str, above: tuple[Any, ...]) -> Iterator[str]:
    """What a type leads to: the name of a public class, or the attributes of a class of ours that is not public."""
    for kind in _own_classes(hint):
        if kind.__name__ in stillsafe.__all__:
            yield f"{path}: {kind.__name__}"
        elif kind not in above:
            yield from _attributes(kind, path, above)


def _own_classes(hint: Any) -> Iterator[Any]:
    if inspect.isclass(hint) and hint.__module__.startswith("stillsafe"):
        yield hint
    for argument in typing.get_args(hint):
        yield from _own_classes(argument)


def settings_keys(section: Any = Settings, prefix: str = "") -> Iterator[str]:
    """Every key of `stillsafe.toml` with its section: `fallback.rules.when`."""
    for name, about in section.model_fields.items():
        if name in ("file", "folder") and not prefix:
            continue  # where the settings were read, which the file does not hold
        yield f"{prefix}{name}"
        for inner in _sections(about.annotation):
            yield from settings_keys(inner, f"{prefix}{name}.")
        if name == "policy":
            schedule = ("window_seconds", "every_seconds", "max_gap_seconds")  # they stand in [monitor]
            numbers = {each.name for each in fields(stillsafe.Policy)} - {*schedule, "silence_seconds"}
            yield from (f"policy.{number}" for number in sorted(numbers | {"silence"}))


def _sections(hint: Any) -> Iterator[Any]:
    if hasattr(hint, "model_fields"):
        yield hint
    for argument in typing.get_args(hint):
        yield from _sections(argument)


def http_fields(openapi: Mapping[str, Any]) -> dict[str, list[str]]:
    """Request -> its parameters, the fields of its body and of its answers; the fields of all errors under `errors`."""
    names_by_key: dict[str, set[str]] = {"errors": set()}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            names = names_by_key[f"{method.upper()} {path}"] = {
                f"?{each['name']}" for each in operation.get("parameters", ())
            }
            for content in operation.get("requestBody", {}).get("content", {}).values():
                names |= {f"body {name}" for name in _schema_fields(content["schema"], openapi, ())}
            for code, answer in operation["responses"].items():
                names.add(code)
                for content in answer.get("content", {}).values():
                    inner = set(_schema_fields(content.get("schema", {}), openapi, ()))
                    if code < "400":
                        names |= {f"{code} {name}" for name in inner}
                    else:
                        names_by_key["errors"] |= inner
    return {request: sorted(names) for request, names in names_by_key.items()}


def _schema_fields(schema: Any, openapi: Mapping[str, Any], above: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    if reference := schema.get("$ref"):
        if reference in above:
            return
        schema, above = openapi["components"]["schemas"][reference.rsplit("/", 1)[1]], (*above, reference)
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _schema_fields(inner, openapi, above, f"{prefix}{name}.")
    for inner in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        yield from _schema_fields(inner, openapi, above, prefix)
    if isinstance(schema.get("items"), Mapping):
        yield from _schema_fields(schema["items"], openapi, above, prefix)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _schema_fields(schema["additionalProperties"], openapi, above, f"{prefix}*.")


def exit_codes(service: Service) -> dict[str, int]:
    """Command -> its exit code, for what is done, what is declined and what is misconfigured."""
    commands = (
        *("status", "replay", "check", "release --reason nothing-is-held", "baseline activate nonsense"),
        *("incidents show nonsense", "monitor --now 2020-01-01", "monitor --now yesterday", "status --nonsense"),
        *("status --config nowhere.toml", "backtest nowhere.csv", "baseline create --file nowhere.json"),
    )
    return {command: service.run(*command.split())[0] for command in commands}


def metric_names(text: str) -> list[str]:
    """The metrics of a scrape with their labels: `stillsafe_state{state}`."""
    names = set()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            keys = sorted(pair.partition("=")[0] for pair in labels.rstrip("}").split(",") if "=" in pair)
            names.add(f"{name}{{{','.join(keys)}}}" if keys else name)
    return sorted(names)


def table_columns(file: Path) -> list[str]:
    """The columns of the service's database: `incidents.severity`."""
    with closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sorted(
            f"{table}.{row[1]}"
            for table in tables
            if not table.startswith("sqlite_")
            for row in connection.execute(f"PRAGMA table_info({table})")
        )


def log_fields(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Event -> the fields of its JSON line, for the events of the monitor and of an operator."""
    names: dict[str, set[str]] = {}
    for line in lines:
        names.setdefault(line["event"], set()).update(line)
    return {event: sorted(line_fields) for event, line_fields in names.items() if "exception" not in line_fields}


def source_log_fields() -> list[str]:
    """The names of the fields that any log call in the source passes, where they are written out."""
    names: set[str] = set()
    for file in sorted(Path(stillsafe.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                names |= _passed_fields(function)
    return sorted(names)


def _passed_fields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    extras = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "extra"]
    extras += [call.args[2] for call in calls if _is_log_event(call) and len(call.args) > 2]
    names = {node.id for extra in extras for node in ast.walk(extra) if isinstance(node, ast.Name)}
    dicts = [node for extra in extras for node in ast.walk(extra) if isinstance(node, ast.Dict)]
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and isinstance(node.value, ast.AST):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if names & {target.id for target in targets if isinstance(target, ast.Name)}:
                dicts += [inner for inner in ast.walk(node.value) if isinstance(inner, ast.Dict)]
    keys = {key.value for each in dicts for key in each.keys if isinstance(key, ast.Constant)}
    return {str(key) for key in keys} - {"fields"}


def _is_log_event(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "log_event"


def surface(folder: Path) -> dict[str, Any]:
    """Everything, from a service made in an empty folder."""
    service = make_service(folder)
    play(service)
    print_everything(service)
    return {
        "attributes": attribute_paths(),
        "settings": sorted(set(settings_keys())),
        "columns": table_columns(service.folder / "stillsafe.db"),
        "metrics": metric_names(service.metrics),
        "log": log_fields(service.log_lines),
        "log_fields": source_log_fields(),
        "exit_codes": exit_codes(service),
        "http": http_fields(service.openapi),
        "json": {
            command: sorted({path for document in documents for path in key_paths(document)})
            for command, documents in sorted(service.documents.items())
        },
    }


def json_text(lists: Any, indent: str = "") -> str:
    """The lists as JSON, with as many strings on a line as fit."""
    if isinstance(lists, list):
        lines = textwrap.wrap(
            "\0".join(json.dumps(item).replace(" ", "\1") for item in lists).replace("\0", ", "),
            width=118 - len(indent),
            break_long_words=False,
            break_on_hyphens=False,
        )
        body = "\n".join(f"{indent} {line}" for line in lines).replace("\1", " ")
        return f"[\n{body}\n{indent}]"
    if isinstance(lists, dict):
        body = ",\n".join(f"{indent} {json.dumps(key)}: {json_text(lists[key], indent + ' ')}" for key in lists)
        return f"{{\n{body}\n{indent}}}"
    return json.dumps(lists)


def main() -> None:
    """Print the lists, those of `stillsafe demo --json` among them, which takes some seconds more."""
    with tempfile.TemporaryDirectory() as scratch:
        lists = surface(Path(scratch))
        code, out = Service(Path(scratch)).run("demo", "--json", "--out", f"{scratch}/demo")
        assert code == 0, out
        lists["json"]["demo"] = sorted(set(key_paths(json.loads(out))))
    sys.stdout.write(json_text(lists) + "\n")


if __name__ == "__main__":
    main()
