"""Answers of the model to rows by column: what all rows have in common is there once.

Where an answer is not the model's own, as it is, there are none: the rows are then answered one by one.
"""

from collections.abc import Callable
from functools import partial

from stillsafe.deadline import CallBroke
from stillsafe.model.feature_columns import FeatureColumns
from stillsafe.model.model import ScoreColumns, join_scores
from stillsafe.serving.caps import caps_any
from stillsafe.serving.context import Context
from stillsafe.serving.prediction_request import ColumnRequests
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord
from stillsafe.tracing import span

MOST_MODEL_ROWS = 1_000
"""Most rows of a call of the model, which has a time limit."""


def column_records(
    context: Context, requests: ColumnRequests, new_record: Callable[..., PredictionRecord]
) -> Callable[[], PredictionColumns] | None:
    """What makes the records of the model's answers, with the time of that call.

    None where the model fails on a row or is late, and where a cap changes an answer.

    Args:
        context: what answering needs.
        requests: clean rows.
        new_record: a record with the facts of the state, and the reason.
    """
    scores = _scores(context, requests.rows)
    if scores is None or caps_any(context.settings.fallback, scores.predictions):
        return None
    ids, probabilities = requests.ids or context.new_ids(len(requests)), scores.probabilities
    snapshots = requests.rows.snapshots(context.settings.service.hash_salt)
    new_record = partial(new_record, synthetic=requests.synthetic, source=requests.source, trace_id=requests.trace_id)
    columns = None
    if probabilities is not None:
        columns = dict(zip(scores.class_names, probabilities.T.tolist(), strict=True))
    answers = scores.predictions, scores.confidences, columns
    return lambda: PredictionColumns(ids, context.clock(), new_record, snapshots, *answers)


def _scores(context: Context, rows: FeatureColumns) -> ScoreColumns | None:
    """The model's scores, or None where it fails on a row, or is late."""
    parts = []
    try:
        for start in range(0, len(rows), MOST_MODEL_ROWS):
            part = rows[start : start + MOST_MODEL_ROWS]
            with span(context.tracer, "model", rows=len(part), model_version=context.model.version):
                score = partial(context.model.score_columns, part)
                scores = context.deadline.call(score, context.settings.model.timeout)
            if scores is None:
                return None
            parts.append(scores)
    except (TimeoutError, CallBroke):
        return None
    return join_scores(parts)
