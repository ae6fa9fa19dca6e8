"""`monitor` prints what a run concluded."""

from pathlib import Path

from .commands import START, Command, document, log_predictions


def test_a_run_is_printed_as_text_and_as_json(run: Command, made_service: Path) -> None:
    """`monitor` prints the reason of a run; a second start at the same time has nothing to do."""
    run("status")
    log_predictions(made_service, 100, START, area=None)
    code, out, _ = run("monitor", "--now", START.isoformat())
    assert code == 0
    assert "worst area is missing in 100.0% of 100 predictions" in out
    code, out, _ = run("monitor", "--now", START.isoformat(), "--json")
    assert (code, document(out)) == (0, {"outcome": "already done"})


def test_the_json_of_a_run_is_complete(run: Command, made_service: Path) -> None:
    """The JSON holds the window, the decision and every reading."""
    run("status")
    log_predictions(made_service, 100, START)
    run_document = document(run("monitor", "--now", START.isoformat(), "--json")[1])
    assert list(run_document) == [
        *("outcome", "run", "window_start", "window_end", "prediction_count", "fresh_prediction_count", "evidence"),
        *("severity", "state_before", "state", "reason", "incident_id", "readings"),
    ]
    assert (run_document["prediction_count"], run_document["state"]) == (100, "NORMAL")
    assert run_document["readings"]
