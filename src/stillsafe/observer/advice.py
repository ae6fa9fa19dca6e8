"""What usually lies behind a deviation, and where to look first: one table, used by every observer. Pure."""

from collections.abc import Iterator

from stillsafe.core.signals import DAMAGE, FAILURE, Signal
from stillsafe.observer.payload import Deviation, IncidentPayload

MANY_FEATURES = 3
_ABOUT_ANSWERS = frozenset(
    {
        Signal.AVG_CONFIDENCE,
        Signal.LOW_CONFIDENCE_RATE,
        Signal.CONFIDENCE_CHANGE,
        Signal.PREDICTION_CHANGE,
        Signal.ESTIMATED_ACCURACY_LOSS,
        Signal.ESTIMATED_ERROR_GROWTH,
    }
)


def likely_causes(payload: IncidentPayload) -> tuple[str, ...]:
    """What may have led to it, the likeliest first; of a resolved incident, nothing."""
    return tuple(dict.fromkeys([*_together(payload), *(_cause(each) for each in _telling(payload))]))


def recommendations(payload: IncidentPayload) -> tuple[str, ...]:
    """What to do, in order."""
    if payload.status == "resolved":
        return _AFTER_RECOVERY
    return tuple(dict.fromkeys([*(_step(each) for each in _telling(payload)), *_in_general(payload)]))


def _telling(payload: IncidentPayload) -> Iterator[Deviation]:
    """Without what damaged inputs bring about anyway: other distributions of theirs, and other answers."""
    damaged = _damaged(payload)
    for each in payload.deviations:
        follows = (
            each.feature in damaged if each.signal is Signal.DISTRIBUTION_CHANGE else each.signal in _ABOUT_ANSWERS
        )
        if not damaged or not follows or _surer(each):
            yield each


def _damaged(payload: IncidentPayload) -> list[str]:
    return sorted({each.feature for each in payload.deviations if each.feature and each.signal in DAMAGE})


def _together(payload: IncidentPayload) -> Iterator[str]:
    """What the deviations say together and none says alone."""
    signals, damaged = {each.signal for each in payload.deviations}, _damaged(payload)
    doubtful = {each.feature for each in payload.deviations if each.instead_of}
    certain = [name for name in damaged if name not in doubtful]
    if len(certain) >= MANY_FEATURES:
        yield (
            f"{len(certain)} features broke together: suspect what they share (one feed, one join, one deployment) "
            "before each alone."
        )
    if damaged and signals & FAILURE & _ABOUT_ANSWERS:
        names = ", ".join(damaged)
        if doubtful:
            yield f"The estimated harm is that of the worse case: find out which of {names} are damaged."
        else:
            yield f"The estimated harm goes with the damage to {names}: mend that first."
    if signals and signals <= _ABOUT_ANSWERS:
        yield (
            "No input deviates by itself: the requests are of another kind than when healthy, or another model file "
            "or library answers than the one that the baseline was made of."
        )


def _cause(deviation: Deviation) -> str:
    if _surer(deviation):
        return (
            "The model is surer than it ever was when healthy: an input is stuck, or comes in another unit, and pushes "
            "every answer to one end."
        )
    return _filled(_CAUSES[deviation.signal], deviation)


def _step(deviation: Deviation) -> str:
    if _surer(deviation):
        return "Compare today's inputs with the healthy period and look for a constant or a wrong unit."
    return _filled(_STEPS[deviation.signal], deviation)


def _surer(deviation: Deviation) -> bool:
    known = deviation.value is not None and deviation.reference is not None
    return known and deviation.signal is Signal.AVG_CONFIDENCE and (deviation.value or 0) > (deviation.reference or 0)


def _filled(text: str, deviation: Deviation) -> str:
    # Replaced, not formatted: a name may hold braces, and so may a category.
    repeated = "" if deviation.repeated_value is None else f", {deviation.repeated_value:g},"
    examples = f", such as {', '.join(deviation.new_values)}" if deviation.new_values else ""
    instead = f", or else {' and '.join(deviation.instead_of)}," if deviation.instead_of else ""
    return (
        text.replace("{repeated}", repeated)
        .replace("{name}", f"{deviation.feature or 'an input'}{instead}")
        .replace("{examples}", examples)
    )


