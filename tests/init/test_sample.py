"""The sample is read by the content of the file, and split into the model's columns, labels and the rest."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillsafe.errors import ConfigurationError
from stillsafe.init import sample
from stillsafe.model.boosters.adoption import adopt
from tests.init.services import people, write_sample
from tests.model.boosters.tables import light

MODEL_WITH_NAMES = SimpleNamespace(feature_names_in_=np.array(["visits", "age"], dtype=object))
MODEL_WITHOUT_NAMES = SimpleNamespace(n_features_in_=4)
FILE = Path("sample.csv")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_content_determines_the_format(form: str, tmp_path: Path) -> None:
    """The name of a file does not matter."""
    path = write_sample(people(), tmp_path, form).rename(tmp_path / "data.bin")
    pd.testing.assert_frame_equal(sample.read(path).frame, people())


INVALID_FILES = {
    "nothing": (b"", "cannot be read"),
    "header": (b"age,visits\n", "0 rows are too few"),
    "few": (b"age\n" + b"1\n" * 49, "49 rows are too few for a baseline. Give at least 50"),
    "ragged": (b"a,b\n" + b"1,2\n" * 60 + b"1,2,3,4\n", "Line 62 has 4 cells, and the header has 2"),
    "bytes": (b"\xff\xfe\x00\x01" * 40, "cannot be read"),
    "parquet": (b"PAR1" + b"\x00" * 300, "cannot be read"),
    "zip": (b"PK\x03\x04" + bytes(range(256)) * 3, "cannot be read"),
}


@pytest.mark.parametrize("what", INVALID_FILES)
def test_files_that_are_no_sample(what: str, tmp_path: Path) -> None:
    """Broken, empty and short files are refused by name with a remedy."""
    content, message = INVALID_FILES[what]
    (tmp_path / "sample.csv").write_bytes(content)
    with pytest.raises(ConfigurationError) as failure:
        sample.read(tmp_path / "sample.csv")
    assert message in str(failure.value)
    assert str(tmp_path / "sample.csv") in str(failure.value)
    assert failure.value.remedy


def test_places_that_are_no_file(tmp_path: Path) -> None:
    """A directory and nothing at all are refused in plain words."""
    with pytest.raises(ConfigurationError, match=r"The sample cannot be read: Is a directory\. Give a CSV"):
        sample.read(tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file or directory\. Give a CSV"):
        sample.read(tmp_path / "nothing")


def test_columns_twice(tmp_path: Path) -> None:
    """Two columns that read the same are refused."""
    ages = pa.array(people()["age"])
    pq.write_table(pa.Table.from_arrays([ages, ages], ["a", "a"]), tmp_path / "sample.parquet")
    with pytest.raises(ConfigurationError, match=r"sample\.parquet: .*Give a CSV|occur twice: a\. Rename"):
        sample.read(tmp_path / "sample.parquet")


def test_a_named_model_takes_its_columns_in_its_order() -> None:
    """The rest is left out by name; the label and the time are no features."""
    table = people().assign(timestamp=0)
    columns = sample.split_columns(table, MODEL_WITH_NAMES, label="stays", file=FILE)
    assert list(columns.features) == ["visits", "age"]
    assert columns.left_out == ("member", "town")
    assert columns.labels is not None
    assert columns.labels.tolist() == people()["stays"].tolist()


def test_a_nameless_model_takes_what_is_there() -> None:
    """All columns but label and time, in the order of the file."""
    columns = sample.split_columns(people().assign(timestamp=0), MODEL_WITHOUT_NAMES, label="stays", file=FILE)
    assert list(columns.features) == ["age", "visits", "member", "town"]
    assert columns.left_out == ()


def test_a_model_that_takes_the_time_gets_it() -> None:
    """A `timestamp` that the model was fitted with is a feature like any other."""
    model = SimpleNamespace(feature_names_in_=["age", "timestamp"])
    columns = sample.split_columns(people().assign(timestamp=1.0), model, label=None, file=FILE)
    assert list(columns.features) == ["age", "timestamp"]
    assert not columns.in_time_order


TIMES = [
    lambda n: pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(hours=int(n)),
    lambda n: f"2026-{n // 28 + 1}-{n % 28 + 1}",
    lambda n: f"2026-01-{n // 24 + 1:02}T{n % 24:02}:00:00Z",
    lambda n: 1_700_000_000 + int(n),
]


@pytest.mark.parametrize("time", TIMES)
def test_rows_are_put_in_time_order(time: object, tmp_path: Path) -> None:
    """By the `timestamp` column, of whatever form."""
    assert callable(time)
    order = np.random.default_rng(1).permutation(240)
    table = people().assign(age=np.arange(240.0), timestamp=[time(n) for n in range(240)]).iloc[order]
    columns = sample.split_columns(
        sample.read(write_sample(table, tmp_path, "csv")).frame, MODEL_WITH_NAMES, label="stays", file=FILE
    )
    assert columns.in_time_order
    assert columns.features["age"].tolist() == list(range(240))


def test_the_index_may_be_the_time(tmp_path: Path) -> None:
    """Parquet keeps an index; one called `timestamp` counts as that column."""
    times = pd.date_range("2026-01-01", periods=240, freq="h", tz="UTC", name="timestamp")
    path = write_sample(people().set_axis(times[::-1], axis="index"), tmp_path)
    assert sample.split_columns(sample.read(path).frame, MODEL_WITH_NAMES, label=None, file=FILE).in_time_order


def test_a_time_that_is_none() -> None:
    """A `timestamp` column with other values than times is refused, not ignored."""
    with pytest.raises(
        ConfigurationError,
        match=r"The column 'timestamp' has values that are not times, such as 'noon-ish' in row 1\. Write",
    ):
        sample.split_columns(people().assign(timestamp="noon-ish"), MODEL_WITH_NAMES, label=None, file=FILE)


def test_a_booster_takes_the_names_of_the_file(tmp_path: Path) -> None:
    """LightGBM stores `home age` as `home_age`: the sample's own name is expected, and further columns are not."""
    table = people().rename(columns={"age": "home age"})
    estimator = adopt(light().fit(table[["home age", "visits"]], table["stays"]))
    path = write_sample(table, tmp_path)
    assert estimator.feature_names_in_.tolist() == ["home_age", "visits"]
    kinds = sample.column_kinds(path, estimator, "stays")
    assert list(kinds.expected) == ["home age", "visits", "stays"]
    assert {*kinds.surplus} == {*table.columns} - {*kinds.expected}
