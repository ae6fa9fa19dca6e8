"""The errors of a fallback's prices that have none, measured on a sample: for folders of earlier releases.

The scores stay as their owner has them. An error is that of the model's lead in a later run (`rule_search`), so the
bypass of such a folder must then pay beyond it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stillsafe.core.fallback import Answer, Fallback, Source
from stillsafe.core.schema import Row
from stillsafe.init.rule_pricing import SearchSample
from stillsafe.init.rule_search import HoldOutEvaluator, split_sample
from stillsafe.init.settings_edit import REMARK
from stillsafe.init.write import toml
from stillsafe.model.second_model import load_second_models
from stillsafe.rules import compile_fallback
from stillsafe.settings import Settings
from stillsafe.settings_fallback import FallbackModel, FallbackRuleList

LISTS, MODELS = "lists", "models"
Errors = Mapping[str, Mapping[int, float]]
"""`lists` or `models` -> position, from 0, among those of the settings -> standard error."""


@dataclass(frozen=True, slots=True)
class PriceErrors:
    """The errors that prices lack, in the unit of the scores.

    Attributes:
        sources: of the rule lists and the second models.
        default: of the default answer, or None where nothing is to be added.
    """

    sources: Errors = field(default_factory=dict)
    default: float | None = None


def missing_price_errors(current: Settings, sample: SearchSample, seed: int) -> PriceErrors:
    """Measure the errors of the prices in the settings that have none.

    Args:
        current: the settings.
        sample: rows with the model's scores; its labels where there are any.
        seed: selects the rows, as in `rule_search.search`.

    Raises:
        RuleError: a rule of the settings does not compile.
        ModelError: a second model of the settings cannot be loaded.
    """
    fallback = current.fallback
    answer = fallback.last_answer
    parts: dict[str, Sequence[FallbackRuleList | FallbackModel]] = {LISTS: fallback.lists, MODELS: fallback.models}
    lacks = {name: [n for n, each in enumerate(part) if _lacks_error(each)] for name, part in parts.items()}
    lacks_default = fallback.default_score is not None and fallback.default_error is None and answer == fallback.default
    if fallback.model_score is None or answer is None or not (lacks_default or any(lacks.values())):
        return PriceErrors()
    split = split_sample(sample, answer, seed)
    if split is None:
        return PriceErrors()
    rows, evaluator = [sample.rows[number] for number in split.held_out], split.evaluator
    sources = {
        LISTS: compile_fallback(fallback, sample.schema).sources if lacks[LISTS] else (),
        MODELS: load_second_models(current) if lacks[MODELS] else (),
    }
    errors = {
        name: dict(_errors(evaluator, rows, answer, {n: sources[name][n] for n in positions}))
        for name, positions in lacks.items()
    }
    default = evaluator.price([answer] * len(rows))[1] if lacks_default else None
    return PriceErrors({name: part for name, part in errors.items() if part}, default)


def _lacks_error(source: FallbackRuleList | FallbackModel) -> bool:
    return source.score is not None and source.error is None


def _errors(
    evaluator: HoldOutEvaluator, rows: Sequence[Row], default: Answer, sources: Mapping[int, Source]
) -> Iterator[tuple[int, float]]:
    """Position and error of each source that has one; a row that it does not answer gets the default."""
    for number, source in sources.items():
        answers = [each.answer for each in Fallback(default, sources=(source,)).answers(rows)]
        error = evaluator.price([default if answer is None else answer for answer in answers])[1]
        if error is not None:
            yield number, error


def split_errors(errors: Errors, counts_in_file: Mapping[str, int]) -> tuple[Errors, Errors]:
    """The errors of what the file of `lists_file` has, which come first in the settings; and of the settings' own.

    Args:
        errors: of all.
        counts_in_file: how many lists and models the file has.
    """
    in_file: dict[str, dict[int, float]] = {}
    own: dict[str, dict[int, float]] = {}
    for name, part in errors.items():
        count = counts_in_file.get(name, 0)
        for number, error in part.items():
            place, position = (in_file, number) if number < count else (own, number - count)
            place.setdefault(name, {})[position] = error
    return in_file, own


def text_with_errors(text: str, errors: Errors, prefix: str = "") -> str:
    """A TOML file with an `error` added below the header of each table of `errors`; every other line stays.

    Args:
        text: the file. Where its tables have no headers of their own, as inline tables, nothing is added.
        errors: of its lists and models.
        prefix: before the names of the tables, `fallback.` in a settings file.
    """
    lines = text.splitlines()
    for name, part in errors.items():
        header = re.compile(rf"\s*\[\[\s*{re.escape(prefix + name)}\s*\]\]\s*(#.*)?$")
        positions = [index for index, line in enumerate(lines) if header.match(line)]
        if max(part) >= len(positions):
            continue
        for number in sorted(part, reverse=True):  # from the end, so that the positions before it stay
            lines.insert(positions[number] + 1, f"error = {toml(part[number])}  # {REMARK}")
    return "\n".join(lines) + "\n"
