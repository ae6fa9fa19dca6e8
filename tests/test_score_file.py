"""A file is scored as requests are: each row is answered or refused by itself, and recorded once."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sqlalchemy import func, select

from stillsafe import score_file as module
from stillsafe import service
from stillsafe.core.state import State
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError, RefusedError, StoreError
from stillsafe.guard import Guard
from stillsafe.monitoring import hold
from stillsafe.score_file import ScoreJob, score_file
from stillsafe.store import database
from stillsafe.store.tables import prediction_logs
from tests.init.services import init_service
from tests.stores import with_store

Row = dict[str, float]


@pytest.fixture
def guard(made_service: Path) -> Any:
    """A guard of a real service."""
    with Guard(with_store(made_service) / "stillsafe.toml") as new_guard:
        yield new_guard


def _count(guard: Guard) -> int:
    engine = service.connect(guard.settings)
    with database.reading(engine) as connection:
        count: int = connection.execute(select(func.count()).select_from(prediction_logs)).scalar_one()
    engine.dispose()
    return count


def _lines(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_each_row_is_answered_or_refused(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """In the order of the file, with a cell of text among the numbers, and a missing value."""
    frame = pd.DataFrame(healthy_rows[:6]).astype(object)
    frame.loc[1, "mean radius"] = "wide"
    frame.loc[2, "worst area"] = None
    frame.assign(other="x").to_csv(tmp_path / "in.csv", index=False)
    report = score_file(guard, ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv"))
    assert (report.rows, report.answers, report.is_complete) == (6, {"model": 5, "error": 1}, True)
    lines = _lines(tmp_path / "out.csv")
    assert [line["row"] for line in lines] == [*"123456"]
    assert "mean radius" in lines[1]["error"]
    for row, line in zip(healthy_rows[:6], lines, strict=True):
        if row is healthy_rows[0]:
            answer = guard.predict(row)
            assert line["prediction"] == str(answer.prediction)
            assert float(line["probability.1"]) == (answer.probabilities or {})["1"]
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["in.csv", "out.csv"]


def test_answers_of_any_text_are_whole_cells(tmp_path: Path, healthy_rows: list[Row]) -> None:
    """Commas, quotes, percent signs and line breaks in the names of classes, beside a row that is refused."""
    classes = ['no, "never"', "100% yes\nor so"]
    features = pd.DataFrame(healthy_rows)
    labels = [classes[int(each > features["worst area"].median())] for each in features["worst area"]]
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(features, labels)
    init_service(model, features.assign(answer=labels), tmp_path, label="answer")
    config = with_store(tmp_path / "out") / "stillsafe.toml"
    rows = features[:40].astype(object)
    rows.loc[7, "mean radius"] = "wide"
    rows.to_csv(tmp_path / "in.csv", index=False)
    with Guard(config) as guard:
        report = score_file(guard, ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv"))
        answers = [guard.predict(row) for row in healthy_rows[:40]]
    lines = _lines(tmp_path / "out.csv")
    assert report.answers == {"model": 39, "error": 1}
    assert [line["row"] for line in lines] == [str(number) for number in range(1, 41)]
    assert lines[7]["prediction"] == ""
    assert "mean radius" in lines[7]["error"]
    for number, (line, answer) in enumerate(zip(lines, answers, strict=True)):
        if number != 7:
            assert (line["prediction"], line["decided_by"], line["error"]) == (answer.prediction, "model", "")
            assert float(line["confidence"]) == answer.confidence
            assert {name: float(line[f"probability.{name}"]) for name in classes} == answer.probabilities
    assert {line["prediction"] for line in lines} == {*classes, ""}


def test_parquet_in_and_out(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """The same answers as from CSV; the format of the input is that of its content."""
    frame = pd.DataFrame(healthy_rows[:50])
    frame.to_parquet(tmp_path / "in.dat")
    frame.to_csv(tmp_path / "in.csv", index=False)
    score_file(guard, ScoreJob(tmp_path / "in.dat", tmp_path / "out.parquet"))
    score_file(guard, ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv"))
    table, lines = pd.read_parquet(tmp_path / "out.parquet"), _lines(tmp_path / "out.csv")
    assert table["prediction"].tolist() == [line["prediction"] for line in lines]
    assert table["confidence"].tolist() == pytest.approx([float(line["confidence"]) for line in lines])
    assert table["error"].isna().all()


def test_a_job_that_was_cut_off_goes_on_without_a_second_answer(
    guard: Guard, healthy_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit and before its note, where a row could be recorded twice; ids are the rows' own."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 20)
    pd.DataFrame(healthy_rows[:50]).to_csv(tmp_path / "in.csv", index=False)
    job, save, notes = ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv"), module._save, iter(range(100))

    def cut_off(*arguments: Any) -> None:
        if next(notes) == 2:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(module, "_save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        score_file(guard, job)
    assert not job.out.exists()
    assert json.loads((tmp_path / "out.csv.partial.json").read_text())["rows"] == 20
    monkeypatch.setattr(module, "_save", save)
    report = score_file(guard, job)
    lines = _lines(job.out)
    assert (report.rows, len(lines), _count(guard)) == (50, 50, 50)
    assert len({line["prediction_id"] for line in lines}) == 50


def test_a_changed_file_does_not_go_on(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """Nor is a finished job overwritten."""
    source = tmp_path / "in.csv"
    pd.DataFrame(healthy_rows[:5]).to_csv(source, index=False)
    (tmp_path / "out.csv.partial.json").write_text(json.dumps({"job": "a", "input": ["other", 1, 1, None]}))
    with pytest.raises(RefusedError, match="another file"):
        score_file(guard, ScoreJob(source, tmp_path / "out.csv"))
    (tmp_path / "out.csv.partial.json").write_text("{")
    with pytest.raises(RefusedError, match="cannot be read"):
        score_file(guard, ScoreJob(source, tmp_path / "out.csv"))
    (tmp_path / "out.csv").write_text("")
    with pytest.raises(RefusedError, match="exists already"):
        score_file(guard, ScoreJob(source, tmp_path / "out.csv"))


def test_own_ids_make_a_second_job_a_retry(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """The same rows get the stored answers."""
    pd.DataFrame(healthy_rows[:5]).assign(order=[f"00{n}" for n in range(5)]).to_csv(tmp_path / "in.csv", index=False)
    outs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for out in outs:
        score_file(guard, ScoreJob(tmp_path / "in.csv", out, id_column="order"))
    assert outs[0].read_text() == outs[1].read_text()
    assert _lines(outs[0])[1]["id"] == "001"
    assert _count(guard) == 5


def test_a_job_stops_in_the_state_that_it_is_told(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """Before a row is answered; without that, the fallback answers."""
    pd.DataFrame(healthy_rows[:5]).to_csv(tmp_path / "in.csv", index=False)
    engine = service.open_store(guard.settings)
    hold.hold(engine, guard.settings.model.version, by="a test", reason="a test", at=service.utc_now())
    engine.dispose()
    job = ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv", fail_on=State.WARNING)
    report = score_file(guard, job)
    assert (report.rows, report.state, report.is_complete, job.out.exists()) == (0, "DEGRADED", False, False)
    report = score_file(guard, ScoreJob(job.file, job.out))
    assert (report.answers, report.is_complete) == ({"fallback": 5}, True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), ("", "empty"), ("a,b\n1,2\n", "no column"), ("\0\1\2", "cannot be scored")],
)
def test_what_cannot_be_scored_is_said(guard: Guard, tmp_path: Path, content: str | None, problem: str) -> None:
    """With the file."""
    if content is not None:
        (tmp_path / "in.csv").write_text(content)
    with pytest.raises(ConfigurationError, match=problem):
        score_file(guard, ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv"))


def test_a_command_with_a_wrong_option_leaves_nothing_behind(
    guard: Guard, healthy_rows: list[Row], tmp_path: Path
) -> None:
    """The corrected one begins; a column of ids and a place that are not there are named with their options."""
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame(healthy_rows[:3]).to_csv(file, index=False)
    pd.DataFrame(healthy_rows[:3]).to_parquet(tmp_path / "in.parquet")
    jobs = [
        (
            ScoreJob(file, out, "nope"),
            r"no column nope\. Name your column of ids with --id, or leave the option out\.$",
        ),
        (ScoreJob(tmp_path / "in.parquet", out, "nope"), "Name your column of ids with --id"),
        (ScoreJob(file, tmp_path / "none" / "out.csv"), r"none.out\.csv: The answers cannot be written"),
        (ScoreJob(file, file / "out.csv"), "The answers cannot be written"),
        (ScoreJob(file, out, form=TableFormat(separator=";")), "Name the columns as the schema does"),
        (ScoreJob(file, out, form=TableFormat(encoding="utf-16")), "cannot be scored|is not utf-16"),
    ]
    old_files = sorted(tmp_path.iterdir())
    for job, problem in jobs:
        with pytest.raises(ConfigurationError, match=problem):
            score_file(guard, job)
        assert sorted(tmp_path.iterdir()) == old_files
    assert score_file(guard, ScoreJob(file, out)).is_complete


def test_a_state_that_cannot_be_read_leaves_no_note(
    guard: Guard, healthy_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was answered. A job that may have answered keeps its note, or a row would be answered twice."""
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame(healthy_rows[:3]).to_csv(file, index=False)

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("away")

    for name, count in (("state", 0), ("predict_frame", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(guard, name, fail)
            with pytest.raises(StoreError):
                score_file(guard, ScoreJob(file, out))
        assert len([*tmp_path.glob("out.csv*")]) == count
    assert score_file(guard, ScoreJob(file, out)).is_complete


SCORE = """
import sys
from pathlib import Path
from stillsafe import score_file as module
from stillsafe.guard import Guard
module.BLOCK_ROWS = 50
job = module.ScoreJob(Path(sys.argv[2]), Path(sys.argv[3]))
with Guard(sys.argv[1]) as guard:
    module.score_file(guard, job, lambda *_: print("block", flush=True))
"""


def test_a_killed_job_loses_no_row(
    made_service: Path, named_store: str, healthy_rows: list[Row], tmp_path: Path
) -> None:
    """What the note says is written is in the file: after kill -9 the answers are those of an uninterrupted job."""
    assert named_store
    toml = with_store(made_service) / "stillsafe.toml"
    count = 1_000
    frame = pd.DataFrame((healthy_rows * (count // len(healthy_rows) + 1))[:count])
    frame.to_csv(tmp_path / "in.csv", index=False)
    arguments = [sys.executable, "-c", SCORE, str(toml), str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]
    for blocks in (2, 5):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(blocks):
                assert process.stdout.readline()
            process.kill()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    assert b"\0" not in (tmp_path / "out.csv").read_bytes()
    lines = _lines(tmp_path / "out.csv")
    assert [line["row"] for line in lines] == [str(number) for number in range(1, count + 1)]
    assert all(line["prediction"] for line in lines)
    with Guard(toml) as guard:
        assert _count(guard) == count


def test_a_file_of_the_fallback_and_then_of_the_model_is_parquet(
    guard: Guard, healthy_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block has no probability, and the type of the column is a number all the same."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    engine = service.open_store(guard.settings)
    pd.DataFrame(healthy_rows[:20]).to_csv(tmp_path / "in.csv", index=False)
    hold.hold(engine, guard.settings.model.version, by="a test", reason="a test", at=service.utc_now())
    states = iter([State.DEGRADED, State.NORMAL])

    def release(*_: object) -> None:
        if next(states, None) is State.DEGRADED:
            hold.release(engine, guard.settings.model.version, by="a test", reason="done", at=service.utc_now())

    report = score_file(guard, ScoreJob(tmp_path / "in.csv", tmp_path / "out.parquet"), release)
    engine.dispose()
    assert report.answers == {"fallback": 10, "model": 10}
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["probability.1"].isna().tolist() == [True] * 10 + [False] * 10


def test_a_job_does_not_go_on_with_another_model(guard: Guard, healthy_rows: list[Row], tmp_path: Path) -> None:
    """One file has the answers of one model version."""
    pd.DataFrame(healthy_rows[:5]).to_csv(tmp_path / "in.csv", index=False)
    job = ScoreJob(tmp_path / "in.csv", tmp_path / "out.csv", fail_on=State.NORMAL)
    assert not score_file(guard, job).is_complete
    note = tmp_path / "out.csv.partial.json"
    note.write_text(note.read_text().replace(guard.settings.model.version, "an older one"))
    with pytest.raises(RefusedError, match="model version"):
        score_file(guard, job)
