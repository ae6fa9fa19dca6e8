"""Samples of models that run elsewhere: which answers are classes, whose probability a column is, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stillsafe import settings
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import FeatureType
from stillsafe.errors import ConfigurationError
from stillsafe.init.read_sample import SampleSource
from stillsafe.init.recorded_answers import (
    AnswerColumns,
    class_arguments,
    classes_in,
    probability_columns,
    read_recorded_answers,
)
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.load import load_model
from stillsafe.model.reference import read_reference
from tests.init.external import PROBABILITIES, applicants, external_service
from tests.init.services import write_sample


def read_answers(folder: Path, table: pd.DataFrame, answers: AnswerColumns = PROBABILITIES) -> Any:
    """The answers in a sample."""
    label = "label" if "label" in table else None
    return read_recorded_answers(SampleSource(None, write_sample(table, folder), label), answers, "1", 5)


@pytest.mark.parametrize(
    ("values", "labels", "names", "probabilities", "classes"),
    [
        (["no", "yes", "no"], None, (), (), ("no", "yes")),
        (["no", "no"], ["no", "maybe"], (), (), ("maybe", "no")),
        ([True, False], None, (), (), (False, True)),
        ([2, 0, 1], [3, 0, 1], (), (), (0, 1, 2, 3)),
        ([*range(60)], None, (), (), ()),
        ([0.5, 1.25], None, (), (), ()),
        ([1.0, 0.0], None, (), (), ()),
        ([1.0, 0.0], None, (), ("p",), (0, 1)),
        ([1.0, 0.0], None, ("0", "1"), (), (0, 1)),
        ([1, 2], None, ("3", "2", "1"), (), (3, 2, 1)),
        (["a", "b"], None, ("b", "a", "c"), (), ("b", "a", "c")),
    ],
)
def test_texts_and_few_whole_numbers_are_classes(
    values: list[Any], labels: list[Any] | None, names: tuple[str, ...], probabilities: tuple[str, ...], classes: Any
) -> None:
    """Decimals are numbers unless the owner names classes or probabilities; labels add classes of the same type."""
    answers = AnswerColumns("answer", probabilities, None, names)
    label_column = None if labels is None else pd.Series(labels)
    result = classes_in(pd.Series(values), label_column, answers)
    assert result == classes
    assert [*map(type, result)] == [*map(type, classes)]


def test_answers_that_are_no_classes_are_refused() -> None:
    """Too many texts are no classes, and the owner's classes must have every answer."""
    with pytest.raises(ConfigurationError, match="60 different answers"):
        classes_in(pd.Series([f"t{i}" for i in range(60)]), None, AnswerColumns("answer"))
    with pytest.raises(ConfigurationError, match="'c'"):
        classes_in(pd.Series(["a", "c"]), None, AnswerColumns("answer", classes=("a", "b")))


@pytest.mark.parametrize(
    ("items", "classes", "columns"),
    [
        (("p_no", "p_yes"), ("no", "yes"), {"no": "p_no", "yes": "p_yes"}),
        (("yes=score",), ("no", "yes"), {"yes": "score"}),
        (("score.1",), (0, 1), {1: "score.1"}),
        (("p_2", "p_12", "p_1"), (1, 2, 12), {2: "p_2", 12: "p_12", 1: "p_1"}),
        (("p_true", "p_false"), (False, True), {True: "p_true", False: "p_false"}),
        (("a", "b", "c=x"), ("a", "b", "c"), {"a": "a", "b": "b", "c": "x"}),
        (("a=b",), ("a=b", "c"), {"a=b": "a=b"}),
    ],
)
def test_a_column_belongs_to_the_class_that_it_ends_with(
    items: tuple[str, ...], classes: tuple[Any, ...], columns: dict[Any, str]
) -> None:
    """Or to the one before the equals sign; a column may have such a sign itself."""
    assert probability_columns(items, classes, ["a=b", "score"]) == columns


@pytest.mark.parametrize(
    ("items", "classes", "words"),
    [
        (("score",), ("no", "yes"), "Write CLASS=COLUMN"),
        (("maybe=score",), ("no", "yes"), "'maybe=score'"),
        (("p_yes", "yes=score"), ("no", "yes"), "'yes=score'"),
        (("p_a", "p_b"), ("a", "b", "c"), "no column of c"),
    ],
)
def test_an_unclear_column_is_refused(items: tuple[str, ...], classes: tuple[str, ...], words: str) -> None:
    """With what to write in its place."""
    with pytest.raises(ConfigurationError, match=words):
        probability_columns(items, classes, ["score"])


def test_the_option_takes_commas_and_repetitions() -> None:
    """Empty parts are none."""
    assert class_arguments(["a, b", "c,"]) == ("a", "b", "c")


