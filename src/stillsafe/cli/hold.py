"""`hold` and `release`: the operator's kill switch."""

import getpass
import sys
from typing import Annotated

import typer

from stillsafe import logs, service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.json_lines import is_terminal
from stillsafe.cli.output import print_plain, print_result
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import hold as operator_hold
from stillsafe.settings import Settings

Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]
Operator = Annotated[str | None, typer.Option(help="Who; default: the user of this shell.")]


@app.command()
def hold(reason: Reason, config: Config = DEFAULT_CONFIG, by: Operator = None, as_json: Json = False) -> None:
    """The kill switch: force DEGRADED until released. Recorded with who and why."""
    settings = service.settings_of(config)
    log_action(settings)
    engine = service.open_store(settings)
    operator = one_line(by or getpass.getuser())
    memory = operator_hold.hold(
        engine,
        settings.model.version,
        by=operator,
        reason=one_line(reason),
        at=service.utc_now(),
        settings=settings,
    )
    document = {"state": memory.effective_state.value, "held": True, "evidence_says": memory.state.value}
    if settings.service.mode == "enforce":
        sentence = "Held: the fallback answers from now on."
    else:
        sentence = "Held, but in mode observe the model still answers."
    print_result(document, as_json, lambda: print_plain(sentence))


@app.command()
def release(reason: Reason, config: Config = DEFAULT_CONFIG, by: Operator = None, as_json: Json = False) -> None:
    """End a hold: the monitor's evidence decides again."""
    settings = service.settings_of(config)
    log_action(settings)
    engine = service.open_store(settings)
    operator = one_line(by or getpass.getuser())
    memory = operator_hold.release(
        engine,
        settings.model.version,
        by=operator,
        reason=one_line(reason),
        at=service.utc_now(),
        settings=settings,
    )
    state = memory.effective_state.value
    document = {"state": state, "held": False}
    sentence = f"Released: the state is {state}, which the monitor's evidence supports."
    print_result(document, as_json, lambda: print_plain(sentence))


def log_action(settings: Settings) -> None:
    """Log the action, and the state that it changes, unless a person reads them on the terminal anyway."""
    level = "ERROR" if is_terminal(sys.stderr) else "WARNING"
    logs.set_up(level, service=settings.service.name, model_version=settings.model.version)


def one_line(text: str) -> str:
    """An operator's text without surrounding spaces.

    Raises:
        ConfigurationError: the text is empty, or has line breaks or other control characters.
    """
    if not text.strip():
        raise ConfigurationError("A reason is needed.", "It is recorded with the hold; say why it is needed.")
    if not text.isprintable():
        raise ConfigurationError("The text contains control characters.", "Write one line of plain text.")
    return text.strip()
