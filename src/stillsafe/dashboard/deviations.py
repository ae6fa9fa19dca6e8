"""The readings of a run as rows of a table, the largest deviation first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from stillsafe.core.evidence.sentences import part_texts
from stillsafe.core.signals import SIGNALS, Evidence, Level, Reading, Signal, excess
from stillsafe.core.state import Streak
from stillsafe.dashboard.formatting import NO_VALUE, count, format_limits, format_value, shorten
from stillsafe.dashboard.snapshot import Run, Snapshot

MOST_SIGNAL_CHARTS = 6
MOST_EXAMPLES = 3
AS_BEFORE = "as before"
SIGNALS_WITH_OWN_CHART = (Signal.AVG_CONFIDENCE, Signal.LOW_CONFIDENCE_RATE)
_LEVEL_ORDER = {Level.SEVERE: 0, Level.MODERATE: 1, Level.NONE: 2}


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """One row of the table of readings, as text.

    Attributes:
        level: `SEVERE`, `MODERATE`, `NONE`, `CHANGE` where a change costs too little to matter, `TOO LITTLE` where
            there was too little data.
        signal: the signal's label.
        feature: of which feature, or empty.
        instead_of: features that may be damaged in place of this one.
        value, reference, noise, limits: in the signal's unit; noise is the distance that chance explains.
        runs: consecutive runs in which it deviated.
        samples: requests or values behind the value.
        examples: unseen categories with their counts. Untrusted: escape them before display.
        parts: what an estimated loss consists of, the largest first.
        is_deviating: whether it is beyond a limit.
    """

    level: str
    signal: str
    feature: str
    instead_of: tuple[str, ...]
    value: str
    reference: str
    noise: str
    limits: str
    runs: str
    samples: str
    examples: tuple[str, ...]
    parts: tuple[str, ...] = ()
    is_deviating: bool = False


def worst_first(readings: tuple[Reading, ...]) -> list[Reading]:
    """Severe, moderate, changed, calm, then inconclusive; within one level the furthest from healthy first."""

    def rank(reading: Reading) -> tuple[bool, int, bool, float, str]:
        inconclusive = reading.evidence is Evidence.INSUFFICIENT
        return inconclusive, _LEVEL_ORDER[reading.level], not reading.is_change, -excess(reading), reading.key

    return sorted(readings, key=rank)


def reading_rows(snapshot: Snapshot) -> list[ReadingRow]:
    """The newest readings, worst first."""
    run = snapshot.last_run_with_readings
    if run is None:
        return []
    streaks = snapshot.state.memory.streaks if snapshot.state is not None else {}
    return [_row(reading, run, streaks.get(reading.key)) for reading in worst_first(run.readings)]


def deviating_keys(runs: tuple[Run, ...]) -> list[str]:
    """Keys of the signals to chart: those that deviated in any run, with those of the newest run first.

    The two signals of confidence have charts of their own and are left out.
    """
    ranks: dict[str, tuple[int, int, float]] = {}
    for age, run in enumerate(reversed(runs)):
        for reading in run.readings:
            if reading.level is not Level.NONE and reading.signal not in SIGNALS_WITH_OWN_CHART:
                rank = (min(age, 1), _LEVEL_ORDER[reading.level], -excess(reading))
                ranks[reading.key] = min(ranks.get(reading.key, rank), rank)
    return sorted(ranks, key=lambda key: (ranks[key], key))[:MOST_SIGNAL_CHARTS]


def charted_keys(triggers: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Keys of the signals of an incident: those that deviated in its run, then others that once made it.

    A trigger that no signal of this version has is left out.
    """
    signal_names = {signal.value for signal in Signal}
    return list(dict.fromkeys(key for key in [*keys, *triggers] if key.partition(":")[0] in signal_names))


def run_note(run: Run) -> str:
    """What a run found, in a few words: its sentence, or which signals deviated, the worst first."""
    deviating = [reading for reading in worst_first(run.readings) if reading.level is not Level.NONE]
    if not deviating:
        return run.record.reason or ""
    worst = deviating[0]
    name = f"{SIGNALS[worst.signal].label} {worst.feature}" if worst.feature else SIGNALS[worst.signal].label
    more = f", and {len(deviating) - 1} more" if len(deviating) > 1 else ""
    return f"{name} {format_value(worst.signal, worst.value)}{more}"


def run_notes(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """The runs and what they found, newest first; "as before" for a run that found the same as the one before.

    Args:
        runs: oldest first.
    """
    notes = [run_note(run) for run in runs]
    texts = [AS_BEFORE if i and note == notes[i - 1] else note for i, note in enumerate(notes)]
    return list(reversed(list(zip(runs, texts, strict=True))))


def _row(reading: Reading, run: Run, streak: Streak | None) -> ReadingRow:
    deviates = reading.level is not Level.NONE
    return ReadingRow(
        level=_level_text(reading),
        signal=SIGNALS[reading.signal].label,
        feature=reading.feature or "",
        instead_of=reading.instead_of if deviates else (),
        value=format_value(reading.signal, reading.value),
        reference=format_value(reading.signal, reading.reference),
        noise=format_value(reading.signal, reading.noise),
        limits=format_limits(reading),
        runs=_streak_text(streak),
        samples=count(reading.sample_count) if reading.sample_count else NO_VALUE,
        examples=_examples(reading, run) if deviates else (),
        parts=part_texts(reading) if deviates else (),
        is_deviating=deviates,
    )


def _level_text(reading: Reading) -> str:
    if reading.evidence is Evidence.INSUFFICIENT:
        return "TOO LITTLE"
    return "CHANGE" if reading.is_change else reading.level.value


def _streak_text(streak: Streak | None) -> str:
    if streak is None or not streak.deviating:
        return NO_VALUE
    return f"{streak.deviating} ({streak.severe} severe)" if streak.severe else str(streak.deviating)


def _examples(reading: Reading, run: Run) -> tuple[str, ...]:
    """Unseen categories, most frequent first."""
    tally = run.total.features.get(reading.feature or "")
    if reading.signal is not Signal.UNSEEN_CATEGORY_RATE or tally is None:
        return ()
    examples = sorted(tally.unseen_examples.items(), key=lambda item: (-item[1], item[0]))
    return tuple(f"{shorten(category)} × {times}" for category, times in examples[:MOST_EXAMPLES])
