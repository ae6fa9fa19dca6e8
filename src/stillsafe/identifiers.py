"""Identifiers of predictions."""

import os
import time
from hashlib import shake_128

_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


MOST_BLOCK_IDS = 2**12


def block_ids(seed: str, milliseconds: int, count: int) -> list[str]:
    """The identifiers of the predictions of one block, which its seed gives again: UUIDs (version 7), ascending.

    Args:
        seed: random, of this block alone.
        milliseconds: time since 1970 at which the block began.
        count: how many are wanted, `MOST_BLOCK_IDS` at most; fewer are the first of more.
    """
    start, digits = f"{milliseconds:012x}", shake_128(seed.encode()).hexdigest(8 * count)
    head = f"{start[:8]}-{start[8:]}-7"
    # The twelve bits behind the version count, and of those behind the variant 60 are random.
    return [
        f"{head}{number:03x}-a{digits[at : at + 3]}-{digits[at + 3 : at + 15]}"
        for number, at in enumerate(range(0, 16 * count, 16))
    ]


def new_ids(count: int) -> list[str]:
    """Identifiers of new predictions: UUIDs (RFC 9562, version 7) in ascending order, made together.

    Each begins with the milliseconds of now, so rows that come together are near each other in the store's indexes, and
    a commit writes fewer pages than with random ones. 74 bits are random.
    """
    milliseconds = time.time_ns() // 1_000_000
    start, digits = f"{milliseconds:012x}", os.urandom(10 * count).hex()
    tails = [digits[number : number + 20] for number in range(0, 20 * count, 20)]
    # The version, 7, stands before the first 12 random bits, the variant in the two bits before the others.
    return sorted(f"{start[:8]}-{start[8:]}-7{tail[:3]}-{_VARIANTS[tail[3]]}{tail[4:7]}-{tail[7:19]}" for tail in tails)
