"""Caps of the model's numbers, where `cap_model` in `[fallback]` extends those of the fallback to it."""

from collections.abc import Sequence
from dataclasses import replace

from stillsafe.core.fallback import Answer
from stillsafe.core.score import Score
from stillsafe.settings_fallback import FallbackSettings


def cap_score(fallback: FallbackSettings, score: Score) -> tuple[Score, str]:
    """The score with its number within the caps, and what was done to it in a sentence; empty where nothing was."""
    answer = score.prediction
    if not fallback.cap_model or answer is None or isinstance(answer, bool | str):
        return score, ""
    if fallback.minimum is not None and answer < fallback.minimum:
        return replace(score, prediction=fallback.minimum), f"The model's {answer:g} was raised to the cap."
    if fallback.maximum is not None and answer > fallback.maximum:
        return replace(score, prediction=fallback.maximum), f"The model's {answer:g} was lowered to the cap."
    return score, ""


def caps_any(fallback: FallbackSettings, answers: Sequence[Answer]) -> bool:
    """Whether an answer of the model is outside the caps."""
    if not fallback.cap_model or not answers or isinstance(answers[0], bool | str):
        return False
    numbers = [each for each in answers if not isinstance(each, bool | str)]
    is_below = fallback.minimum is not None and min(numbers) < fallback.minimum
    return is_below or (fallback.maximum is not None and max(numbers) > fallback.maximum)


def cap_scores(fallback: FallbackSettings, scores: Sequence[Score]) -> list[Score]:
    """The scores as they would be served."""
    return [cap_score(fallback, score)[0] for score in scores] if fallback.cap_model else [*scores]
