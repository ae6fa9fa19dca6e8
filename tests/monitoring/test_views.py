"""Dates and texts are watched by views: health stays calm for weeks, and all kinds of damage are found."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from stillsafe.core.baseline import BaselineSource
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.evidence.view import View, ViewKind
from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Row, Schema
from stillsafe.core.signals import Evidence
from stillsafe.core.state import State
from stillsafe.monitoring import baseline
from stillsafe.monitoring.columns import Columns, DictionaryColumn, RowOutcomes, columns_from_snapshots
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import logged_baseline
from stillsafe.monitoring.profile import profile_features
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.run_detail import derive
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.views import ViewConditions, view_column, with_baseline_views, with_healthy_views
from stillsafe.settings import Settings, parse
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.state import current_state
from tests.monitoring.conftest import DOCUMENT, START, STEP, Service
from tests.monitoring.formulas import as_documents, check_reading, reading_document

AT = datetime(2026, 3, 2, tzinfo=UTC)
ROWS = 160
"""Requests of a run."""
DAY, DATE = timedelta(days=1), FeatureSpec("day", FeatureType.DATE, required=False)
LAG = View("day", ViewKind.LAG)
WORDS = ("late", "parcel", "box", "broken", "refund", "card", "support", "answer", "quick", "thanks", "good", "size")
FEATURES = [
    {"name": "signup", "type": "date", "required": False},
    {"name": "seen", "type": "numeric", "required": False, "date_format": "seconds"},
    {"name": "due", "type": "date", "required": False, "date_format": "%d.%m.%Y"},
    {"name": "comment", "type": "text", "required": False},
    {"name": "size", "type": "numeric", "required": False},
]


def rows_of(spec: FeatureSpec, values: list[Any], times: list[datetime]) -> Columns:
    """Rows with one feature and the times of their requests."""
    n = len(values)
    outcomes = RowOutcomes(
        confidences=[0.8] * n,
        model_errors=[None] * n,
        fallback_used=[False] * n,
        predictions=["1"] * n,
        times=[int(time.timestamp() * 1e6) for time in times],
    )
    return columns_from_snapshots([{spec.name: value} for value in values], Schema((spec,)), outcomes)


def days_of(view: View, value: object, time: datetime, spec: FeatureSpec = DATE) -> float:
    """The lag of one value."""
    column = view_column(view, rows_of(spec, [value], [time]), "")
    assert isinstance(column, np.ndarray)
    return float(column[0])


def test_a_lag_is_measured_in_the_clock_of_the_value() -> None:
    """A time with an offset is an instant; one without is the clock of the time zone, in summer and in winter."""
    berlin = replace(LAG, timezone="Europe/Berlin")
    for month, offset in ((1, 1), (7, 2)):
        now = datetime(2026, month, 10, 12, tzinfo=UTC)
        assert days_of(berlin, f"2026-0{month}-10T{12 + offset}:00", now) == 0
        assert days_of(berlin, f"2026-0{month}-10T{12 + offset}:00+0{offset}:00", now) == 0
        assert days_of(LAG, f"2026-0{month}-10T06:00", now) == 0.25
    assert days_of(LAG, "2026-07-12", datetime(2026, 7, 10, tzinfo=UTC)) == -2
    assert np.isnan(days_of(LAG, None, AT))


def test_days_without_a_time_have_whole_lags() -> None:
    """Today is today until midnight of the time zone, so a column of days does not depend on the hour."""
    daily = replace(LAG, timezone="Europe/Berlin", is_daily=True)
    assert days_of(daily, "2026-07-10", datetime(2026, 7, 10, 21, 59, tzinfo=UTC)) == 0
    assert days_of(daily, "2026-07-10", datetime(2026, 7, 10, 22, 1, tzinfo=UTC)) == 1


def test_hours_and_weekdays_are_those_of_the_clock() -> None:
    """An instant is converted to the time zone; a value without one shows its own clock."""
    rows = rows_of(DATE, ["2026-03-06T23:30", "2026-03-06T23:30Z", None], [AT] * 3)
    hours, weekdays = (
        view_column(View("day", k, "Europe/Berlin"), rows, "") for k in (ViewKind.HOUR, ViewKind.WEEKDAY)
    )
    assert hours is not None
    assert hours.tolist() == ["23", "0", None]
    assert weekdays is not None
    assert weekdays.tolist() == ["Friday", "Saturday", None]


@pytest.mark.parametrize(
    ("write", "kinds"),
    [
        (lambda time, n: (time - n * timedelta(0)).isoformat(), {"lag"}),
        (lambda time, n: (time - n * timedelta(0)).date().isoformat(), {"lag"}),
        (lambda time, n: (time - n * 7919 % 10 * DAY - n * STEP).isoformat(), {"lag", "hour"}),
        (lambda time, n: (time - n * 7919 % 400 * DAY - n * STEP).isoformat(), {"lag", "hour", "weekday"}),
        (lambda time, n: (time - n * 7919 % 400 * DAY).date().isoformat(), {"lag", "weekday"}),
    ],
    ids=["now", "today", "last days", "last year", "days of last year"],
)
def test_the_clock_of_the_requests_decides_nothing(write: Callable[[datetime, int], str], kinds: set[str]) -> None:
    """Hour and weekday are watched only where the lag leaves them free: else a week of requests would decide them."""
    times = [AT + n * timedelta(minutes=17) for n in range(600)]
    rows = rows_of(DATE, [write(time, n) for n, time in enumerate(times)], times)
    period = ViewConditions(Schema((DATE,)), AT, "UTC", is_timed=True)
    assert {view.kind.value for view in with_healthy_views(rows, period).views.values()} == kinds


def test_values_that_follow_the_clock_tell_their_time_zone() -> None:
    """Times without a zone that were written in UTC stay UTC, whatever the service's own time zone is."""
    times = [AT + n * timedelta(minutes=17) for n in range(200)]
    rows = rows_of(DATE, [f"{time:%Y-%m-%d %H:%M:%S}" for time in times], times)
    view = with_healthy_views(rows, ViewConditions(Schema((DATE,)), AT, "Europe/Berlin", is_timed=True)).views[
        "day (lag)"
    ]
    assert view.timezone == "UTC"


