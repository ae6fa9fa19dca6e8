"""The fallback: an ordered list of rules, priced rule lists and models, a default or no answer, and caps.

`stillsafe.rules` compiles the conditions; here a rule is two functions of a row. A rule or a source that reads a
damaged feature of the open incident is skipped, so that the fallback depends on intact inputs only.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stillsafe.core.schema import Value

Answer = float | int | bool | str
RULES, MODEL, ABSTAIN = "rules", "model", "abstain"
"""The kinds of fallback: rules and the default, a second model, and no answer."""


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
class Source:
    """A rule list or a second model, whose score was measured on held-out rows.

    Attributes:
        name: for a person, for example `list 3`.
        reads: features that its answers depend on.
        rules: its rules for a batch of rows, in order; a model is one rule that predicts the batch when it is needed.
        score: in units of the estimated loss, higher is better; None if unknown, which ranks below any score.
        kind: `rules` or `model`.
    """

    name: str
    reads: frozenset[str]
    rules: Callable[[Sequence[Mapping[str, Value]]], Sequence[Rule]]
    score: float | None = None
    kind: str = RULES


@dataclass(frozen=True, slots=True)
class FallbackAnswer:
    """The answer of the fallback to one row.

    Attributes:
        answer: the answer; None where the fallback abstains.
        why: the rule that gave it, or the default, and whether a cap changed it.
        errors: what rules raised that were skipped; a note of each names its rule.
        kind: `rules`, `model` or `abstain`.
    """

    answer: Answer | None
    why: str
    errors: tuple[Exception, ...] = ()
    kind: str = RULES


@dataclass(frozen=True, slots=True)
class Fallback:
    """The source of answers while the model is bypassed.

    Attributes:
        default: the answer where nothing else applies.
        rules: the owner's, tried in order before everything else; the first that matches answers.
        minimum, maximum: caps of a numeric answer, or None.
        sources: rule lists and models; the usable one with the best score answers.
        abstains: whether there is no answer where none of the owner's rules applies.
    """

    default: Answer
    rules: tuple[Rule, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    sources: tuple[Source, ...] = ()
    abstains: bool = False

    def answer(self, row: Mapping[str, Value], damaged_features: Collection[str] = ()) -> FallbackAnswer:
        """The fallback answer to one row."""
        return self.answers([row], damaged_features)[0]

    def answers(
        self, rows: Sequence[Mapping[str, Value]], damaged_features: Collection[str] = ()
    ) -> list[FallbackAnswer]:
        """The fallback answers to rows, in order. Total: what raises or has no finite answer is skipped by itself."""
        usable = self.usable(damaged_features)
        batches = [(source, source.rules(rows)) for source in usable]
        return [self._answer(row, damaged_features, batches) for row in rows]

    def usable(self, damaged_features: Collection[str] = ()) -> list[Source]:
        """The sources that read no damaged feature, the best score first."""
        usable = [] if self.abstains else [each for each in self.sources if each.reads.isdisjoint(damaged_features)]
        return sorted(usable, key=lambda each: -math.inf if each.score is None else each.score, reverse=True)

    def _answer(
        self,
        row: Mapping[str, Value],
        damaged_features: Collection[str],
        batches: Sequence[tuple[Source, Sequence[Rule]]],
    ) -> FallbackAnswer:
        errors: list[Exception] = []
        for name, kind, rule in self._rules(batches):
            if not rule.reads.isdisjoint(damaged_features):
                continue
            try:
                answer = rule.answer(row) if rule.matches(row) else None
            except Exception as error:  # noqa: BLE001 - rules run a user's code; the caller logs what it raises
                error.add_note(f"Fallback {name}: {rule.text}")
                errors.append(error)
                continue
            if answer is not None and not (isinstance(answer, float) and not math.isfinite(answer)):
                return self._within_caps(answer, f"{name}: {rule.text}", tuple(errors), kind)
        if self.abstains:
            return FallbackAnswer(None, "no answer, as the settings demand", tuple(errors), ABSTAIN)
        return self._within_caps(self.default, "the default", tuple(errors))

    def _rules(self, batches: Sequence[tuple[Source, Sequence[Rule]]]) -> Iterator[tuple[str, str, Rule]]:
        """Name, kind and rule, in order: the owner's rules, then those of the sources."""
        yield from ((f"rule {number}", RULES, rule) for number, rule in enumerate(self.rules, start=1))
        for source, rules in batches:
            for number, rule in enumerate(rules, start=1):
                yield source.name if source.kind == MODEL else f"{source.name}, rule {number}", source.kind, rule

    def _within_caps(
        self, answer: Answer, why: str, errors: tuple[Exception, ...], kind: str = RULES
    ) -> FallbackAnswer:
        if isinstance(answer, bool | str):
            return FallbackAnswer(answer, why, errors, kind)
        if self.minimum is not None and answer < self.minimum:
            return FallbackAnswer(self.minimum, f"{why}, raised to the cap", errors, kind)
        if self.maximum is not None and answer > self.maximum:
            return FallbackAnswer(self.maximum, f"{why}, lowered to the cap", errors, kind)
        return FallbackAnswer(answer, why, errors, kind)
