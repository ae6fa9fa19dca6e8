"""Measure how the code reads: names, budgets, size, mirrored tests, words of the docstrings.

    python -m scripts.measure_code [ROOT]

prints the figures and exits with 1 if a budget is exceeded. `make check` runs it, and `tests/test_names.py` uses its
functions.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

FILE_LINES, BODY_LINES, PARAMETERS = 450, 45, 7
CORE_LOOP_LINES = 1_100
TREES = ("src", "tests", "benchmarks", "scripts")

IRREGULAR = frozenset(
    [
        *("told", "found", "said", "given", "made", "kept", "asked", "moved", "seen", "taken", "done", "gone"),
        *("known", "held", "lost", "sent", "built", "shown", "drawn", "grown", "written", "chosen", "broken"),
        *("spoken", "hidden", "begun", "met", "paid", "sold", "thought", "brought", "caught", "taught", "sought"),
        *("bought", "felt", "dealt", "meant", "heard", "led", "fed", "laid", "stood", "understood", "won", "worn"),
        *("torn", "thrown", "flown", "blown", "spent", "lent", "bent", "struck", "stuck", "hung", "swung", "spun"),
        *("sat", "shut", "bound"),
    ]
)
"""Past participles that do not end in -ed. Words that are nouns or imperatives too are left out: run, read, set, put,
cut, split, spread, hit, cost, cast."""

ADVERBS = frozenset(
    [
        *("otherwise", "beside", "together", "apart", "alone", "instead", "elsewhere", "afterwards", "before"),
        *("after", "twice", "once", "already", "still", "yet", "here", "there", "then", "ago", "away", "back"),
        *("forth", "aside", "meanwhile", "nevertheless", "rather", "quite", "almost", "merely", "hardly"),
    ]
)

NOT_PARTICIPLES = frozenset({"need", "speed", "feed", "embed", "seed", "shed", "indeed"})

EXCEPTIONS = {
    "expected": "the name that tests everywhere give to the right value",
    "bound": "a noun of mathematics: the bound of a range",
    "held": "a column of the state table and a field of the API",
    "resolved": "a column that the mission names",
    "unverified": "a column and a field of the API",
    "watched": "a field of the API",
    "compiled": "a setting and a field of the API",
    "required": "a setting and a field of the API",
    "allowed": "a field of the API's problem details",
    "trusted": "a setting",
    "degraded": "a state that the mission names",
    "opened": "a step of an incident, stored and in the API",
    "escalated": "a step of an incident, stored and in the API",
    "labelled": "a key of stored baselines",
    "disconnected": "an attribute of uvicorn's cycle",
    "permuted": "a key of stored baselines, and a fault of `backtest --inject`",
    "together": "a key of stored baselines",
    "judged": "a field of the HTTP API and a key of `--json`",
    "monitored": "a field of the HTTP API and a key of `--json`",
    "inherited": "a column of a run",
    "mended": "the third phase of a cell of the matrix",
    "stored": "a key of `replay --json`",
    "recomputed": "a key of `replay --json`",
    "realised": "a field of the HTTP API and a key of `--json`",
    "injected": "a field of a backtest's result and of its JSON",
    "lost": "a field of a backtest's result and of its JSON",
}
"""Bare participles that stay, each with its reason."""

FIGURATIVE = frozenset(
    [
        *("tell", "tells", "told", "telling", "say", "says", "said", "saying", "speak", "speaks", "spoke", "hear"),
        *("hears", "heard", "ask", "asks", "asked", "asking", "obey", "obeys", "obeyed", "blame", "blames"),
        *("blamed", "swallow", "swallows", "swallowed", "wobble", "wobbles", "lane", "lanes", "desk", "desks"),
        *("door", "doors", "grove", "groves", "ladder", "rung", "rungs", "home", "homes", "patience", "orders"),
        *("nobody", "somebody", "anybody", "everybody", "believe", "believes", "believed", "guess", "guesses"),
        *("guessed", "lie", "lies", "lying", "looks", "looked", "borrow", "borrows", "wishes", "wish", "hurt"),
        *("hurts",),
    ]
)
"""Words that are a figure of speech where a docstring uses them of data or code."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that a file binds.

    Attributes:
        file: the file.
        line: the line, from 1.
        word: the name.
        kind: `variable`, `parameter`, `function`, `class` or `attribute`.
    """

    file: Path
    line: int
    word: str
    kind: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its size.

    Attributes:
        file: the file.
        line: the line of its `def`, from 1.
        name: its name.
        lines: lines of its body without the docstring.
        parameters: their count without `self` and `cls`.
        is_command: whether it is a command of the command line, whose parameters are the command's options.
    """

    file: Path
    line: int
    name: str
    lines: int
    parameters: int
    is_command: bool = False

    @property
    def excess(self) -> list[str]:
        """What exceeds a budget, a text each.

        A command has one parameter for each option that a user may give, and typer reads them from the signature, so
        commands have no budget of parameters. A migration is history that must not change and lists one operation
        after the other, so migrations have no budget of lines.
        """
        texts = []
        if self.lines > BODY_LINES and "migrations" not in self.file.parts:
            texts.append(f"{self.lines} lines (at most {BODY_LINES})")
        if self.parameters > PARAMETERS and not self.is_command:
            texts.append(f"{self.parameters} parameters (at most {PARAMETERS})")
        return texts


