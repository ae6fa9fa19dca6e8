"""The figures about the code are right: each budget and each rule for names, on code made for the purpose."""

from pathlib import Path

import pytest

from scripts import measure_code


def module(root: Path, text: str, path: str = "src/stillsafe/core/policy.py") -> Path:
    """A source file of a repository in `root`."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("word", ["told", "_kept", "FOUND", "imported", "otherwise", "Scored"])
def test_a_participle_or_adverb_alone_is_bare(word: str) -> None:
    """Case and leading underscores do not make a participle a noun."""
    assert measure_code.is_bare(word)


@pytest.mark.parametrize("word", ["told_rows", "sentence", "seed", "speed", "ScoredRow", "read", "held", "red"])
def test_a_noun_or_a_name_with_a_noun_is_not(word: str) -> None:
    """Two words, a noun that ends in -ed, an imperative and a listed exception are names."""
    assert not measure_code.is_bare(word)


def test_every_kind_of_binding_is_a_name(tmp_path: Path) -> None:
    """Variables, parameters, functions, classes, attributes and fields are counted; uses are not."""
    file = module(tmp_path, "class A:\n    b: int\n    def c(self, d):\n        self.e = f = d\n        return f\n")
    kinds = {(name.word, name.kind) for name in measure_code.names(file)}
    nouns = {("A", "class"), ("c", "function"), ("d", "parameter"), ("b", "variable"), ("f", "variable")}
    assert kinds == {*nouns, ("e", "attribute"), ("self", "parameter")}


def test_functions_are_measured_without_docstring_and_self(tmp_path: Path) -> None:
    """The body counts from the first statement; `self` is no parameter."""
    file = module(
        tmp_path, 'class A:\n    def b(self, c, *, d):\n        """Text."""\n        e = 1\n\n        return e\n'
    )
    (function,) = measure_code.functions(file)
    assert (function.name, function.lines, function.parameters) == ("b", 3, 2)


@pytest.mark.parametrize(
    ("path", "decorator", "is_over"),
    [
        ("src/stillsafe/model/load.py", "", True),
        ("src/stillsafe/model/load.py", "@app.command()\n", True),
        ("src/stillsafe/cli/run.py", "", True),
        ("src/stillsafe/cli/run.py", '@app.command("run")\n', False),
    ],
)
def test_only_commands_may_have_many_parameters(tmp_path: Path, path: str, decorator: str, is_over: bool) -> None:
    """A command's parameters are its options, so commands in cli/ have no budget of them."""
    module(tmp_path, f"{decorator}def f(a, b, c, d, e, f, g, h): ...\n", path)
    (tmp_path / "src/stillsafe/core").mkdir(exist_ok=True)
    assert bool(measure_code.over_budget(tmp_path)) is is_over


@pytest.mark.parametrize(("path", "is_over"), [("core/a.py", True), ("store/migrations/versions/a.py", False)])
def test_only_migrations_may_have_long_functions(tmp_path: Path, path: str, is_over: bool) -> None:
    """A migration lists its operations and must not change, so its function has no budget of lines."""
    module(tmp_path, "def f():\n" + "    a = 1\n" * 46, f"src/stillsafe/{path}")
    assert any("46 lines" in line for line in measure_code.over_budget(tmp_path)) is is_over


def test_long_files_are_over_budget(tmp_path: Path) -> None:
    """A file of 450 lines is within the budget; one more is not."""
    file = module(tmp_path, "a = 1\n" * 450)
    assert measure_code.over_budget(tmp_path) == []
    file.write_text("a = 1\n" * 451)
    assert measure_code.over_budget(tmp_path) == [f"{file}: 451 lines (at most 450)"]


def test_code_is_counted_without_text_and_tables(tmp_path: Path) -> None:
    """Blank lines, comments and docstrings are no code; the fields of `Policy` are declarations."""
    text = '"""Text.\n\nMore."""\n\n# a comment\nclass Policy:\n    """Text."""\n\n'
    text += "    a: int = 1\n    b: int = (\n        2\n    )\n"
    file = module(tmp_path, text)
    assert measure_code.code_lines(file) == 5
    assert measure_code.core_loop_lines(tmp_path) == 1


def test_a_module_without_a_mirrored_test_is_named(tmp_path: Path) -> None:
    """Packages and migrations need no test of their own; any other module does."""
    for path in ("core/policy.py", "core/__init__.py", "store/migrations/versions/a.py"):
        module(tmp_path, "", f"src/stillsafe/{path}")
    assert measure_code.modules_without_test(tmp_path) == ["core/policy.py"]
    module(tmp_path, "", "tests/core/test_policy.py")
    assert measure_code.modules_without_test(tmp_path) == []
