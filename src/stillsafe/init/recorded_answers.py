"""The answers of an external model in a sample: its classes, and per row prediction, confidence and probabilities."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureType, Schema
from stillsafe.core.score import Score, as_text
from stillsafe.core.text import join_names
from stillsafe.errors import ConfigurationError
from stillsafe.init import default_answer, infer, sample
from stillsafe.init.read_sample import SampleData, SampleSource, require_no_doubt, sample_odd_values
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale, Numbers, prediction_scale
from stillsafe.model.external import model_of
from stillsafe.model.labels import parse_labels
from stillsafe.model.model import TOLERANCE, Model, ModelKind
from stillsafe.monitoring.tally import MOST_CLASSES

MOST_CODES = 40
"""A column of whole numbers with more different ones is taken for a measure, so that fractions are recorded."""
MOST_DEVIATION = 0.01
"""How far the probabilities of a row may be from a sum of 1 on average."""


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """The columns of a sample with the answers of an external model.

    Attributes:
        predictions: the classes or numbers that it answered.
        probabilities: per class a column, as `COLUMN` whose name ends with the class, or as `CLASS=COLUMN`; of two
            classes one is enough.
        confidence: a column of numbers from 0 to 1, or None.
        classes: further or all classes, as text; empty for those in the sample.
    """

    predictions: str
    probabilities: tuple[str, ...] = ()
    confidence: str | None = None
    classes: tuple[str, ...] = ()

    def names(self, table_names: Sequence[str]) -> list[str]:
        """The columns that are no features.

        Raises:
            ConfigurationError: the table lacks one of them.
        """
        columns = [each if each in table_names else each.rpartition("=")[2] for each in self.probabilities]
        names = [self.predictions, *columns, *([] if self.confidence is None else [self.confidence])]
        for name in names:
            if name not in table_names:
                remedy = f"The sample has: {', '.join(table_names)}."
                raise ConfigurationError(f"There is no column {name!r} with answers of the model.", remedy)
        return names


@dataclass(frozen=True, slots=True)
class RecordedAnswers:
    """The external model, the sample as it was sent to it, its answers, and what a person should check."""

    model: Model
    data: SampleData
    scores: list[Score]
    warnings: tuple[str, ...] = ()


def read_recorded_answers(
    source: SampleSource, answers: AnswerColumns, version: str, min_count: int
) -> RecordedAnswers:
    """Read a sample whose rows a model elsewhere has answered.

    Args:
        source: the sample; it has no model file.
        answers: the columns of the answers. All other columns, but for label and timestamp, are features.
        version: the model's version.
        min_count: rows that a quantile of a regressor's predictions stands for.

    Raises:
        ConfigurationError: the sample cannot be read, or lacks answers.
    """
    kinds = sample.column_kinds(source.sample_file, None, source.label, source.form)
    table = sample.read(source.sample_file, kinds, source.form)
    names = answers.names([*table.frame.columns])
    is_answered = table.frame[answers.predictions].notna()
    frame = _with_whole_answers(
        table.frame[is_answered].reset_index(drop=True), answers, is_complete=bool(is_answered.all())
    )
    columns = sample.split_columns(frame, None, label=source.label, file=source.sample_file)
    answer_table = columns.features[list(dict.fromkeys(names))]
    columns = replace(columns, features=columns.features.drop(columns=answer_table.columns))
    if columns.features.empty:
        raise ConfigurationError(
            "The sample has no features beside the answers.", "Add the columns that the model got."
        )
    require_no_doubt(table, columns, None, source.sample_file)
    classes = classes_in(answer_table[answers.predictions], columns.labels, answers)
    scale, scores = _scores(answer_table, classes, answers, min_count)
    description = infer.describe(columns.features)
    wide, measures = with_wide_numbers(description.schema, columns.features)
    description = replace(description, schema=wide, certainty=(*description.certainty, *measures))
    kind = ModelKind.CLASSIFIER if classes else ModelKind.REGRESSOR
    labels = default_answer.sample_labels(columns.labels, kind, classes)
    rows = infer.rows_of(columns.features, wide)
    odd_values = sample_odd_values(source, table, wide, columns.features)
    data = SampleData(table, columns, description, rows, labels, odd_values)
    missing_count = int((~is_answered).sum())
    warnings = [f"{missing_count} rows without a prediction were left out."] if missing_count else []
    warnings += _leftover_warnings(columns.features, classes)
    return RecordedAnswers(
        model_of(version, classes, wide, scale),
        data,
        scores,
        (*warnings, *_kind_warnings(answer_table, classes, answers)),
    )


def _with_whole_answers(frame: pd.DataFrame, answers: AnswerColumns, *, is_complete: bool) -> pd.DataFrame:
    """The rows with whole numbers as such: a cell without an answer had made decimals of the others in its column."""
    column = frame[answers.predictions]
    if is_complete or not pd.api.types.is_float_dtype(column) or not (column % 1 == 0).all():
        return frame
    return frame.assign(**{answers.predictions: column.astype(np.int64)})


def classes_in(
    predictions: "pd.Series[Any]", labels: "pd.Series[Any] | None", answers: AnswerColumns
) -> tuple[Answer, ...]:
    """The classes of a classifier, sorted; empty where the answers are numbers.

    Texts and truth values are classes, and so are whole numbers of which there are few; decimals are classes only where
    the owner names classes or probabilities. Labels may show classes that the model never answered in the sample.

    Raises:
        ConfigurationError: there are too many texts, or answers that are none of the classes that the owner names.
    """
    values = _plain_values(predictions)
    if answers.classes:
        return _named_classes(values, answers.classes)
    is_whole = all(isinstance(value, float) and value.is_integer() for value in values)
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if are_numbers and not answers.probabilities:
        is_code = all(isinstance(value, int) for value in values) and len({*values}) <= MOST_CLASSES
        if not is_code:
            return ()
    elif is_whole:
        values = [int(value) for value in values]
    distinct = {*values, *(_like(values, _plain_values(labels)) if labels is not None else ())}
    if len(distinct) > MOST_CLASSES:
        problem = f"The column {answers.predictions!r} has {len(distinct)} different answers, too many for classes."
        raise ConfigurationError(problem, "Name the column with the model's answers with --predictions.")
    return tuple(sorted(distinct, key=lambda each: (str(type(each)), each)))


def _named_classes(values: Sequence[Any], names: Sequence[str]) -> tuple[Answer, ...]:
    """The classes that the owner names, in the type of the answers."""
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    texts = {as_text(value): value for value in values} | {str(value): value for value in values}
    classes: list[Answer] = [
        texts[name] if name in texts else int(name) if is_number and re.fullmatch(r"-?\d+", name) else name
        for name in names
    ]
    classes = [int(each) if isinstance(each, float) and each.is_integer() else each for each in classes]
    unknown = [value for value, each in zip(values, parse_labels(values, classes), strict=True) if each is None]
    if unknown:
        raise ConfigurationError(f"The sample has the answer {unknown[0]!r}, which --class does not name.", "Name all.")
    return tuple(classes)


def _like(values: Sequence[Any], labels: Sequence[Any]) -> list[Any]:
    """The labels of the same type as the answers."""
    kinds = {type(value) for value in values}
    whole = [int(each) if isinstance(each, float) and each.is_integer() else each for each in labels]
    return [each for each in whole if type(each) in kinds]


def _plain_values(column: "pd.Series[Any]") -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in column.dropna().tolist()]


def probability_columns(
    items: Sequence[str], classes: Sequence[Answer], table_names: Sequence[str]
) -> dict[Answer, str]:
    """The column of each class's probability; of two classes, one may have none.

    Raises:
        ConfigurationError: a column names no class, or one that another column has, or a class has no column.
    """
    columns: dict[Answer, str] = {}
    for item in items:
        name, _, column = item.rpartition("=")
        is_named = bool(name) and item not in table_names
        matches = [each for each in classes if _is_of(each, name if is_named else item, exact=is_named)]
        # p_2 and p_12 both end with 2: the longest name of a class decides.
        best = max(matches, key=lambda each: len(as_text(each)), default=None)
        if best is None or best in columns:
            problem = f"It is not clear which class {item!r} of --probabilities belongs to."
            class_names = ", ".join(map(as_text, classes))
            raise ConfigurationError(problem, f"Write CLASS=COLUMN, with one of the classes {class_names}.")
        columns[best] = column if is_named else item
    missing = [as_text(each) for each in classes if each not in columns]
    if len(missing) > (len(classes) == 2):
        problem = f"--probabilities names no column of {join_names(missing, MOST_CLASSES)}."
        raise ConfigurationError(problem, "Name one column per class; of two classes one is enough.")
    return columns


def _is_of(answer: Answer, text: str, *, exact: bool) -> bool:
    forms = {as_text(answer), str(answer)}
    if exact or text in forms:
        return text in forms
    return any(re.search(rf"(?:^|[^0-9A-Za-z]){re.escape(form)}$", text, flags=re.IGNORECASE) for form in forms)


def _scores(
    table: pd.DataFrame, classes: tuple[Answer, ...], answers: AnswerColumns, min_count: int
) -> tuple[ConfidenceScale, list[Score]]:
    """The scale of confidences, and the score of each row."""
    raw = [value.item() if isinstance(value, np.generic) else value for value in table[answers.predictions].tolist()]
    predictions = [each for each in parse_labels(raw, classes) if each is not None]
    if len(predictions) < len(raw):
        remedy = "Correct these cells, or name another column with --predictions."
        raise ConfigurationError(f"{answers.predictions!r} has cells that are no finite numbers.", remedy)
    if answers.probabilities and not classes:
        raise ConfigurationError("--probabilities belongs to a classifier.", "Leave it out.")
    probabilities = _probabilities(table, classes, answers)
    if answers.confidence is not None:
        scale = ConfidenceScale(ConfidenceMethod.CALLER)
        confidences: list[float | None] = [*_shares(table, answers.confidence).tolist()]
    elif probabilities is not None:
        scale = ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY, of_answer=True)
        positions = [classes.index(each) for each in predictions]
        confidences = [*probabilities[np.arange(len(positions)), positions].tolist()]
    elif classes:
        scale, confidences = ConfidenceScale(ConfidenceMethod.NONE), [None] * len(predictions)
    else:
        numbers = np.array(predictions, dtype=np.float64)
        scale = prediction_scale(numbers, min_count)
        confidences = [*scale.confidence(numbers).tolist()]
    names = [as_text(each) for each in classes]
    rows = [None] * len(predictions) if probabilities is None else probabilities.tolist()
    return scale, [
        Score(prediction, confidence, None if row is None else dict(zip(names, row, strict=True)), None)
        for prediction, confidence, row in zip(predictions, confidences, rows, strict=True)
    ]


def _probabilities(table: pd.DataFrame, classes: tuple[Answer, ...], answers: AnswerColumns) -> Numbers | None:
    """(n, classes) the probabilities, or None without their columns."""
    if not answers.probabilities or not classes:
        return None
    columns = probability_columns(answers.probabilities, classes, [*table.columns])
    shares = {name: _shares(table, column) for name, column in columns.items()}
    parts = [shares[name] if name in shares else 1 - next(iter(shares.values())) for name in classes]
    probabilities = np.column_stack(parts)
    deviation = float(np.abs(probabilities.sum(axis=1) - 1).mean())
    if deviation > MOST_DEVIATION:
        problem = f"The probabilities of a row differ from a sum of 1 by {deviation:.2g} on average."
        raise ConfigurationError(problem, "Name the columns of all classes with --probabilities.")
    return probabilities


def _shares(table: pd.DataFrame, name: str) -> Numbers:
    """A column of numbers from 0 to 1.

    Raises:
        ConfigurationError: a cell is none.
    """
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    is_share = np.isfinite(numbers) & (numbers >= -TOLERANCE) & (numbers <= 1 + TOLERANCE)
    if not is_share.all():
        row = int(np.flatnonzero(~is_share)[0])
        problem = f"The column {name!r} has {table[name].iloc[row]!r}, which is no number from 0 to 1."
        raise ConfigurationError(problem, "Correct it, or leave the row out.")
    return np.asarray(np.clip(numbers, 0.0, 1.0))


def with_wide_numbers(schema: Schema, features: pd.DataFrame) -> tuple[Schema, list[str]]:
    """The schema with whole numbers of many values as `numeric`, and the sentences that say so.

    Nobody here knows what the model takes: a column of few whole numbers is a code, which is watched as a category is.
    """
    counts = {spec.name: features[spec.name].nunique() for spec in schema.features if spec.type is FeatureType.INTEGER}
    measures = [name for name, count in counts.items() if count > MOST_CODES]
    codes = [name for name in counts if name not in measures]
    specs = (replace(spec, type=FeatureType.NUMERIC) if spec.name in measures else spec for spec in schema.features)
    sentences = (
        (f"Whole numbers with more than {MOST_CODES} values are numeric, so fractions are recorded", measures),
        ("Whole numbers with few values are integer, so a fraction is refused", codes),
    )
    texts = [f"{sentence}: {join_names(group, infer.MOST_NAMES)}." for sentence, group in sentences if group]
    return Schema(tuple(specs)), texts


def _kind_warnings(table: pd.DataFrame, classes: Sequence[Answer], answers: AnswerColumns) -> list[str]:
    """How the answers were read, where that is not certain."""
    is_number = pd.api.types.is_numeric_dtype(table[answers.predictions])
    if not is_number or answers.classes or answers.probabilities or table[answers.predictions].dtype == bool:
        return []
    if classes:
        names = ", ".join(map(as_text, classes))
        return [f"The whole numbers in {answers.predictions} are taken for classes: {names}. Decimals are numbers."]
    return [f"The answers in {answers.predictions} are taken for numbers. If they are classes, name each with --class."]


def _leftover_warnings(features: pd.DataFrame, classes: Sequence[Answer]) -> list[str]:
    """Features that look like a probability of the model: an answer among the inputs hides every fault of these."""
    names = [
        str(name)
        for name in features
        if pd.api.types.is_float_dtype(features[name])
        and features[name].between(0, 1).all()
        and any(_is_of(each, str(name), exact=False) for each in classes)
    ]
    if not names:
        return []
    return [
        f"{join_names(names, infer.MOST_NAMES)}: taken for features, and looks like an answer of the model. If so, "
        "name it in --probabilities or remove the column."
    ]


def class_arguments(items: Sequence[str]) -> tuple[str, ...]:
    """The columns of `--probabilities`, which takes several, separated by commas, and may be repeated."""
    return tuple(part.strip() for item in items for part in item.split(",") if part.strip())


def missing_sentences(has_labels: bool, scores: Sequence[Score]) -> list[str]:
    """What such a service lacks, one sentence each."""
    sentences = [
        "The model runs elsewhere, so what damage costs it is not estimated: signals are judged by their own limits.",
        "While the fallback answers there are no shadow scores: the model returns once the input signals are calm "
        "and labels, where they count, show no loss.",
    ]
    if not has_labels:
        sentences.append("Without --label, labels that come later are shown, and judge nothing.")
    if all(score.confidence is None or math.isnan(score.confidence) for score in scores):
        sentences.append("Without --probabilities or --confidence, no signal reads a confidence.")
    return sentences
