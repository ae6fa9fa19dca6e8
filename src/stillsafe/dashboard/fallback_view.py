"""What the fallback answers, and by which rules, while some features are damaged. Pure but for compiling the rules."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from stillsafe.core.schema import Schema
from stillsafe.errors import RuleError
from stillsafe.rules import compile_fallback
from stillsafe.settings import Settings
from stillsafe.settings_fallback import FallbackRule, FallbackSettings


@dataclass(frozen=True, slots=True)
class FallbackPart:
    """One source of the fallback's answers.

    Attributes:
        name: for a person, for example `rule list 2`.
        reads: the features that it reads.
        score: on held-out rows, or None.
        rules: condition and answer of each.
        damaged_features: of its features those that are damaged; it is not used while there is one.
        is_first: whether it answers first.
    """

    name: str
    reads: tuple[str, ...]
    score: float | None
    rules: tuple[tuple[str, str], ...]
    damaged_features: tuple[str, ...]
    is_first: bool = False


def fallback_parts(settings: Settings, damaged_names: Collection[str]) -> tuple[FallbackPart, ...]:
    """The sources in the order in which they answer, those that are not used last."""
    parts = [*_own_rules(settings, damaged_names), *_sources(settings, damaged_names)]
    usable, unusable = (
        [part for part in parts if not part.damaged_features],
        [part for part in parts if part.damaged_features],
    )
    first = usable[:1]
    return tuple(
        FallbackPart(part.name, part.reads, part.score, part.rules, part.damaged_features, part in first)
        for part in [*usable, *unusable]
    )


def answer_sentence(settings: Settings, damaged_names: Collection[str]) -> str:
    """What the fallback answers, in one sentence."""
    fallback = settings.fallback
    if fallback.answer == "abstain":
        return "The fallback gives no answer: a person or another system decides."
    source = next((part for part in fallback_parts(settings, damaged_names) if part.is_first), None)
    if source is None:
        return f"The fallback answers: {fallback.last_answer}."
    score = "" if source.score is None else f" (score {source.score:g} on held-out rows)"
    return f"The fallback answers by {source.name}{score}; where no rule applies: {fallback.last_answer}."


def _own_rules(settings: Settings, damaged_names: Collection[str]) -> Iterator[FallbackPart]:
    """The owner's rules, which are tried before everything else, each a part of its own."""
    fallback = settings.fallback
    reads = _rule_reads(fallback, settings.schema_of_features) if fallback.rules else ()
    for number, (rule, names) in enumerate(zip(fallback.rules, reads, strict=True), start=1):
        features = tuple(sorted(names))
        yield FallbackPart(f"rule {number}", features, None, _texts([rule]), _damaged_of(features, damaged_names))
    if fallback.function is not None:
        yield FallbackPart(f"the function {fallback.function}", (), None, (), ())


@lru_cache(maxsize=8)
def _rule_reads(fallback: FallbackSettings, schema: Schema) -> tuple[frozenset[str], ...]:
    """The features that each of the owner's rules reads; none of a rule that does not compile."""
    own = fallback.model_copy(update={"function": None, "lists": (), "models": ()})
    try:
        return tuple(rule.reads for rule in compile_fallback(own, schema).rules)
    except RuleError:  # the service reports it at its start, and the rules are shown all the same
        return (frozenset(),) * len(fallback.rules)


def _sources(settings: Settings, damaged_names: Collection[str]) -> list[FallbackPart]:
    """The rule lists and second models, the best score first; none where the fallback abstains."""
    fallback = settings.fallback
    if fallback.answer == "abstain":
        return []
    lists = [
        FallbackPart(
            f"rule list {number}", each.reads, each.score, _texts(each.rules), _damaged_of(each.reads, damaged_names)
        )
        for number, each in enumerate(fallback.lists, start=1)
    ]
    models = [
        FallbackPart(f"model {each.file}", each.reads, each.score, (), _damaged_of(each.reads, damaged_names))
        for each in fallback.models
    ]
    return sorted([*lists, *models], key=lambda part: math.inf if part.score is None else -part.score)


def _damaged_of(reads: Collection[str], damaged_names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in reads if name in damaged_names)


def _texts(rules: Sequence[FallbackRule]) -> tuple[tuple[str, str], ...]:
    return tuple((rule.when, str(rule.compute if rule.compute is not None else rule.answer)) for rule in rules)
