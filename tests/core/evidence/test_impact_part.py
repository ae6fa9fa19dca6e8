"""The parts of an estimated loss: values, with no facts of their own unless given."""

from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart


def test_parts_are_equal_by_value() -> None:
    """A part that was stored and one that was recomputed are the same."""
    part = ImpactPart(ImpactKind.DAMAGE, "income", 0.4, 0.08)
    assert part == ImpactPart(ImpactKind("damage"), "income", 0.4, 0.08, {})
    assert part != ImpactPart(ImpactKind.SHIFT, "income", 0.4, 0.08)
