"""Identifiers of predictions."""

import os
import time

_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


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
