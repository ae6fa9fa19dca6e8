"""The conservative answer: an ordered list of rules, a default, and caps.

Rules are data. Compiling a condition is the business of `stillsafe.rules`; here a rule is two functions of a
row. A rule that reads a feature which the open incident names as damaged is skipped, so that the fallback
leans only on inputs that can still be trusted.
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
        text: the condition as the person wrote it.
        reads: features that condition and answer depend on.
        matches: whether the condition holds for a row; a condition that cannot be told (a value is missing) does not.
        answer: the answer for a row, or None if it cannot be computed.
    """

    text: str
    reads: frozenset[str]
    matches: Callable[[Mapping[str, Value]], bool]
    answer: Callable[[Mapping[str, Value]], Answer | None]


@dataclass(frozen=True, slots=True)
class Conservative:
    """A fallback answer and why it is that one."""

    answer: Answer
    why: str


@dataclass(frozen=True, slots=True)
class Fallback:
    """What is answered while the model is bypassed.

    Attributes:
        default: the answer where no rule applies.
        rules: tried in order; the first that matches answers.
        minimum, maximum: caps of a numeric answer, or None.
    """

    default: Answer
    rules: tuple[Rule, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def answer(self, row: Mapping[str, Value], damaged: Collection[str] = ()) -> Conservative:
        """The conservative answer to one row. Total: a rule that cannot be evaluated is passed over."""
        for number, rule in enumerate(self.rules, start=1):
            if rule.reads.isdisjoint(damaged) and rule.matches(row):
                answer = rule.answer(row)
                if answer is not None and not (isinstance(answer, float) and not math.isfinite(answer)):
                    return self._capped(answer, f"rule {number}: {rule.text}")
        return self._capped(self.default, "the default")

    def _capped(self, answer: Answer, why: str) -> Conservative:
        if isinstance(answer, bool | str):
            return Conservative(answer, why)
        if self.minimum is not None and answer < self.minimum:
            return Conservative(self.minimum, f"{why}, raised to the cap")
        if self.maximum is not None and answer > self.maximum:
            return Conservative(self.maximum, f"{why}, lowered to the cap")
        return Conservative(answer, why)
