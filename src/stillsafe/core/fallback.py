"""The fallback: an ordered list of rules, a default, and caps.

`stillsafe.rules` compiles the conditions; here a rule is two functions of a row. A rule that reads a damaged feature
of the open incident is skipped, so that the fallback depends on intact inputs only.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from stillsafe.core.schema import Value

Answer = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the fallback.

    Attributes:
        text: the condition as it was written.
        reads: features that condition and answer depend on.
        matches: whether the condition holds for a row; it does not where a value that it needs is missing.
        answer: the answer for a row, or None if it cannot be computed.
    """

    text: str
    reads: frozenset[str]
    matches: Callable[[Mapping[str, Value]], bool]
    answer: Callable[[Mapping[str, Value]], Answer | None]


@dataclass(frozen=True, slots=True)
class FallbackAnswer:
    """The answer of the fallback to one row.

    Attributes:
        answer: the answer.
        why: the rule that gave it, or the default, and whether a cap changed it.
        errors: what rules raised that were skipped; a note of each names its rule.
    """

    answer: Answer
    why: str
    errors: tuple[Exception, ...] = ()


@dataclass(frozen=True, slots=True)
class Fallback:
    """The source of answers while the model is bypassed.

    Attributes:
        default: the answer where no rule applies.
        rules: tried in order; the first that matches answers.
        minimum, maximum: caps of a numeric answer, or None.
    """

    default: Answer
    rules: tuple[Rule, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def answer(self, row: Mapping[str, Value], damaged_features: Collection[str] = ()) -> FallbackAnswer:
        """The fallback answer to one row. Total: a rule that raises or gives no finite answer is skipped by itself."""
        errors: list[Exception] = []
        for number, rule in enumerate(self.rules, start=1):
            if not rule.reads.isdisjoint(damaged_features):
                continue
            try:
                answer = rule.answer(row) if rule.matches(row) else None
            except Exception as error:  # noqa: BLE001 - rules run a user's code; the caller logs what it raises
                error.add_note(f"Fallback rule {number}: {rule.text}")
                errors.append(error)
                continue
            if answer is not None and not (isinstance(answer, float) and not math.isfinite(answer)):
                return self._within_caps(answer, f"rule {number}: {rule.text}", tuple(errors))
        return self._within_caps(self.default, "the default", tuple(errors))

    def _within_caps(self, answer: Answer, why: str, errors: tuple[Exception, ...]) -> FallbackAnswer:
        if isinstance(answer, bool | str):
            return FallbackAnswer(answer, why, errors)
        if self.minimum is not None and answer < self.minimum:
            return FallbackAnswer(self.minimum, f"{why}, raised to the cap", errors)
        if self.maximum is not None and answer > self.maximum:
            return FallbackAnswer(self.maximum, f"{why}, lowered to the cap", errors)
        return FallbackAnswer(answer, why, errors)
