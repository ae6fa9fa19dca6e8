"""What a baseline stores of time survives its document, and an older document lacks it."""

from dataclasses import replace
from datetime import UTC, datetime

from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit, SlotTable
from stillsafe.store.codec import from_document, to_document

EMPTY = Baseline("b", "1", datetime(2026, 3, 1, tzinfo=UTC), BaselineSource.FIRST, 50, 0, None, None, None, None)


def test_slots_and_clock_features_survive_their_document() -> None:
    """Every field comes back as it was."""
    slots = SlotTable(
        "Europe/Berlin",
        ("workday-07",),
        (60,),
        (80,),
        ("size",),
        ("confidence",),
        ((30, 30, 0),),
        ((60.0, 48.0, 39.0, 6.0),),
        ((),),
        {"size": (((0.0, 12),),)},
        {"avg_confidence": 0.01},
        {},
        (0.5,),
        0.02,
        14,
    )
    clock = {"hour": ClockFeature(ClockUnit.HOUR, {"7": (60, 0)}, ("7", "8"))}
    baseline = replace(EMPTY, slots=slots, clock=clock)
    assert from_document(Baseline, to_document(baseline)) == baseline


def test_an_older_document_knows_no_time() -> None:
    """A document of an earlier release has none of the fields: no slots, no clock, compared as before."""
    document = to_document(EMPTY)
    for name in ("slots", "clock", "effective_size", "is_hour_known"):
        del document[name]
    assert from_document(Baseline, document) == EMPTY
