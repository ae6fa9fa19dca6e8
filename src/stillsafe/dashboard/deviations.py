"""Readings in the order in which a person wants them: the worst first. Pure."""

from dataclasses import dataclass

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Streak
from stillsafe.dashboard.formatting import NOTHING, count, cut, limits, measured
from stillsafe.dashboard.snapshot import Run, Snapshot

MOST_MULTIPLES = 6
_ORDER = {Level.SEVERE: 0, Level.MODERATE: 1, Level.NONE: 2}
_NAMES = {
    Signal.AVG_CONFIDENCE: "Mean confidence",
    Signal.LOW_CONFIDENCE_RATE: "Low confidence",
    Signal.MISSING_RATE: "Missing values",
    Signal.UNSEEN_CATEGORY_RATE: "Unseen categories",
    Signal.OUT_OF_RANGE_RATE: "Out of healthy range",
    Signal.REPEATED_VALUE_RATE: "Repeated number",
    Signal.BROKEN_RELATION_RATE: "Broken relations",
    Signal.DISTRIBUTION_CHANGE: "Distribution",
    Signal.CONFIDENCE_CHANGE: "Distribution of confidence",
    Signal.PREDICTION_CHANGE: "Distribution of answers",
    Signal.ESTIMATED_ACCURACY_LOSS: "Estimated accuracy lost",
    Signal.ESTIMATED_ERROR_GROWTH: "Estimated growth of the error",
    Signal.REFUSAL_RATE: "Refused requests",
    Signal.MODEL_ERROR_RATE: "Model errors",
    Signal.SILENCE_SECONDS: "Silence",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table of readings, in words."""

    level: str
    signal: str
    feature: str
    instead_of: tuple[str, ...]
    value: str
    reference: str
    limits: str
    runs: str
    samples: str
    examples: tuple[str, ...]


def name(signal: Signal) -> str:
    """A signal in words."""
    return _NAMES.get(signal, signal.value)


def excess(reading: Reading) -> float:
    """How far a reading lies from healthy, in moderate limits; 0 where it cannot be told."""
    if reading.value is None or not reading.moderate_limit:
        return 0.0
    reference = 0.0 if reading.signal is Signal.SILENCE_SECONDS else reading.reference or 0.0
    apart = reading.value - reference
    return (abs(apart) if reading.signal is Signal.AVG_CONFIDENCE else max(apart, 0.0)) / reading.moderate_limit


def worst_first(readings: tuple[Reading, ...]) -> list[Reading]:
    """Severe before moderate before calm before untold; within one level the furthest from healthy first."""
    return sorted(readings, key=lambda r: (r.evidence is Evidence.INSUFFICIENT, _ORDER[r.level], -excess(r), r.key))


def table(seen: Snapshot) -> list[Line]:
    """The newest readings, worst first."""
    run = seen.judged
    if run is None:
        return []
    streaks = seen.state.memory.streaks if seen.state is not None else {}
    return [_line(reading, run, streaks.get(reading.key)) for reading in worst_first(run.readings)]


def multiples(runs: tuple[Run, ...]) -> list[str]:
    """Keys of the signals that deviated in any run, those that deviate now first; confidence has charts of its own."""
    worst: dict[str, tuple[float, int, float]] = {}
    for age, run in enumerate(reversed(runs)):
        for reading in run.readings:
            if reading.level is not Level.NONE and reading.signal not in _CHARTED:
                now = 0 if age == 0 else 1
                ranked = (now, _ORDER[reading.level], -excess(reading))
                worst[reading.key] = min(worst.get(reading.key, ranked), ranked)
    return sorted(worst, key=lambda key: (worst[key], key))[:MOST_MULTIPLES]


_CHARTED = (Signal.AVG_CONFIDENCE, Signal.LOW_CONFIDENCE_RATE)


def _line(reading: Reading, run: Run, streak: Streak | None) -> Line:
    told = reading.evidence is not Evidence.INSUFFICIENT
    return Line(
        level=reading.level.value if told else "TOO LITTLE",
        signal=name(reading.signal),
        feature=reading.feature or "",
        instead_of=reading.instead_of if reading.level is not Level.NONE else (),
        value=measured(reading.signal, reading.value),
        reference=measured(reading.signal, reading.reference),
        limits=limits(reading),
        runs=_runs(streak),
        samples=count(reading.sample_count) if reading.sample_count else NOTHING,
        examples=_examples(reading, run),
    )


def _runs(streak: Streak | None) -> str:
    if streak is None or not streak.deviating:
        return NOTHING
    return f"{streak.deviating} ({streak.severe} severe)" if streak.severe else str(streak.deviating)


def _examples(reading: Reading, run: Run) -> tuple[str, ...]:
    """Unseen categories, most frequent first: a client's text."""
    tally = run.total.features.get(reading.feature or "")
    if reading.signal is not Signal.UNSEEN_CATEGORY_RATE or tally is None or reading.level is Level.NONE:
        return ()
    ordered = sorted(tally.unseen_examples.items(), key=lambda item: (-item[1], item[0]))
    return tuple(f"{cut(category)} × {times}" for category, times in ordered[:3])
