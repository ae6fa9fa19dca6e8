"""The replies to the rows of a table, by column as far as the answers are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stillsafe.core.schema import Violation
from stillsafe.serving.answers import IdInUse, InvalidFeatures, Prediction
from stillsafe.serving.prediction_request import IdConflict
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord

Reply = PredictionRecord | IdConflict
Result = Prediction | InvalidFeatures | IdInUse


@dataclass(frozen=True, slots=True)
class FrameReplies:
    """What became of each row of a table.

    Attributes:
        count: the number of rows.
        refusals: position of each refused row -> what is wrong with it.
        replies: those to the other rows, in order.
    """

    count: int
    refusals: Mapping[int, tuple[Violation, ...]]
    replies: Sequence[Reply]

    def results(self) -> list[Result]:
        """Per row its answer or its error, in order."""
        answers: Iterator[Result]
        if isinstance(self.replies, PredictionColumns):
            answers = _predictions(self.replies)
        else:
            answers = map(result_of, self.replies)
        if not self.refusals:
            return [*answers]
        refusals = self.refusals
        return [InvalidFeatures(refusals[row]) if row in refusals else next(answers) for row in range(self.count)]


def result_of(reply: Reply) -> Prediction | IdInUse:
    """A reply as a program gets it."""
    if isinstance(reply, IdConflict):
        return IdInUse(f"The id {reply.request_id!r} belongs to an earlier request with other content.")
    return Prediction.of(reply)


def _predictions(answers: PredictionColumns) -> Iterator[Prediction]:
    common = Prediction.of(answers.common)
    facts = {name: getattr(common, name) for name in Prediction.__dataclass_fields__}
    probabilities: Iterator[dict[str, float] | None] = iter([None] * len(answers))
    if answers.probabilities is not None:
        names, columns = [*answers.probabilities], answers.probabilities.values()
        probabilities = (dict(zip(names, each, strict=True)) for each in zip(*columns, strict=True))
    cells = zip(answers.ids, answers.predictions, answers.confidences, probabilities, strict=True)
    for prediction_id, prediction, confidence, numbers in cells:
        facts |= {"prediction_id": prediction_id, "prediction": prediction, "confidence": confidence}
        yield Prediction(**facts | {"probabilities": numbers})
