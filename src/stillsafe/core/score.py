"""The model's answer to one row."""

import json
import math
from dataclasses import dataclass

from stillsafe.core.fallback import Answer


@dataclass(frozen=True, slots=True)
class Score:
    """The model's answer to one row, or how the model failed on it.

    Attributes:
        prediction: the answer; None if the model failed.
        confidence: in [0, 1]; None if the model failed.
        probabilities: the probability of each class, keyed by the class as text; None if the model has none.
        error: how the model failed, in a few words; None if it did not.
    """

    prediction: Answer | None
    confidence: float | None
    probabilities: dict[str, float] | None
    error: str | None

    @property
    def text(self) -> str | None:
        """The answer as the audit log stores it."""
        return None if self.prediction is None else as_text(self.prediction)


def as_text(answer: Answer) -> str:
    """An answer as text for the audit log and for a baseline's counts: a string unchanged, anything else as JSON."""
    if isinstance(answer, str):
        return answer
    # The encoder would write the same for a number, and takes many times as long to begin.
    is_plain = type(answer) is int or (type(answer) is float and math.isfinite(answer))
    return repr(answer) if is_plain else json.dumps(answer)
