"""The checks of the imports and statements find what they are for, and nothing in the code as it is."""

from pathlib import Path

import pytest

from scripts import check_contracts

ROOT = Path(__file__).parents[2]
TABLES = "".join(f'{name} = Table("{name}")\n' for name in check_contracts.TABLE_WRITERS)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose package has the real tables and nothing else."""
    add(tmp_path, "src/stillsafe/store/tables.py", TABLES)
    return tmp_path


def add(root: Path, path: str, text: str) -> None:
    """A file of the repository."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_every_table_has_a_writer_and_every_writer_its_statement() -> None:
    """The table of writers in the script is neither short of a table or verb nor longer than the code."""
    writers = {
        (table, verb): {module}
        for table, verbs in check_contracts.TABLE_WRITERS.items()
        for verb, module in verbs.items()
    }
    assert check_contracts.table_writes(ROOT) == writers


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("src/stillsafe/core/a.py", "import time", "core.a imports time"),
        (
            "src/stillsafe/core/a.py",
            "def f():\n    from stillsafe.store import codec",
            "core.a imports stillsafe.store",
        ),
        ("tests/core/test_a.py", "from stillsafe.store import codec", "tests/core/test_a.py imports stillsafe.store"),
        ("tests/core/test_a.py", "from tests.store import conftest", "tests/core/test_a.py imports tests.store"),
        ("src/stillsafe/serving/a.py", "from sqlalchemy import select", "serving.a imports select of sqlalchemy"),
        ("src/stillsafe/serving/a.py", "import sqlite3", "serving.a imports sqlite3"),
        ("src/stillsafe/serving/a.py", "connection.execute(statement)", "serving.a, line 1: calls execute"),
        ("src/stillsafe/monitoring/a.py", "import sklearn.base", "monitoring.a imports sklearn.base"),
        ("src/stillsafe/monitoring/a.py", "from stillsafe import observer", "monitoring.a imports stillsafe"),
        (
            "src/stillsafe/monitoring/a.py",
            "from stillsafe.observer import llm",
            "monitoring.a imports stillsafe.observer",
        ),
        ("src/stillsafe/store/write/a.py", "def f():\n    insert(incidents)", "a has INSERT of incidents"),
        ("src/stillsafe/store/write/a.py", "def f():\n    tables.incidents.update()", "a has UPDATE of incidents"),
        ("src/stillsafe/store/read/a.py", "def f():\n    delete(tables[name])", "store.read.a has DELETE of ?"),
        ("src/stillsafe/monitoring/a.py", 'def f():\n    "DELETE FROM prunes"', "monitoring.a has DELETE of prunes"),
        ("src/stillsafe/store/tables.py", TABLES + 'Table("more")', "more has no entry in TABLE_WRITERS"),
    ],
)
def test_a_violation_is_named(repository: Path, path: str, text: str, line: str) -> None:
    """Each contract reports the module that breaks it, and what it does."""
    add(repository, path, text)
    (violation,) = check_contracts.violations(repository)
    assert violation.startswith(line)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/stillsafe/core/a.py", "import math\nimport numpy as np\nfrom stillsafe.core import policy"),
        ("tests/core/test_a.py", "import pytest\nfrom stillsafe.core import policy\nfrom tests.core import stories"),
        ("src/stillsafe/serving/a.py", "from sqlalchemy import Engine"),
        ("src/stillsafe/model/a.py", "from sklearn.base import BaseEstimator"),
        ("src/stillsafe/incident_explanation.py", "from stillsafe.observer import llm"),
        ("src/stillsafe/store/write/decisions.py", "def f():\n    insert(incidents)"),
        ("src/stillsafe/store/write/retention.py", "def delete_requests(table):\n    delete(table)"),
        ("src/stillsafe/monitoring/a.py", "def f(rows, names):\n    rows.insert(0, 1)\n    names.update(rows)"),
    ],
)
def test_what_is_allowed_is_not_reported(repository: Path, path: str, text: str) -> None:
    """The modules with a right to an import or a statement have it."""
    add(repository, path, text)
    assert check_contracts.violations(repository) == []


def test_a_cycle_of_modules_is_named(repository: Path) -> None:
    """Modules that import one another are reported, unless only the type checker sees the import."""
    typing_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from stillsafe.core.a import f"
    add(repository, "src/stillsafe/core/a.py", "from stillsafe.core import b")
    add(repository, "src/stillsafe/core/b.py", typing_only)
    assert check_contracts.violations(repository) == []
    add(repository, "src/stillsafe/core/b.py", "def f():\n    from stillsafe.core.a import g")
    (violation,) = check_contracts.violations(repository)
    assert violation.startswith("modules import one another: core.")
