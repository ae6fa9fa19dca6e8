"""Check the guarantees of the imports and statements that import-linter cannot express.

    python -m scripts.check_contracts [ROOT]

Each check returns one line per violation. `make check` runs them all; exit code 1 if there is any line.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

CORE_IMPORTS = frozenset(
    [
        *("numpy", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
        *(
            "hashlib",
            "heapq",
            "itertools",
            "json",
            "math",
            "operator",
            "re",
            "statistics",
            "string",
            "types",
            "typing",
            "unicodedata",
            "zlib",
        ),
    ]
)
"""What `core/` may import besides itself: NumPy and the parts of the standard library without input or output."""

SQL_LIBRARIES = frozenset({"sqlalchemy", "sqlite3", "alembic", "psycopg"})
SQL_NAMES_OUTSIDE = frozenset({"Connection", "Engine"})
"""Names of SQLAlchemy that modules outside the store may import, because they pass connections to the store."""

MODEL_LIBRARIES = frozenset({"sklearn", "skops", "joblib", "lightgbm", "xgboost", "catboost"})
MODEL_PACKAGES = ("model", "init", "demo")
OBSERVER_CALLER = "incident_explanation"

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"
TABLE_WRITERS: dict[str, dict[str, str]] = {
    "prediction_logs": {INSERT: "predictions", DELETE: "retention"},
    "refusals": {INSERT: "predictions", DELETE: "retention"},
    "prunes": {INSERT: "retention"},
    "baseline_metrics": {INSERT: "baselines", UPDATE: "baselines"},
    "current_window_metrics": {INSERT: "decisions", UPDATE: "decisions"},
    "system_state": {INSERT: "decisions", UPDATE: "decisions"},
    "incidents": {INSERT: "decisions", UPDATE: "decisions"},
    "operator_actions": {INSERT: "decisions"},
    "feature_schemas": {INSERT: "decisions"},
    "request_ids": {INSERT: "request_id", UPDATE: "request_id", DELETE: "request_id"},
    "request_duplicates": {INSERT: "request_id", DELETE: "request_id"},
    "api_keys": {INSERT: "keys", UPDATE: "keys"},
    "labels": {INSERT: "labels", DELETE: "labels"},
    "services": {INSERT: "services", UPDATE: "services"},
    "llm_explanations": {INSERT: "explanations", UPDATE: "erasures", DELETE: "retention"},
    "explanation_failures": {INSERT: "explanations", DELETE: "retention"},
    "erasures": {INSERT: "erasures", UPDATE: "erasures"},
    "erasure_marks": {INSERT: "erasures"},
    "alerts": {INSERT: "alerts", UPDATE: "alerts"},
}
"""Table -> verb -> the one module of `store/write` that has such statements. A verb without a module has none."""

DYNAMIC_TABLES = {
    ("retention", "delete_requests"): ("prediction_logs", "refusals"),
    ("retention", "delete_aged_rows"): ("llm_explanations", "explanation_failures"),
}
"""Functions that take the table as an argument, and the tables that they can be given."""


def source(root: Path) -> Path:
    """The folder of the package."""
    return root / "src/stillsafe"


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Dotted name inside the package and syntax tree of every module."""
    for file in sorted(source(root).rglob("*.py")):
        parts = file.relative_to(source(root)).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Every import of a module, wherever it stands: the module's name, and the name taken from it or None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def is_within(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of some packages, or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports_of_core(root: Path) -> Iterator[str]:
    """`core/` imports NumPy, pure parts of the standard library and itself, so decisions are deterministic."""
    for module, tree in modules(root):
        if is_within(module, ["core"]):
            for name, _ in imports(tree):
                if name.partition(".")[0] not in CORE_IMPORTS and not is_within(name, ["stillsafe.core"]):
                    yield f"{module} imports {name}; core/ may import only NumPy, pure standard library and itself"


def imports_of_core_tests(root: Path) -> Iterator[str]:
    """Tests of `core/` import nothing else of Stillsafe, so the rules can be exercised alone."""
    for file in sorted((root / "tests/core").rglob("*.py")):
        for name, member in imports(ast.parse(file.read_text(encoding="utf-8"))):
            target = f"{name}.{member}" if member else name
            if is_within(name, ["stillsafe", "tests"]) and not is_within(target, ["stillsafe.core", "tests.core"]):
                yield f"{file.relative_to(root)} imports {name}; tests of core/ may import only core/ and tests/core/"


def sql_outside_store(root: Path) -> Iterator[str]:
    """SQL is in `store/` alone; other modules pass connections to it and do nothing with them."""
    for module, tree in modules(root):
        if is_within(module, ["store"]):
            continue
        for name, member in imports(tree):
            if name.partition(".")[0] in SQL_LIBRARIES and not (name == "sqlalchemy" and member in SQL_NAMES_OUTSIDE):
                yield f"{module} imports {member or name} of {name}; SQL belongs in store/"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("execute", "executemany", "exec_driver_sql"):
                yield f"{module}, line {node.lineno}: calls {node.attr}; SQL belongs in store/"