def python_files(root: Path, *trees: str) -> Iterator[Path]:
    """The Python files below some folders of `root`, sorted."""
    for tree in trees or TREES:
        yield from sorted((root / tree).rglob("*.py"))


def names(file: Path) -> Iterator[Name]:
    """Every name that a file binds, in the order of the syntax tree."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=word, ctx=ast.Store()):
                yield Name(file, node.lineno, word, "variable")
            case ast.arg(arg=word):
                yield Name(file, node.lineno, word, "parameter")
            case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word):
                yield Name(file, node.lineno, word, "function")
            case ast.ClassDef(name=word):
                yield Name(file, node.lineno, word, "class")
            case ast.Attribute(attr=word, ctx=ast.Store()):
                yield Name(file, node.lineno, word, "attribute")


def is_bare(word: str) -> bool:
    """Whether a name is a participle or an adverb alone, with no noun."""
    bare = word.strip("_").lower()
    if bare in NOT_PARTICIPLES or bare in EXCEPTIONS or "_" in bare or re.search(r"[a-z][A-Z]", word):
        return False
    return bare in IRREGULAR or bare in ADVERBS or (bare.endswith("ed") and len(bare) > 3)


def functions(file: Path) -> Iterator[Function]:
    """Every function of a file with its size."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
            is_command = any(map(_is_command, node.decorator_list)) and "cli" in file.parts
            yield Function(file, node.lineno, node.name, lines, count, is_command)


def _is_command(decorator: ast.expr) -> bool:
    """Whether a decorator is `@app.command(...)` of typer."""
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "command"
    )


def line_count(file: Path) -> int:
    """Lines of a file, blank ones and comments included."""
    return len(file.read_text(encoding="utf-8").splitlines())


def code_lines(file: Path) -> int:
    """Lines that hold code: no blanks, comments or docstrings."""
    text = file.read_text(encoding="utf-8")
    docstring_lines: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstring_lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    blank = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    token_lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank:
            token_lines.update(range(token.start[0], token.end[0] + 1))
    return len(token_lines - docstring_lines)


def declaration_lines(file: Path) -> int:
    """Code lines of a file's table: the fields of `Policy`, or the rows of the signal table."""
    total = 0
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in ("Policy", "EvidencePolicy"):
            total += sum((f.end_lineno or 0) - f.lineno + 1 for f in node.body if isinstance(f, ast.AnnAssign))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "SIGNALS":
            total += (node.end_lineno or 0) - node.lineno + 1
    return total


