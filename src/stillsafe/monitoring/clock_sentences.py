"""What a baseline knows about time, in sentences for `init`, `check` and `baseline show`."""

from collections.abc import Iterator

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slot_table import ClockUnit

WEEK_DAYS = 7


def clock_sentences(baseline: Baseline) -> Iterator[str]:
    """What a person should know about the clock features and the hours of a baseline, one sentence each."""
    names = ", ".join(baseline.clock)
    slots = baseline.slots
    if slots is None:
        if baseline.clock:
            verb = "looks" if len(baseline.clock) == 1 else "look"
            yield (
                f"{names} {verb} like a clock, but the times of the healthy rows are not known: these features are no "
                "evidence by themselves, and hours that differ from one another may look like a change. Give a sample "
                "with a column `timestamp`, or make the baseline from a week of the log (`stillsafe baseline create`)."
            )
        return
    if baseline.clock:
        units = ", ".join(f"{name} ({_unit(clock.unit)})" for name, clock in baseline.clock.items())
        yield (
            f"The clock determines {units} in the time zone {slots.timezone}: these features must agree with the time "
            "of the request, and are no evidence otherwise."
        )
    if slots.names:
        yield (
            f"Windows are compared with the same hours of the healthy {slots.day_count} days ({len(slots.names)} kinds "
            f"of hour, time zone {slots.timezone})."
        )
    if slots.day_count < WEEK_DAYS and (slots.names or baseline.clock):
        days = "day" if slots.day_count == 1 else "days"
        yield (
            f"The healthy rows come from {slots.day_count} {days}, so other weekdays are not known: widen the baseline "
            "with `stillsafe baseline extend` once a healthy week is in the log."
        )


def _unit(unit: ClockUnit) -> str:
    return unit.value.replace("_", " ")
