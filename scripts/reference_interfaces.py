"""The pages of the reference about Python, metrics, errors, and the bodies of HTTP, from the code."""

import ast
import inspect
import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import stillsafe
from stillsafe import errors
from stillsafe.errors import ConfigurationError, RunAhead, SchemaMismatch, StillsafeError

SOURCE = Path(__file__).parents[1] / "src" / "stillsafe"
METRIC_FILES = ("serving/metrics.py", "serving/run_metrics.py")
METRIC_KINDS = {"Counter": "counter", "Histogram": "histogram"}
DEEPEST = 2
"""Levels of a body that its table shows."""
SAMPLES: dict[str, Any] = {"string": "text", "number": 1.5, "integer": 1, "boolean": False, "null": None, "array": []}


def python_api() -> Iterator[str]:
    """The public names with their signatures and docstrings."""
    yield "The names in `stillsafe.__all__`. Everything else may change from one version to the next."
    for name in stillsafe.__all__:
        thing = getattr(stillsafe, name)
        yield from ("", f"## `{name}`", "")
        if inspect.isclass(thing) and issubclass(thing, Enum):
            yield from (_paragraphs(thing), "", f"Values: {', '.join(f'`{each.value}`' for each in thing)}.")
            continue
        yield from ("```text", _signature(name, thing), "```", "", _paragraphs(thing))
        if inspect.isclass(thing):
            yield from _methods(name, thing)


def _methods(name: str, thing: type) -> Iterator[str]:
    for method_name, method in vars(thing).items():
        if not method_name.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
            is_function = inspect.isfunction(method)
            heading = _signature(f"{name}.{method_name}", method) if is_function else f"{name}.{method_name}"
            yield from ("", f"### `{name}.{method_name}`", "", "```text", heading, "```", "", _paragraphs(method))


def _signature(name: str, thing: Any) -> str:
    """A call with the names and defaults of its parameters; types are left to the editor."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"class {name}({thing.__mro__[1].__name__})"
    parameters = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in inspect.signature(thing).parameters.values()
        if each.name != "self"
    ]
    plain = [each if _has_plain_default(each) else each.replace(default=...) for each in parameters]
    return name + str(inspect.Signature(plain)).replace("=Ellipsis", "=...")


def _has_plain_default(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    return default is inspect.Parameter.empty or default is None or isinstance(default, bool | int | float | str)


def _paragraphs(thing: Any) -> str:
    """A docstring as Markdown: its sections become lists."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    text: list[str] = []
    for line in lines:
        content = line.strip()
        if content in {"Args:", "Attributes:", "Returns:", "Raises:", "Yields:"}:
            text += ["", f"**{content.rstrip(':')}**", ""]
        elif line.startswith("    ") and not line.startswith("     "):
            text.append(f"- {content}")
        else:
            text.append(f"  {content}" if line.startswith("     ") else content)
    return "\n".join(text)


