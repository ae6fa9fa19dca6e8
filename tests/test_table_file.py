"""One reader of tables: texts stay as they are written, one format of times, and every refusal names its cause."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe import table_file
from stillsafe.errors import ConfigurationError

FIRST = datetime(2026, 1, 25, tzinfo=UTC)


def csv(folder: Path, text: str) -> Path:
    """A CSV file with this text."""
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def micros(*times: datetime) -> list[int]:
    """The times in microseconds since 1970."""
    return [round(time.timestamp() * 1e6) for time in times]


@pytest.mark.parametrize("code", ["007", "1E5", "02139", "1.0", "inf", "x-1", "True", " 7", "0x1F", "2026-01-01"])
def test_texts_are_read_untouched(code: str, tmp_path: Path) -> None:
    """Whatever number, truth value or date a text looks like, a column of texts has it as it is written."""
    path = csv(tmp_path, f"code,size\n{code},1\n{code},2\n")
    assert table_file.read_table(path, {"code": ()})["code"].tolist() == [code, code]
    assert table_file.read_table(path, {"code": ()})["size"].tolist() == [1, 2]


def test_words_for_missing_values_are_texts_where_they_are_known(tmp_path: Path) -> None:
    """NA is missing, unless the column is known to have it; an empty cell is always missing."""
    path = csv(tmp_path, "country,size\nNA,NA\nDE,1\n,2\n")
    assert table_file.read_table(path, {"country": ("NA", "DE", "")})["country"].tolist()[:2] == ["NA", "DE"]
    assert table_file.read_table(path, {"country": ("NA",)})["country"].isna().tolist() == [False, False, True]
    assert table_file.read_table(path, {"country": ()})["country"].isna().tolist() == [True, False, True]
    assert table_file.read_table(path, {"country": ()})["size"].isna().tolist() == [True, False, False]


def test_a_parquet_file_has_its_own_types(tmp_path: Path) -> None:
    """The content determines the format; Parquet keeps its types."""
    table = pd.DataFrame({"code": ["007", None], "size": [1.5, 2.5]})
    table.to_parquet(tmp_path / "table.csv")
    assert table_file.read_table(tmp_path / "table.csv", {"code": ()})["code"].tolist()[0] == "007"
    assert table_file.is_parquet(tmp_path / "table.csv")
    assert table_file.column_names(tmp_path / "table.csv") == ["code", "size"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_that_occur_twice_are_named(form: str, tmp_path: Path) -> None:
    """No reader renames them silently."""
    path = tmp_path / f"table.{form}"
    if form == "csv":
        csv(tmp_path, "amount,amount,late\n1,2,3\n")
    else:
        amounts = pa.array([1.0])
        pq.write_table(pa.Table.from_arrays([amounts, amounts, amounts], ["amount", "amount", "late"]), path)
    with pytest.raises(ConfigurationError, match=r"Columns that occur twice: amount\. Rename them"):
        table_file.read_table(path)
    with pytest.raises(ConfigurationError, match="occur twice: size"):
        table_file.with_named_columns(pd.DataFrame([[1, 2]], columns=["size", "size"]))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01" * 40, b"PAR1" + b"\x00" * 300])
def test_broken_files_are_refused(content: bytes, tmp_path: Path) -> None:
    """The message has the file and the noun of the caller."""
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"table\.csv: The history cannot be read"):
        table_file.read_table(tmp_path / "table.csv", noun="history")


FORMS = [
    "%Y-%m-%dT%H:%M:%S+00:00",
    "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d-%m-%y %H:%M",
    "%d %b %Y %H:%M",
    "%b %d, %Y, %I:%M %p",
    "%a, %d %b %Y %H:%M:%S +0000",
]


@pytest.mark.parametrize("form", FORMS)
def test_one_format_fits_every_time(form: str) -> None:
    """A column whose values decide the format gives exactly these times; its order of days and months included."""
    times = [FIRST + timedelta(hours=7 * number) for number in range(60)]
    assert table_file.read_times(pd.Series([time.strftime(form) for time in times])).tolist() == micros(*times)  # type: ignore[union-attr] # texts give times


def test_day_and_month_are_never_guessed_row_by_row() -> None:
    """Dates from 25/01 to 02/02 keep their order: one reading for the column, not one for each value."""
    texts = [f"{day:02}/01/2026" for day in range(25, 32)] + ["01/02/2026", "02/02/2026"]
    times = table_file.read_times(pd.Series(texts))
    assert times is not None
    assert times.tolist() == micros(*(FIRST + timedelta(days=number) for number in range(9)))


def test_ambiguous_times_are_refused_with_both_readings() -> None:
    """Where day first and month first fit every value, nothing decides."""
    problem = r"in two ways.*01/02/2026 is 2026-02-01 \(day first\) or 2026-01-02 \(month first\).*ISO 8601"
    with pytest.raises(ConfigurationError, match=problem):
        table_file.read_times(pd.Series(["01/02/2026", "03/04/2026"]))
    same = table_file.read_times(pd.Series(["02/02/2026", "03/03/2026"]))
    assert same is not None
    assert same.tolist() == micros(datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["noon", "midnight"], "has values that are not times"),
        (["25/01/2026", "noon"], "has values that are not times"),
        (["25/01/2026", "01/25/2026"], "mixes formats: no single one fits '25/01/2026' and '01/25/2026'"),
        (["25/01/2026", "2026-01-26"], "mixes formats"),
        (["2026-01-26", None], "is empty in 1 rows"),
        ([True, False], "has values that are not times"),
        (["2026-01-26", 3], "has values that are not times"),
        ([1.7e9, 1.7e12], "mixes seconds since 1970 with smaller units"),
        ([1.7e9, None], "is empty in 1 rows"),
    ],
    ids=str,
)
def test_what_is_no_column_of_times(values: list[Any], message: str) -> None:
    """No column with other values, missing ones or several formats is read."""
    with pytest.raises(ConfigurationError, match=message):
        table_file.read_times(pd.Series(values))


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_are_times_since_1970(unit: int, as_text: bool) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds are recognized by their size, as numbers and as texts."""
    numbers = [int(FIRST.timestamp()) * unit + number * unit for number in range(3)]
    column = pd.Series([str(number) for number in numbers] if as_text else numbers)
    times = table_file.read_times(column)
    assert times is not None
    assert times.tolist() == micros(*(FIRST + timedelta(seconds=number) for number in range(3)))


