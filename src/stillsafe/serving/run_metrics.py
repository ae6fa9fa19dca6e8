"""Gauges of the last run: every reading with its limits and streak, what was counted, and what is served.

The series are as many as the schema has features times the signals of a feature, and at most `MOST_READINGS`.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from stillsafe.core.signals import Level
from stillsafe.core.state import Streak
from stillsafe.model.model import Model
from stillsafe.store.read.runs import RunRecord

MOST_READINGS = 1_000
"""Most readings that a scrape has, those that deviate first."""
LABELS = ["signal", "feature"]
_LEVELS = {level.value: float(number) for number, level in enumerate(Level)}


def run_gauges(run: RunRecord | None) -> Iterator[Metric]:
    """The gauges of the newest run of the served version; none before the first."""
    if run is None:
        return
    yield GaugeMetricFamily(
        "stillsafe_window_predictions", "Predictions in the window of the last run.", value=float(run.prediction_count)
    )
    if run.avg_confidence is not None:
        help_text = "Mean confidence in the window of the last run, in [0, 1]."
        yield GaugeMetricFamily("stillsafe_window_mean_confidence", help_text, value=run.avg_confidence)
    readings = sorted(run.readings or (), key=lambda reading: -_LEVELS.get(str(reading.get("level")), 0.0))
    yield from _reading_gauges(readings[:MOST_READINGS])
    yield _streak_gauge((run.memory or {}).get("streaks") or {})


def build_gauges(model: Model) -> Iterator[Metric]:
    """What is installed and served, as labels of gauges that are always 1."""
    build = GaugeMetricFamily("stillsafe_build_info", "The installed Stillsafe.", labels=["version"])
    build.add_metric([version("stillsafe")], 1.0)
    yield build
    labels = ["model_version", "kind", "confidence_method"]
    served_model = GaugeMetricFamily("stillsafe_model_info", "The served model.", labels=labels)
    served_model.add_metric([model.version, model.kind.value, model.scale.method.value], 1.0)
    yield served_model


def _reading_gauges(readings: list[Mapping[str, Any]]) -> Iterator[Metric]:
    families = {
        "value": GaugeMetricFamily("stillsafe_reading_value", "A signal in the last window.", labels=LABELS),
        "reference": GaugeMetricFamily("stillsafe_reading_reference", "The same in the baseline.", labels=LABELS),
        "moderate_limit": GaugeMetricFamily(
            "stillsafe_reading_moderate_limit", "Distance from the reference that is a deviation.", labels=LABELS
        ),
        "severe_limit": GaugeMetricFamily(
            "stillsafe_reading_severe_limit", "Distance from the reference that is severe.", labels=LABELS
        ),
    }
    level = GaugeMetricFamily("stillsafe_reading_level", "0 healthy, 1 moderate, 2 severe.", labels=LABELS)
    for reading in readings:
        names = [str(reading["signal"]), str(reading.get("feature") or "")]
        level.add_metric(names, _LEVELS.get(str(reading.get("level")), 0.0))
        for key, family in families.items():
            if reading.get(key) is not None:
                family.add_metric(names, float(reading[key]))
    yield from (*families.values(), level)


def _streak_gauge(streaks: Mapping[str, Any]) -> Metric:
    help_text = "Consecutive conclusive runs in which a signal deviated; absent where it did not."
    gauge = GaugeMetricFamily("stillsafe_streak_runs", help_text, labels=LABELS)
    for key in sorted(streaks)[:MOST_READINGS]:
        signal, _, feature = key.partition(":")
        gauge.add_metric([signal, feature], float(streaks[key].get("deviating", Streak().deviating)))
    return gauge
