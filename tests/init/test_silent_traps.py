"""Models and samples that would be served wrongly without any error."""

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
from tests.init.services import init_service, people, predictions_of

LETTERS = pd.DataFrame({"text": ["a good day, friend", "a bad night, enemy"] * 120, "size": [3.0, 4.0] * 120})
KIND = ["friendly", "hostile"] * 120


@pytest.mark.parametrize("columns", [["text"], ["text", "size"]], ids=["one column", "two columns"])
def test_a_model_of_texts_is_refused(columns: list[str], tmp_path: Path) -> None:
    """A vectorizer reads a table as its column names: a single row would get a random prediction."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(LETTERS["text"], KIND)
    with pytest.raises(ModelError):
        init_service(model, LETTERS[columns], tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_model_of_texts_gets_a_remedy_that_works(tmp_path: Path) -> None:
    """With a ColumnTransformer in front, the same vectorizer is served, and predicts by the text."""
    plain = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(LETTERS["text"], KIND)
    with pytest.raises(ModelError, match=r"reads texts, not the columns of a table.*ColumnTransformer"):
        init_service(plain, LETTERS[["text"]], tmp_path)
    columns = make_column_transformer((TfidfVectorizer(), "text"), remainder="passthrough")
    model = make_pipeline(columns, MultinomialNB()).fit(LETTERS, KIND)
    created_service = init_service(model, LETTERS.assign(kind=KIND), tmp_path, label="kind", trust_joblib=True)
    assert created_service.model_score == 1.0
    rows: list[Any] = LETTERS.head(2).to_dict("records")
    assert [answer["prediction"] for answer in predictions_of(created_service.folder, *rows)] == KIND[:2]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_category_that_csv_reads_as_missing(form: str, tmp_path: Path) -> None:
    """CSV readers treat NA as missing. A model whose encoder has the category NA gets it; another gives a warning."""
    table = people().assign(town=["NA", "DE", "FR"] * 80)[["town", "age"]]
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), ("passthrough", ["age"]))
    model = make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(table, table["town"] == "NA")
    created_service = init_service(model, table, tmp_path, form=form)
    assert created_service.baseline.features["town"].category_counts == {"DE": 80, "FR": 80, "NA": 80}
    assert not [warning for warning in created_service.warnings if "read as missing" in warning]
    unknowing = make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(
        table.assign(town=table["town"].replace("NA", "DE")), table["town"] == "NA"
    )
    (tmp_path / "unknowing").mkdir()
    created_service = init_service(unknowing, table, tmp_path / "unknowing", form=form)
    sentence = "town: NA in the CSV file was read as missing."
    warnings = [warning for warning in created_service.warnings if warning.startswith(sentence)]
    assert bool(warnings) == (form == "csv")


def test_gaps_in_csv_are_no_words(tmp_path: Path) -> None:
    """An empty field is missing, and gives no warning."""
    table = people()
    table["town"] = table["town"].mask(table.index % 5 == 0)
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]))
    model = make_pipeline(encoder, LogisticRegression()).fit(table[["town"]], table["stays"])
    created_service = init_service(model, table[["town"]], tmp_path, form="csv")
    assert created_service.baseline.features["town"].missing_count == 48
    assert not any("read as missing" in warning for warning in created_service.warnings)


def test_a_wrong_label_gives_a_warning(tmp_path: Path) -> None:
    """A model that scores no better than the default answer gives a warning, and the settings have both scores."""
    table = people()
    model = LogisticRegression().fit(table[["age"]], table["stays"])
    wrong_labels = table.assign(stays=table["stays"].map({"yes": "no", "no": "yes"}))
    created_service = init_service(model, wrong_labels, tmp_path, label="stays")
    assert any("no better than always predicting" in warning for warning in created_service.warnings)
    assert "Its accuracy there: " in (created_service.folder / "stillsafe.toml").read_text()


def test_dates_as_text_are_explained() -> None:
    """Each new day will be unseen, so a remark says so; a text that only begins with digits is not a date."""
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
    """The inferred schema allows every row of the sample, with or without missing values."""
    kind: st.SearchStrategy[Any] = data.draw(st.sampled_from(KINDS))
    column = data.draw(st.lists(st.none() | kind, min_size=1, max_size=12))
    table = pd.DataFrame({"x": pd.Series(column, dtype=object)})
    schema = infer.describe(table).schema
    rows = infer.rows_of(table, schema)
    assert [schema.validate(row) for row in rows] == rows
    assert [row["x"] is None for row in rows] == [value is None for value in column]
