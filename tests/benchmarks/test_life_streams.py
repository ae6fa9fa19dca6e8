"""The streams of the bench like life, on generated tables, so that nothing is downloaded."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from benchmarks.detection import data
from benchmarks.detection.damage import Kind
from benchmarks.detection.data import LABEL, Half, Task
from benchmarks.detection.life import blocks, cases, sets, streams_faults, streams_states, streams_time
from benchmarks.detection.life.cases import LifeCase, Sort, Workshop
from benchmarks.detection.life.command import FAMILIES
from benchmarks.detection.life.estimators import Estimator
from benchmarks.detection.life.sets import LifeSet

from stillsafe.table_file import TIMESTAMP

TRIPS = LifeSet(
    "trips", Task.REGRESSION, Half.DESIGN, "generated", "a trip", "generated", lambda: sets.places(6_000), True
)
PAYMENTS = LifeSet(
    "payments", Task.BINARY, Half.DESIGN, "generated", "a payment", "generated", lambda: sets.fraud(8_000)
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def shop() -> Workshop:
    """Trips without times, linear, in runs of 100 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "load", lambda one: sets._plain(one.table()))
        return blocks.shop_at_random(TRIPS, Estimator.LINEAR, sample=500, size=100)


@pytest.fixture(scope="module")
def clock_case() -> LifeCase:
    """Trips in the hours of a week."""
    return streams_time._clock_case(TRIPS, Estimator.LINEAR, quick=True)


def test_at_least_fifteen_sets_and_a_third_aside() -> None:
    """A third of the sets, and a third of the kinds of failure, are out of sight while designing."""
    holdout = [one for one in sets.SETS if one.half is Half.HOLDOUT]
    assert len(sets.SETS) >= 15
    assert len(holdout) * 3 >= len(sets.SETS)
    assert {one.task for one in holdout} == set(Task)
    assert sum(blocks._half(kind, Half.DESIGN) is Half.HOLDOUT for kind in Kind) * 3 >= len(Kind)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_short_form_is_a_part_of_the_long_one(family: str) -> None:
    """Every family has cases of both halves under unique names, and the quick ones are among all."""
    plans = list(FAMILIES[family](quick=False))
    names = [plan.name for plan in plans]
    assert len(set(names)) == len(names)
    assert {plan.half for plan in plans} == set(Half)
    assert {plan.name for plan in FAMILIES[family](quick=True)} <= set(names)


def test_rows_keep_their_hour_when_they_are_put_on_a_week() -> None:
    """Weekday, hour and minute stay; the rows are in order within so many weeks from a Monday."""
    rows = sets.places(2_000)
    placed_rows = streams_time.on_a_week(rows, np.random.default_rng(1), streams_time.MONDAY, 2)
    at = placed_rows[TIMESTAMP]
    assert at.is_monotonic_increasing
    assert (at.dt.hour == placed_rows["hour"]).all()
    assert (at.dt.day_name() == placed_rows["weekday"]).all()
    assert at.min() >= streams_time.MONDAY
    assert at.max() < streams_time.MONDAY + pd.Timedelta(14, "D")
    assert sorted(placed_rows[LABEL]) == sorted(rows[LABEL])


def test_harm_is_what_the_labels_say(clock_case: LifeCase) -> None:
    """A failure is harmful where the error grew by a fifth over the last ten runs counted, and only there."""
    injected = [stream for stream in clock_case.streams if stream.sort is Sort.FAULT]
    assert {stream.kind for stream in injected} >= {"nulls", "day_for_night"}
    for stream in injected:
        assert stream.harms[: stream.first_bad] == (0.0,) * stream.first_bad
        assert stream.harmful == (cases.counted_harm(stream.harms, (stream.first_bad, stream.last_bad)) >= 1)
        assert stream.rows[TIMESTAMP].is_monotonic_increasing


def test_harm_is_counted_over_the_last_ten_runs() -> None:
    """Runs before the last ten of a failure do not count, nor do runs without it."""
    assert cases.counted_harm([5.0, 9.0, *[2.0] * 10, 7.0], (1, 12)) == pytest.approx(2.0)
    assert cases.counted_harm([1.0, 2.0, 3.0, 9.0], (0, 3)) == pytest.approx(2.0)
    assert cases.counted_harm([1.0], (1, 1)) == 0


