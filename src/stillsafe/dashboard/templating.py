"""The templates of the dashboard, of an exported incident and of the backtest report, and their files."""

import hashlib
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stillsafe.dashboard import formatting

FOLDER = Path(__file__).parent


def build_templates() -> Environment:
    """The templates with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for formatter in (
        formatting.percent,
        formatting.decimal,
        formatting.count,
        formatting.span,
        formatting.moment,
        formatting.time_since,
    ):
        environment.filters[formatter.__name__] = formatter
    environment.filters["with_code"] = with_code
    return environment


@lru_cache
def static_file(name: str) -> bytes:
    """A file of the folder `static`."""
    return (FOLDER / "static" / name).read_bytes()


def version_of(name: str) -> str:
    """Changes with the file, so that a browser keeps no old one."""
    return hashlib.sha256(static_file(name)).hexdigest()[:12]


def with_code(text: str) -> Markup:
    """A sentence of ours as HTML: the parts between backticks become code, and all of it is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    elements = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(elements)
