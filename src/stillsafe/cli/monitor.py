"""`monitor`: one monitoring run, which is what cron starts."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from stillsafe import logs, service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app, parse_time
from stillsafe.cli.output import STATE_STYLE, colour_markup, console, print_plain, print_result
from stillsafe.monitoring.run import Run, RunOutcome
from stillsafe.store.codec import to_document

Now = Annotated[
    str | None, typer.Option("--now", help="Run as if it were this time (ISO 8601; UTC unless it has an offset).")
]


@app.command()
def monitor(config: Config = DEFAULT_CONFIG, now: Now = None, as_json: Json = False) -> None:
    """Do one monitoring run and exit; cron starts it. Exit 0 done, 1 failed, 2 misconfigured."""
    logs.set_up("INFO")
    run = service.monitor(config, now=service.utc_now() if now is None else parse_time(now))
    print_result(run_document(run), as_json, lambda: print_run(run))


def run_document(run: Run) -> dict[str, Any]:
    """The JSON of `monitor`."""
    document: dict[str, Any] = {"outcome": run.outcome.value}
    if run.decision is not None and run.window is not None and run.old_memory is not None:
        document |= {
            "run": run.run_id,
            "window_start": run.window.start,
            "window_end": run.window.end,
            "prediction_count": run.window.total.prediction_count,
            "fresh_prediction_count": run.window.fresh.prediction_count,
            "evidence": run.decision.evidence.value,
            "severity": run.decision.severity.value,
            "state_before": run.old_memory.effective_state.value,
            "state": run.decision.memory.effective_state.value,
            "reason": run.decision.reason,
            "incident_id": run.decision.memory.incident_id,
            "readings": to_document(run.decision.readings),
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
