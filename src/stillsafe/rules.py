"""Fallback rules in CEL, the Common Expression Language: compiled once, type-checked against the schema.

In a rule each feature is a variable of its own name (characters that CEL does not allow in a name become `_`), typed:
numeric is `double`, integer `int`, boolean `bool`, every other kind `string`. A missing value has no variable: a
condition that needs it cannot be evaluated and does not match. `missing` is the list of the names of the missing
features. A rule that uses only that list reads no feature, so it applies even if features are damaged.
"""

import importlib
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path

from cel_expr_python import cel

from stillsafe.core.fallback import Answer, Fallback, Rule, Source
from stillsafe.core.schema import TEXT_TYPES, FeatureType, Schema, Value
from stillsafe.core.text import truncate
from stillsafe.errors import RuleError
from stillsafe.settings_errors import line_of
from stillsafe.settings_fallback import FallbackRule, FallbackRuleList, FallbackSettings

LONGEST_EXPRESSION = 80
"""Most characters of a rule that an error message repeats."""
_TYPES = {
    FeatureType.NUMERIC: cel.Type.DOUBLE,
    FeatureType.INTEGER: cel.Type.INT,
    FeatureType.BOOLEAN: cel.Type.BOOL,
    **dict.fromkeys(TEXT_TYPES, cel.Type.STRING),
}
_RESERVED_NAMES = frozenset(
    [
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
        *("bool", "bytes", "double", "dyn", "int", "list", "map", "missing", "null_type", "string", "type", "uint"),
    ]
)


@cache
def variable(feature: str) -> str:
    """The CEL variable of a feature: its own name if CEL allows that, else a similar one."""
    name = re.sub(r"\W", "_", feature, flags=re.ASCII)
    if name[:1].isdigit():
        return f"_{name}"
    return f"{name}_" if name in _RESERVED_NAMES else name


def compile_fallback(settings: FallbackSettings, schema: Schema, *, file: Path | str | None = None) -> Fallback:
    """Compile the fallback of the settings.

    Args:
        settings: the section `[fallback]`.
        schema: the features that rules may read.
        file: the settings file; if given, an error names its line.

    Raises:
        RuleError: a rule does not compile; the message has the rule, CEL's complaint and the remedy.
    """
    try:
        return _compile_settings(settings, schema)
    except _MistakeError as mistake:
        path: tuple[int | str, ...] = ("fallback", *mistake.path)
        if file is not None and settings.lists_file is not None and mistake.path[:1] == ("lists",):
            file, path = Path(file).parent / settings.lists_file, mistake.path
        raise RuleError(
            mistake.problem,
            mistake.remedy,
            file=None if file is None else str(file),
            line=_line(file, path),
        ) from mistake.__cause__


class _MistakeError(Exception):
    """A problem, its remedy, and its key inside `[fallback]`; `compile_fallback` adds file and line."""

    def __init__(self, problem: str, remedy: str, *path: int | str) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.path = problem, remedy, path


def _line(file: Path | str | None, path: tuple[int | str, ...]) -> int | None:
    if file is None:
        return None
    try:
        return line_of(Path(file).read_text(encoding="utf-8-sig"), path)
    except (OSError, ValueError):
        return None


def _compile_settings(settings: FallbackSettings, schema: Schema) -> Fallback:
    variables = _variables(schema) if settings.rules else {}
    rules = [_compile_rule(index, rule, schema, variables) for index, rule in enumerate(settings.rules)]
    if settings.function is not None:
        rules.append(_function_rule(settings.function))
    if settings.last_answer is None:
        raise _MistakeError("`fallback.default` is missing.", "Set the answer for rows that no rule matches.")
    lists = tuple(_compile_list(index, each, schema) for index, each in enumerate(settings.lists))
    abstains = settings.answer == "abstain"
    return Fallback(settings.last_answer, tuple(rules), settings.minimum, settings.maximum, lists, abstains)


def _compile_list(index: int, rule_list: FallbackRuleList, schema: Schema) -> Source:
    """A rule list, whose conditions may read the features only that it names.

    Raises:
        _MistakeError: a rule reads another feature or does not compile.
    """
    place = f"Rule list {index + 1}"
    if unknown := [name for name in rule_list.reads if name not in schema.names]:
        problem = f"{place}: `reads` names {unknown[0]!r}, which is no feature."
        raise _MistakeError(problem, f"The features are {', '.join(schema.names)}.", "lists", index, "reads")
    features = Schema(tuple(spec for spec in schema.features if spec.name in rule_list.reads))
    variables, rules = _variables(features), []
    for number, rule in enumerate(rule_list.rules):
        try:
            rules.append(_compile_rule(number, rule, features, variables, reads=frozenset(rule_list.reads)))
        except _MistakeError as mistake:
            problem = f"{place}: {mistake.problem}"
            remedy = f"{mistake.remedy} A rule of a list may read the features of its `reads` only."
            raise _MistakeError(problem, remedy, "lists", index, *mistake.path) from mistake.__cause__
    compiled_rules = tuple(rules)
    return Source(f"list {index + 1}", frozenset(rule_list.reads), lambda _rows: compiled_rules, rule_list.score)


def _variables(schema: Schema) -> dict[str, cel.Type]:
    variables: dict[str, cel.Type] = {}
    for spec in schema.features:
        name = variable(spec.name)
        if name in variables:
            same = [other.name for other in schema.features if variable(other.name) == name]
            raise _MistakeError(
                f"In rules the features {', '.join(map(repr, same))} would all have the name `{name}`.",
                "Rename all but one of them, or remove the rules.",
                "rules",
            )
        variables[name] = _TYPES[spec.type]
    return {**variables, "missing": cel.Type.List(cel.Type.STRING)}


