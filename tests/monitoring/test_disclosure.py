"""Every stored aggregate obeys the threshold: planted rare values are found in no document, and stay known."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sqlalchemy import select

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Row, salted_hash
from stillsafe.core.signals import Signal
from stillsafe.core.window import FeatureTally, Tally
from stillsafe.monitoring import baseline
from stillsafe.monitoring.baseline import reference_baseline, reference_columns
from stillsafe.monitoring.disclosure import Disclosure, shared_counts, shared_predictions, window_tally
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.window_tally import both_tallies
from stillsafe.store import database
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.tables import metadata
from tests.core.healthy import START
from tests.init.services import init_service
from tests.monitoring.conftest import STEP, Service
from tests.monitoring.test_log_format import PLAIN, rows

HAMLET, HAMLET_ROWS, RENT, FLOOR, NEWTOWN = "Hamlet-4711", 4, 123456.789, 987_654_321, "Newtown-0815"
SALT, MIN_COUNT = "pinch", 5
ROW_TABLES = ("prediction_logs", "refusals")


def documents(service: Service) -> Iterator[tuple[str, str]]:
    """Every table but those of rows, with its whole content as text."""
    with database.reading(service.engine) as connection:
        for table in metadata.sorted_tables:
            if table.name not in ROW_TABLES:
                content = [tuple(row) for row in connection.execute(select(table))]
                yield table.name, json.dumps(content, default=str, ensure_ascii=False)


def rare_values(i: int, row: Row) -> None:
    """Four rows in a hamlet, three of one size, and a floor that is a mistake."""
    if i < HAMLET_ROWS:
        row["town"] = HAMLET
    if 10 <= i < 13:
        row["size"] = RENT
    if i == 20:
        row["floor"] = FLOOR


def strange(i: int, row: Row) -> None:
    """As `rare_values`, and four rows in a town that the baseline does not know; four hundred in another."""
    rare_values(i, row)
    if 30 <= i < 34:
        row["town"] = NEWTOWN
    elif i % 2:
        row["town"] = "Metropolis"


def test_no_document_of_the_store_shows_a_rare_value(bare_service: Service) -> None:
    """Neither the baseline nor a window, a reading or an incident; what many rows share is shown."""
    service = bare_service
    service.send(2_000, start=START - timedelta(days=30), over=18 * STEP, change=rare_values)
    baseline.create(service.engine, service.settings, baseline.HealthyPeriod(2_000), at=START)
    for _ in range(4):
        service.step(400, change=strange)
    texts = dict(documents(service))
    for rare in (HAMLET, str(RENT), str(FLOOR), NEWTOWN):
        assert [name for name, text in texts.items() if rare in text] == []
    assert "Metropolis" in texts["current_window_metrics"]
    assert salted_hash(HAMLET, service.settings.service.hash_salt) in texts["baseline_metrics"]
    assert replay(service.engine, from_logs=True, log_format=LogFormat.of(service.settings)).difference is None


def test_a_later_threshold_changes_no_stored_window(service: Service) -> None:
    """A run stores the threshold that it used, so a recount from the log uses it too."""
    service.step(400, change=strange)
    later = replace(LogFormat.of(service.settings), min_count=50)
    result = replay(service.engine, from_logs=True, log_format=later)
    assert (result.difference, result.windows) == (None, 1)


def test_the_threshold_is_a_setting(bare_service: Service) -> None:
    """With `min_count = 1` nothing is withheld."""
    service = bare_service
    settings = service.settings
    service.settings = settings.model_copy(update={"privacy": settings.privacy.model_copy(update={"min_count": 1})})
    service.make_baseline()
    service.step(400, change=strange)
    texts = dict(documents(service))
    assert NEWTOWN in texts["current_window_metrics"]
    with database.reading(service.engine) as connection:
        healthy = active_baseline(connection, "1")
    assert healthy is not None
    assert len(healthy.features["size"].frequent) == 20


@pytest.fixture(scope="module")
def requests() -> list[Row]:
    """Healthy requests, four of them from a hamlet."""
    return [{**row, "town": HAMLET if i < HAMLET_ROWS else row["town"]} for i, row in enumerate(rows(2_000, 3))]


def test_a_rare_category_stays_known(requests: list[Row]) -> None:
    """It counts among the rare ones and is not unseen, in a baseline and in the windows after it."""
    log_format = LogFormat(PLAIN, SALT, MIN_COUNT)
    columns = reference_columns(PLAIN, requests, [0.8] * 2_000, ["1"] * 2_000, salt=SALT)
    healthy = reference_baseline(columns, PLAIN, model_version="1", at=START, disclosure=Disclosure(MIN_COUNT, SALT))
    town = healthy.features["town"]
    assert town.bins is not None
    assert town.bin_counts[town.bins.below] == HAMLET_ROWS
    assert (set(town.category_counts), town.rare_categories) == (set("ABCD"), (salted_hash(HAMLET, SALT),))
    window = [{**row, "town": HAMLET if i % 2 else NEWTOWN} for i, row in enumerate(rows(400, 4))]
    columns = reference_columns(PLAIN, window, [0.8] * 400, ["1"] * 400, salt=SALT)
    now = both_tallies(columns, log_format, healthy, 0, 0)[0].features["town"]
    assert (now.unseen_count, now.bin_counts[town.bins.below], now.unseen_examples) == (200, 200, {NEWTOWN: 200})


def test_a_hashed_feature_leaves_only_hashes_and_a_dropped_one_nothing(requests: list[Row]) -> None:
    """Whichever of its categories are rare."""
    modes = {"town": LogMode.HASH, "postcode": LogMode.DROP, "rent": LogMode.DROP}
    schema = replace(PLAIN, features=tuple(replace(s, log=modes.get(s.name, s.log)) for s in PLAIN.features))
    columns = reference_columns(schema, requests, [0.8] * 2_000, ["1"] * 2_000, salt=SALT)
    healthy = reference_baseline(columns, schema, model_version="1", at=START, disclosure=Disclosure(MIN_COUNT, SALT))
    assert set(healthy.features) == {"size", "town"}
    assert healthy.features["town"].rare_categories == (salted_hash(HAMLET, SALT),)
    assert set(healthy.features["town"].category_counts) == {salted_hash(town, SALT) for town in "ABCD"}
    text = dumps(to_document(healthy))
    assert not [name for name in ("postcode", "rent", HAMLET, '"A"') if name in text]


def people(count: int = 1_500) -> pd.DataFrame:
    """Incomes to the cent, mail addresses that a few rows share, and a label."""
    random = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "income": random.lognormal(10, 1, count).round(2),
            "age": random.integers(18, 80, count).astype(float),
            "mail": [f"user{i}@example.org" for i in random.integers(0, count // 2, count)],
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
        }
    )
    table.loc[:3, "town"] = HAMLET
    return table.assign(wealthy=np.where(table["income"] > 25_000, "yes", "no"))


def numbers_of(document: Any) -> Iterator[float]:
    """Every number in a document."""
    if isinstance(document, dict | list):
        for item in document.values() if isinstance(document, dict) else document:
            yield from numbers_of(item)
    elif isinstance(document, int | float):
        yield float(document)


def test_the_files_of_init_show_no_rare_value(tmp_path: Path) -> None:
    """No exact income, no rare address or town, in `reference.json` and in the settings."""
    table = people()
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), ("passthrough", ["age"]))
    model = make_pipeline(columns, LogisticRegression()).fit(table[["income", "age", "mail", "town"]], table["wealthy"])
    init_service(model, table, tmp_path, label="wealthy")
    reference, settings = ((tmp_path / "out" / name).read_text() for name in ("reference.json", "stillsafe.toml"))
    rare_mails = [mail for mail, count in table["mail"].value_counts().items() if count < MIN_COUNT]
    assert len(rare_mails) > 500
    assert not [text for text in (HAMLET, *rare_mails) if f'"{text}"' in reference + settings]
    assert not set(numbers_of(json.loads(reference))) & set(table["income"])


def test_a_prediction_that_is_a_label_is_not_shown(tmp_path: Path) -> None:
    """A regressor of one nearest neighbour predicts the label of a row: neither scale nor caps show one."""
    table = people(600)
    model = KNeighborsRegressor(1).fit(table[["age", "income"]], table["income"])
    init_service(model, table[["age", "income"]].assign(pay=table["income"]), tmp_path, label="pay")
    reference, settings = ((tmp_path / "out" / name).read_text() for name in ("reference.json", "stillsafe.toml"))
    assert not set(numbers_of(json.loads(reference))) & set(table["income"])
    assert not [pay for pay in (table["income"].min(), table["income"].max()) if str(pay) in settings]


def test_predictions_of_a_regressor_are_listed_only_if_shared() -> None:
    """The counts of classes stay; a number that fewer rows predict than the threshold is left out."""
    assert shared_predictions({"yes": 3, "no": 90}, 5) == {"yes": 3, "no": 90}
    assert shared_predictions({"1.25": 3, "7.5": 90}, 5) == {"7.5": 90}


def test_a_window_without_a_threshold_stays_as_it_is() -> None:
    """A `min_count` of 1 withholds nothing; a higher one withholds the rarer examples and numbers."""
    feature = FeatureTally(9, unseen_count=9, unseen_examples={"a": 6, "b": 3}, commonest=(1.5, 3))
    tally = Tally(9, features={"x": feature}, prediction_counts={"1.5": 2})
    assert window_tally(tally, 1) == tally
    feature = window_tally(tally, 5).features["x"]
    assert (feature.unseen_count, feature.unseen_examples, feature.commonest) == (9, {"a": 6}, None)


def test_a_category_is_either_shared_or_rare() -> None:
    """The order stays, and a hash takes the place of a rare one unless the log has hashes already."""
    assert shared_counts({"a": 9, "b": 5, "c": 4}, 5) == ({"a": 9, "b": 5}, {"c": 4})
    plain = FeatureSpec("town", FeatureType.CATEGORY)
    assert Disclosure(5, SALT).rare_key("c", plain) == salted_hash("c", SALT)
    assert Disclosure(5, SALT).rare_key("c", replace(plain, log=LogMode.HASH)) == "c"
    assert Disclosure(5).rare_key("c", plain) == "c"


def test_a_number_that_few_rows_repeat_is_no_repeated_number(service: Service) -> None:
    """The reading is judged and calm: the commonest number of a healthy window is hardly ever shared."""
    service.send(400)
    service.now += STEP
    decision = service.run().decision
    assert decision is not None
    reading = next(each for each in decision.readings if each.signal is Signal.REPEATED_VALUE_RATE)
    assert (reading.value, reading.level.value) == (0.0, "NONE")