def _in_general(payload: IncidentPayload) -> tuple[str, ...]:
    if payload.fallback.active:
        return (
            "Callers are protected: the fallback answers until the signals are calm for several runs.",
            "If the change is real and here to stay, retrain the model and deploy it with its own reference baseline.",
        )
    if payload.severity == "CRITICAL":
        return (
            "Hold the model by hand (`stillsafe hold`) or set the mode to enforce if callers must be protected now.",
        )
    return ("Nothing is bypassed yet: mend the cause before the deviation lasts or grows.",)


_AFTER_RECOVERY = (
    "Find out what was mended and write it down; a relapse soon makes the next recovery slower.",
    "Look at what the fallback answered meanwhile: some of it may have to be done again.",
)
_OTHER_REQUESTS = "Other requests come than when healthy: other customers, a season, a campaign, or a damaged input."
_COMPARE = "Compare today's inputs with the healthy period, the deviating features first."
_ESTIMATE = (
    "The loss is an estimate, made without today's true answers: as soon as some are known, run `stillsafe backtest` "
    "on them to see what was really lost."
)
_CAUSES = {
    Signal.MISSING_RATE: "The feed of {name} has failed, or its field was renamed: its values no longer arrive.",
    Signal.UNSEEN_CATEGORY_RATE: (
        "{name} carries values never seen when healthy{examples}: a new spelling, code or product."
    ),
    Signal.OUT_OF_RANGE_RATE: "{name} has changed its unit, its scale or its source.",
    Signal.REPEATED_VALUE_RATE: (
        "{name} sends one number over and over{repeated} as a failed feed does behind a default, or a stuck sensor."
    ),
    Signal.BROKEN_RELATION_RATE: (
        "The values of {name} look healthy but belong to other rows: a wrong join key, a stale or shuffled column, or "
        "two columns that were swapped."
    ),
    Signal.DISTRIBUTION_CHANGE: "{name} itself has changed: other customers, a season, a campaign.",
    Signal.CONFIDENCE_CHANGE: _OTHER_REQUESTS,
    Signal.PREDICTION_CHANGE: _OTHER_REQUESTS,
    Signal.ESTIMATED_ACCURACY_LOSS: "The model no longer fits what it is asked about.",
    Signal.ESTIMATED_ERROR_GROWTH: "The model no longer fits what it is asked about.",
    Signal.AVG_CONFIDENCE: "The model is unsure: it is asked about what it was not trained on.",
    Signal.LOW_CONFIDENCE_RATE: "The model is unsure: it is asked about what it was not trained on.",
    Signal.REFUSAL_RATE: "A caller was changed and now breaks the schema.",
    Signal.MODEL_ERROR_RATE: "The model itself fails: a library, a file or an input that it cannot bear has changed.",
    Signal.SILENCE_SECONDS: "The callers, the network or the load balancer no longer send requests here.",
}
_STEPS = {
    Signal.MISSING_RATE: "Look at the source of {name} and at what was deployed there last.",
    Signal.UNSEEN_CATEGORY_RATE: "Look at the new values of {name}: map them to known ones, or retrain with them.",
    Signal.OUT_OF_RANGE_RATE: "Look at the values of {name} and compare their unit and scale with the healthy period.",
    Signal.REPEATED_VALUE_RATE: "Look at the source of {name}: find who fills in the constant, and why.",
    Signal.BROKEN_RELATION_RATE: "Look at how {name} is joined to its rows.",
    Signal.DISTRIBUTION_CHANGE: "Ask whether {name} may have changed for a good reason.",
    Signal.CONFIDENCE_CHANGE: _COMPARE,
    Signal.PREDICTION_CHANGE: _COMPARE,
    Signal.ESTIMATED_ACCURACY_LOSS: _ESTIMATE,
    Signal.ESTIMATED_ERROR_GROWTH: _ESTIMATE,
    Signal.AVG_CONFIDENCE: _COMPARE,
    Signal.LOW_CONFIDENCE_RATE: _COMPARE,
    Signal.REFUSAL_RATE: "Look at the refusals by feature and kind, and call whoever sends them.",
    Signal.MODEL_ERROR_RATE: "Look at the model's errors in the log, then at the last deployment.",
    Signal.SILENCE_SECONDS: "Send a request by hand; then look at the callers, the network and the load balancer.",
}
