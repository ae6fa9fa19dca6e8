"""Fallback rules in CEL, the Common Expression Language: compiled once, type-checked against the schema.

A rule sees each feature under its own name (characters that CEL does not allow in a name become `_`), typed:
numeric is `double`, integer `int`, boolean `bool`, category `string`. A missing value is no value: a condition
that needs it cannot be told and does not match. `missing` is the list of the names of the features that are
missing; a rule that only asks that list reads no feature, so a damaged one does not switch it off.
"""

import importlib
import logging
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path

from cel_expr_python import cel

from stillsafe.core.fallback import Answer, Fallback, Rule
from stillsafe.core.schema import FeatureType, Schema, Value
from stillsafe.errors import RuleError
from stillsafe.settings import FallbackRule, FallbackSettings
from stillsafe.settings_errors import line_of

logger = logging.getLogger(__name__)

_TYPES = {
    FeatureType.NUMERIC: cel.Type.DOUBLE,
    FeatureType.INTEGER: cel.Type.INT,
    FeatureType.BOOLEAN: cel.Type.BOOL,
    FeatureType.CATEGORY: cel.Type.STRING,
}
_RESERVED = frozenset(
    [
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
        *("bool", "bytes", "double", "dyn", "int", "list", "map", "missing", "null_type", "string", "type", "uint"),
    ]
)


@cache
def variable(feature: str) -> str:
    """The name under which CEL sees a feature: itself wherever CEL allows that."""
    name = re.sub(r"\W", "_", feature, flags=re.ASCII)
    if name[:1].isdigit():
        return f"_{name}"
    return f"{name}_" if name in _RESERVED else name


def compile_fallback(settings: FallbackSettings, schema: Schema, *, file: Path | str | None = None) -> Fallback:
    """The fallback that the settings describe.

    Args:
        settings: the section `[fallback]`.
        schema: the features that rules may read.
        file: the settings' file, so that a mistake can be told with its line.

    Raises:
        RuleError: naming the rule, what CEL said, and the remedy.
    """
    try:
        return _compiled(settings, schema)
    except _MistakeError as mistake:
        raise RuleError(
            mistake.problem,
            mistake.remedy,
            file=None if file is None else str(file),
            line=_line(file, ("fallback", *mistake.path)),
        ) from mistake.__cause__


class _MistakeError(Exception):
    """What is wrong, the remedy, and the key inside `[fallback]`; its file and line are found where it is caught."""

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


def _compiled(settings: FallbackSettings, schema: Schema) -> Fallback:
    variables = _variables(schema) if settings.rules else {}
    rules = [_compile_rule(index, rule, schema, variables) for index, rule in enumerate(settings.rules)]
    if settings.function is not None:
        rules.append(_function_rule(settings.function))
    if settings.default is None:
        raise _MistakeError("`fallback.default` is missing.", "Name the answer for when no rule applies.")
    return Fallback(settings.default, tuple(rules), settings.minimum, settings.maximum)


def _variables(schema: Schema) -> dict[str, cel.Type]:
    variables: dict[str, cel.Type] = {}
    for spec in schema.features:
        name = variable(spec.name)
        if name in variables:
            same = [other.name for other in schema.features if variable(other.name) == name]
            raise _MistakeError(
                f"In a rule the features {', '.join(map(repr, same))} would all be called `{name}`.",
                "Rename all but one of them, or do without rules.",
                "rules",
            )
        variables[name] = _TYPES[spec.type]
    return {**variables, "missing": cel.Type.List(cel.Type.STRING)}


def _compile_rule(index: int, rule: FallbackRule, schema: Schema, variables: Mapping[str, cel.Type]) -> Rule:
    condition = _compile(index, "when", rule.when, variables)
    if condition.return_type() != cel.Type.BOOL:
        raise _MistakeError(
            f"{_where(index, 'when')}: it is no condition.", "It must be true or false.", *_at(index, "when")
        )
    expressions = [rule.when]
    answer: Callable[[Mapping[str, Value]], Answer | None] = partial(_fixed, rule.answer)
    if rule.compute is not None:
        expressions.append(rule.compute)
        answer = partial(_evaluate, _computed(index, rule.compute, variables), schema)
    reads = frozenset(
        spec.name for spec in schema.features if any(_reads(e, variable(spec.name), variables) for e in expressions)
    )
    return Rule(rule.when, reads, partial(_holds, condition, schema), answer)


