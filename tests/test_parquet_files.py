"""A plain install has no Parquet library: what needs it says which extra, and nothing else does without it."""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from stillsafe import parquet_files
from stillsafe.core.schema import Schema
from stillsafe.errors import ConfigurationError
from stillsafe.guard import Guard
from stillsafe.label_file import LabelColumns, label_batches, row_count
from stillsafe.monitoring import archive, log_export
from stillsafe.score_file import ScoreJob, score_file
from stillsafe.store.read.requests import RequestTable
from stillsafe.table_file import column_names, read_table

ROOT = Path(__file__).parents[1]
PACKAGES = 45
"""Of a plain install on Linux; `docs/decisions/0001-dependencies.md` says what each is for."""


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which pyarrow cannot be imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of Parquet, made while the library was there."""
    pd.DataFrame({"id": ["a"], "label": ["yes"]}).to_parquet(tmp_path / "predictions-2026-01-01-1.parquet")
    return tmp_path / "predictions-2026-01-01-1.parquet"


def test_with_the_library() -> None:
    """The modules themselves."""
    assert parquet_files.arrow().__name__ == "pyarrow"
    assert parquet_files.parquet().__name__ == "pyarrow.parquet"


def test_every_path_names_the_extra(table: Path, plain: None, made_service: Path, tmp_path: Path) -> None:
    """Samples, histories, labels, exports, archives and files to score; before anything is written."""
    columns = LabelColumns("id", False, "label")
    paths: list[Callable[[], object]] = [
        lambda: column_names(table),
        lambda: read_table(table),
        lambda: row_count(table),
        lambda: [*label_batches(table, columns)],
        lambda: archive.archived_ids(tmp_path, RequestTable.PREDICTIONS),
        lambda: archive.add_rows(tmp_path / "new.parquet", RequestTable.PREDICTIONS, iter(())),
        lambda: log_export._parquet_writer(tmp_path / "new.parquet", Schema(())).__enter__(),
    ]
    with Guard(made_service / "stillsafe.toml") as guard:
        for source, out in ((table, "out.csv"), (ROOT / "README.md", "out.parquet")):
            job = ScoreJob(source, tmp_path / out)
            paths.append(partial(score_file, guard, job))
        for path in paths:
            with pytest.raises(ConfigurationError, match="pyarrow") as error:
                path()
            assert "stillsafe[parquet]" in str(error.value)
    assert not (tmp_path / "new.parquet").exists()


def test_the_library_is_imported_in_one_place() -> None:
    """So no other path can fail without naming the extra."""
    line = re.compile(r"^\s*(import|from) pyarrow", re.MULTILINE)
    importers = [file.name for file in (ROOT / "src").rglob("*.py") if line.search(file.read_text())]
    assert sorted(importers) == ["parquet_files.py", "score_file.py"]


def plain_packages(lock: str) -> set[str]:
    """The packages of a plain install on Linux: what `stillsafe` needs, and what these need, by the lock's notes."""
    needs: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        head, _, via = entry.partition("# via")
        name = re.match(r"([a-z0-9_.-]+)(\[.*\])?==", head)
        if name is not None and "sys_platform == 'win32'" not in head.splitlines()[0]:
            needs.setdefault(name[1], set()).update(line.strip(" #") for line in via.splitlines())
    packages, more = set[str](), {"stillsafe (pyproject.toml)"}
    while more:
        more = {name for name, wanted_by in needs.items() if wanted_by & more} - packages
        packages |= more
    return packages


def test_packages_of_a_plain_install() -> None:
    """Counted from the lock: what pyproject.toml names, and what that brings."""
    names = plain_packages((ROOT / "requirements.lock").read_text())
    assert "pyarrow" not in names
    assert {"fastapi", "scikit-learn", "sqlalchemy", "starlette", "scipy"} <= names
    assert len(names) == PACKAGES
