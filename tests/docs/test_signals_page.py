"""The page on signals says what the code does: names, sentences, limits, and a picture that stands alone."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.label_tally import Truth
from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.policy import Policy, reasons
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import SIGNALS, Evidence, Level, Reading, Signal
from stillsafe.core.window import FeatureTally, Tally, Window

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "signals.md").read_text(encoding="utf-8")
POLICY = Policy()
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)


def deviating(signal: Signal, feature: str | None, value: float, reference: float, count: int = 500) -> Reading:
    """A reading just as the default policy would judge it on many rows."""
    moderate, severe = POLICY.effects(signal)
    level = Level.SEVERE if severe is not None and value > severe and "estimated" in signal else Level.MODERATE
    return Reading(signal, feature, Evidence.BAD, level, value, reference, moderate, severe, count)


SILENT = Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 2400.0, 300.0, 900.0, None, 0)
EXAMPLES = (
    deviating(Signal.AVG_CONFIDENCE, None, 0.962, 0.908),
    deviating(Signal.LOW_CONFIDENCE_RATE, None, 0.214, 0.1),
    deviating(Signal.CONFIDENCE_CHANGE, None, 0.31, 0.05),
    deviating(Signal.PREDICTION_CHANGE, None, 0.27, 0.02),
    deviating(Signal.MISSING_RATE, "wind_gust", 0.312, 0.004),
    deviating(Signal.UNSEEN_CATEGORY_RATE, "carrier", 0.18, 0.001, 497),
    deviating(Signal.OUT_OF_RANGE_RATE, "dep_delay", 0.41, 0.0, 492),
    deviating(Signal.REPEATED_VALUE_RATE, "dep_delay", 0.5, 0.0, 492),
    deviating(Signal.DISTRIBUTION_CHANGE, "temp", 0.46, 0.05),
    deviating(Signal.CLOCK_CONTRADICTION_RATE, "hour", 0.312, 0.0),
    deviating(Signal.BROKEN_RELATION_RATE, "dep_delay", 0.842601, 0.0),
    deviating(Signal.ESTIMATED_ACCURACY_LOSS, None, 0.157732, 0.0),
    deviating(Signal.ESTIMATED_ERROR_GROWTH, None, 0.34, 0.0),
    replace(deviating(Signal.ESTIMATED_METRIC_LOSS, None, 0.199, 0.0), metric="auc", healthy_performance=0.88),
    replace(
        deviating(Signal.REALISED_LOSS, None, 0.14, 0.0),
        moderate_limit=0.0322,
        metric="accuracy",
        healthy_performance=0.91,
        truth=Truth(AT - timedelta(days=1), AT, 0.83),
    ),
    deviating(Signal.REPEATED_ROW_RATE, None, 0.666667, 0.0, 180),
    deviating(Signal.REFUSAL_RATE, None, 0.12, 0.004),
    deviating(Signal.MODEL_ERROR_RATE, None, 0.06, 0.001),
    replace(
        deviating(Signal.SOURCE_DEVIATION, None, 0.92, 0.0, 380),
        sources=("a1b2c3d4e5f60718",),
        source_keys=("missing_rate:age", "missing_rate:town"),
    ),
    SILENT,
)


def section(signal: Signal) -> str:
    """What the page says under a signal's heading."""
    match = re.search(rf"^### .*\(`{signal.value}`\)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{signal.value} has no heading"
    return match.group(1)


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_is_explained(signal: Signal) -> None:
    """Each signal has what it watches, why that matters, what it cannot see, and its limits."""
    text = section(signal)
    for part in ("**Watches**", "**Matters**", "**Blind to**", "**Limits**"):
        assert text.count(part) == 1, part


@pytest.mark.parametrize("signal", [signal for signal in SIGNALS if signal is not Signal.SILENCE_SECONDS])
def test_its_limits_are_the_policys(signal: Signal) -> None:
    """The limits under a signal's heading are the defaults in force."""
    limits = re.search(r"\*\*Limits\*\* (\d+\.\d+)(?: and (\d+\.\d+))?", section(signal))
    assert limits is not None
    assert tuple(float(limit) if limit else None for limit in limits.groups()) == POLICY.effects(signal)


def test_every_default_that_is_quoted_agrees() -> None:
    """A policy's name followed by a number in brackets is that number."""
    defaults = re.findall(r"`(\w+)` \(([\d.]+)\)", PAGE)
    assert {"false_alarm_rate", "min_predictions", "min_fresh_predictions", "warning_runs"} <= dict(defaults).keys()
    for name, number in defaults:
        assert float(number) == reasons()[name][0], name


def test_there_is_an_example_of_every_signal() -> None:
    """No signal is left without a sentence."""
    assert {example.signal for example in EXAMPLES} == set(Signal)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.signal.value)
