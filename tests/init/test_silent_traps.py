"""Models and samples that would be served wrongly without a word."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from stillsafe.errors import ModelError
from stillsafe.init import infer
from tests.init.making import made, people, served

LETTERS = pd.DataFrame({"text": ["a good day, friend", "a bad night, enemy"] * 120, "size": [3.0, 4.0] * 120})
KIND = ["friendly", "hostile"] * 120


@pytest.mark.parametrize("columns", [["text"], ["text", "size"]], ids=["one column", "two columns"])
def test_a_model_of_texts_is_refused(columns: list[str], tmp_path: Path) -> None:
    """A vectorizer reads a table as its column names: each row alone would be answered, and by chance."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(LETTERS["text"], KIND)
    with pytest.raises(ModelError):
        made(model, LETTERS[columns], tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_model_of_texts_gets_a_remedy_that_works(tmp_path: Path) -> None:
    """With a ColumnTransformer in front the same vectorizer is served, and answers by the text."""
    plain = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(LETTERS["text"], KIND)
    with pytest.raises(ModelError, match=r"reads texts, not the columns of a table.*ColumnTransformer"):
        made(plain, LETTERS[["text"]], tmp_path)
    columns = make_column_transformer((TfidfVectorizer(), "text"), remainder="passthrough")
    model = make_pipeline(columns, MultinomialNB()).fit(LETTERS, KIND)
    created = made(model, LETTERS.assign(kind=KIND), tmp_path, label="kind", trust_joblib=True)
    assert created.model_score == 1.0
    rows: list[Any] = LETTERS.head(2).to_dict("records")
    assert [answer["prediction"] for answer in served(created.folder, *rows)] == KIND[:2]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_category_that_csv_reads_as_missing(form: str, tmp_path: Path) -> None:
    """Namibia's NA is missing to whoever reads CSV, and a person is told; Parquet keeps it."""
    table = people().assign(town=["NA", "DE", "FR"] * 80)[["town", "age"]]
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), ("passthrough", ["age"]))
    model = make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(table, table["town"] == "NA")
    created = made(model, table, tmp_path, form=form)
    noticed = [told for told in created.warnings if told.startswith("town: NA in the CSV file was read as missing.")]
    assert bool(noticed) == (form == "csv")


def test_gaps_in_csv_are_no_words(tmp_path: Path) -> None:
    """An empty field is missing, and nothing is said about it."""
    table = people()
    table["town"] = table["town"].mask(table.index % 5 == 0)
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(table[["town"]], table["stays"])
    created = made(model, table[["town"]], tmp_path, form="csv")
    assert created.baseline.features["town"].missing_count == 48
    assert not any("read as missing" in told for told in created.warnings)


def test_a_wrong_label_is_noticed(tmp_path: Path) -> None:
    """A model that does no better than one fixed answer is doubted, and the settings carry the price of both."""
    table = people()
    model = LogisticRegression().fit(table[["age"]], table["stays"])
    swapped = table.assign(stays=table["stays"].map({"yes": "no", "no": "yes"}))
    created = made(model, swapped, tmp_path, label="stays")
    assert any("no better than always answering" in told for told in created.warnings)
    assert "Its accuracy there: " in (created.folder / "stillsafe.toml").read_text()


def test_dates_as_text_are_explained() -> None:
    """Each new day will be unseen, so a person is told; a text that merely begins with digits is none."""
    days = pd.DataFrame({"day": ["2026-01-01", "2026-01-02T10:00:00"] * 30, "code": ["2026-1", "1999-12"] * 30})
    assert set(infer.describe(days).remarks) == {"day"}


KINDS = [
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=500),
]


@given(st.data())
@effort(max_examples=150, deadline=None)
def test_a_sample_passes_its_own_schema(data: st.DataObject) -> None:
    """Whatever a sample holds, with gaps or without, is allowed by the schema that was inferred from it."""
    kind: st.SearchStrategy[Any] = data.draw(st.sampled_from(KINDS))
    column = data.draw(st.lists(st.none() | kind, min_size=1, max_size=12))
    table = pd.DataFrame({"x": pd.Series(column, dtype=object)})
    schema = infer.describe(table).schema
    rows = infer.rows_of(table, schema)
    assert [schema.validate(row) for row in rows] == rows
    assert [row["x"] is None for row in rows] == [value is None for value in column]