def test_day_for_night_serves_the_rows_of_twelve_hours_before() -> None:
    """Every feature is from then, the label and the time are the row's own."""
    timeline = sets.places(4_000)
    train, sample = (_without_times(timeline, part) for part in (0, 1))
    shop = Workshop(TRIPS, Estimator.LINEAR, train, sample, timeline, 100)
    (fault,) = [one for one in blocks.clock_faults(shop, timeline) if one.kind == "day_for_night"]
    rows = timeline.iloc[2_000:2_100]
    served_rows = fault.damage(rows, np.random.default_rng(0))
    assert (served_rows[LABEL] == rows[LABEL]).all()
    assert (served_rows[TIMESTAMP] == rows[TIMESTAMP]).all()
    difference = (served_rows["hour"] - rows["hour"]).abs()
    assert ((difference - 12).abs() <= 1).mean() > 0.5


def _without_times(table: pd.DataFrame, part: int) -> pd.DataFrame:
    return table.iloc[part::2].drop(columns=TIMESTAMP).reset_index(drop=True)


def test_a_failure_that_hardly_changes_a_row_is_none(shop: Workshop) -> None:
    """What touches less than a fifth of the rows makes no stream."""
    fault = blocks.Fault("nothing", "nothing", ("people",), lambda rows, _draw: rows)
    assert blocks.faulty(shop, fault, shop.healthy(4, "x"), (2, 4)) is None


def test_shifts_are_harmful_or_benign(shop: Workshop) -> None:
    """What lies between is left out."""
    for stream in blocks.shifts(shop, 9):
        harm = cases.counted_harm(stream.harms, (stream.first_bad, stream.last_bad))
        assert harm >= cases.HARMFUL if stream.sort is Sort.FAULT else abs(harm) < cases.BENIGN


def test_a_join_moves_its_columns_together(shop: Workshop) -> None:
    """Rows keep the pairs of a wrong join, and no pair where each column is permuted by itself."""
    rows, draw = shop.healthy(5, "join"), np.random.default_rng(3)
    pair = ("start", "target")
    whole = streams_faults.other_rows("join of 2", pair, together=True).damage(rows, draw)
    each = streams_faults.other_rows("2 permuted", pair, together=False).damage(rows, draw)
    pairs, pairs_of_join, pairs_of_each = (set(zip(*(f[n] for n in pair), strict=True)) for f in (rows, whole, each))
    assert pairs_of_join == pairs
    assert not pairs_of_each <= pairs
    assert not (whole["start"] == rows["start"]).all()


def test_slow_damage_begins_to_harm_within_the_stream(shop: Workshop) -> None:
    """The first harmful run is one from which on there is harm, and it is late."""
    for stream in streams_states._slow(shop, quick=False):
        assert blocks.CALM_RUNS < stream.first_bad < len(stream.harms) - 5
        assert np.mean(stream.harms[stream.first_bad :]) >= cases.HARMFUL
        assert np.mean(stream.harms[: blocks.CALM_RUNS]) == 0


def test_after_an_outage_only_a_harmless_shift_stays(shop: Workshop) -> None:
    """The outage harms, what stays does not."""
    streams = list(streams_states._outages(shop, quick=True))
    assert streams
    for stream in streams:
        assert stream.harmful
        assert np.mean(stream.harms[stream.last_bad :]) < 0.2


def test_a_case_comes_from_the_cache_until_the_code_changes(shop: Workshop, tmp_path: object) -> None:
    """The second time nothing is made; with other code in the family's file it is made anew."""
    module = data.CACHE / "family.py"
    module.write_text("one", encoding="utf-8")
    case = shop.case("made up", "", [])
    first = cases.from_cache("made up", str(module), lambda: case)
    assert first is case
    again = cases.from_cache("made up", str(module), lambda: pytest.fail("made twice"))
    assert again.name == case.name == "made up-trips-linear"
    module.write_text("two", encoding="utf-8")
    assert cases.from_cache("made up", str(module), lambda: case) is case


def test_rare_failures_are_harmful_by_auc_and_recall(shop: Workshop) -> None:
    """Where the score is noise the AUC falls to a half, which is harmful; the same rows are not."""
    table = PAYMENTS.table()
    train, sample, serve = cases.split(table, 1, 2_000)
    payments = Workshop(PAYMENTS, Estimator.LINEAR, train, sample, serve, 500)
    noise = serve.assign(**{n: serve[n].sample(frac=1, random_state=2).to_numpy() for n in serve.columns.drop(LABEL)})
    loss, harmful = cases.rare_harm(payments.model, noise, serve, "fraud")
    assert loss > 0.2
    assert harmful
    assert cases.rare_harm(payments.model, serve, serve, "fraud") == (0.0, False)
