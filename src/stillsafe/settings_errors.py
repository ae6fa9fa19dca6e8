"""Mistakes in a settings file told as one sentence, with the line and the remedy."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stillsafe.errors import ConfigurationError

Sections = Mapping[tuple[str, ...], type[BaseModel]]
"""The model of each table by its path; the whole file's stands under the empty path."""

NOT_WRITTEN = ("folder", "file")  # of the settings file itself: never written in it

_TYPES_WANTED = {
    "string_type": "a string in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a table",
    "finite_number": "a finite number",
}
_TYPES_FOUND = {
    bool: "true or false",
    str: "a string",
    int: "a whole number",
    float: "a decimal number",
    dict: "a table",
}
_PLURAL_TABLES = {("features",), ("fallback", "rules")}


def explained(error: ValidationError, sections: Sections, file: str | None, text: str) -> ConfigurationError:
    """The first mistake in words, with its line. One at a time: the next often follows from it."""
    found = error.errors(include_url=False)
    # A misspelt key usually makes another one missing: the spelling is the mistake.
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    paths = [(*first["loc"], *path) for path in first.get("ctx", {}).get("paths", [()])]
    problem, remedy = _told(first, sections)
    return ConfigurationError(problem, remedy, file=file, line=_written_line(text, paths))


def _told(error: ErrorDetails, sections: Sections) -> tuple[str, str]:
    """Problem and remedy of one mistake."""
    path, kind = error["loc"], error["type"]
    where = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
    names = tuple(part for part in path if isinstance(part, str))
    if kind == "missing":
        return f"`{where}` is missing.", f"Add it{_written(names, sections)}."
    if kind == "extra_forbidden":
        return f"`{where}` is not a setting.", _spelling(names, sections)
    if kind == "misplaced":
        said = str(error["msg"])
        return (f"In `{where}`: {said}." if where else f"{said[:1].upper()}{said[1:]}."), ""
    if wanted := _TYPES_WANTED.get(kind):
        found = _TYPES_FOUND.get(type(error["input"]), "a list or a date")
        if names in _PLURAL_TABLES and kind == "tuple_type":
            return f"`{where}` must be a list of tables.", f"Write `[[{'.'.join(names)}]]`, in double brackets."
        return f"`{where}` must be {wanted}, not {found}.", _write_it(names, sections)
    said = re.sub(r"^(Value error, |(Input|String|Tuple) should )", "", error["msg"])
    said = f"must {said}" if error["msg"][:5] in ("Input", "Strin", "Tuple") else said
    said = said.replace("less than or equal to", "at most").replace("greater than or equal to", "at least")
    if kind in ("enum", "literal_error") and isinstance(error["input"], str):
        said += f", not {short(error['input'])}"
    remedy = "A rate is a share from 0 to 1: five per cent is 0.05." if _is_rate(names) else ""
    return f"`{where}`{'' if said.startswith('must') else ':'} {said}.", remedy


def _is_rate(names: tuple[str, ...]) -> bool:
    return names[:1] == ("policy",) and ("_rate" in names[-1] or "_confidence" in names[-1])


def _written(names: tuple[str, ...], sections: Sections) -> str:
    if names in _PLURAL_TABLES:
        return f" as `[[{'.'.join(names)}]]` tables"
    return f" as a table `[{'.'.join(names)}]`" if names in sections else ""


def _write_it(names: tuple[str, ...], sections: Sections) -> str:
    how = _written(names, sections)
    return f"Write it{how}." if how else ""


def _spelling(names: tuple[str, ...], sections: Sections) -> str:
    """What was probably meant: a key of the same section, or the same key of another one."""
    *section, key = names
    fields = sections.get(tuple(section), sections[()]).model_fields
    known = [name for name in fields if section or name not in NOT_WRITTEN]
    if close := get_close_matches(key, known, n=1):
        return f"Did you mean `{close[0]}`?"
    for place, model in sections.items():
        if place and key in model.model_fields:
            return f"It belongs in `[{'.'.join(place)}]`."
    return f"Remove it; known here: {', '.join(known)}."


def short(text: str) -> str:
    """A value from the file, fit to be quoted."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _written_line(text: str, paths: Sequence[tuple[int | str, ...]]) -> int | None:
    """The line of the first path that is written out, or else of the first one's table."""
    for path in paths:
        line = line_of(text, path)
        if line is not None and line != line_of(text, path[:-1]):
            return line
    return line_of(text, paths[0])


_KEY = r"(?:\"[^\"]*\"|'[^']*'|[\w\-]+)"
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def line_of(text: str, path: tuple[int | str, ...]) -> int | None:
    """The line, counted from 1, that a path of keys and indexes points at, or of the closest table above it."""
    best: int | None = None
    depth = -1
    table: tuple[int | str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(rf"\s*\[\[\s*({_DOTTED})\s*\]\]", line):
            names = _split(header[1])
            counts[names] = counts.get(names, -1) + 1
            table = (*names, counts[names])
        elif header := re.match(rf"\s*\[\s*({_DOTTED})\s*\]\s*(#.*)?$", line):
            table = _split(header[1])
        elif key := re.match(rf"\s*({_DOTTED})\s*=", line):
            full = (*table, *_split(key[1]))
            if full == path[: len(full)]:
                return number
            continue
        else:
            continue
        if path[: len(table)] == table and len(table) > depth:
            best, depth = number, len(table)
        elif path and table[: len(path)] == path and best is None:
            best = number
    return best


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))
