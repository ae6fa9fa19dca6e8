"""However a sample is written, `init` makes the same service of it; where it cannot, it names the column."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stillsafe.errors import ConfigurationError, StillsafeError
from stillsafe.init.create import CreatedService
from stillsafe.init.inspect import kind_and_classes
from stillsafe.init.read_sample import SampleData, SampleSource, name_doubtful_columns, read_sample
from stillsafe.table_file import TableFormat
from tests.init.services import run_init, save_model

GENERATOR = np.random.default_rng(7)
SALES = pd.DataFrame(
    {
        "price": GENERATOR.uniform(900, 2500, 240).round(2),
        "size": GENERATOR.integers(10, 5000, 240),
        "town": GENERATOR.choice(["München", "Köln", "Bonn"], 240),
        "late": GENERATOR.integers(0, 2, 240),
    }
)
FEATURES = ["price", "size", "town"]
NUMBERS = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
MODEL = make_pipeline(
    make_column_transformer((NUMBERS, ["price", "size"]), (OneHotEncoder(handle_unknown="ignore"), ["town"])),
    LogisticRegression(),
).fit(SALES[FEATURES], SALES["late"])


def german(number: float) -> str:
    """A number with a decimal comma and points between thousands."""
    return f"{number:,}".translate({ord(","): ".", ord("."): ","})


def write_csv(table: pd.DataFrame, file: Path, *, is_german: bool = False, **options: Any) -> Path:
    """The file, written as a program of another country would write it."""
    numbers = [name for name in ("price", "size") if name in table]
    table = table.assign(**{name: table[name].map(german) for name in numbers}) if is_german else table
    table.to_csv(file, index=False, **options)
    return file


def service_of(file: Path, folder: Path, estimator: Any = MODEL, **options: Any) -> CreatedService:
    """The service that `init` makes of the model and this sample."""
    model = save_model(estimator, file.parent, "joblib")
    return run_init(model, file, folder, label="late", trust_joblib=True, version="1", **options)


FORMS: dict[str, dict[str, Any]] = {
    "semicolons": {"sep": ";"},
    "tabs and UTF-16": {"sep": "\t", "encoding": "utf-16"},
    "German": {"sep": ";", "is_german": True, "encoding": "latin-1"},
    "German with commas": {"is_german": True, "encoding": "utf-8-sig"},
    "Windows": {"sep": ";", "encoding": "cp1252", "lineterminator": "\r\n"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_service_does_not_depend_on_how_the_sample_is_written(form: str, tmp_path: Path) -> None:
    """Schema, baseline and scores are those of the plain file."""
    plain = service_of(write_csv(SALES, tmp_path / "plain.csv"), tmp_path / "plain")
    other = service_of(write_csv(SALES, tmp_path / "other.csv", **FORMS[form]), tmp_path / "other")
    assert other.schema == plain.schema
    assert other.baseline.features == plain.baseline.features
    assert other.model_score == plain.model_score


def data_of(table: pd.DataFrame, folder: Path, estimator: Any = MODEL, form: TableFormat | None = None) -> SampleData:
    """The sample as `init` reads it for a model, from a CSV file."""
    file = write_csv(table, folder / "sample.csv")
    kind, classes = kind_and_classes(estimator, file)
    return read_sample(SampleSource(file, file, "late", form or TableFormat()), estimator, kind, classes)


def test_what_the_encoder_learnt_decides_the_type(tmp_path: Path) -> None:
    """An encoder of the texts "1", "2" gets texts from CSV and from Parquet, and one of numbers gets numbers."""
    codes = SALES.assign(town=SALES["size"] % 3 + 1)
    for as_text in (True, False):
        column = codes["town"].astype(str) if as_text else codes["town"]
        model = make_pipeline(
            make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"])), LogisticRegression()
        ).fit(column.to_frame(), codes["late"])
        codes.to_parquet(tmp_path / "sample.parquet")
        for file in (tmp_path / "sample.parquet", write_csv(codes, tmp_path / "sample.csv")):
            created_service = service_of(file, tmp_path / f"{file.suffix}{as_text}", model)
            assert created_service.schema.features[0].type.value == ("category" if as_text else "integer")


def test_a_word_for_missing_values_in_a_column_of_numbers(tmp_path: Path) -> None:
    """A usual word is read as missing with a remark; another is named where the model fails on it, with the remedy."""
    assert any("'?' in line 4" in text for text in data_of(_with_cell("?"), tmp_path).remarks)
    file = write_csv(_with_cell("not asked"), tmp_path / "sample.csv")
    with pytest.raises(StillsafeError) as failure:
        service_of(file, tmp_path / "out")
    assert "price: 1 of 240 cells are no numbers, as the others are: 'not asked' in line 4." in str(failure.value)
    assert "add --missing 'not asked'" in str(failure.value)
    created_service = service_of(file, tmp_path / "out", form=TableFormat(missing=("not asked",)))
    assert created_service.baseline.features["price"].missing_count == 1


def _with_cell(text: str) -> pd.DataFrame:
    """The sample with a text in place of the third price."""
    return SALES.assign(price=[text if row == 2 else price for row, price in enumerate(SALES["price"])])


def test_texts_without_an_encoder_are_named_where_the_model_fails(tmp_path: Path) -> None:
    """Whatever the model's own message is; without a failure nothing is added."""
    data = data_of(SALES.assign(price=SALES["size"].map("{} %".format)), tmp_path)
    message = r"It fails\. price has texts, and no encoder.* %' in row 1\. Do this"
    with pytest.raises(ConfigurationError, match=message), name_doubtful_columns(data, MODEL):
        raise ConfigurationError("It fails.", "Do this.")
    data = data_of(SALES, tmp_path)
    with pytest.raises(ConfigurationError, match=r"^It fails\. Do this\.$"), name_doubtful_columns(data, MODEL):
        raise ConfigurationError("It fails.", "Do this.")
