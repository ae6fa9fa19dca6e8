"""Text of limited length, and names from clients that are safe to show."""

from collections.abc import Iterable

LONGEST_NAME = 80


def truncate(text: str, longest: int) -> str:
    """The text, or its first `longest` characters followed by `...`."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def join_names(names: Iterable[str], most: int) -> str:
    """The first `most` names, separated by commas; `...` stands for the others."""
    all_names = list(names)
    return ", ".join([*all_names[:most], *(["..."] if len(all_names) > most else [])])


def display_name(name: object) -> str:
    """A name that a client sent, safe to show and log: valid Unicode of limited length."""
    return truncate(str(name).encode("utf-8", "replace").decode(), LONGEST_NAME)
