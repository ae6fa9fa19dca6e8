"""Turns pydantic's errors about a settings file into one sentence with the line and the remedy."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stillsafe.core.text import truncate
from stillsafe.errors import ConfigurationError

Sections = Mapping[tuple[str, ...], type[BaseModel]]
"""The pydantic model of each table by its path; the empty path is the whole file."""

NOT_WRITTEN = ("folder", "file", "ignored_keys")
"""Fields of the settings that are not keys of the file."""

_EXPECTED_TYPES = {
    "string_type": "a string in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a table",
    "finite_number": "a finite number",
}
_ACTUAL_TYPES = {
    bool: "true or false",
    str: "a string",
    int: "a whole number",
    float: "a decimal number",
    dict: "a table",
}
_PLURAL_TABLES = {
    ("features",),
    ("fallback", "rules"),
    ("fallback", "lists"),
    ("fallback", "models"),
    ("lists",),
    ("models",),
}


def configuration_error(error: ValidationError, sections: Sections, file: str | None, text: str) -> ConfigurationError:
    """The first mistake with its line. Only one, because the others often follow from it.

    Args:
        error: what pydantic found.
        sections: the tables of the file.
        file: the file's name, or None.
        text: the file's text, to find the line.
    """
    details = error.errors(include_url=False)
    # A misspelt key often makes a required key missing, so an unknown key comes first.
    first = next((each for each in details if each["type"] == "extra_forbidden"), details[0])
    paths = [(*first["loc"], *path) for path in first.get("ctx", {}).get("paths", [()])]
    problem, remedy = _problem_and_remedy(first, sections)
    return ConfigurationError(problem, remedy, file=file, line=_first_line(text, paths))


def _problem_and_remedy(error: ErrorDetails, sections: Sections) -> tuple[str, str]:
    path, kind = error["loc"], error["type"]
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
    names = tuple(part for part in path if isinstance(part, str))
    if kind == "missing":
        return f"`{key}` is missing.", f"Add it{_table_form(names, sections)}."
    if kind == "extra_forbidden":
        return f"`{key}` is not a setting.", _suggestion(names, sections)
    if kind == "misplaced":
        problem = str(error["msg"])
        return (f"In `{key}`: {problem}." if key else f"{problem[:1].upper()}{problem[1:]}."), ""
    if expected_type := _EXPECTED_TYPES.get(kind):
        actual_type = _ACTUAL_TYPES.get(type(error["input"]), "a list or a date")
        if names in _PLURAL_TABLES and kind == "tuple_type":
            return f"`{key}` must be a list of tables.", f"Write `[[{'.'.join(names)}]]`, in double brackets."
        form = _table_form(names, sections)
        return f"`{key}` must be {expected_type}, not {actual_type}.", f"Write it{form}." if form else ""
    remedy = "A rate is a share from 0 to 1: five per cent is 0.05." if _is_rate(names) else ""
    problem = _value_problem(error)
    return f"`{key}`{'' if problem.startswith('must') else ':'} {problem}.", remedy


def _value_problem(error: ErrorDetails) -> str:
    """Pydantic's message about a value as a clause, with standard terms."""
    problem = re.sub(r"^(Value error, |(Input|String|Tuple) should )", "", error["msg"])
    if error["msg"].startswith(("Input", "String", "Tuple")):
        problem = f"must {problem}"
    problem = problem.replace("less than or equal to", "at most").replace("greater than or equal to", "at least")
    if error["type"] in ("enum", "literal_error") and isinstance(error["input"], str):
        problem += f", not {quote(error['input'])}"
    return problem


def _is_rate(names: tuple[str, ...]) -> bool:
    return names[:1] == ("policy",) and ("_rate" in names[-1] or "_confidence" in names[-1])


def _table_form(names: tuple[str, ...], sections: Sections) -> str:
    """How to write a table, as the end of a sentence; empty for a key."""
    if names in _PLURAL_TABLES:
        return f" as `[[{'.'.join(names)}]]` tables"
    return f" as a table `[{'.'.join(names)}]`" if names in sections else ""


def _suggestion(names: tuple[str, ...], sections: Sections) -> str:
    """The remedy for an unknown key: a similar key of its section, or the section that has the key."""
    *section, key = names
    fields = sections.get(tuple(section), sections[()]).model_fields
    keys = [name for name in fields if section or name not in NOT_WRITTEN]
    for path, model in sections.items():
        if path and key in model.model_fields:
            return f"It belongs in `[{'.'.join(path)}]`."
    if matches := get_close_matches(key, keys, n=1):
        return f"Did you mean `{matches[0]}`?"
    return f"Remove it, or write one of {', '.join(keys)}."


def quote(text: str) -> str:
    """A value of the file in quotes, truncated."""
    return repr(truncate(text, 40))


def _first_line(text: str, paths: Sequence[tuple[int | str, ...]]) -> int | None:
    """The line of the first path whose key is in the file, or else of the first path's table."""
    for path in paths:
        line = line_of(text, path)
        if line is not None and line != line_of(text, path[:-1]):
            return line
    return line_of(text, paths[0])


_KEY = r"(?:\"[^\"]*\"|'[^']*'|[\w\-]+)"
_DOTTED_KEY = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def line_of(text: str, path: tuple[int | str, ...]) -> int | None:
    """The line, counted from 1, of a path of keys and indexes, or of the closest table above it, or None."""
    best: int | None = None
    best_depth = -1
    table: tuple[int | str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(rf"\s*\[\[\s*({_DOTTED_KEY})\s*\]\]", line):
            names = _split(header[1])
            counts[names] = counts.get(names, -1) + 1
            table = (*names, counts[names])
        elif header := re.match(rf"\s*\[\s*({_DOTTED_KEY})\s*\]\s*(#.*)?$", line):
            table = _split(header[1])
        elif key := re.match(rf"\s*({_DOTTED_KEY})\s*=", line):
            key_path = (*table, *_split(key[1]))
            if key_path == path[: len(key_path)]:
                return number
            continue
        else:
            continue
        if path[: len(table)] == table and len(table) > best_depth:
            best, best_depth = number, len(table)
        elif path and table[: len(path)] == path and best is None:
            best = number
    return best


def _split(dotted_key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted_key))