def _compile_rule(
    index: int,
    rule: FallbackRule,
    schema: Schema,
    variables: Mapping[str, cel.Type],
    reads: frozenset[str] | None = None,
) -> Rule:
    condition = _compile(index, "when", rule.when, variables)
    if condition.return_type() != cel.Type.BOOL:
        raise _MistakeError(
            f"{_where(index, 'when')}: it is no condition.", "Write one that is true or false.", *_at(index, "when")
        )
    expressions = [rule.when]
    answer: Callable[[Mapping[str, Value]], Answer | None] = partial(_fixed_answer, rule.answer)
    if rule.compute is not None:
        expressions.append(rule.compute)
        answer = partial(_evaluate, _compile_answer(index, rule.compute, variables), schema)
    if reads is None:
        reads = frozenset(
            spec.name for spec in schema.features if any(_reads(e, variable(spec.name), variables) for e in expressions)
        )
    return Rule(rule.when, reads, partial(_holds, condition, schema), answer)


def _compile_answer(index: int, text: str, variables: Mapping[str, cel.Type]) -> cel.Expression:
    expression = _compile(index, "compute", text, variables)
    kind = expression.return_type()
    if kind not in (cel.Type.DOUBLE, cel.Type.INT, cel.Type.STRING, cel.Type.BOOL):
        problem = f"{_where(index, 'compute')}: it gives a value of type {kind.name()}."
        raise _MistakeError(problem, "Write an answer: a number, a string, true or false.", *_at(index, "compute"))
    return expression


def _compile(index: int, key: str, text: str, variables: Mapping[str, cel.Type]) -> cel.Expression:
    try:
        return cel.NewEnv(variables=dict(variables)).compile(text)
    except RuntimeError as error:
        complaint = _first_complaint(str(error))
        problem = f"{_where(index, key)}: `{truncate(' '.join(text.split()), LONGEST_EXPRESSION)}`: {complaint}."
        raise _MistakeError(problem, _remedy(complaint, variables), *_at(index, key)) from None


def _where(index: int, key: str) -> str:
    return f"Fallback rule {index + 1}, `{key}`"


def _at(index: int, key: str) -> tuple[int | str, ...]:
    return ("rules", index, key)


def _first_complaint(error: str) -> str:
    """CEL's first complaint, without the lines that mark the place."""
    complaint = re.sub(r"\[?INVALID_ARGUMENT(: ERROR: <input>:|\])", "", error).strip().splitlines()[0]
    complaint = re.sub(r"^\d+:(\d+): ", r"at character \1, ", complaint)
    complaint = re.sub(r" \(in container ''\)|, maybe missing.*|; expecting.*", "", complaint)
    return (
        re.sub(r" expecting \{.*", "", complaint)
        .replace("mismatched input '<EOF>'", "it ends too early")
        .strip()
        .rstrip(".")
    )


def _remedy(complaint: str, variables: Mapping[str, cel.Type]) -> str:
    if "double, int" in complaint or "int, double" in complaint:
        return (
            "Write numbers compared with a numeric feature as decimals (30.0), with an integer feature whole (30); "
            "double(x) converts."
        )
    if name := re.search(r"undeclared reference to '([^']*)'", complaint):
        if close := get_close_matches(name[1], variables, n=1):
            return f"Did you mean `{close[0]}`?"
    elif "Syntax error" in complaint:
        return 'Write a CEL condition, for example `x > 30.0 && y == "a"`.'
    return (
        f"A rule may use: {', '.join(f'{variable} ({kind.name().lower()})' for variable, kind in variables.items())}."
    )


def _reads(text: str, name: str, variables: Mapping[str, cel.Type]) -> bool:
    """Whether an expression needs a variable: without it the expression does not compile."""
    if name not in text:
        return False
    try:
        cel.NewEnv(variables={other: kind for other, kind in variables.items() if other != name}).compile(text)
    except RuntimeError:
        return True
    return False


def _activation(schema: Schema, row: Mapping[str, Value]) -> dict[str, object]:
    values: dict[str, object] = {"missing": [spec.name for spec in schema.features if row.get(spec.name) is None]}
    for spec in schema.features:
        value = row.get(spec.name)
        if value is not None:
            values[variable(spec.name)] = value
    return values


def _evaluate(expression: cel.Expression, schema: Schema, row: Mapping[str, Value]) -> Answer | None:
    value = expression.eval(data=_activation(schema, row))
    return None if value.type() == cel.Type.ERROR else _as_answer(value.plain_value())


def _as_answer(value: object) -> Answer | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def _holds(condition: cel.Expression, schema: Schema, row: Mapping[str, Value]) -> bool:
    return _evaluate(condition, schema, row) is True


def _fixed_answer(answer: Answer | None, _row: Mapping[str, Value]) -> Answer | None:
    return answer


def _function_rule(reference: str) -> Rule:
    """A rule around a Python function `package.module:function`, which maps a row to an answer or None.

    The features that it reads are unknown, so it applies even if features are damaged.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise _MistakeError(
            f"`fallback.function` = {reference!r} names no function.", "Write `module:function`.", "function"
        )
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # the import runs a user's code, which may raise anything
        remedy = "Write `module:function`, and name the folder of your own module in `python_path` of [model]."
        problem = f"`fallback.function` = {reference!r} cannot be loaded: {error}."
        raise _MistakeError(problem.replace("..", "."), remedy, "function") from error
    if not callable(function):
        raise _MistakeError(f"`fallback.function` = {reference!r} is no function.", "Name a callable.", "function")
    return Rule(reference, frozenset(), lambda _row: True, partial(_call_function, function))


def _call_function(function: Callable[[dict[str, Value]], object], row: Mapping[str, Value]) -> Answer | None:
    return _as_answer(function(dict(row)))
