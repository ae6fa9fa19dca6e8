"""Answers that the log has already, as they were given: what a job that was cut off finds of its last block."""

from collections.abc import Sequence

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.serving.context import Context
from stillsafe.store.read.request_id import answers_of
from stillsafe.store.records import PredictionRecord


def stored_replies(context: Context, rows: FeatureColumns, ids: Sequence[str]) -> list[PredictionRecord] | None:
    """The answers to rows that have these ids, or None if the log has none of them.

    The log has no probabilities, which are those of the model for the same rows.

    Raises:
        StoreError: it has some of them only, which wait in the spool of an outage; or it cannot be read.
    """
    with context.reading() as connection:
        answers = answers_of(connection, ids)
    if not answers:
        return None
    if len(answers) < len(ids):
        raise StoreError(f"The log has {len(answers)} of {len(ids)} answers of a block: the others are on their way.")
    scores = context.model.score_columns(rows)
    numbers = None if scores is None or scores.probabilities is None else scores.probabilities.tolist()
    records = []
    for place, prediction_id in enumerate(ids):
        answer = answers[prediction_id]
        is_model = answer.decided_by == "model"
        chances = None if numbers is None or scores is None else zip(scores.class_names, numbers[place], strict=True)
        records.append(
            PredictionRecord(
                prediction_id,
                answer.timestamp,
                answer.model_version,
                State(answer.system_state),
                {},
                answer.prediction,
                answer.confidence_score,
                not is_model,
                answer.reason or "",
                probabilities=dict(chances) if chances is not None and is_model else None,
            )
        )
    return records
