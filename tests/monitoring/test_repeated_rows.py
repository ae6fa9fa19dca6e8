"""Repeated rows: a probe is told from a fault, and its copies are no evidence beside other rows."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from stillsafe.core.policy import EVIDENCE, evidence_reasons
from stillsafe.core.schema import Row
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import State
from stillsafe.monitoring import repeated_rows
from stillsafe.monitoring.columns import Columns, DictionaryColumn, read_columns
from stillsafe.monitoring.profile import profile_features
from stillsafe.monitoring.repeated_rows import are_beside_others, unexplained_copies
from stillsafe.monitoring.tally import tally
from tests.monitoring.conftest import STEP, Service, lose
from tests.monitoring.log_rows import SCHEMA, baseline_of, log_rows

PROBE: Row = {"size": 41.5, "floor": 3, "lift": True, "town": "B"}
OTHER_PROBE: Row = {"size": 60.25, "floor": 3, "lift": True, "town": "B"}


def healthy_rows(count: int, seed: int, change: Callable[[Random], Row] = lambda _: {}) -> list[Row]:
    """Healthy rows, but for the change."""
    random = Random(seed)
    rows: list[Row] = []
    for _ in range(count):
        row: Row = {"size": random.gauss(50, 10), "lift": random.random() < 0.5, "town": random.choice("ABCDE")}
        rows.append({**row, **change(random)})
    return rows


def columns(rows: list[Row]) -> Columns:
    """The rows as arrays."""
    return read_columns(log_rows(*rows), SCHEMA)


HEALTHY = columns(healthy_rows(2_000, 1))
PROFILE = profile_features(HEALTHY, SCHEMA)


def copy_count(rows: list[Row]) -> int:
    """Unexplained copies among some rows."""
    return int(unexplained_copies(columns(rows), PROFILE).sum())


@pytest.mark.parametrize("probes", [[PROBE], [PROBE, OTHER_PROBE]])
def test_the_copies_of_probes_are_found(probes: list[Row]) -> None:
    """All of them, of one probe row or of several, and no other row; whatever their order."""
    probe_rows: list[Row] = [{name: row[name] for name in ("size", "lift", "town")} for row in probes * 60]
    rows = [*healthy_rows(60, 2), *probe_rows]
    assert copy_count(rows) == len(probe_rows)
    Random(3).shuffle(rows)
    copies = unexplained_copies(columns(rows), PROFILE)
    assert [row["size"] in (41.5, 60.25) for row in rows] == copies.tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {},
        lambda _: {"size": None},
        lambda _: {"size": 48.0},
        lambda _: {"town": "new"},
        lambda _: {"size": None, "lift": None},
        lambda random: {"size": 48.0, "town": random.choice("AB")},
    ],
)
@pytest.mark.parametrize("count", [60, 500, 5_000])
def test_a_fault_makes_no_repeated_rows(change: Callable[[Random], Row], count: int) -> None:
    """Features that are missing, stuck or unseen leave the others as different as they were: all rows are evidence."""
    assert copy_count(healthy_rows(count, 4, change)) == 0


def test_a_row_that_was_usual_is_explained() -> None:
    """A probe that the healthy period had too, as often as now, is part of health."""
    probe = {name: PROBE[name] for name in ("size", "lift", "town")}
    profile = profile_features(columns([*healthy_rows(600, 5), *[probe] * 400]), SCHEMA)
    assert not unexplained_copies(columns([*healthy_rows(60, 6), *[probe] * 40]), profile).any()


def test_where_rows_are_often_equal_equal_rows_say_nothing() -> None:
    """Two features of a few values each: equal rows are usual, and a change of them is no probe."""
    few = [{"lift": row["lift"], "town": row["town"]} for row in healthy_rows(2_000, 7)]
    healthy = {name: profile_features(columns(few), SCHEMA)[name] for name in ("lift", "town")}
    rows = replace(columns([{"lift": True, "town": "A"}] * 300), numbers={})
    visible = replace(rows, categories={"town": rows.categories["town"]})
    assert not unexplained_copies(visible, healthy).any()


def test_nothing_is_a_copy_without_a_baseline() -> None:
    """Nobody knows what is usual then."""
    assert not unexplained_copies(columns([PROBE] * 100), {}).any()
    assert tally(columns([PROBE] * 100), None, 0).repeated_count == 0


def test_the_tally_counts_copies_apart() -> None:
    """All requests are counted as answered; every other count is that of the rest."""
    probe: Row = {"size": 41.5, "lift": True, "town": "B"}
    rows = columns([*healthy_rows(80, 8), *[probe] * 120])
    baseline = baseline_of(HEALTHY)
    counts, rest = tally(rows, baseline, 3), tally(rows[slice(80)], baseline, 3)
    assert (counts.prediction_count, counts.repeated_count, counts.judged_count) == (200, 120, 80)
    assert replace(counts, prediction_count=80, repeated_count=0) == rest
    mask = np.arange(200) >= 40
    assert tally(rows, baseline, 0, mask).judged_count == 40


DEAD_ROWS: list[Row] = [
    {"size": None, "lift": None, "town": None},
    {"size": 0.0, "lift": False, "town": "A"},
    {"size": 50.0, "lift": True, "town": "B"},
    {"size": None, "lift": True, "town": "C"},
    {"size": None, "town": "A"},
]
"""What a feed that is wholly dead sends: nothing, zeros, its last row, or one feature that stands still."""


@pytest.mark.parametrize("row", DEAD_ROWS)
@pytest.mark.parametrize(("count", "live_count"), [(60, 0), (500, 4), (5_000, 0), (5_000, 40)])
def test_copies_are_evidence_where_hardly_another_row_comes(row: Row, count: int, live_count: int) -> None:
    """Then they are the traffic: every row is judged, and the share of copies is known all the same."""
    counts = tally(columns([*healthy_rows(live_count, 11), *[row] * count]), baseline_of(HEALTHY), 0)
    assert (counts.repeated_count, counts.judged_count) == (0, count + live_count)
    assert counts.judged_copy_count > 0.4 * count
    assert counts.features["size"].value_count + counts.features["size"].missing_count == count + live_count


@pytest.mark.parametrize(
    ("senders", "others", "is_left_out"),
    [
        (["a"], ["b"], True),
        (["a"], ["a", "b"], True),
        (["a"], ["a"], False),
        (["a", "b"], ["c"], False),
        ([None], ["b"], False),
        (["a"], [None], False),
        (["a", None], ["b"], False),
    ],
)
def test_one_client_of_several_does_not_speak_for_the_service(
    senders: list[str | None], others: list[str | None], is_left_out: bool
) -> None:
    """However few rows the others sent: its copies are left out. What all clients send at once is the feed."""
    names = [*(others[i % len(others)] for i in range(4)), *(senders[i % len(senders)] for i in range(500))]
    rows = columns([*healthy_rows(4, 12), *[DEAD_ROWS[0]] * 500])
    is_copy = np.arange(len(rows)) >= 4
    assert are_beside_others(replace(rows, sources=DictionaryColumn.of(names)), is_copy) is is_left_out
    assert not are_beside_others(rows, is_copy)


@pytest.mark.parametrize("row", DEAD_ROWS[:3])
def test_a_dead_feed_is_noticed(service: Service, row: Row) -> None:
    """Each run says that something deviates, and the repeated rows are among it."""
    for _ in range(3):
        service.send(90, change=lambda _, values: values.update({**dict.fromkeys(values), **row}))
        service.now += STEP
        decision = service.run().decision
        assert decision is not None
        readings = {reading.key: reading for reading in decision.readings}
        assert readings["repeated_row_rate"].evidence is Evidence.BAD
        assert readings["missing_rate:size"].sample_count == 90
    assert service.state() is not State.NORMAL


def test_a_probe_beside_real_traffic_damages_nothing(service: Service) -> None:
    """One probe every five seconds beside 60 requests: told as what it is, and the rest is judged by itself."""
    for _ in range(6):
        readings = run_with_probe(service, 60)
        deviating = {key for key, reading in readings.items() if reading.evidence is Evidence.BAD}
        assert deviating == {"repeated_row_rate"}
        assert readings["missing_rate:size"].sample_count == 60
    assert service.state() is State.WARNING


def test_a_fault_beside_a_probe_is_found_and_its_mending_too(service: Service) -> None:
    """The probe hides no damage, and blocks no recovery."""
    for _ in range(3):
        run_with_probe(service, 60, change=lose("size", 1.0))
    assert service.state() is State.DEGRADED
    for _ in range(3):
        run_with_probe(service, 60)
    assert service.state() is State.NORMAL


def test_few_real_rows_beside_a_probe_wait_for_each_other(service: Service) -> None:
    """The copies alone judge nobody: ten real rows a run are judged in the fifth, all fifty."""
    for run in range(1, 6):
        reading = run_with_probe(service, 10, change=lose("size", 1.0))["missing_rate:size"]
        assert (reading.evidence is Evidence.BAD) == (run == 5)
    assert reading.sample_count == 50


def run_with_probe(service: Service, count: int, **traffic: Any) -> dict[str, Reading]:
    """Ten minutes of real requests beside 120 copies of a probe; the readings of the run that judges them."""
    service.send(120, change=lambda _, row: row.update(PROBE))
    service.send(count, **traffic)
    service.now += STEP
    decision = service.run().decision
    assert decision is not None
    return {reading.key: reading for reading in decision.readings}


@pytest.mark.parametrize("name", [name for name in evidence_reasons() if name.startswith("repeated_row")])
def test_every_number_of_the_evidence_policy_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies follow the numbers of the policy: no other number stands in."""
    probe: Row = {"size": 41.5, "lift": True, "town": "B"}
    rows = columns([*healthy_rows(60 if "others" not in name else 3, 9), *[probe] * 60])
    evidence = replace(EVIDENCE, repeated_row_enough_others=9.0, repeated_row_least_others=0.5)
    counts = []
    for number in (0.0, 1_000_000.0):
        numbers: dict[str, Any] = {name: number}
        monkeypatch.setattr(repeated_rows, "EVIDENCE", replace(evidence, **numbers))
        counts.append(tally(rows, baseline_of(HEALTHY), 0).repeated_count)
    assert counts[0] != counts[1]


def test_copies_do_not_depend_on_the_blocks_of_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows are copies, whether their inputs are hashed at once or in blocks of any size."""
    rows = columns([*healthy_rows(200, 1), *[PROBE] * 100, *healthy_rows(55, 2)])
    healthy = profile_features(columns(healthy_rows(500, 3)), SCHEMA)
    copies = unexplained_copies(rows, healthy)
    assert copies.sum() > 90
    for size in (1, 7, 64):
        monkeypatch.setattr(repeated_rows, "_BLOCK_ROWS", size)
        assert (unexplained_copies(rows, healthy) == copies).all()
