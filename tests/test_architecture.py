"""The guarantees of the imports, and the names that users may rely on.

`make check` runs the contracts of import-linter and of `scripts/check_contracts.py`; here are those that need the
import graph or a new process.
"""

import builtins
import inspect
import re
import subprocess
import sys

import grimp
import pytest

import stillsafe


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("stillsafe", include_external_packages=True)


@pytest.mark.parametrize(
    ("module", "caller"),
    [
        ("stillsafe.store.write.predictions", "stillsafe.serving.predict"),
        ("stillsafe.store.write.baselines", "stillsafe.monitoring"),
        ("stillsafe.store.write.decisions", "stillsafe.monitoring"),
        ("stillsafe.store.write.retention", "stillsafe.monitoring"),
        ("stillsafe.store.write.keys", "stillsafe.serving.access.keys"),
        ("stillsafe.store.write.explanations", "stillsafe.incident_explanation"),
    ],
)
def test_statements_that_write_have_one_caller(graph: grimp.ImportGraph, module: str, caller: str) -> None:
    """Only the package that owns a table's rows imports the module that writes them, so no page and no route can."""
    importers = graph.find_modules_that_directly_import(module)
    assert importers
    assert all(importer == caller or importer.startswith(f"{caller}.") for importer in importers)


def test_the_observer_has_one_caller(graph: grimp.ImportGraph) -> None:
    """Only the module that runs after the commit imports the observer, so no decision depends on an explanation."""
    observer = graph.find_descendants("stillsafe.observer") | {"stillsafe.observer"}
    importers = {each for module in observer for each in graph.find_modules_that_directly_import(module)}
    assert importers - observer == {"stillsafe.incident_explanation"}


@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        ("stillsafe", ("fastapi", "sqlalchemy", "sklearn", "pandas")),
        ("stillsafe.cli", ("sklearn", "skops", "joblib", "pandas", "pyarrow", "openai", "httpx2")),
        ("stillsafe.cli.monitor", ("alembic", "sklearn", "pandas")),
    ],
)
def test_large_libraries_are_imported_on_first_use(module: str, libraries: tuple[str, ...]) -> None:
    """The core comes without a framework; most commands, the monitor among them, start without model and tables."""
    code = f"import sys, {module}; print([name for name in {libraries!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_the_public_names_are_complete_and_sorted() -> None:
    """`__all__` lists the public names, in order, and each of them exists."""
    assert list(stillsafe.__all__) == sorted(stillsafe.__all__)
    assert all(getattr(stillsafe, name) for name in stillsafe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = stillsafe.nonsense


def test_the_errors_that_public_names_raise_are_public() -> None:
    """Whoever calls a public name can catch, by a public name, each error of this package that its docs name."""
    public = [getattr(stillsafe, name) for name in stillsafe.__all__]
    methods = [member for each in public if inspect.isclass(each) for member in vars(each).values()]
    sections = [(inspect.getdoc(each) or "").partition("Raises:\n")[2] for each in [*public, *methods]]
    lines = [line for section in sections for line in re.findall(r"^ +((?:[A-Z]\w+(?:, )?)+):", section, re.MULTILINE)]
    error_names = {name for line in lines for name in line.split(", ")}
    assert {"InvalidFeatures", "IdInUse", "StoreError"} <= error_names
    assert {name for name in error_names if not hasattr(builtins, name)} <= {*stillsafe.__all__}


def test_the_public_function_is_not_replaced_by_the_package_of_its_name() -> None:
    """`stillsafe.backtest` is the function, whichever import comes first, and the package can be imported from."""
    code = (
        "import stillsafe.backtest.result, stillsafe\n"
        "from stillsafe.backtest import run\n"
        "from stillsafe import service\n"
        "assert stillsafe.backtest is service.backtest, stillsafe.backtest\n"
        "assert run.__name__ == 'stillsafe.backtest.run'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
