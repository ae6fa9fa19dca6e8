"""`monitor`: one monitoring run, which is what cron starts."""

import getpass
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from stillsafe import logs, service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_MISCONFIGURED, Config, Json, app, parse_time
from stillsafe.cli.hold import one_line
from stillsafe.cli.output import (
    STATE_STYLE,
    colour_markup,
    console,
    core_document,
    format_time,
    print_error,
    print_plain,
    print_result,
)
from stillsafe.cli.state_codes import STATE_EXITS
from stillsafe.core.state import State
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import hold as operator_hold
from stillsafe.monitoring.clock import require_not_ahead
from stillsafe.monitoring.run import Run, RunOutcome
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.state import current_state

Now = Annotated[
    str | None, typer.Option("--now", help="Run as if it were this time (ISO 8601; UTC unless it has an offset).")
]


Ahead = Annotated[
    bool, typer.Option("--ahead", help="Run although --now, or this machine, is ahead of the clock, or behind it.")
]
DiscardAfter = Annotated[
    str | None,
    typer.Option("--discard-after", metavar="TIME", help="Run nothing: supersede the runs after this time, on record."),
]
DiscardReason = Annotated[str | None, typer.Option("--reason", help="With --discard-after: why; it is recorded.")]
DiscardBy = Annotated[str | None, typer.Option("--by", help="With --discard-after: who; default: this shell's user.")]
ExitCode = Annotated[
    bool, typer.Option("--exit-code", help="Exit 3 if the state is WARNING and 4 if it is DEGRADED after the run.")
]
Try = Annotated[
    bool, typer.Option("--try", help="Load settings, model and database, judge and write nothing; exit 0 or 2.")
]


@app.command()
def monitor(
    config: Config = DEFAULT_CONFIG,
    now: Now = None,
    ahead: Ahead = False,
    discard_after: DiscardAfter = None,
    reason: DiscardReason = None,
    by: DiscardBy = None,
    as_json: Json = False,
    is_trial: Try = False,
    exit_code: ExitCode = False,
) -> None:
    """Do one monitoring run and exit; cron starts it. Exit 0 done, 1 failed, 2 misconfigured; see --exit-code."""
    if is_trial:
        try_monitor(config)
        return
    if discard_after is not None:
        discard_runs(service.settings_of(config), parse_time(discard_after), reason, by, as_json=as_json)
        return
    logs.set_up("INFO")
    settings = service.settings_of(config)
    logs.set_up("INFO", service=settings.service.name, model_version=settings.model.version)
    window_end = service.utc_now() if now is None else parse_time(now)
    if not ahead:
        require_not_ahead(window_end, service.utc_now(), settings.monitor.every)
    run = service.monitor(settings, now=window_end, ahead=ahead)
    print_result(run_document(run), as_json, lambda: print_run(run))
    if exit_code:
        sys.exit(STATE_EXITS[state_after(run, settings)])


def state_after(run: Run, settings: Settings) -> State:
    """The state in force after a run; a start that had nothing to do leaves the stored one."""
    if run.decision is not None:
        return run.decision.memory.effective_state
    with database.reading(service.open_store(settings)) as connection:
        record = current_state(connection, settings.model.version)
    return record.state if record else State.NORMAL


def discard_runs(settings: Settings, time: datetime, reason: str | None, by: str | None, *, as_json: bool) -> None:
    """Supersede the runs of the served version whose windows end after a time, and print them.

    Raises:
        ConfigurationError: no reason was given.
        RefusedError: there is no such run.
    """
    engine, version = service.open_store(settings), settings.model.version
    run_ids = operator_hold.discard_after(
        engine,
        version,
        time=time,
        by=one_line(by or getpass.getuser()),
        reason=one_line(reason or ""),
        at=service.utc_now(),
    )
    with database.reading(engine) as connection:
        state = current_state(connection, version)
    document = {
        "outcome": "discarded",
        "model_version": version,
        "runs": run_ids,
        "state": state.state.value if state else "NORMAL",
        "checked_at": state.checked_at if state else None,
    }
    sentence = (
        f"{len(run_ids)} runs of model version {version} after {format_time(time)} are superseded, on record: "
        f"{', '.join(map(str, run_ids))}. The state is {document['state']}, and the next run judges their rows again."
    )
    print_result(document, as_json, lambda: print_plain(sentence))


def try_monitor(config: Path) -> None:
    """Print in one line whether a run could take place; exit with 2 where it could not."""
    try:
        print_plain(service.monitor_readiness(config))
    except StillsafeError as error:
        print_error(str(error), kind=type(error).__name__, exit_code=EXIT_MISCONFIGURED)
        sys.exit(EXIT_MISCONFIGURED)


def run_document(run: Run) -> dict[str, Any]:
    """The JSON of `monitor`."""
    document: dict[str, Any] = {"outcome": run.outcome.value}
    if run.decision is not None and run.window is not None and run.old_memory is not None:
        document |= {
            "run": run.run_id,
            "window_start": run.window.start,
            "window_end": run.window.end,
            "prediction_count": run.window.total.prediction_count,
            "late_count": run.window.late_count,
            "never_judged_count": run.window.expired_count,
            "synthetic_count": run.window.synthetic_count,
            "unjudged_since": run.decision.memory.unjudged_since,
            "progress": run.decision.progress,
            "fresh_prediction_count": run.window.fresh.prediction_count,
            "evidence": run.decision.evidence.value,
            "severity": run.decision.severity.value,
            "state_before": run.old_memory.effective_state.value,
            "state": run.decision.memory.effective_state.value,
            "reason": run.decision.reason,
            "incident_id": run.decision.memory.incident_id,
            "readings": core_document(run.decision.readings),
            "shadow_score_problem": run.shadow_problem,
        }
    return document


def print_run(run: Run) -> None:
    """Print the text of `monitor`: the state before and after, the severity and the reason."""
    if run.outcome is not RunOutcome.SUCCESS or run.decision is None or run.old_memory is None:
        print_plain(f"Nothing to do: {run.outcome.value}.")
        return
    old_state, new_state = run.old_memory.effective_state.value, run.decision.memory.effective_state.value
    change = colour_markup(new_state, STATE_STYLE)
    if old_state != new_state:
        change = f"{colour_markup(old_state, STATE_STYLE)} -> {change}"
    console.print(f"Run {run.run_id}: {change}, severity {run.decision.severity.value}")
    console.print(f"  {escape(run.decision.reason)}")
    if run.shadow_problem is not None:
        console.print(f"  [bold red]No recovery once the model is bypassed[/]: {escape(run.shadow_problem)}")
