"""Removes from a text what must not leave the machine: secrets of the settings and the environment, and folders."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

MASK = "(hidden)"
_SHORTEST = 4
"""Characters of a secret; a shorter text stands in too many other words to be replaced."""
_SECRET_NAME = re.compile(r"salt|secret|passw|token|key|url|database|credential|address", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']*@", re.IGNORECASE)
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"']*)[?#][^\s\"']*", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"""^\s*(?:export\s+)?([\w.-]+)\s*=\s*["']?(.*?)["']?\s*$""", re.MULTILINE)
_PLAIN_WORDS = {"true", "false", "none", "auto", "webhook", "apprise"}


class HiddenTexts:
    """The secrets of a service.

    Args:
        config: the settings file. Its secrets are found also where it cannot be read as settings.
        environment: the variables of the process; every value of one whose name is that of a secret is a secret.
    """

    def __init__(self, config: Path, environment: Mapping[str, str] = os.environ) -> None:
        texts = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
        texts |= set(_file_secrets(config))
        environment_file = config.absolute().parent / ".env"
        with suppress(OSError, ValueError):
            texts |= {value for _, value in _ASSIGNMENT.findall(environment_file.read_text(encoding="utf-8"))}
        parts = {part for text in texts for part in _parts(text)}
        usable = {part for part in parts if len(part) >= _SHORTEST and part.lower() not in _PLAIN_WORDS}
        self._texts = sorted(usable, key=len, reverse=True)
        folder = config.absolute().parent
        self._folders = {str(folder): "SERVICE", str(Path.home()): "HOME"}

    def remove_from(self, text: str) -> str:
        """The text without secrets, without what stands before `@` or after `?` in an address, and without folders."""
        for secret in self._texts:
            text = text.replace(secret, MASK)
        text = _QUERY.sub(rf"\1?{MASK}", _CREDENTIALS.sub(rf"\1{MASK}@", text))
        for folder, name in self._folders.items():
            text = text.replace(folder, name) if folder != "/" else text
        return text


def _file_secrets(config: Path) -> Iterator[str]:
    """The texts of a settings file whose keys have names of secrets."""
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    yield from (value for name, value in _ASSIGNMENT.findall(text) if _SECRET_NAME.search(name))
    with suppress(tomllib.TOMLDecodeError):
        yield from _document_secrets(tomllib.loads(text))


def _document_secrets(document: Any, name: str = "") -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _document_secrets(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from _document_secrets(value, name)
    elif isinstance(document, str) and _SECRET_NAME.search(name) and not name.endswith("_variable"):
        yield document


def _parts(text: str) -> Iterator[str]:
    """A secret; of an address what is secret in it: user, password, path, query. Its host may be needed to help."""
    if "://" not in text:
        yield text
        return
    scheme, _, rest = text.partition("://")
    place, slash, path = rest.partition("/")
    yield from place.rpartition("@")[0].split(":")
    yield from (value for name, value in parse_qsl(rest.partition("?")[2]) if _SECRET_NAME.search(name))
    if scheme.partition("+")[0] not in {"sqlite", "postgresql", "postgres"} and slash:
        yield path
        yield from path.partition("?")[0].split("/")
