"""Files of labels."""

from pathlib import Path

import pandas as pd
import pytest

from stillsafe import label_file
from stillsafe.errors import ConfigurationError
from stillsafe.label_file import LabelColumns, find_columns, label_batches, row_count


def _file(folder: Path, suffix: str, table: pd.DataFrame) -> Path:
    file = folder / f"labels{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_rows_come_in_batches(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With identifier and label; an empty cell is None."""
    monkeypatch.setattr(label_file, "BATCH_ROWS", 2)
    table = pd.DataFrame({"more": 1, "label": ["yes", None, "no"], "id": ["a", "b", None]})
    file = _file(tmp_path, suffix, table)
    columns = find_columns(file)
    assert columns == LabelColumns("id", True, "label")
    batches = [[(row.key, row.label) for row in batch] for batch in label_batches(file, columns)]
    assert batches == [[("a", "yes"), ("b", None)], [(None, "no")]]
    assert row_count(file) == 3


def test_the_service_own_identifier_is_preferred_and_the_owner_may_name_columns(tmp_path: Path) -> None:
    """A file may have both, and any names."""
    file = _file(tmp_path, ".csv", pd.DataFrame({"id": ["a"], "prediction_id": ["p"], "label": ["x"], "truth": ["y"]}))
    assert find_columns(file) == LabelColumns("prediction_id", False, "label")
    assert find_columns(file, request_id="id", label="truth") == LabelColumns("id", True, "truth")
    assert find_columns(file, prediction_id="id").is_request_id is False


@pytest.mark.parametrize(
    ("names", "options", "problem"),
    [
        (["id", "truth"], {}, "no column 'label'"),
        (["key", "label"], {}, "No column has the predictions' identifiers"),
        (["id", "label"], {"prediction_id": "key"}, "no column 'key'"),
    ],
)
def test_a_missing_column_is_named_with_its_remedy(
    tmp_path: Path, names: list[str], options: dict[str, str], problem: str
) -> None:
    """And with the columns that there are."""
    file = _file(tmp_path, ".csv", pd.DataFrame({name: ["a"] for name in names}))
    with pytest.raises(ConfigurationError, match=problem):
        find_columns(file, **options)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    """A file that is absent, and one that is no text further down."""
    with pytest.raises(ConfigurationError):
        find_columns(tmp_path / "none.csv")
    file = tmp_path / "labels.csv"
    file.write_bytes(b"id,label\na,yes\nb,\xff\xfe\n")
    columns = LabelColumns("id", True, "label")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(label_batches(file, columns))
