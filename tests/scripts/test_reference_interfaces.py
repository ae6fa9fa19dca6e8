"""The generated pages about Python, metrics, errors and bodies leave nothing out."""

import json
import re
from pathlib import Path

import stillsafe
from scripts import reference_interfaces
from stillsafe.errors import StillsafeError


def test_every_public_name_has_its_entry() -> None:
    """The page has each name of `__all__` with what it says of itself."""
    text = "\n".join(reference_interfaces.python_api())
    assert re.findall(r"^## `(\w+)`$", text, re.MULTILINE) == list(stillsafe.__all__)
    assert "### `Guard.predict`" in text
    assert " at 0x" not in text


def test_every_metric_has_its_meaning() -> None:
    """Names are those of the contract, and none lacks a sentence."""
    rows = [line.split(" | ") for line in reference_interfaces.metrics() if line.startswith("| `stillsafe_")]
    assert {row[0].strip("| `") for row in rows} == metric_names()
    assert all(len(row[3].rstrip(" |")) > 15 for row in rows)


def metric_names() -> set[str]:
    """Every name of a metric in the code that serves them, and the families of the last release."""
    sources = (Path(stillsafe.__file__).parent / "serving").glob("*metrics.py")
    names = {name for file in sources for name in re.findall(r'"(stillsafe_\w+)"', file.read_text(encoding="utf-8"))}
    last_release = json.loads((Path(__file__).parents[1] / "contract" / "released.json").read_text())["metrics"]
    families = {re.sub(r"(_(total|bucket|sum|count|created))?({.*)?$", "", name) for name in last_release}
    assert families <= names
    return names


def test_every_error_has_its_exit_code() -> None:
    """Each class that is raised on purpose is in the table, with 1 or 2."""
    rows = [line.split(" | ") for line in reference_interfaces.error_classes() if line.startswith("| `")]
    classes, todo = set(), [StillsafeError]
    while todo:
        each = todo.pop()
        classes.add(each.__name__)
        todo += [one for one in each.__subclasses__() if one.__module__ == "stillsafe.errors"]
    assert {row[0].strip("| `") for row in rows} == classes
    assert {row[2] for row in rows} == {"1", "2"}


def test_a_body_has_its_members_and_an_example() -> None:
    """References, alternatives with null and members of members are followed; the example has what is required."""
    inner = {"type": "object", "properties": {"size": {"type": "number", "description": "How large."}}}
    body = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}, "id": NULLABLE},
    }
    content = {"application/json": {"schema": body}}
    operation = {"description": "Does it.", "requestBody": {"content": content}, "responses": {"200": {}}}
    document = {"paths": {"/x": {"post": operation}}, "components": {"schemas": {"Row": inner}}}
    text = "\n".join(reference_interfaces.bodies(document))
    assert "| `rows` | array of object | yes |  |\n| `rows[].size` | number |  | How large. |" in text
    assert "| `id` | string or null |  |  |" in text
    assert '"rows": [\n    {\n      "size": 1.5' in text


NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}
