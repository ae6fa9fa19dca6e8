"""Kinds of signals."""

from stillsafe.core import signals
from stillsafe.core.evidence.signal_kinds import Group, Subject, Unit


def test_the_signal_table_has_every_kind() -> None:
    """No kind is without a signal, and the table's module names them."""
    rows = signals.SIGNALS.values()
    assert {row.unit for row in rows} == set(Unit)
    assert {row.subject for row in rows} == set(Subject)
    assert {row.group for row in rows} == set(Group)
    assert (signals.Unit, signals.Subject, signals.Group) == (Unit, Subject, Group)
