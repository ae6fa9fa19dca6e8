"""Replies to a table: per row an answer or an error, in the table's order."""

from functools import partial

from stillsafe.core.schema import Violation
from stillsafe.serving.answers import IdInUse, InvalidFeatures, Prediction
from stillsafe.serving.frame_replies import FrameReplies
from stillsafe.serving.prediction_request import IdConflict
from tests.store.test_prediction_columns import columns_of

WRONG = (Violation("age", "missing", "a value is required", "a number"),)


def test_results_by_column_are_those_of_the_records() -> None:
    """Refused rows stand where they were."""
    answers = columns_of(["no", "yes", "no"])
    of = partial(FrameReplies, 5, {0: WRONG, 3: WRONG})
    results, expected = of(answers).results(), of([*answers]).results()
    assert [type(each) for each in results] == [InvalidFeatures, Prediction, Prediction, InvalidFeatures, Prediction]
    assert [each for each in results if isinstance(each, Prediction)] == [
        each for each in expected if isinstance(each, Prediction)
    ]


def test_a_conflict() -> None:
    """Of ids is an error of its row."""
    (result,) = FrameReplies(1, {}, [IdConflict("mine")]).results()
    assert isinstance(result, IdInUse)
    assert "'mine'" in str(result)
