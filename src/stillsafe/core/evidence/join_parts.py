"""The two sides of a wrong join: the features that a search names, and those that may be corrupted instead.

Features that were joined to wrong rows together keep their associations among themselves, exactly as the features do
that they left. If one side is intact, all features that have lost their associations with it are corrupted.

The broken associations may fall into parts that have no feature in common, such as the delay and the weather joined
wrongly while the carrier breaks with the destination. Then each part has two sides of its own.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stillsafe.core.evidence.corruption import AssociationSearch


class JoinPart(NamedTuple):
    """Features of one side, and those that have clearly lost their associations with them."""

    members: frozenset[str]
    others: frozenset[str]


def other_side(search: "AssociationSearch", side: Mapping[str, float], corrupt_names: set[str]) -> dict[str, float]:
    """The features that may be corrupted instead of one side, with their shares; empty where there are none.

    The other side counts where it is larger by one feature at most, explains all breaks, and nothing tells them apart:
    the distributions of the first side have shifted, or a feature of the other one keeps its associations elsewhere.
    Where that does not hold for the whole side, it may for parts of it; in all other parts both sides are the same.

    Args:
        search: the joint table and the window.
        side: corrupted features with their shares, as `fewest_features` finds them.
        corrupt_names: features whose values themselves show corruption.
    """
    whole = [JoinPart(frozenset(side), _lost(search, side, corrupt_names))] if side else []
    for parts in (whole, _separate_parts(search, side, corrupt_names)):
        excluded_names = corrupt_names.union(side, *(part.others for part in parts))
        ambiguous_parts = [part for part in parts if _may_be_corrupt(search, part, side, corrupt_names, excluded_names)]
        if ambiguous_parts:
            doubtful_names = frozenset[str]().union(*(part.members for part in ambiguous_parts))
            certain_shares = {name: share for name, share in side.items() if name not in doubtful_names}
            shares = {name: _share(part, side) for part in ambiguous_parts for name in sorted(part.others)}
            return {**certain_shares, **shares}
    return {}


def _share(part: JoinPart, side: Mapping[str, float]) -> float:
    return max(side[name] for name in part.members)


def _lost(
    search: "AssociationSearch", members: Collection[str], corrupt_names: set[str], side: Collection[str] = ()
) -> frozenset[str]:
    """The features outside a side that have clearly lost their associations with some members of it together."""
    is_lost = search.clear_breaks(corrupt_names, 0.0, members)[2]
    names = {name for name in search.names if is_lost[search.index[name]]}
    return frozenset(names - corrupt_names - {*members, *side})


def _separate_parts(search: "AssociationSearch", side: Collection[str], corrupt_names: set[str]) -> list[JoinPart]:
    """The parts of a side: members of different parts have broken with no feature in common."""
    parts: list[JoinPart] = []
    for member in side:
        others = _lost(search, (member,), corrupt_names, side)
        neighbours = [part for part in parts if part.others & others]
        whole_part = JoinPart(
            frozenset({member}).union(*(part.members for part in neighbours)),
            others.union(*(part.others for part in neighbours)),
        )
        parts = [*(part for part in parts if part not in neighbours), whole_part]
    return parts


def _may_be_corrupt(
    search: "AssociationSearch",
    part: JoinPart,
    side: Mapping[str, float],
    corrupt_names: set[str],
    excluded_names: set[str],
) -> bool:
    """Whether the other side of a part may be corrupted instead of its members."""
    if not part.others or len(part.others) > len(part.members) + 1 or _has_shifted_more(search, part):
        return False
    share = _share(part, side)
    if any(search.keeps_associations(name, share, excluded_names) for name in part.others):
        return False
    return not search.clear_breaks(corrupt_names.union(side.keys() - part.members, part.others))[2].any()


def _has_shifted_more(search: "AssociationSearch", part: JoinPart) -> bool:
    """Whether the distributions of the members have shifted, and more than those of the others."""
    shift, other_shift = (max(search.certain_shift[search.index[n]] for n in names) for names in part)
    return bool(shift > max(search.limits.policy.negligible_shift, other_shift))
