"""The guarantees that live in the imports, and the names that the outside may rely on."""

import subprocess
import sys

import grimp
import pytest

import stillsafe


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("stillsafe", include_external_packages=True)


@pytest.mark.parametrize(
    ("log", "writer"),
    [
        ("stillsafe.store.write.predictions", "stillsafe.serving"),
        ("stillsafe.store.write.baselines", "stillsafe.monitoring.baseline"),
        ("stillsafe.store.write.decisions", "stillsafe.monitoring.run"),
        ("stillsafe.store.write.explanations", "stillsafe.incident_explanation"),
    ],
)
def test_each_table_has_one_writer(graph: grimp.ImportGraph, log: str, writer: str) -> None:
    """Each module that writes is imported by one other; so the dashboard is read-only by construction."""
    (importer,) = graph.find_modules_that_directly_import(log)
    assert importer.startswith(writer)


def test_only_the_store_speaks_sql(graph: grimp.ImportGraph) -> None:
    """SQLAlchemy outside `store` is at most the name of an engine or a connection."""
    importers = graph.find_modules_that_directly_import("sqlalchemy")
    statements = {
        line
        for importer in importers
        if not importer.startswith("stillsafe.store")
        for detail in graph.get_import_details(importer=importer, imported="sqlalchemy")
        for line in [detail["line_contents"]]
    }
    named = {name.strip() for line in statements for name in line.partition(" import ")[2].split(",")}
    assert named <= {"Connection", "Engine"}


def test_scikit_learn_has_one_home(graph: grimp.ImportGraph) -> None:
    """Models are touched by `model`, `init` and the demo alone."""
    importers = {
        importer
        for package in ("sklearn", "skops", "joblib")
        for importer in graph.find_modules_that_directly_import(package)
    }
    homes = ("stillsafe.model", "stillsafe.init", "stillsafe.demo")
    assert {importer for importer in importers if not importer.startswith(homes)} == set()


def test_commands_start_without_the_heavy_libraries() -> None:
    """Models and tables are imported where they are needed: most commands, the monitor's among them, need neither."""
    heavy = ("sklearn", "skops", "joblib", "pandas", "pyarrow", "openai", "httpx2")
    code = f"import sys, stillsafe.cli; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_observer_has_one_caller(graph: grimp.ImportGraph) -> None:
    """Nothing but the composition, after a commit, asks the observer anything."""
    observers = graph.find_descendants("stillsafe.observer") | {"stillsafe.observer"}
    callers = {
        importer
        for module in observers
        for importer in graph.find_modules_that_directly_import(module)
        if importer not in observers
    }
    assert callers == {"stillsafe.incident_explanation"}


def test_the_public_names_are_complete_and_sorted() -> None:
    """`__all__` is what there is, in order."""
    assert list(stillsafe.__all__) == sorted(stillsafe.__all__)
    assert all(getattr(stillsafe, name) for name in stillsafe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = stillsafe.nonsense


def test_the_core_comes_without_a_framework() -> None:
    """Importing the package imports neither a web framework, a database, nor scikit-learn."""
    heavy = ("fastapi", "sqlalchemy", "sklearn", "pandas")
    code = f"import sys, stillsafe; print([name for name in {heavy!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