def _computed(index: int, text: str, variables: Mapping[str, cel.Type]) -> cel.Expression:
    computed = _compile(index, "compute", text, variables)
    kind = computed.return_type()
    if kind not in (cel.Type.DOUBLE, cel.Type.INT, cel.Type.STRING, cel.Type.BOOL):
        problem = f"{_where(index, 'compute')}: it gives a value of type {kind.name()}."
        raise _MistakeError(problem, "An answer is a number, a string, true or false.", *_at(index, "compute"))
    return computed


def _compile(index: int, key: str, text: str, variables: Mapping[str, cel.Type]) -> cel.Expression:
    try:
        return cel.NewEnv(variables=dict(variables)).compile(text)
    except RuntimeError as error:
        said = _said(str(error))
        problem = f"{_where(index, key)}: `{_cut(text)}`: {said}."
        raise _MistakeError(problem, _remedy(said, variables), *_at(index, key)) from None


def _where(index: int, key: str) -> str:
    return f"Fallback rule {index + 1}, `{key}`"


def _at(index: int, key: str) -> tuple[int | str, ...]:
    return ("rules", index, key)


def _said(error: str) -> str:
    """CEL's first complaint, without its drawing of the place."""
    complaint = re.sub(r"\[?INVALID_ARGUMENT(: ERROR: <input>:|\])", "", error).strip().splitlines()[0]
    complaint = re.sub(r"^\d+:(\d+): ", r"at character \1, ", complaint)
    complaint = re.sub(r" \(in container ''\)|, maybe missing.*|; expecting.*", "", complaint)
    return (
        re.sub(r" expecting \{.*", "", complaint)
        .replace("mismatched input '<EOF>'", "it ends too early")
        .strip()
        .rstrip(".")
    )


def _remedy(said: str, variables: Mapping[str, cel.Type]) -> str:
    if "double, int" in said or "int, double" in said:
        return (
            "Write numbers compared with a numeric feature as decimals (30.0), with an integer feature whole (30); "
            "double(x) converts."
        )
    if undeclared := re.search(r"undeclared reference to '([^']*)'", said):
        if close := get_close_matches(undeclared[1], variables, n=1):
            return f"Did you mean `{close[0]}`?"
    elif "Syntax error" in said:
        return 'Write a CEL condition, for example `x > 30.0 && y == "a"`.'
    return f"A rule may use: {', '.join(f'{name} ({kind.name().lower()})' for name, kind in variables.items())}."


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:80]}..."


def _reads(text: str, name: str, variables: Mapping[str, cel.Type]) -> bool:
    """Whether an expression needs a variable: it no longer compiles without it."""
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


def _fixed(answer: Answer | None, _row: Mapping[str, Value]) -> Answer | None:
    return answer


def _function_rule(reference: str) -> Rule:
    """A Python callable in place of rules: `package.module:function`, given the row, giving the answer or None.

    What it reads cannot be known, so no damaged feature switches it off.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise _MistakeError(
            f"`fallback.function` = {reference!r} names no function.", "Write `module:function`.", "function"
        )
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing runs a person's own code: whatever it raises, the mistake is theirs to read
        remedy = "Write `module:function`, of a module that Python can import where the service runs."
        problem = f"`fallback.function` = {reference!r} cannot be loaded: {error}."
        raise _MistakeError(problem.replace("..", "."), remedy, "function") from error
    if not callable(function):
        raise _MistakeError(f"`fallback.function` = {reference!r} is no function.", "Name a callable.", "function")
    return Rule(reference, frozenset(), lambda _row: True, partial(_called, function))


def _called(function: Callable[[dict[str, Value]], object], row: Mapping[str, Value]) -> Answer | None:
    try:
        answer = function(dict(row))
    except Exception:  # a person's own code: whatever it raises, the default answers instead
        logger.exception("the fallback function failed; the default answers")
        return None
    return _as_answer(answer)