def test_the_examples_are_what_the_product_says(example: Reading) -> None:
    """The sentence under a signal's heading is one that the product makes."""
    healthy_error = {Signal.ESTIMATED_ACCURACY_LOSS: 0.09, Signal.ESTIMATED_ERROR_GROWTH: 3.0}.get(example.signal)
    assert f"> {sentence(example, healthy_error)}\n" in section(example.signal)


@pytest.mark.parametrize("count", [50, 500, 5_000])
def test_the_table_of_limits_is_computed(count: int) -> None:
    """The limits by window size, for a steady feature and for one that wobbles, are what the core applies."""
    cells = [f"{100 * _limit(count, variation):.1f}" for variation in (0.0, 0.02)]
    assert f"| {count:,} | +{cells[0]} points | +{cells[1]} points |" in PAGE


def _limit(count: int, variation: float) -> float:
    """The moderate limit of the missing rate of one of 15 numeric features, 2% missing in 6,000 healthy rows."""
    names = [f"x{number}" for number in range(15)]
    baseline = Baseline(
        "b",
        "1",
        AT,
        BaselineSource.REFERENCE,
        sample_size=6_000,
        confidence_count=0,
        avg_confidence=None,
        confidence_sd=None,
        low_confidence_threshold=None,
        low_confidence_rate=None,
        features=dict.fromkeys(names, FeatureBaseline(FeatureType.NUMERIC, 5_880, 120, 0.0, 1.0)),
        variation={"missing_rate:x0": variation},
    )
    missing = count // 50
    now = Tally(count, features=dict.fromkeys(names, FeatureTally(count - missing, missing)))
    window = Window(AT, AT + timedelta(minutes=15), "1", now, now)
    limits = {reading.key: reading.moderate_limit for reading in read_signals(POLICY, baseline, window)}
    limit = limits["missing_rate:x0"]
    assert limit is not None
    return limit


def test_the_worked_table_adds_up() -> None:
    """The two small columns on the page give the shares that the page says."""
    rows = re.findall(r"^\| \d \| (.+?) \|$", PAGE, re.MULTILINE)
    columns = list(zip(*(row.split(" | ") for row in rows), strict=True))
    assert len(rows) == 8
    shares = []
    for pairs in columns:
        intact_pairs = sum(pair in ("winter, cold", "summer, hot") for pair in pairs)
        months, weathers = zip(*(pair.split(", ") for pair in pairs), strict=True)
        by_chance = sum(months.count(m) * weathers.count(w) / 8 for m, w in (("winter", "cold"), ("summer", "hot")))
        shares.append(f"{(8 - intact_pairs) / (8 - by_chance):.0%}")
        assert f"{intact_pairs} of 8" in PAGE
    assert f"**{'**, **'.join(shares)}**" in PAGE


def test_the_picture_stands_alone() -> None:
    """The picture is well-formed, asks nothing of the network, and brings its own ground for light and dark."""
    text = (DOCS / "signals.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own file
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<script|<image|@import|url\(|href", text)
    assert "prefers-color-scheme: dark" in text
    assert 'class="ground"' in text
    assert "(signals.svg)" in PAGE