def test_each_kind_of_answer_has_its_confidence(tmp_path: Path) -> None:
    """The probability of the answer, the caller's number, the typicality of a number, or none."""
    table = applicants(200)
    plain = table.drop(columns=["p_no", "p_yes"])
    with_confidence = plain.assign(sure=table["p_yes"])
    numbers = plain.assign(answer=table["p_yes"], label=table["p_yes"])
    for sample, answers, method in (
        (table, PROBABILITIES, ConfidenceMethod.CLASS_PROBABILITY),
        (with_confidence, AnswerColumns("answer", (), "sure"), ConfidenceMethod.CALLER),
        (plain, AnswerColumns("answer"), ConfidenceMethod.NONE),
        (numbers, AnswerColumns("answer"), ConfidenceMethod.PREDICTION_TYPICALITY),
    ):
        result = read_answers(tmp_path, sample, answers)
        assert result.model.is_external
        assert result.model.scale.method is method
        assert result.model.features.names == ("age", "income", "town")
        confidences = [score.confidence for score in result.scores]
        if method is ConfidenceMethod.NONE:
            assert confidences == [None] * 200
        if method is ConfidenceMethod.CLASS_PROBABILITY:
            assert confidences == pytest.approx(table[["p_no", "p_yes"]].max(axis=1).tolist())
            single = read_answers(tmp_path, sample.drop(columns="p_no"), AnswerColumns("answer", ("p_yes",)))
            assert [*single.scores[0].probabilities.values()] == pytest.approx(
                table[["p_no", "p_yes"]].iloc[0].tolist()
            )


def test_rows_without_an_answer_are_left_out(tmp_path: Path) -> None:
    """And answers stay with their rows where the sample is sorted by time."""
    table = applicants(120).assign(timestamp=pd.date_range("2026-01-01", periods=120, freq="h")[::-1])
    table.loc[:19, "answer"] = None
    result = read_answers(tmp_path, table)
    assert len(result.scores) == len(result.data.rows) == 100
    assert "20 rows without a prediction" in result.warnings[0]
    first = table.iloc[-1]
    assert result.data.rows[0]["age"] == first["age"]
    assert result.scores[0].prediction == first["answer"]


@pytest.mark.parametrize("empty_count", [0, 3])
def test_an_empty_cell_makes_no_decimals_of_classes(tmp_path: Path, empty_count: int) -> None:
    """Whole numbers are classes also where a row has no answer; the file then has decimals in place of them."""
    table = applicants(120).drop(columns=["p_no", "p_yes"])
    table["answer"] = (table["answer"] == "yes").astype("float64" if empty_count else "int64")
    table.loc[: empty_count - 1, "answer"] = None
    result = read_answers(tmp_path, table.drop(columns="label"), AnswerColumns("answer"))
    assert result.model.classes == (0, 1)
    assert {type(score.prediction) for score in result.scores} == {int}


def test_a_probability_among_the_features_is_pointed_out(tmp_path: Path) -> None:
    """The other one of two, or all of them where none was named; not where all were."""
    table = applicants(120)
    for answers, names in (
        (AnswerColumns("answer", ("p_yes",)), "p_no: taken"),
        (AnswerColumns("answer"), "p_no, p_yes: taken"),
    ):
        assert any(names in sentence for sentence in read_answers(tmp_path, table, answers).warnings)
    assert not any("taken for features" in sentence for sentence in read_answers(tmp_path, table).warnings)


def test_many_whole_numbers_may_be_fractions(tmp_path: Path) -> None:
    """The type of a column with few is integer: it may be a code."""
    table = applicants(200).assign(visits=np.arange(200) % 7)
    schema = read_answers(tmp_path, table).model.features
    types = {spec.name: spec.type for spec in schema.features}
    assert (types["income"], types["visits"]) == (FeatureType.NUMERIC, FeatureType.INTEGER)


@pytest.mark.parametrize(
    ("change", "answers", "words"),
    [
        ({}, AnswerColumns("reply"), "no column 'reply'"),
        ({"p_yes": 1.7}, PROBABILITIES, "no number from 0 to 1"),
        ({"p_yes": 0.9, "p_no": 0.9}, PROBABILITIES, "sum of 1"),
        ({"answer": float("inf")}, AnswerColumns("answer"), "finite number"),
    ],
)
def test_a_sample_with_wrong_answers_is_refused(
    tmp_path: Path, change: dict[str, Any], answers: AnswerColumns, words: str
) -> None:
    """One sentence names the column."""
    with pytest.raises(ConfigurationError, match=words):
        read_answers(tmp_path, applicants(100).assign(**change).drop(columns="label").assign(label="no"), answers)


def test_the_folder_says_what_is_missing_and_what_labels_are_compared_with(tmp_path: Path) -> None:
    """No harm, no scores in the shadow, no probes of the model; the error of the answers by the sample's labels."""
    new_service = external_service(tmp_path)
    new_settings = settings.load(new_service.folder / settings.DEFAULT_FILE)
    reference = read_reference(new_service.folder / "reference.json")
    table = applicants()
    assert (new_settings.model.external, new_settings.model.classes, new_service.version) == (True, ("no", "yes"), "1")
    assert (reference.model, reference.probes) == (None, None)
    assert reference.baseline is not None
    assert (reference.baseline.harm, new_settings.has_shadow_scores) == (None, False)
    impact = reference.baseline.answer_impact
    assert impact is not None
    assert (impact.metric, impact.row_count, dict(impact.features)) == (Metric.ACCURACY, len(table), {})
    assert impact.healthy_error == pytest.approx((table["answer"] != table["label"]).mean())
    assert sum("model runs elsewhere" in each or "shadow scores" in each for each in new_service.warnings) == 2
    assert load_model(new_settings).is_external
    assert new_settings.fallback.bypass == "always"
    again = external_service(tmp_path, label=None, force=True)
    assert again.version == "2"
    assert any("Without --label" in each for each in again.warnings)
    new_baseline = read_reference(new_service.folder / "reference-2.json").baseline
    assert new_baseline is not None
    assert new_baseline.answer_impact is None
