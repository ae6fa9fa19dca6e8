"""A model that reads a date and a text, from its files to states: `init` says what they are, and prices them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe import service
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.init.create import CreatedService
from tests.init.services import init_service

WORDS = ("late", "parcel", "box", "broken", "refund", "card", "support", "answer", "quick", "thanks", "good", "size")
BAD_WORDS = ("late", "broken", "refund")
YEAR = r"^\d{4}"
RUN_ROWS = 400


def orders(count: int, seed: int, start: str, days: float) -> pd.DataFrame:
    """Orders in time order, whose label depends on the year of the first order, the comment and the amount."""
    random = np.random.default_rng(seed)
    times = pd.Timestamp(start) + pd.to_timedelta(np.sort(random.uniform(0, days * 86_400, count)), unit="s")
    first = times - pd.to_timedelta(random.gamma(2.0, 300.0, count), unit="D")
    words = [random.choice(WORDS, size) for size in random.integers(4, 12, count)]
    bad_count = np.array([sum(word in BAD_WORDS for word in each) for each in words])
    amount = random.gamma(2.0, 50.0, count).round(2)
    score = 2.5 * (first.year.to_numpy() >= 2025) - 1.5 + 1.2 * (bad_count - 2) + (amount - 100) / 80
    return pd.DataFrame(
        {
            "timestamp": times.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "first_order": first.strftime("%Y-%m-%d"),
            "comment": [f"{' '.join(each)} {random.random():.6f}" for each in words],
            "amount": amount,
            "label": (random.random(count) < 1 / (1 + np.exp(-score))).astype(int),
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> CreatedService:
    """A service of a model that was trained on earlier orders."""
    table = orders(3_000, 1, "2026-01-05", 28)
    encoder = make_column_transformer(
        (CountVectorizer(token_pattern=YEAR), "first_order"),
        (TfidfVectorizer(), "comment"),
        (StandardScaler(), ["amount"]),
    )
    model = make_pipeline(encoder, LogisticRegression()).fit(
        table[["first_order", "comment", "amount"]], table["label"]
    )
    return init_service(
        model, orders(2_000, 2, "2026-02-02", 21), tmp_path_factory.mktemp("shop"), form="csv", label="label"
    )


def play(shop: CreatedService, history: pd.DataFrame) -> list[Any]:
    """The runs of a backtest."""
    settings = shop.folder / "stillsafe.toml"
    return list(service.backtest(settings, history, label="label", rows_per_run=RUN_ROWS).runs)


def bad_keys(runs: list[Any]) -> set[str]:
    """The keys of all readings that deviated."""
    return {reading.key for run in runs for reading in run.readings if reading.evidence is Evidence.BAD}


def with_fault(**columns: Any) -> pd.DataFrame:
    """A history of eight runs, the third to fifth with other values in some columns."""
    history = orders(8 * RUN_ROWS, 5, "2026-02-25", 5)
    part = history.iloc[2 * RUN_ROWS : 5 * RUN_ROWS]
    for name, change in columns.items():
        history[name] = [*history[name][: part.index[0]], *part[name].map(change), *history[name][part.index[-1] + 1 :]]
    return history


def test_init_says_what_it_took_the_columns_for(shop: CreatedService) -> None:
    """The kind, the reason and the line that changes it, in the warnings and above the feature in the settings."""
    assert [spec.type for spec in shop.schema.features] == [FeatureType.DATE, FeatureType.TEXT, FeatureType.NUMERIC]
    settings = (shop.folder / "stillsafe.toml").read_text(encoding="utf-8")
    for words in (
        "first_order: All 2000 values are dates",
        "comment: New values keep coming",
        '`type = "category"`',
    ):
        assert any(words in warning for warning in shop.warnings)
        assert words.split(": ")[-1] in settings


def test_the_study_prices_views_by_their_feature(shop: CreatedService) -> None:
    """A view costs what its feature costs, and knows which that is; the baseline keeps no word and no date."""
    assert shop.baseline.harm is not None
    impacts = shop.baseline.harm.features
    assert {name for name, each in impacts.items() if each.view_of} == {
        *(f"first_order ({kind})" for kind in ("lag", "weekday")),
        *(f"comment ({kind})" for kind in ("length", "script", "unknown words")),
    }
    assert impacts["first_order (lag)"].permuted == impacts["first_order"].permuted > 0.03
    assert max(loss or 0.0 for loss in impacts["comment (unknown words)"].at) > 0.03
    reference = (shop.folder / "reference.json").read_text(encoding="utf-8")
    assert not any(f'"{word}' in reference or f"{word} " in reference for word in ("parcel", "thanks", "2025-"))


def test_healthy_weeks_are_calm(shop: CreatedService) -> None:
    """Over 24 runs of two weeks, weekends among them, dates and new texts are no deviation."""
    runs = play(shop, orders(24 * RUN_ROWS, 3, "2026-02-24", 14))
    assert len(runs) == 24
    assert bad_keys(runs) == set()
    assert {run.state for run in runs} == {State.NORMAL}


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"first_order": lambda _: "1970-01-01"}, "out_of_range_rate:first_order (lag)"),
        ({"first_order": lambda _: "2026-02-20"}, "distribution_change:first_order (lag)"),
        ({"comment": lambda text: f"das paket kam spaet {text[-6:]}"}, "out_of_range_rate:comment (unknown words)"),
        ({"comment": lambda text: text[::-1]}, "out_of_range_rate:comment (unknown words)"),
    ],
    ids=["unset", "stuck", "another language", "garbled"],
)
def test_damage_that_costs_is_critical_and_ends(shop: CreatedService, columns: dict[str, Any], key: str) -> None:
    """The view names the damage, the estimate prices it, and the state recovers after it."""
    runs = play(shop, with_fault(**columns))
    assert {key, "estimated_accuracy_loss"} <= bad_keys(runs)
    assert "CRITICAL" in {run.severity.value for run in runs}
    assert {reading.evidence for run in runs[-2:] for reading in run.readings} <= {Evidence.OK, Evidence.INSUFFICIENT}


def test_a_shift_of_all_dates_is_a_warning(shop: CreatedService) -> None:
    """Older customers may have come as well, so a shift within the healthy range is no certain damage."""
    runs = play(shop, with_fault(first_order=lambda day: f"{pd.Timestamp(day) - timedelta(days=1_000):%Y-%m-%d}"))
    assert "distribution_change:first_order (lag)" in bad_keys(runs)
    assert State.WARNING in {run.state for run in runs}


def test_a_sample_without_times_is_calm_too(shop: CreatedService, tmp_path: Path) -> None:
    """Without `timestamp` the lag is rough: `init` says so, weeks are calm, and an unset date is found."""
    sample = orders(2_000, 2, "2026-02-02", 21).drop(columns="timestamp").sample(frac=1, random_state=1)
    model = make_pipeline(
        make_column_transformer((CountVectorizer(token_pattern=YEAR), "first_order"), (StandardScaler(), ["amount"])),
        LogisticRegression(),
    ).fit(sample[["first_order", "amount"]], sample["label"])
    rough = init_service(model, sample[["first_order", "amount", "label"]], tmp_path, label="label")
    assert any("first_order" in warning and "`timestamp`" in warning for warning in rough.warnings)
    later = orders(6 * RUN_ROWS, 3, "2027-02-24", 14)
    assert "out_of_range_rate:first_order (lag)" not in bad_keys(play(rough, later))
    unset = play(rough, with_fault(first_order=lambda _: "1970-01-01"))
    assert "out_of_range_rate:first_order (lag)" in bad_keys(unset)
