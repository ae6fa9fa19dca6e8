"""Likely causes and remedies of an incident, from the signal table. Every observer uses them. Pure."""

from collections.abc import Iterator

from stillsafe.core.signals import DAMAGE, FAILURE, SIGNALS, Signal, Subject
from stillsafe.observer.payload import Deviation, IncidentPayload

MANY_FEATURES = 3
"""So many damaged features suggest one common cause."""
_OUTPUT_SIGNALS = frozenset(signal for signal, row in SIGNALS.items() if row.subject is Subject.OUTPUT)


def likely_causes(payload: IncidentPayload) -> tuple[str, ...]:
    """Likely causes, the likeliest first; empty for a resolved incident."""
    return tuple(dict.fromkeys([*_common_causes(payload), *map(_cause, _primary_deviations(payload))]))


def recommendations(payload: IncidentPayload) -> tuple[str, ...]:
    """What to do, in order."""
    if payload.status == "resolved":
        return _AFTER_RECOVERY
    return tuple(dict.fromkeys([*map(_remedy, _primary_deviations(payload)), *_general_remedies(payload)]))


def _primary_deviations(payload: IncidentPayload) -> Iterator[Deviation]:
    """The deviations without those that damaged features entail: their own distributions, and the model's output."""
    damaged_features = _damaged_features(payload)
    for deviation in payload.deviations:
        is_entailed = (
            deviation.feature in damaged_features
            if deviation.signal is Signal.DISTRIBUTION_CHANGE
            else deviation.signal in _OUTPUT_SIGNALS
        )
        if not damaged_features or not is_entailed or _is_overconfident(deviation):
            yield deviation


def _damaged_features(payload: IncidentPayload) -> list[str]:
    return sorted({each.feature for each in payload.deviations if each.feature and each.signal in DAMAGE})


def _common_causes(payload: IncidentPayload) -> Iterator[str]:
    """Causes that only several deviations together suggest."""
    signals, damaged_features = {each.signal for each in payload.deviations}, _damaged_features(payload)
    ambiguous_features = {each.feature for each in payload.deviations if each.instead_of}
    certain_features = [name for name in damaged_features if name not in ambiguous_features]
    if len(certain_features) >= MANY_FEATURES:
        yield (
            f"{len(certain_features)} features broke together: check what they share (one feed, one join, one "
            "deployment) before each one."
        )
    if damaged_features and signals & FAILURE & _OUTPUT_SIGNALS:
        names = ", ".join(damaged_features)
        if ambiguous_features:
            yield f"The estimated impact is that of the worse case: find out which of {names} are damaged."
        else:
            yield f"The estimated impact comes with the damage to {names}: repair that first."
    if signals and signals <= _OUTPUT_SIGNALS and Signal.REALISED_LOSS not in signals:
        yield (
            "No input deviates by itself: the requests are of another kind than in the healthy period, or the model "
            "file or a library is another than the one behind the baseline."
        )


def _cause(deviation: Deviation) -> str:
    if _is_overconfident(deviation):
        return (
            "The model is more confident than in the healthy period: an input is stuck, or has another unit, and "
            "pushes every prediction to one end."
        )
    return _fill(SIGNALS[deviation.signal].cause, deviation)


def _remedy(deviation: Deviation) -> str:
    if _is_overconfident(deviation):
        return "Compare today's inputs with the healthy period and search for a constant or a wrong unit."
    return _fill(SIGNALS[deviation.signal].remedy, deviation)


def _is_overconfident(deviation: Deviation) -> bool:
    if deviation.signal is not Signal.AVG_CONFIDENCE or deviation.value is None or deviation.reference is None:
        return False
    return deviation.value > deviation.reference


def _fill(template: str, deviation: Deviation) -> str:
    # A name or a category may hold braces, so the placeholders are replaced one by one and not formatted.
    number = "" if deviation.repeated_value is None else f", {deviation.repeated_value:g},"
    examples = f", such as {', '.join(deviation.new_values)}" if deviation.new_values else ""
    alternatives = f", or else {' and '.join(deviation.instead_of)}," if deviation.instead_of else ""
    return (
        template.replace("{repeated}", number)
        .replace("{name}", f"{deviation.feature or 'an input'}{alternatives}")
        .replace("{examples}", examples)
    )


def _general_remedies(payload: IncidentPayload) -> tuple[str, ...]:
    if payload.fallback.active:
        return (
            "The fallback protects the callers: it answers until the signals are healthy for several runs.",
            "If the change is real and permanent, retrain the model and deploy it with its own reference baseline.",
        )
    if payload.severity == "CRITICAL":
        return (
            "If callers must be protected now, hold the model by hand (`stillsafe hold`), or set the mode to "
            "enforce where it is observe.",
        )
    return ("The model is not bypassed yet: correct the cause before the deviation lasts or grows.",)


_AFTER_RECOVERY = (
    "Find out what was corrected and write it down: a relapse soon makes the next recovery slower.",
    "Check what the fallback answered meanwhile: some of it may have to be done again.",
)
