"""The options of every command that reads a table: how a CSV file is written, where that is not recognised."""

from typing import Annotated

import typer

Separator = Annotated[
    str | None, typer.Option(help='The character between two cells of a CSV file, such as ";" or tab; recognised.')
]
Decimal = Annotated[str | None, typer.Option(help='The decimal mark of a CSV file, "." or ","; recognised.')]
Encoding = Annotated[str | None, typer.Option(help="The encoding of a CSV file, such as latin-1; recognised.")]
Missing = Annotated[
    list[str] | None,
    typer.Option(help="A further word for missing values: WORD, or COLUMN=WORD for one column. Repeatable."),
]
Dates = Annotated[
    str | None,
    typer.Option(help="The dates of `timestamp`: day-first, month-first, or a format as %d.%m.%Y; recognised."),
]