@pytest.mark.parametrize("numbers", [[30, 10, 20], [0.5, 0.25, 0.75], [20260131, 20260130, 20260201]])
def test_other_numbers_only_give_an_order(numbers: list[float]) -> None:
    """A counter sorts the rows and says nothing about times."""
    table = pd.DataFrame({"timestamp": numbers, "size": range(3)})
    sorted_rows, times = table_file.in_time_order(table)
    assert times is None
    assert sorted_rows["timestamp"].tolist() == sorted(numbers)


def test_rows_are_sorted_by_time() -> None:
    """Rows with equal times keep their order; times without a zone are UTC."""
    stamps = pd.to_datetime(["2026-01-02", "2026-01-01", "2026-01-01"])
    for column in (stamps, stamps.tz_localize("UTC"), stamps.astype(str), stamps.astype(object)):
        sorted_rows, times = table_file.in_time_order(pd.DataFrame({"timestamp": column, "size": range(3)}))
        assert sorted_rows["size"].tolist() == [1, 2, 0]
        assert times is not None
        assert np.all(np.diff(times) >= 0)
    indexed_table = pd.DataFrame({"size": range(3)}, index=pd.Index(stamps, name="timestamp"))
    assert [*table_file.with_named_columns(indexed_table).columns] == ["timestamp", "size"]


@given(st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)), min_size=1, max_size=20))
def test_iso_8601_is_read_to_the_microsecond(times: list[datetime]) -> None:
    """Every column of ISO 8601 times gives these times."""
    read = table_file.read_times(pd.Series([time.isoformat() for time in times]))
    assert read is not None
    epoch = datetime(1970, 1, 1)
    assert read.tolist() == [(time - epoch) // timedelta(microseconds=1) for time in times]
