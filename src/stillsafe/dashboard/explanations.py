"""Explanations as a person reads them: without what stands there already, and what to check first. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stillsafe.core.signals import SIGNALS, Reading
from stillsafe.dashboard.cause import new_sentences
from stillsafe.store.read.incidents import ExplanationRecord


@dataclass(frozen=True, slots=True)
class Advice:
    """One explanation.

    Attributes:
        record: as it is stored.
        summary: what of its summary is new.
        causes, recommendations: those that are new.
    """

    record: ExplanationRecord
    summary: str
    causes: tuple[str, ...]
    recommendations: tuple[str, ...]


def advice(record: ExplanationRecord, other_texts: Sequence[str]) -> Advice:
    """An explanation without the sentences of other texts.

    Args:
        record: the explanation.
        other_texts: texts that the page has already.
    """
    summary = "\n".join(filter(None, (new_sentences(line, other_texts) for line in record.summary.splitlines())))
    return Advice(
        record, summary, _lines(record.likely_causes, other_texts), _lines(record.recommendations, other_texts)
    )


def newest_first(records: Iterable[ExplanationRecord]) -> list[ExplanationRecord]:
    """The explanations of an incident, that of its last step first."""
    return sorted(records, key=lambda record: -record.sort_key[0])


def explanation_steps(records: Sequence[ExplanationRecord], other_texts: Sequence[str]) -> list[Advice]:
    """The explanations without the sentences of other texts, or of an explanation before them."""
    texts = list(other_texts)
    steps = []
    for record in records:
        steps.append(advice(record, texts))
        texts += [record.summary, *steps[-1].causes, *steps[-1].recommendations]
    return steps


def first_advice(explanations: Sequence[ExplanationRecord], readings: Sequence[Reading]) -> str:
    """What to check first: by the newest explanation without a language model, or by the worst reading."""
    for record in explanations:
        lines = _lines(record.recommendations, ())
        if record.source == "offline" and lines:
            return lines[0]
    worst = next(iter(readings), None)
    return "" if worst is None else SIGNALS[worst.signal].remedy.format(name=worst.feature)


def _lines(text: str | None, other_texts: Sequence[str]) -> tuple[str, ...]:
    lines = (line.strip() for line in (text or "").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line and line not in other_texts))
