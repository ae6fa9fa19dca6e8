"""`baseline` creates, activates, lists and shows baselines."""

import json
import sqlite3
from pathlib import Path

import pytest

from stillsafe.core.schema import Row

from .commands import Command, document


def test_the_reference_baseline_is_active_and_shown(run: Command, made_service: Path) -> None:
    """A new database has the reference baseline, which `list` and `show` print as text and as JSON."""
    reference = json.loads((made_service / "reference.json").read_text())["baseline"]
    (baseline,) = document(run("baseline", "list", "--json")[1])
    assert (baseline["baseline_id"], baseline["active"]) == (reference["baseline_id"], True)
    assert document(run("baseline", "show", "--json")[1]) == baseline
    text = run("baseline", "show")[1]
    assert f"{reference['baseline_id']} (active)" in text
    assert "worst area" in text
    assert "yes" in run("baseline", "list")[1]


def test_a_baseline_is_created_from_a_file_and_activated(run: Command, made_service: Path) -> None:
    """`create --file` reads a reference file, and `activate` accepts its identifier."""
    code, out, errors = run("baseline", "create", "--file", "reference.json", "--json")
    assert code == 0, errors
    baseline_id = document(out)["baseline_id"]
    code, out, _ = run("baseline", "activate", baseline_id)
    assert code == 0
    assert f"{baseline_id} is now the active baseline" in out


@pytest.mark.parametrize("command", ["create", "extend"])
def test_a_span_that_ends_before_it_starts_is_refused(run: Command, made_service: Path, command: str) -> None:
    """As a mistake of the options, and not as a span with too few rows."""
    code, _, errors = run("baseline", command, "--from", "2030-01-01", "--to", "2020-01-01")
    assert code == 2
    assert "--from 2030-01-01T00:00:00Z is not before the end, 2020-01-01T00:00:00Z" in errors


def test_a_baseline_learns_harm_from_the_labels_of_the_log(
    run: Command, made_service: Path, healthy_rows: list[dict[str, float]]
) -> None:
    """`--with-labels` reports what was learnt from how many rows, as text and as JSON; without labels it is refused."""
    run("status")
    log_scored_rows(made_service, healthy_rows)
    code, _, errors = run("baseline", "create", "--first", "280", "--with-labels")
    assert code != 0
    assert "0 labelled rows are too few" in errors
    code, _, errors = run("labels", "add", str(made_service / "labels.csv"), "--json")
    assert code == 0, errors
    code, out, errors = run("baseline", "create", "--first", "280", "--with-labels", "--json")
    assert code == 0, errors
    new_baseline = document(out)
    learning = new_baseline["learning"]
    assert (learning["metric"], learning["labelled_row_count"]) == ("accuracy", 280)
    assert learning["performance"] == new_baseline["harm"]["healthy_error"] * -1 + 1
    assert learning["previous_row_count"] == 284
    assert new_baseline["harm"]["is_live"] is True
    start = ["baseline", "extend", "--from", "2026-02-01T00:00:00Z", "--to", "2026-02-03T00:00:00Z"]
    code, out, errors = run(*start, "--with-labels")
    assert code == 0, errors
    assert "Harm was learnt from 284 labelled rows of the log: accuracy" in out
    assert run("baseline", "create", "--file", "reference.json", "--with-labels")[0] != 0


def log_scored_rows(folder: Path, healthy_rows: list[dict[str, float]]) -> None:
    """The rows as the service would have logged them, and a file with their labels."""
    from sklearn.datasets import load_breast_cancer

    from stillsafe import settings
    from stillsafe.model.load import load_model

    rows: list[Row] = [{**row} for row in healthy_rows]
    model = load_model(settings.load(folder / settings.DEFAULT_FILE, environment={}))
    tumours = load_breast_cancer(as_frame=True)
    truth = {
        tuple(row[:4]): label for row, label in zip(tumours.data[[*rows[0]]].to_numpy(), tumours.target, strict=True)
    }
    insert = (
        "INSERT INTO prediction_logs (timestamp, model_version, system_state, input_summary, prediction,"
        " confidence_score, prediction_id) VALUES (?, ?, 'NORMAL', ?, ?, ?, ?)"
    )
    with sqlite3.connect(folder / "stillsafe.db") as connection:
        for i, (row, score) in enumerate(zip(rows, model.score(rows), strict=True)):
            at = f"2026-02-01 {i // 60:02}:{i % 60:02}:00.000000"
            values = (at, model.version, json.dumps(row), score.text, score.confidence, f"p{i}")
            connection.execute(insert, values)
    connection.close()
    labels = "".join(f"p{i},{truth[tuple(row.values())]}\n" for i, row in enumerate(rows))
    (folder / "labels.csv").write_text(f"prediction_id,label\n{labels}", encoding="utf-8")