def metrics() -> Iterator[str]:
    """Every metric of `/metrics`: the names and helps in the code that makes them."""
    yield "`GET /metrics` has these in Prometheus's text format. Counters end in `_total` there, histograms in"
    yield "`_bucket`, `_sum` and `_count`. Gauges are read from the database at each scrape; one without"
    yield "a value is left out. `stillsafe export prometheus-rules` writes rules of alerts on them."
    yield from ("", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |")
    rows = [row for file in METRIC_FILES for row in _metric_rows(ast.parse((SOURCE / file).read_text("utf-8")))]
    for name, kind, labels, meaning in sorted({row[0]: row for row in rows}.values()):
        yield f"| `{name}` | {kind} | {', '.join(f'`{each}`' for each in labels)} | {meaning} |"


def _metric_rows(tree: ast.Module) -> Iterator[tuple[str, str, list[str], str]]:
    """The metrics of a module. A name stands for what was last assigned to it above."""
    constants: dict[str, Any] = {}
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for statement in sorted(statements, key=lambda node: node.lineno):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            constants[statement.targets[0].id] = _value(statement.value)
        for call in _calls(statement):
            name = _value(call.args[0]) if call.args else None
            if isinstance(name, str) and name.startswith("stillsafe_"):
                yield name, *_metric_about(call, constants)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls of a statement itself, not of the statements in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child
        if not isinstance(child, ast.stmt):
            yield from _calls(child)


def _metric_about(call: ast.Call, constants: dict[str, Any]) -> tuple[str, list[str], str]:
    function = call.func.id if isinstance(call.func, ast.Name) else ""
    texts = [constants.get(each.id) if isinstance(each, ast.Name) else _value(each) for each in call.args[1:]]
    keywords = {each.arg: each.value for each in call.keywords}
    if isinstance(label_node := keywords.get("labels"), ast.Name | ast.List):
        texts.append(constants.get(label_node.id) if isinstance(label_node, ast.Name) else _value(label_node))
    labels = next((each for each in texts if isinstance(each, list)), [])
    return METRIC_KINDS.get(function, "gauge"), labels, next((each for each in texts if isinstance(each, str)), "")


def _value(node: ast.AST | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def error_classes() -> Iterator[str]:
    """Every error that is raised on purpose, with its exit code."""
    yield "Every error that Stillsafe raises on purpose is a `stillsafe.StillsafeError`. Its text is a sentence with"
    yield "the remedy; [the troubleshooting page](../troubleshooting.md) has the frequent ones. A command exits with"
    yield "the code of the table, and with `--json` prints `error`, `kind` (the class) and `exit_code` on standard"
    yield "error. Over HTTP errors are problem details: `StoreError` 503, `NoModel` 409, a request at fault 400 to 422"
    yield "with `violations`."
    yield from ("", "| class | kind of | exit code | meaning |", "| --- | --- | --- | --- |")
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, StillsafeError):
            is_configuration = issubclass(thing, ConfigurationError | SchemaMismatch | RunAhead)
            base = "" if thing is StillsafeError else f"`{thing.__mro__[1].__name__}`"
            meaning = (inspect.getdoc(thing) or "").splitlines()[0]
            yield f"| `{name}` | {base} | {2 if is_configuration else 1} | {meaning} |"


def bodies(document: dict[str, Any]) -> Iterator[str]:
    """Of every operation of an OpenAPI document: parameters, body, an example, and the answer's members."""
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            yield from ("", f"## `{method.upper()} {path}`", "", operation.get("description", ""))
            yield from _parameter_rows(operation)
            request = _json_schema(operation.get("requestBody", {}))
            if request is not None:
                yield from ("", "Body:", "", *_member_rows(document, request))
                example = json.dumps(_example(document, request), indent=2)
                yield from ("", "Example:", "", "```json", example, "```")
            answer = _json_schema(operation["responses"].get("200", {}))
            if answer is not None:
                yield from ("", "Answer (200):", "", *_member_rows(document, answer))


def _parameter_rows(operation: dict[str, Any]) -> Iterator[str]:
    rows = operation.get("parameters", [])
    if rows:
        yield from ("", "| parameter | in | required | meaning |", "| --- | --- | --- | --- |")
    for each in rows:
        necessity = "yes" if each["required"] else ""
        yield f"| `{each['name']}` | {each['in']} | {necessity} | {each.get('description', '')} |"


def _json_schema(part: dict[str, Any]) -> dict[str, Any] | None:
    contents = part.get("content", {})
    schema: dict[str, Any] | None = next(
        (each.get("schema") for name, each in contents.items() if "json" in name), None
    )
    return schema


def _shape(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, and without the alternative that it is null."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    choices = [each for each in schema.get("anyOf", schema.get("oneOf", [])) if each.get("type") != "null"]
    return _shape(document, choices[0]) if choices else schema


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    shape = _shape(document, schema)
    kind = shape.get("type", "any")
    name = "any" if kind == "any" else " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in shape:
        return ", ".join(f"`{each}`" for each in shape["enum"])
    is_optional = any(each.get("type") == "null" for each in schema.get("anyOf", []))
    if name == "array" and "items" in shape:
        name = f"array of {_type(document, shape['items'])}"
    return f"{name} or null" if is_optional else name


def _member_rows(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    shape = _shape(document, schema)
    if shape.get("type") == "array":
        yield from ("A list of:", "")
        shape = _shape(document, shape.get("items", {}))
    if not shape.get("properties"):
        yield f"{_type(document, schema)}."
        return
    yield from ("| member | type | required | meaning |", "| --- | --- | --- | --- |")
    yield from _rows_below(document, shape, "", 1)


def _rows_below(document: dict[str, Any], shape: dict[str, Any], path: str, level: int) -> Iterator[str]:
    for name, member in shape.get("properties", {}).items():
        inner = _shape(document, member)
        about = " ".join(str(member.get("description", inner.get("description", ""))).split()).replace("|", "\\|")
        necessity = "yes" if name in shape.get("required", ()) else ""
        yield f"| `{path}{name}` | {_type(document, member)} | {necessity} | {about} |"
        below = _shape(document, inner.get("items", {})) if inner.get("type") == "array" else inner
        if level < DEEPEST and below.get("properties"):
            mark = "[]." if inner.get("type") == "array" else "."
            yield from _rows_below(document, below, f"{path}{name}{mark}", level + 1)


def _example(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A body with every member that is required, or with all where none is."""
    shape = _shape(document, schema)
    if "example" in shape or "examples" in shape:
        return shape.get("example", (shape.get("examples") or [None])[0])
    if "enum" in shape:
        return shape["enum"][0]
    kind = shape.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return [_example(document, shape.get("items", {}))]
    if kind == "object":
        members = shape.get("properties", {})
        names = [name for name in members if name in shape.get("required", ())] or list(members)
        return {name: _example(document, members[name]) for name in names}
    return "2026-01-31T12:00:00Z" if shape.get("format") == "date-time" else SAMPLES.get(kind, "text")
