"""Hypothesis as a build wants it: the same examples every time, and no deadline on a shared machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "core", derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("core")
