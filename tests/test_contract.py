"""What outside users rely on is as it was in the last release, or more: nothing is removed or renamed.

The released lists are in `tests/contract/released.json`, made by `tests/contract/surface.py` from that release.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stillsafe import rules
from stillsafe.settings import parse
from tests.contract import surface

RELEASE: dict[str, Any] = json.loads(Path(surface.__file__).with_name("released.json").read_text(encoding="utf-8"))
WITHDRAWN = {"Policy.refusal_rate_severe", "policy.refusal_rate_severe"}
"""Names without an effect any more. A file or a stored policy that has them is still read: `tests/test_settings.py`."""
PARTS = ("attributes", "settings", "columns", "metrics", "log", "log_fields", "exit_codes", "http")


@pytest.fixture(scope="module")
def current_surface(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The lists of the code as it is, from a service that `init` makes and the monitor judges."""
    return surface.surface(tmp_path_factory.mktemp("contract"))


def missing(old: Any, now: Any, path: str = "") -> Iterator[str]:
    """What is in the released lists and not in the lists of now."""
    if isinstance(old, Mapping):
        for key, value in old.items():
            if key in now:
                yield from missing(value, now[key], f"{path}{key}: ")
            else:
                yield f"{path}{key}"
    elif isinstance(old, list):
        yield from (f"{path}{name}" for name in old if name not in now)
    elif old != now:
        yield f"{path}was {old}, is {now}"


@pytest.mark.parametrize("part", PARTS)
def test_nothing_released_is_gone(current_surface: dict[str, Any], part: str) -> None:
    """Attributes, settings, columns, metrics, log fields, exit codes and HTTP fields of the release are all there."""
    missing_names = list(missing(RELEASE[part], current_surface[part]))
    assert [name for name in missing_names if name.rpartition(" ")[2] not in WITHDRAWN] == []


@pytest.mark.parametrize("command", [command for command in RELEASE["json"] if command != "demo"])
def test_json_output_keeps_its_keys(current_surface: dict[str, Any], command: str) -> None:
    """`--json` of a command prints every key that the release printed (`tests/test_demo.py` checks the demo's)."""
    assert list(missing(RELEASE["json"][command], current_surface["json"][command])) == []


def test_every_part_of_the_release_is_compared() -> None:
    """No list of the release is left out of these tests."""
    assert set(RELEASE) == {*PARTS, "json"}


def test_removals_are_found() -> None:
    """The comparison names a key that is gone, a list that is gone and a value that changed, and allows additions."""
    old = {"metrics": ["up", "state"], "http": {"GET /": ["200"]}, "exit_codes": {"status": 0}}
    now = {"metrics": ["up", "more"], "http": {}, "exit_codes": {"status": 1, "more": 2}}
    assert list(missing(old, now)) == ["metrics: state", "http: GET /", "exit_codes: status: was 0, is 1"]


@pytest.mark.parametrize(
    "condition",
    [
        "size > 1.5",
        "count == 3",
        "flag",
        'kind == "a"',
        "mean_radius < 2.0",
        "_2nd > 0.0",
        "if_ > 0.0",
        'missing_ > 0.0 && "size" in missing',
        "missing.size() == 0",
    ],
)
def test_rules_see_the_released_variables(condition: str) -> None:
    """CEL names a feature by its own name, or by the name's nearest equivalent, and `missing` lists absent ones."""
    types = {"size": "numeric", "count": "integer", "flag": "boolean", "kind": "category"}
    numbers = dict.fromkeys(("mean radius", "2nd", "if", "missing"), "numeric")
    document = {
        "service": {"name": "contract"},
        "model": {"file": "model.skops", "sha256": "0" * 64, "version": "1"},
        "fallback": {"default": 0, "rules": [{"when": condition, "answer": 1}]},
        "features": [{"name": name, "type": kind} for name, kind in {**types, **numbers}.items()],
    }
    settings = parse(document, folder=Path())
    compiled = rules.compile_fallback(settings.fallback, settings.schema_of_features)
    assert [rule.text for rule in compiled.rules] == [condition]