@pytest.mark.parametrize(
    ("write", "latest", "stuck_for"),
    [
        (lambda time: f"{time:%Y-%m-01}", 31 * DAY, 200 * DAY),
        (lambda time: f"{time - time.weekday() * DAY:%Y-%m-%d}", 6 * DAY, 40 * DAY),
        (lambda time: f"{time.replace(hour=time.hour // 6 * 6, minute=0).isoformat()}", DAY / 4, 2 * DAY),
    ],
    ids=["month", "week", "last load"],
)
def test_dates_of_a_period_have_the_lag_of_their_time(
    write: Callable[[datetime], str], latest: timedelta, stuck_for: timedelta
) -> None:
    """The first of the month is 5 days ago for all rows of the sixth: any such lag is in range, and a stuck one not."""
    times = [AT + 2 * DAY + n * timedelta(minutes=5) for n in range(8_000)]
    rows = with_healthy_views(
        rows_of(DATE, [write(time) for time in times], times), ViewConditions(Schema((DATE,)), AT, "UTC", is_timed=True)
    )
    feature = profile_features(rows, Schema((DATE,)))["day (lag)"]
    assert [view.follows_clock for view in rows.views.values()] == [True]
    assert feature.bins is None
    assert feature.minimum is not None
    assert feature.maximum is not None
    assert feature.minimum <= 0 < latest / DAY < feature.maximum < stuck_for / DAY


