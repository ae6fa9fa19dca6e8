"""The cause of an incident in one line, and the features that it names. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence

from stillsafe.core.evidence.sentences import short_sentence
from stillsafe.core.signals import CLIENT, DAMAGE, FAILURE, Level, Reading, excess
from stillsafe.dashboard.deviations import worst_first

MOST_OTHERS = 2
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_BRACKETS = re.compile(r"\s*\([^()]*\)")


def damaged_features(readings: Iterable[Reading]) -> tuple[str, ...]:
    """The features that deviate, the most harmful first: by their part of the estimated loss, then by their damage."""
    ranks: dict[str, tuple[float, bool, float]] = {}
    for reading in readings:
        if reading.level is Level.NONE:
            continue
        for part in reading.parts:
            if part.feature is not None and part.loss > 0:
                ranks[part.feature] = min(ranks.get(part.feature, (0.0, True, 0.0)), (-part.loss, False, 0.0))
        if reading.feature is not None:
            rank = (0.0, reading.signal not in DAMAGE, -excess(reading))
            ranks[reading.feature] = min(ranks.get(reading.feature, rank), rank)
    return tuple(sorted(ranks, key=lambda name: (ranks[name], name)))


def cause_line(readings: Sequence[Reading], healthy_error: float | None = None) -> str:
    """What deviates, in one line: the worst feature, what it costs, and which other features deviate.

    Args:
        readings: of one run.
        healthy_error: the model's error in the healthy period, if known.
    """
    deviating = [reading for reading in worst_first(tuple(readings)) if reading.level is not Level.NONE]
    if not deviating:
        return ""
    features = damaged_features(deviating)
    main_readings = [
        next((each for each in deviating if each.signal in CLIENT), None),
        _of_feature(deviating, features[0]) if features else None,
        next((each for each in deviating if each.signal in FAILURE), None),
    ]
    texts = [_short_text(each, healthy_error) for each in main_readings if each is not None]
    texts = texts or [_short_text(deviating[0], healthy_error)]
    if others := features[1:]:
        more = len(others) - MOST_OTHERS
        names = ", ".join(others[:MOST_OTHERS]) + (f" and {more} more" if more > 0 else "")
        texts.append(f"Also: {names}.")
    return " ".join(texts)


def _short_text(reading: Reading, healthy_error: float | None) -> str:
    """A sentence without the number of predictions of a mean or a loss."""
    return short_sentence(reading, healthy_error).replace(f" over {reading.sample_count} predictions", "")


def _of_feature(readings: Sequence[Reading], name: str) -> Reading | None:
    """The worst reading of a feature: damage before a shift."""
    own = [reading for reading in readings if reading.feature == name]
    return min(own, key=lambda reading: (reading.signal not in DAMAGE, -excess(reading)), default=None)


def stored_cause(reason: str) -> str:
    """The cause in one line from a stored sentence, where its run is no longer stored: without numbers in brackets."""
    sentences = _SENTENCE_END.split(reason)
    return _BRACKETS.sub("", sentences[1] if len(sentences) > 1 else reason)


def new_sentences(text: str, other_texts: Collection[str]) -> str:
    """A text without the sentences that others have already: nothing stands twice on a page.

    Args:
        text: one or several sentences.
        other_texts: texts that are on the page.
    """
    other_sentences = {sentence for each in other_texts for sentence in _SENTENCE_END.split(each)}
    new_ones = [sentence for sentence in _SENTENCE_END.split(text) if sentence not in other_sentences]
    return " ".join(dict.fromkeys(new_ones))
