"""A healthy period and windows drawn from it, with everything known about the truth."""

import math
from datetime import UTC, datetime, timedelta
from random import Random

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.schema import FeatureType
from stillsafe.core.window import FeatureTally, Tally, Window

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
MISSING_RATES = (0.0, 0.0005, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3)
AVG_CONFIDENCE, CONFIDENCE_SD, LOW_CONFIDENCE_RATE = 0.85, 0.12, 0.1
REFUSAL_RATE, MODEL_ERROR_RATE, NEW_CATEGORY_RATE = 0.004, 0.001, 0.002


def draw_count(random: Random, n: int, rate: float) -> int:
    """How many of `n` events of the given rate happen: exact where they are few, the normal limit elsewhere."""
    if rate <= 0:
        return 0
    if n * rate * (1 - rate) > 200:
        return min(n, max(0, round(random.gauss(n * rate, math.sqrt(n * rate * (1 - rate))))))
    count, at = 0, -1
    while True:
        at += 1 + int(math.log(1 - random.random()) / math.log1p(-rate))
        if at >= n:
            return count
        count += 1


def a_baseline(random: Random, n: int) -> Baseline:
    """A baseline of `n` healthy predictions, as unsure of its own rates as such a baseline is."""
    features = {}
    for number, rate in enumerate(MISSING_RATES):
        missing = draw_count(random, n, rate)
        features[f"x{number}"] = FeatureBaseline(FeatureType.NUMERIC, n - missing, missing, 0.0, 1.0)
    single_categories = {f"new-{number}": 1 for number in range(draw_count(random, n, NEW_CATEGORY_RATE))}
    features["word"] = FeatureBaseline(
        FeatureType.CATEGORY, n, 0, category_counts={"often": n - len(single_categories), **single_categories}
    )
    return Baseline(
        "b",
        "1",
        START,
        BaselineSource.REFERENCE,
        sample_size=n,
        confidence_count=n,
        avg_confidence=random.gauss(AVG_CONFIDENCE, CONFIDENCE_SD / math.sqrt(n)),
        confidence_sd=CONFIDENCE_SD,
        low_confidence_threshold=0.7,
        low_confidence_rate=draw_count(random, n, LOW_CONFIDENCE_RATE) / n,
        refusal_count=draw_count(random, n, REFUSAL_RATE),
        model_error_count=draw_count(random, n, MODEL_ERROR_RATE),
        features=features,
    )


def a_tally(random: Random, n: int, baseline_size: int) -> Tally:
    """`n` healthy predictions."""
    features = {}
    for number, rate in enumerate(MISSING_RATES):
        missing = draw_count(random, n, rate)
        outside = draw_count(random, n - missing, 2 / (baseline_size + 1))
        features[f"x{number}"] = FeatureTally(n - missing, missing, below_count=outside)
    features["word"] = FeatureTally(n, unseen_count=draw_count(random, n, NEW_CATEGORY_RATE))
    mean = random.gauss(AVG_CONFIDENCE, CONFIDENCE_SD / math.sqrt(n))
    return Tally(
        prediction_count=n,
        confidence_count=n,
        confidence_sum=mean * n,
        confidence_square_sum=(mean * mean + CONFIDENCE_SD * CONFIDENCE_SD) * n,
        low_confidence_count=draw_count(random, n, LOW_CONFIDENCE_RATE),
        model_error_count=draw_count(random, n, MODEL_ERROR_RATE),
        refusal_count=draw_count(random, n, REFUSAL_RATE),
        features=features,
    )


def a_window(fresh: Tally, total: Tally | None = None, silent_seconds: float | None = None) -> Window:
    """A quarter of an hour of version 1."""
    return Window(START, START + timedelta(minutes=15), "1", total or fresh, fresh, silent_seconds=silent_seconds)
