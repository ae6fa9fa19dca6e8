"""Labels of a file, added while the service goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from stillsafe import label_file
from stillsafe.core.schema import FeatureSpec, FeatureType
from stillsafe.label_file import find_columns
from stillsafe.label_intake import LabelForm, LabelReport
from stillsafe.monitoring.label_import import add_labels, joined_predictions
from stillsafe.store import database
from stillsafe.store.tables import labels
from tests.label_states import labels_in_force
from tests.store.conftest import at, empty, engine, prediction, write

__all__ = ["empty", "engine"]
LINES = ["p0,yes", "p1,no", "p2,", "p3,NA", "p4,maybe", ",yes", "p99,no", "p0,no", "p5,yes"]


def _add(engine: Engine, file: Path, *, dry_run: bool = False, shares: list[float | None] | None = None) -> LabelReport:
    def progress(_activity: str, share: float | None) -> None:
        if shares is not None:
            shares.append(share)

    form = LabelForm(("yes", "no"))
    return add_labels(engine, file, find_columns(file), form, lambda: at(9), dry_run=dry_run, progress=progress)


def _row_count(engine: Engine) -> int:
    with database.reading(engine) as connection:
        return int(connection.execute(select(func.count()).select_from(labels)).scalar_one())


@pytest.mark.parametrize("batch", [2, 1000])
def test_a_file_is_added_once(engine: Engine, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its repetition changes nothing; absent, wrong and unknown rows are counted, and the first are named."""
    monkeypatch.setattr(label_file, "BATCH_ROWS", batch)
    write(engine, *[prediction(number) for number in range(6)])
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label\n" + "\n".join(LINES) + "\n")
    assert _add(engine, file, dry_run=True).absent_count == 2
    assert _row_count(engine) == 0
    shares: list[float | None] = []
    report = _add(engine, file, shares=shares)
    assert (report.new_count, report.correction_count, report.repeat_count, report.absent_count) == (3, 1, 0, 2)
    assert report.unknown_ids == ["p99"]
    assert report.refusals == [
        "row 6: the label is not a class of the model (yes, no)",
        "row 7: no identifier",
    ]
    assert shares[-1] == 1.0
    again = _add(engine, file)
    assert (again.new_count, again.repeat_count, _row_count(engine)) == (0, 2, 4 + again.correction_count)


def test_labels_are_joined_by_a_feature(engine: Engine, tmp_path: Path) -> None:
    """A value of one prediction labels it; one of several is refused, one of none is unknown."""
    write(
        engine,
        *[
            prediction(number % 4) if number < 4 else replace(prediction(4), input_summary={"size": 2.0})
            for number in range(5)
        ],
    )
    file = tmp_path / "labels.csv"
    file.write_text("size,label\n0,yes\n1.0,no\n2,yes\n7,no\n,yes\n")
    columns = find_columns(file, join="size")
    spec = FeatureSpec("size", FeatureType.NUMERIC)
    columns = columns._replace(predictions=joined_predictions(engine, file, columns, spec, "salt"))
    form = LabelForm(("yes", "no"))
    report = add_labels(engine, file, columns, form, lambda: at(9))
    assert (report.new_count, report.unknown_ids) == (2, ["7"])
    assert report.refusals == ["row 4: 2 predictions have '2'", "row 6: no identifier"]
    with database.reading(engine) as connection:
        assert labels_in_force(connection, ["p0", "p1", "p2"]) == {"p0": "yes", "p1": "no"}
