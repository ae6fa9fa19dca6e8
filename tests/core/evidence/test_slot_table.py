"""What a baseline stores of time: empty by default, and comparable by value."""

from dataclasses import replace

from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit, SlotTable


def test_a_table_without_slots_compares_nothing_by_the_hour() -> None:
    """A period whose hours foretell nothing keeps its time zone and its variation, and no slot."""
    table = SlotTable("Europe/Berlin", variation={"avg_confidence": 0.01})
    assert (table.names, table.rows, table.counts, table.day_count) == ((), (), (), 0)
    assert table == replace(table)
    assert table != replace(table, timezone="UTC")


def test_a_clock_feature_of_unknown_unit_has_no_table() -> None:
    """Without times nothing is known about which hour shows which value."""
    feature = ClockFeature(ClockUnit.UNKNOWN)
    assert (dict(feature.table), feature.values) == ({}, ())
