"""Gauges of the last run: every reading, limit and streak, and no more series than are bounded."""

from types import SimpleNamespace
from typing import Any

from stillsafe.serving.run_metrics import MOST_READINGS, build_gauges, run_gauges
from tests.serving.services import Service


def _run(**fields: Any) -> Any:
    base = {"prediction_count": 7, "avg_confidence": 0.5, "readings": None, "memory": None}
    return SimpleNamespace(**{**base, **fields})


def _samples(run: Any) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value for family in run_gauges(run) for sample in family.samples
    }


def _reading(**fields: Any) -> dict[str, Any]:
    base = {"signal": "missing_rate", "feature": "age", "level": "MODERATE", "value": 0.3, "reference": 0.1}
    return {**base, "moderate_limit": 0.05, "severe_limit": None, **fields}


def test_each_reading_has_its_value_its_limits_and_its_streak() -> None:
    """What cannot be measured has no series."""
    rate = _reading(signal="refusal_rate", feature=None, level="NONE", value=None)
    streaks = {"missing_rate:age": {"deviating": 3, "severe": 0}, "refusal_rate": {}}
    samples = _samples(_run(readings=[_reading(), rate], memory={"streaks": streaks}))
    assert samples["stillsafe_reading_value", "missing_rate", "age"] == 0.3
    assert samples["stillsafe_reading_reference", "missing_rate", "age"] == 0.1
    assert samples["stillsafe_reading_moderate_limit", "missing_rate", "age"] == 0.05
    assert samples["stillsafe_reading_level", "missing_rate", "age"] == 1
    assert samples["stillsafe_reading_level", "refusal_rate", ""] == 0
    assert samples["stillsafe_streak_runs", "missing_rate", "age"] == 3
    assert samples["stillsafe_streak_runs", "refusal_rate", ""] == 0
    assert not any(name[0].endswith("severe_limit") or name[1:] == ("value", "refusal_rate") for name in samples)
    assert ("stillsafe_reading_value", "refusal_rate", "") not in samples
    assert (samples["stillsafe_window_predictions",], samples["stillsafe_window_mean_confidence",]) == (7, 0.5)


def test_a_service_without_a_run_has_none() -> None:
    """And a run without documents, of an older release, only its counts."""
    assert list(run_gauges(None)) == []
    assert [*_samples(_run(avg_confidence=None))] == [("stillsafe_window_predictions",)]


def test_the_series_are_bounded() -> None:
    """What deviates is among them."""
    calm = [_reading(feature=f"f{number}", level="NONE") for number in range(2 * MOST_READINGS)]
    samples = _samples(_run(readings=[*calm, _reading(feature="last", level="SEVERE")]))
    assert sum(name[0] == "stillsafe_reading_level" for name in samples) == MOST_READINGS
    assert samples["stillsafe_reading_level", "missing_rate", "last"] == 2


def test_build_and_model_are_named(service: Service) -> None:
    """As labels."""
    gauges = {family.name: family.samples[0].labels for family in build_gauges(service.context.model)}
    assert gauges["stillsafe_model_info"]["model_version"] == "v1"
    assert gauges["stillsafe_build_info"]["version"]
