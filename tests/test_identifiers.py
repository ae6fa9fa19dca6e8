"""Identifiers are unique, of their time, and in the order in which they were asked for."""

import time
from uuid import RFC_4122, UUID

from stillsafe.identifiers import new_ids


def test_identifiers_are_uuids_of_their_time() -> None:
    """Each is a version 7 UUID in its usual form that begins with the milliseconds; in the other 74 bits both occur."""
    begin = time.time_ns() // 1_000_000
    identifiers = [*new_ids(200), *new_ids(1)]
    end = time.time_ns() // 1_000_000
    numbers = [UUID(identifier) for identifier in identifiers]
    assert [str(number) for number in numbers] == identifiers
    assert {(number.version, number.variant) for number in numbers} == {(7, RFC_4122)}
    assert all(begin <= number.int >> 80 <= end for number in numbers)
    assert len(set(identifiers)) == 201
    assert identifiers[:200] == sorted(identifiers[:200])
    ones, zeros = 0, 0
    for number in numbers[:200]:
        ones, zeros = ones | number.int, zeros | ~number.int
    assert (ones & zeros & ((1 << 80) - 1)).bit_count() == 74
    assert new_ids(0) == []