def core_loop_lines(root: Path) -> int:
    """Code lines of `core/` without `evidence/` and without the declarations of the policy and of the signal table."""
    folder = root / "src/stillsafe/core"
    files = sorted(folder.glob("*.py"))
    tables = [file for file in files if file.stem in ("policy", "signals")]
    return sum(map(code_lines, files)) - sum(map(declaration_lines, tables))


def docstring_words(file: Path) -> list[str]:
    """The words of a file's docstrings, in lower case."""
    words: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words += re.findall(r"[a-z]+", (ast.get_docstring(node) or "").lower())
    return words


def modules_without_test(root: Path) -> list[str]:
    """Modules of `src/` without `test_<module>.py` at the same place below `tests/`."""
    source, missing = root / "src/stillsafe", []
    for file in sorted(source.rglob("*.py")):
        path = file.relative_to(source)
        if file.stem.startswith("__") or "migrations" in path.parts:
            continue
        if not (root / "tests" / path.parent / f"test_{file.stem}.py").exists():
            missing.append(str(path))
    return missing


def over_budget(root: Path) -> list[str]:
    """What exceeds the budgets in `src/`, one line each; empty where nothing does."""
    lines = []
    for file in python_files(root, "src"):
        if (count := line_count(file)) > FILE_LINES:
            lines.append(f"{file}: {count} lines (at most {FILE_LINES})")
        for function in functions(file):
            lines += [f"{file}:{function.line} {function.name}: {text}" for text in function.excess]
    if (count := core_loop_lines(root)) > CORE_LOOP_LINES:
        lines.append(f"core/ without evidence/: {count} lines of code (at most {CORE_LOOP_LINES})")
    return lines


def report(root: Path) -> Iterator[str]:
    """The figures, a line each. Only `over_budget` leaves commands and migrations out."""
    for tree in TREES:
        bound_names = [name for file in python_files(root, tree) for name in names(file)]
        bare_count = sum(is_bare(name.word) for name in bound_names)
        yield f"bare participles and adverbs in {tree}/: {bare_count} of {len(bound_names)} names"
    files = list(python_files(root, "src"))
    measured_functions = [function for file in files for function in functions(file)]
    lengths = [function.lines for function in measured_functions]
    commands = sum(each.parameters > PARAMETERS and each.is_command for each in measured_functions)
    wide = sum(each.parameters > PARAMETERS for each in measured_functions)
    yield f"files over {FILE_LINES} lines: {sum(line_count(file) > FILE_LINES for file in files)} of {len(files)}"
    yield f"functions over {BODY_LINES} lines: {sum(length > BODY_LINES for length in lengths)} of {len(lengths)}"
    yield f"functions over {PARAMETERS} parameters: {wide}, {commands} of them commands"
    yield f"function body: median {median(lengths):.0f} lines, 95th percentile {quantiles(lengths, n=20)[-1]:.0f}"
    yield f"lines of src/: {sum(map(line_count, files))}, of code {sum(map(code_lines, files))}"
    yield f"code lines of core/ without evidence/ and tables: {core_loop_lines(root)}"
    missing = modules_without_test(root)
    yield f"modules of src/ without a mirrored test: {len(missing)}" + (f" ({', '.join(missing)})" if missing else "")
    words = [word for file in files for word in docstring_words(file)]
    figurative = sum(word in FIGURATIVE for word in words)
    rate = 1000 * figurative / len(words)
    yield f"figurative words in docstrings: {rate:.2f} of 1,000 ({figurative} of {len(words)})"


def main() -> int:
    """Print the figures and what exceeds a budget; 1 if anything does."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    excess = over_budget(root)
    sys.stdout.write("\n".join([*report(root), *excess]) + "\n")
    return bool(excess)


if __name__ == "__main__":
    sys.exit(main())