def model_libraries_elsewhere(root: Path) -> Iterator[str]:
    """scikit-learn, skops and joblib are imported in `model/`, `init/` and the demo alone."""
    for module, tree in modules(root):
        for name, _ in imports(tree):
            if name.partition(".")[0] in MODEL_LIBRARIES and not is_within(module, MODEL_PACKAGES):
                yield f"{module} imports {name}; scikit-learn belongs in {', '.join(MODEL_PACKAGES)}"


def observer_callers(root: Path) -> Iterator[str]:
    """The observer has one caller, which runs after the commit, so an explanation cannot change a decision."""
    for module, tree in modules(root):
        if module == OBSERVER_CALLER or is_within(module, ["observer"]):
            continue
        for name, member in imports(tree):
            target = f"{name}.{member}" if member else name
            if is_within(name, ["stillsafe.observer"]) or is_within(target, ["stillsafe.observer"]):
                yield f"{module} imports {name}; only {OBSERVER_CALLER} may import the observer"


def import_cycles(root: Path) -> Iterator[str]:
    """No module imports itself through others; what only the type checker sees is left out."""
    trees = dict(modules(root))
    graph = {module: set(_imported_modules(module, tree, trees.keys())) for module, tree in trees.items() if module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"modules import one another: {' > '.join(reversed(error.args[1]))}"


def _imported_modules(module: str, tree: ast.Module, known_modules: Collection[str]) -> Iterator[str]:
    typing_only = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING"]
    pairs = list(imports(tree))
    for block in typing_only:
        for pair in imports(ast.Module(body=block.body, type_ignores=[])):
            pairs.remove(pair)
    for name, member in pairs:
        full_names = (f"{name}.{member}", name) if member else (name,)
        for each in full_names:
            target = each.removeprefix("stillsafe.")
            if each.startswith("stillsafe.") and target in known_modules:
                if target != module:
                    yield target
                break


def table_names(root: Path) -> frozenset[str]:
    """The tables that `store/tables.py` declares."""
    tree = ast.parse((source(root) / "store/tables.py").read_text(encoding="utf-8"))
    return frozenset(
        str(call.args[0].value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _name(call.func) == "Table" and isinstance(call.args[0], ast.Constant)
    )


def table_writes(root: Path) -> dict[tuple[str, str], set[str]]:
    """(table, verb) -> the modules with such statements. `?` stands for a table that the code does not name."""
    tables = table_names(root)
    writes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, tree in modules(root):
        if is_within(module, ["store.migrations"]):
            continue
        short = module.removeprefix("store.write.")
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for table, verb in _function_writes(function, tables):
                    writable = DYNAMIC_TABLES.get((short, function.name), (table,)) if table == "?" else (table,)
                    for each in writable:
                        writes[each, verb].add(short)
    return dict(writes)


def _function_writes(function: ast.AST, tables: frozenset[str]) -> Iterator[tuple[str, str]]:
    verbs = {verb.lower(): verb for verb in (INSERT, UPDATE, DELETE)}
    statement = re.compile(r"\b(?:(INSERT) INTO|(UPDATE)|(DELETE) FROM) (\w+)")
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and (verb := verbs.get(_name(node.func))):
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
            targets = {_name(part) for part in (receiver, *node.args[:1]) if part is not None} & tables
            if targets:
                yield from ((table, verb) for table in targets)
            elif isinstance(node.func, ast.Name) and node.args:
                yield "?", verb
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for match in statement.finditer(node.value):
                if match[4] in tables:
                    yield match[4], match[1] or match[2] or match[3]


def _name(node: ast.AST) -> str:
    """The last name of an expression such as `insert` or `dialect.insert`, or an empty string."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def table_writers(root: Path) -> Iterator[str]:
    """Each table's INSERT, UPDATE and DELETE is in one named module of `store/write`."""
    for table in sorted(table_names(root) - set(TABLE_WRITERS)):
        yield f"{table} has no entry in TABLE_WRITERS of scripts/check_contracts.py"
    for (table, verb), writers in sorted(table_writes(root).items()):
        expected = TABLE_WRITERS.get(table, {}).get(verb)
        for module in sorted(writers - {expected}):
            place = f"it belongs in store/write/{expected}.py" if expected else "no module may"
            yield f"{module} has {verb} of {table}; {place}"


CHECKS = (
    imports_of_core,
    imports_of_core_tests,
    sql_outside_store,
    model_libraries_elsewhere,
    observer_callers,
    import_cycles,
    table_writers,
)


def violations(root: Path) -> list[str]:
    """The lines of all checks; empty where every contract is kept."""
    return list(dict.fromkeys(line for check in CHECKS for line in check(root)))


def main() -> int:
    """Print the violations; 1 if there is any."""
    lines = violations(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
