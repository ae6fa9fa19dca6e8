"""`doctor`: gather a bug report without secrets and without rows."""

from pathlib import Path
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.output import print_plain, print_result
from stillsafe.errors import ConfigurationError

MODE = 0o600
"""Only the user who asked reads the file, until that user sends it."""


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    out: Annotated[Path, typer.Option(help="The file to write; it is replaced.")] = Path("stillsafe-doctor.txt"),
    as_json: Json = False,
) -> None:
    """Gather a bug report in one text file: versions, settings, last runs, findings; no secrets and no rows.

    Also without a database, and with settings that cannot be read.
    """
    # Imported here: the checks import the libraries of models.
    from stillsafe.check.bug_report import bug_report

    text = bug_report(config, service.utc_now())
    try:
        out.touch(mode=MODE)
        out.write_text(text, encoding="utf-8")
        out.chmod(MODE)
    except OSError as error:
        problem = f"The report cannot be written: {error.strerror}."
        raise ConfigurationError(problem, "Name another file with --out.", file=str(out)) from error
    document = {"file": str(out), "line_count": len(text.splitlines())}
    sentence = (
        f"Wrote {out}: versions, settings without texts, the last runs, the findings of `check`, and the end of the "
        "monitor's log. Names of features are in it, values are not. Read it before you send it."
    )
    print_result(document, as_json, lambda: print_plain(sentence))
