"""Edits a settings file as text: adds or replaces single keys, and leaves every other line as its owner wrote it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stillsafe.init.write import toml

REMARK = "by `stillsafe init --refresh`"
_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\-\"']+)\s*\]\]?\s*(#.*)?$")


def edited_text(text: str, sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The text with keys of sections set to new values.

    A key that a section has is replaced on its line; another one is added below the section's header; a section that
    the text does not have is added before the first table of another kind, or at the end.

    Args:
        text: a settings file. A section that is written as an inline table is not found, so it is added again, and the
            result is no valid file: the caller parses it.
        sections: section -> key -> value.
    """
    lines = text.splitlines()
    for name, values in sections.items():
        for key, value in reversed([*values.items()]):  # each is added above those before it
            lines = _with_key(lines, name, f"{key} = {toml(value)}  # {REMARK}", key)
    return "\n".join(lines) + "\n"


def _with_key(lines: Sequence[str], section: str, setting: str, key: str) -> list[str]:
    span = _section_span(lines, section)
    if span is None:
        return [*lines, "", f"[{section}]", setting]
    first, last = span
    is_key = re.compile(rf"\s*{re.escape(key)}\s*=")
    for index in range(first, last):
        if is_key.match(lines[index]):
            return [*lines[:index], setting, *lines[index + 1 :]]
    return [*lines[:first], setting, *lines[first:]]


def _section_span(lines: Sequence[str], section: str) -> tuple[int, int] | None:
    """The lines of a section after its header, half open; None where the text has none."""
    headers = [(index, match[1]) for index, line in enumerate(lines) if (match := _HEADER.match(line))]
    for position, (index, name) in enumerate(headers):
        if name == section and not lines[index].lstrip().startswith("[["):
            following = headers[position + 1][0] if position + 1 < len(headers) else len(lines)
            return index + 1, following
    return None