@pytest.mark.parametrize(
    "write",
    [
        lambda time: f"{time:%Y-%m-%dT00:00:00Z}",
        lambda time: f"{time + timedelta(hours=1):%Y-%m-%dT00:00:00+01:00}",
        lambda time: f"{time:%Y-%m-%d}",
    ],
    ids=["UTC", "offset", "days of UTC"],
)
def test_midnights_are_days(write: Callable[[datetime], str]) -> None:
    """A day may be written as its midnight, in its own zone: its lag is 0 at every hour of the day."""
    times = [AT + n * timedelta(minutes=67) for n in range(300)]
    period = ViewConditions(Schema((DATE,)), AT, "Europe/Berlin", is_timed=True)
    rows = with_healthy_views(rows_of(DATE, [write(time) for time in times], times), period)
    assert [view.is_daily for view in rows.views.values()] == [True]
    assert set(rows.numbers["day (lag)"].tolist()) == {0.0}


def test_without_times_only_dates_far_from_all_count() -> None:
    """The age of such a sample is not known: for years its dates are in range, and an unset clock is not."""
    random = Random(1)
    values = [(AT - random.randrange(900) * DAY).date().isoformat() for _ in range(400)]
    rows = with_healthy_views(rows_of(DATE, values, []), ViewConditions(Schema((DATE,)), AT, "UTC", is_timed=False))
    feature = profile_features(rows, Schema((DATE,)))["day (lag)"]
    assert feature.bins is None
    assert feature.minimum is not None
    assert feature.maximum is not None
    assert feature.minimum < -900 < 900 + 5 * 365 < feature.maximum < (AT - datetime(1970, 1, 1, tzinfo=UTC)).days


def test_a_feature_with_the_name_of_a_view_keeps_it() -> None:
    """A view never takes the place of a feature, and a baseline without views gets none."""
    own = FeatureSpec("day (lag)", FeatureType.NUMERIC, required=False)
    rows = rows_of(DATE, [AT.isoformat()] * 100, [AT] * 100)
    period = ViewConditions(Schema((DATE, own)), AT, "UTC", is_timed=True)
    assert with_healthy_views(rows, period).views == {}
    viewed_rows = with_healthy_views(rows, replace(period, schema=Schema((DATE,))))
    assert [*viewed_rows.numbers] == ["day (lag)"]
    assert [*with_baseline_views(viewed_rows, {}, "").numbers] == []


class Shop:
    """A service with dates and a text, on a simulated clock."""

    def __init__(self, service: Service) -> None:
        self.service, self.random = service, Random(3)

    def row(self, row: Row, now: datetime) -> None:
        """A healthy row."""
        signup = now - self.random.gammavariate(2, 200) * DAY
        row.clear()
        row |= {
            "signup": f"{signup:%Y-%m-%d}",
            "seen": round((now - self.random.expovariate(1) * timedelta(minutes=1)).timestamp(), 1),
            "due": f"{now + self.random.randint(1, 5) * DAY:%d.%m.%Y}",
            "comment": " ".join(
                [*self.random.choices(WORDS, k=self.random.randint(4, 12)), f"{self.random.random():.9f}"]
            ),
            "size": self.random.gauss(50, 10),
        }

    def send(self, count: int, over: timedelta, start: datetime, fault: Callable[[Row], None] | None = None) -> None:
        """Requests from `start` on."""

        def change(i: int, row: Row) -> None:
            self.row(row, start + over * (i / count))
            if fault is not None:
                fault(row)

        self.service.send(count, over=over, start=start, change=change)

    def step(self, fault: Callable[[Row], None] | None = None) -> State:
        """Ten minutes of requests, and the run that evaluates them."""
        self.send(ROWS, STEP, self.service.now, fault)
        self.service.now += STEP
        self.service.run()
        return self.service.state()

    def bad_keys(self, fault: Callable[[Row], None]) -> set[str]:
        """The keys of the readings that deviate in one run with a fault, after which a calm run follows."""
        self.send(ROWS, STEP, self.service.now, fault)
        self.service.now += STEP
        decision = self.service.run().decision
        assert decision is not None
        assert self.step() is State.NORMAL
        return {reading.key for reading in decision.readings if reading.evidence is Evidence.BAD}


