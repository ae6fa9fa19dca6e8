"""The parts of an estimated loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ImpactKind(StrEnum):
    """What a part of an estimated loss comes from."""

    DAMAGE = "damage"  #: Values of a feature that do not belong to their rows.
    SHIFT = "shift"  #: Other rows than before, each of them intact.
    MOVEMENT = "movement"  #: Predictions that moved, beyond what the study of the damage explains.


@dataclass(frozen=True, slots=True)
class ImpactPart:
    """One part of an estimated loss.

    Attributes:
        kind: what it comes from.
        feature: the feature, or None where the part is of all features or of the outputs.
        share: of the rows that it touches, in [0, 1], or None where no share is known.
        loss: in the unit of the reading's value.
        facts: further numbers behind it, by name.
    """

    kind: ImpactKind
    feature: str | None
    share: float | None
    loss: float
    facts: Mapping[str, float] = field(default_factory=dict)
