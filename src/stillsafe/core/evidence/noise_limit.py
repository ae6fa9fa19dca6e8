"""Noise limits: how far chance alone takes a healthy reading from its reference.

`z` standard errors are enough for a mean but not for a few rare events, whose tail is longer than the normal one: two
of 25 are no surprise where one in 200 is usual. A rate therefore gets the linear term of Bernstein's inequality
(S. Boucheron, G. Lugosi and P. Massart, Concentration Inequalities, 2013, section 2.8), with z² / 2 for the logarithm
of the chance.
"""

import math
from statistics import NormalDist


def z_limit(false_alarm_rate: float, reading_count: int) -> float:
    """Standard errors that noise exceeds in any of `reading_count` two-sided readings with the given probability.

    By Bonferroni's inequality: each reading gets an equal part of the probability.
    """
    return NormalDist().inv_cdf(1 - false_alarm_rate / (2 * max(reading_count, 1)))


def mean_noise_limit(z: float, standard_error: float, variation: float) -> float:
    """Noise limit of a mean or of a total variation distance.

    Args:
        z: standard errors that noise exceeds too rarely to matter.
        standard_error: of the difference from the reference by sampling.
        variation: standard deviation between chunks of the healthy period beyond sampling.
    """
    return math.hypot(z * standard_error, z * variation)


def pooled_rate(value: float, count: int, reference: float, healthy_count: int) -> float:
    """The rate of window and baseline in one, with one success and one failure added, so that zero keeps a width.

    Source: A. Agresti and B. Caffo, The American Statistician 54, 2000.
    """
    return (value * count + reference * healthy_count + 1) / (count + healthy_count + 2)


def rate_standard_error(value: float, count: int, reference: float, healthy_count: int) -> float:
    """Standard error of the difference of two rates at their pooled rate; NaN for contradictory counts."""
    rate = pooled_rate(value, count, reference, healthy_count)
    return math.sqrt(rate * (1 - rate) * (1 / count + 1 / healthy_count)) if 0 <= rate <= 1 else math.nan


def rate_noise_limit(z: float, count: int, reference: float, healthy_count: int, variation: float) -> float:
    """Noise limit of a rate: the distance d at which the rate is as far from its reference as noise explains.

        d = s + sqrt(s² + (z e)² + (z variation)²), with s = z² / (6 count)

    where e is the standard error at the rate `reference + d` (`rate_standard_error`). The pooled rate is linear in d,
    so d is the positive root of a quadratic equation. The limit depends on the numbers of rows and not on the rate
    that was measured.

    Args:
        z: as in `mean_noise_limit`.
        count: rows of the window, at least one.
        reference: the healthy rate, in [0, 1].
        healthy_count: rows of the baseline, at least one.
        variation: as in `mean_noise_limit`.
    """
    slack, size = z * z / (6 * count), 1 / count + 1 / healthy_count
    slope, rate = count / (count + healthy_count + 2), pooled_rate(reference, count, reference, healthy_count)
    square = 1 + z * z * size * slope * slope
    linear = 2 * slack + z * z * size * slope * (1 - 2 * rate)
    constant = z * z * (variation * variation + size * max(rate * (1 - rate), 0.0))
    return (linear + math.sqrt(linear * linear + 4 * square * constant)) / (2 * square)