def shop_settings(folder: Path) -> Settings:
    """The settings of the shop."""
    service = {**DOCUMENT["service"], "hash_salt": "shop"}
    return parse({**DOCUMENT, "service": service, "features": FEATURES}, folder=folder)


@pytest.fixture
def shop(named_store: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop with a baseline of two weeks, once on each kind of database."""
    settings = shop_settings(tmp_path)
    engine = database.connect(settings.database_url)
    database.upgrade(engine)
    shop = Shop(Service(engine, settings))
    shop.send(2_500, 14 * DAY, START - 16 * DAY)
    baseline.create(engine, settings, baseline.HealthyPeriod(2_500), at=START)
    yield shop
    engine.dispose()


def _shift(name: str, days: int, date_format: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        row[name] = f"{datetime.strptime(str(row[name]), date_format) + days * DAY:{date_format}}"

    return change


FAULTS: dict[str, tuple[Callable[[Row], None], str]] = {
    "stuck": (lambda row: row.update(signup="2025-01-01"), "distribution_change:signup (lag)"),
    "two years early": (_shift("signup", -730, "%Y-%m-%d"), "distribution_change:signup (lag)"),
    "due a week late": (_shift("due", 7, "%d.%m.%Y"), "out_of_range_rate:due (lag)"),
    "month first": (lambda row: row.update(due="12.31.2026"), "unseen_category_rate:due"),
    "missing": (lambda row: row.update(signup=None), "missing_rate:signup"),
    "late by an hour": (lambda row: row.update(seen=float(row["seen"] or 0) - 3_600), "out_of_range_rate:seen (lag)"),
    "in milliseconds": (lambda row: row.update(seen=float(row["seen"] or 0) * 1e3), "out_of_range_rate:seen (lag)"),
    "another language": (
        lambda row: row.update(comment=f"das paket kam viel zu spaet {row['size']:.6f}"),
        "out_of_range_rate:comment (unknown words)",
    ),
    "another script": (
        lambda row: row.update(comment=f"посылка пришла поздно {row['size']:.6f}"),
        "unseen_category_rate:comment (script)",
    ),
    "empty": (lambda row: row.update(comment=""), "distribution_change:comment (length)"),
    "truncated": (lambda row: row.update(comment=str(row["comment"])[:12]), "distribution_change:comment (length)"),
    "wrong encoding": (
        lambda row: row.update(comment=str(row["comment"]).replace("e", "\ufffd")),
        "unseen_category_rate:comment (script)",
    ),
}


def check_derivations(shop: Shop) -> None:
    """What `windows show --why` prints of a view leads to its reading, and the baseline keeps no word or date."""
    shop.send(ROWS, STEP, shop.service.now, FAULTS["another language"][0])
    shop.service.now += STEP
    run = shop.service.run()
    with database.reading(shop.service.engine) as connection:
        healthy = active_baseline(connection, "1")
    assert healthy is not None
    assert run.window is not None
    assert run.decision is not None
    own_baseline = composed_baseline(healthy, run.window.slot_counts)
    steps = derive(shop.service.settings.policy, own_baseline, run.window, run.decision.readings)
    readings = {reading.key: reading for reading in run.decision.readings}
    judged_keys = {key for key in steps if key in readings and readings[key].evidence is not Evidence.INSUFFICIENT}
    assert {"out_of_range_rate:comment (unknown words)", "distribution_change:signup (lag)"} <= judged_keys
    for key in judged_keys:
        check_reading(as_documents(steps[key]), reading_document(readings[key]))
    assert not any(key.startswith("missing_rate") and key.endswith(")") for key in readings)
    assert not any(word in repr(healthy) for word in ("parcel", "2025-"))


def test_health_is_calm_for_weeks_and_damage_is_found(shop: Shop) -> None:
    """Calm over 24 runs of two weeks; each fault is found by the reading that names it, and replayed alike."""
    for _ in range(24):
        assert shop.step() is State.NORMAL
        shop.service.now += timedelta(hours=14)
    for name, (fault, key) in FAULTS.items():
        keys = shop.bad_keys(fault)
        assert key in keys, (name, keys)
    fault, _ = FAULTS["due a week late"]
    assert [shop.step(fault) for _ in range(3)] == [State.NORMAL, State.WARNING, State.DEGRADED]
    with database.reading(shop.service.engine) as connection:
        record = current_state(connection, "1")
    assert record is not None
    assert record.damaged_features == ("due",)
    assert [shop.step() for _ in range(3)][-1] is State.NORMAL
    check_derivations(shop)
    engine, log_format = shop.service.engine, LogFormat.of(shop.service.settings)
    result = replay(engine, from_logs=True, log_format=log_format, model_version="1", score=shop.service.score)
    assert result.difference is None
    assert result.not_recounted == {}


def test_what_is_hidden_later_leaves_the_baseline_with_its_views(tmp_path: Path) -> None:
    """A text that the log hashes from now on leaves neither words nor lengths; the others stay as they are."""
    settings, random = shop_settings(tmp_path), Random(5)
    schema, times = settings.schema_of_features, [AT + n * STEP for n in range(300)]
    texts = [" ".join(random.choices(WORDS, k=6)) for _ in times]
    sizes = [float(len(text)) for text in texts]
    rows = rows_of(schema.features[3], texts, times)
    rows = with_healthy_views(rows, ViewConditions(schema, AT, "UTC", is_timed=True))
    rows = replace(rows, numbers={**rows.numbers, "size": np.array(sizes)})
    own_schema = Schema((schema.features[3], schema.features[4]))
    origin = baseline.BaselineOrigin("b", "1", AT, BaselineSource.FIRST)
    healthy = with_slots(baseline.summarize(rows, own_schema, origin, timezone="UTC"), rows, "UTC", settings.policy)
    assert "comment (length)" in healthy.features
    assert healthy.joint is not None
    assert "comment (length)" in healthy.joint.features
    hidden_schema = Schema((replace(own_schema.features[0], log=LogMode.HASH), own_schema.features[1]))
    part = logged_baseline(healthy, LogFormat(hidden_schema, "salt"))
    assert part.features.keys() == {"comment", "size"}
    assert part.features["size"] == healthy.features["size"]
    assert not any("comment (" in repr(each) for each in (part.joint, part.slots, part.variation, part.offset))


@pytest.mark.parametrize("value", [17_999.999999999996, -1e-12, 0.0, 18_000.0, -86_400.0, 86_399.9999999999])
@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
def test_a_number_beside_midnight_has_an_hour_of_a_day(value: float, zone: str) -> None:
    """No float, however near to the end of a day, is at its 25th hour."""
    spec = FeatureSpec("at", FeatureType.NUMERIC, date_format="seconds")
    rows = rows_of(spec, [value], [AT])
    for kind in (ViewKind.HOUR, ViewKind.WEEKDAY):
        column = view_column(View("at", kind, timezone=zone), rows, "")
        assert isinstance(column, DictionaryColumn)
        assert len(column.tolist()) == 1


def test_words_are_known_by_the_salt_and_the_privacy_of_now() -> None:
    """A baseline made anew keeps no word that only fewer texts share; without a salt it keeps none."""
    spec, texts = FeatureSpec("note", FeatureType.TEXT), [f"late payment {chr(97 + n // 10) * 3}" for n in range(200)]
    rows, schema = rows_of(spec, texts, []), Schema((spec,))

    def views(rows: Columns, salt: str, min_count: int) -> Columns:
        return with_healthy_views(rows, ViewConditions(schema, AT, "UTC", False, min_count, salt))

    name = "note (unknown words)"
    first = views(rows, "a", 5)
    assert len(views(first, "a", 50).views[name].words) < len(first.views[name].words)
    assert views(first, "b", 5).views[name].words != first.views[name].words
    assert name not in views(rows, "", 5).views
