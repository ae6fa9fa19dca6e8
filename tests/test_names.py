"""Names are nouns of the trade, files and functions keep their budgets, and every word has its place.

The figures come from `scripts/measure_code.py`, which `make check` runs too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import stillsafe
from scripts import measure_code
from stillsafe.core import policy
from stillsafe.core.policy import EvidencePolicy, Policy

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/stillsafe"
MODULES = sorted(file.relative_to(SOURCE).with_suffix("") for file in SOURCE.rglob("*.py"))

EVERYDAY = frozenset(
    [
        # software
        *(
            "app",
            "configuration",
            "estimator",
            "in",
            "invalid",
            "no",
            "use",
            "body",
            "bug",
            "calendar",
            "doctor",
            "parameters",
            "terminal",
            "tour",
            "chart",
            "cli",
            "codec",
            "column",
            "command",
            "connection",
            "context",
            "conversion",
            "document",
            "parquet",
            "process",
            "replies",
            "core",
            "create",
            "dashboard",
        ),
        *(
            "database",
            "deadline",
            "decoder",
            "disk",
            "endpoint",
            "error",
            "folder",
            "formatting",
            "frame",
            "thread",
            "grafana",
            "prometheus",
        ),
        *("history", "init", "inspect", "instance", "json", "load", "log", "main", "openapi", "output"),
        *("problem", "prompt", "read", "record", "registry", "report", "result", "route"),
        *("sample", "schedule", "search", "section", "serve", "setting", "shape", "snapshot"),
        *("cache", "date", "extreme", "login", "next", "page", "templating"),
        *(
            "cron",
            "difference",
            "entries",
            "file",
            "form",
            "format",
            "identifier",
            "insertion",
            "line",
            "lock",
            "missing",
            "part",
            "tolerance",
            "wait",
        ),
        *(
            "repeated",
            "csv",
            "option",
            "status",
            "stillsafe",
            "store",
            "summary",
            "text",
            "value",
            "transport",
            "tree",
            "write",
            "banner",
        ),
        # machine learning
        *("infer", "learner", "predict", "predictor", "preprocessing", "scoring", "evaluation"),
        # the language
        *("advice", "ages", "answer", "demo", "hidden", "new", "odd", "quoted"),
    ]
)
"""Words of public names and modules that need no entry in the glossary; plurals and derived forms are covered."""


def stem(word: str) -> str:
    """A word without the ending of a plural, a participle or an agent: `batchers` and `batch` have one stem."""
    shorter = re.sub(r"(?:ings?|ers?|ors?|ed|es|s|e)$", "", word) if len(word) > 3 else word
    return word if shorter == word else stem(shorter)


def glossary_terms() -> frozenset[str]:
    """The words of the first column of the glossary, in lower case."""
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (\*\*.+?) \|", text, re.MULTILINE)
    return frozenset(word for cell in cells for word in re.findall(r"[a-z]+", cell.lower()))


def name_words() -> Iterator[tuple[str, str]]:
    """Every word of a public name or of a module's name, and the name."""
    for name in stillsafe.__all__:
        yield from ((word.lower(), name) for word in re.findall(r"[A-Z]?[a-z]+", name))
    for module in MODULES:
        if "migrations" not in module.parts:
            yield from ((word, str(module)) for part in module.parts for word in re.findall(r"[a-z]+", part))


@pytest.mark.parametrize("tree", measure_code.TREES)
def test_no_name_is_a_bare_participle_or_adverb(tree: str) -> None:
    """A variable, parameter, field, function or class is named by a noun (`sentence`), not by a participle (`told`)."""
    bare = [
        f"{name.file.relative_to(ROOT)}:{name.line} {name.word}"
        for file in measure_code.python_files(ROOT, tree)
        for name in measure_code.names(file)
        if measure_code.is_bare(name.word)
    ]
    assert bare == []


def test_files_functions_and_the_core_loop_keep_their_budgets() -> None:
    """No file, function or signature is so large that only its author can change it; the core is read in a morning."""
    assert measure_code.over_budget(ROOT) == []


def test_every_module_has_a_mirrored_test() -> None:
    """The test of `a/b.py` is `tests/a/test_b.py`, so it is found without a search."""
    assert measure_code.modules_without_test(ROOT) == []


def test_docstrings_are_literal() -> None:
    """Fewer than 0.5 of 1,000 words of the docstrings are figures of speech of data or code."""
    words = [word for file in measure_code.python_files(ROOT, "src") for word in measure_code.docstring_words(file)]
    assert sum(word in measure_code.FIGURATIVE for word in words) < 0.0005 * len(words)


def test_every_domain_word_of_a_name_is_in_the_glossary() -> None:
    """A word of a public name or of a module is everyday, or the glossary says what it means."""
    stems = {stem(word) for word in glossary_terms() | EVERYDAY}
    assert sorted({(word, name) for word, name in name_words() if stem(word) not in stems}) == []


def test_the_everyday_words_are_in_use_and_not_in_the_glossary() -> None:
    """The list of exempt words is short: no word without a name, no word that the glossary defines."""
    stems = {stem(word) for word, _ in name_words()}
    assert sorted(word for word in EVERYDAY if stem(word) not in stems or word in glossary_terms()) == []


def test_every_exception_to_the_rule_is_in_use() -> None:
    """A bare participle that may stay is still bound somewhere; otherwise its exception is removed."""
    words = {
        name.word.strip("_").lower()
        for file in measure_code.python_files(ROOT, "src", "tests", "benchmarks")
        for name in measure_code.names(file)
    }
    assert set(measure_code.EXCEPTIONS) - words == set()


def enum_members(file: Path) -> Iterator[tuple[str, bool]]:
    """Each enum member of a file, and whether a comment, a string beside it or a sentence in its value explains it."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in node.bases):
            for number, statement in enumerate(node.body):
                if isinstance(statement, ast.Assign):
                    next_statement = node.body[number + 1] if number + 1 < len(node.body) else None
                    member_lines = lines[statement.lineno - 2 : statement.end_lineno]
                    is_explained = any(
                        "#:" in line for line in member_lines if line is not member_lines[0] or "=" not in line
                    )
                    is_string = isinstance(next_statement, ast.Expr) and isinstance(next_statement.value, ast.Constant)
                    is_sentence = isinstance(statement.value, ast.Tuple) and any(
                        isinstance(each, ast.Constant) and " " in str(each.value) for each in statement.value.elts
                    )
                    yield f"{node.name}.{ast.unparse(statement.targets[0])}", is_explained or is_string or is_sentence


def test_every_enum_member_is_explained() -> None:
    """A reader learns what a member means where it is declared."""
    members = [
        f"{file.relative_to(ROOT)} {member}"
        for file in measure_code.python_files(ROOT, "src")
        for member, is_explained in enum_members(file)
        if not is_explained
    ]
    assert members == []


@pytest.mark.parametrize("table", [Policy, EvidencePolicy])
def test_every_number_of_the_policy_has_a_reason(table: type[Policy | EvidencePolicy]) -> None:
    """A number that shapes a decision says why it is what it is."""
    without = [
        name
        for name, field in table.__dataclass_fields__.items()
        if not str(field.metadata.get("reason", "")).strip() and name != "evidence"
    ]
    assert without == []
    assert policy.reasons()


def test_the_variables_of_rules_are_explained() -> None:
    """The module of the rules says what a rule sees: features under their names, their types, and `missing`."""
    text = ast.get_docstring(ast.parse((SOURCE / "rules.py").read_text(encoding="utf-8"))) or ""
    assert all(f"`{word}`" in text for word in ("missing", "double", "int", "bool", "string"))
