"""Evidence by source: no client speaks for all others, a fault of many is the service's, and nothing is silent."""

from collections.abc import Callable, Sequence

import pytest

from stillsafe.core.decide import Decision
from stillsafe.core.schema import Row
from stillsafe.core.signals import Evidence, Signal
from stillsafe.core.state import State
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.run_detail import run_detail
from stillsafe.store import database
from stillsafe.store.read.runs import last_run
from tests.monitoring.conftest import STEP, Service, bare_service, service, settings
from tests.monitoring.formulas import as_documents, check_reading, reading_document

__all__ = ["bare_service", "service"]
Change = Callable[[int, Row], None]
FEATURES = ("size", "floor", "lift", "town")
HONEST = tuple(f"{number:016x}" for number in range(100, 150))
HOSTILE = "a1b2c3d4e5f60718"


def empty(_index: int, row: Row) -> None:
    """A body without any feature; all such rows are equal."""
    row.update(dict.fromkeys(FEATURES))


def hollow(_index: int, row: Row) -> None:
    """A body with one feature."""
    row.update(dict.fromkeys(FEATURES[1:]))


def far(_index: int, row: Row) -> None:
    """Numbers that no healthy row had."""
    row["size"] = 1e6


def foreign(_index: int, row: Row) -> None:
    """A category that no healthy row had."""
    row["town"] = "Atlantis"


def play(service: Service, runs: int, *traffic: tuple[int, Sequence[str | None], Change | None]) -> list[Decision]:
    """Runs after ten minutes each with so many rows, in turn of these sources, changed like that."""
    decisions = []
    for _ in range(runs):
        for count, sources, change in traffic:
            service.send(count, source=lambda i, names=sources: names[i % len(names)], change=change)  # type: ignore[misc] # bound at once
        service.now += STEP
        decision = service.run().decision
        assert decision is not None
        decisions.append(decision)
    return decisions


def assert_replays(service: Service) -> None:
    """The decisions follow from the stored windows, and these from the log."""
    log_format = LogFormat.of(service.settings)
    result = replay(service.engine, from_logs=True, log_format=log_format, model_version="1", score=service.score)
    assert result.difference is None, str(result.difference)
    assert result.windows == result.runs > 0


def assert_derived(service: Service) -> None:
    """What the last run reads of its clients can be computed again from the printed steps."""
    with database.reading(service.engine) as connection:
        run = last_run(connection)
        assert run is not None
        detail = run_detail(connection, run)
    (reading,) = (each for each in detail.readings if each.signal is Signal.SOURCE_DEVIATION)
    check_reading(as_documents(detail.derivations[reading.key]), reading_document(reading))


@pytest.mark.parametrize("change", [hollow, far, foreign])
def test_one_client_of_several_warns_and_is_named(service: Service, change: Change) -> None:
    """80 bodies beside 300 honest rows: never DEGRADED, no feature is damaged, and the sentence names the client."""
    decisions = play(service, 6, (300, HONEST[:5], None), (80, [HOSTILE], change))
    assert service.state() is State.WARNING
    last = decisions[-1]
    assert (last.damaged_features, last.evidence) == ((), Evidence.BAD)
    bad = [reading for reading in last.readings if reading.evidence is Evidence.BAD]
    assert [(reading.signal, reading.sources) for reading in bad] == [(Signal.SOURCE_DEVIATION, (HOSTILE,))]
    assert bad[0].value is not None
    assert bad[0].value > 0.9
    assert f"come from one client ({HOSTILE}) " in last.reason
    assert_replays(service)
    assert_derived(service)


def test_one_of_fifty_warns(service: Service) -> None:
    """Though most rows are its own, and the others are few."""
    play(service, 5, (100, HONEST[:49], None), (900, [HOSTILE], foreign))
    assert service.state() is State.WARNING
    assert_replays(service)


@pytest.mark.parametrize(
    ("healthy", "faulty"),
    [
        ((), (HOSTILE,)),
        (HONEST[:1], (HOSTILE,)),
        ((), HONEST[:50]),
        (HONEST[:30], HONEST[30:50]),
        ((None,), (HOSTILE,)),
        ((None,), (None,)),
        (HONEST[:3], (None,)),
    ],
    ids=["one only", "one of two", "all", "twenty of fifty", "one beside unknown", "unknown", "unknown beside three"],
)
def test_what_is_the_service_degrades_it(
    service: Service, healthy: Sequence[str | None], faulty: Sequence[str | None]
) -> None:
    """One client only, one of two, all, many of many, and rows of unknown clients: the rules hold as before."""
    traffic = [(200, healthy, None)] if healthy else []
    decisions = play(service, 3, *traffic, (300, faulty, foreign))
    assert service.state() is State.DEGRADED
    assert decisions[-1].damaged_features == ("town",)
    assert not any(reading.sources for decision in decisions for reading in decision.readings)


def test_a_second_client_with_hardly_a_row_is_no_other(service: Service) -> None:
    """Of two clients one is broken; a single request of a third does not make the other one many."""
    play(service, 3, (200, HONEST[:1], None), (1, HONEST[1:2], None), (300, [HOSTILE], foreign))
    assert service.state() is State.DEGRADED


def test_a_few_of_many_are_named_together(service: Service) -> None:
    """Two of twenty send wrong rows, each by itself too few to explain the deviation; no calm one is named."""
    pair = (HOSTILE, "b" * 16)
    decisions = play(service, 4, (300, HONEST[:18], None), (300, pair, hollow))
    assert service.state() is State.WARNING
    outlier_names = [reading.sources for reading in decisions[-1].readings if reading.sources]
    assert outlier_names == [tuple(sorted(pair))]
    assert "come from 2 clients" in decisions[-1].reason


def test_others_that_deviate_too_degrade(service: Service) -> None:
    """A hostile client beside a real fault masks nothing."""
    decisions = play(service, 3, (300, HONEST[:10], foreign), (100, [HOSTILE], hollow))
    assert service.state() is State.DEGRADED
    assert "town" in decisions[-1].damaged_features


@pytest.mark.parametrize("recovery", ["not_severe", "calm"])
def test_one_client_does_not_hold_a_bypass(service: Service, recovery: str) -> None:
    """Once all others are calm, the model answers again, whatever one client goes on sending."""
    service.settings = settings(service.settings.folder, policy={"recovery": recovery})
    play(service, 3, (300, HONEST[:5], foreign))
    assert service.state() is State.DEGRADED
    play(service, 5, (300, HONEST[:5], None), (80, [HOSTILE], hollow))
    assert service.state() is not State.DEGRADED
    assert_replays(service)


def test_refusals_of_one_client_do_not_hide_another(service: Service) -> None:
    """Refusals say nothing about the model, so they neither keep the others from being calm nor the client unnamed."""
    for _ in range(4):
        service.refuse(200, HONEST[7])
        play(service, 1, (300, HONEST[:5], None), (80, [HOSTILE], hollow))
    assert service.state() is State.WARNING
    assert_replays(service)


def test_equal_bodies_of_one_client_are_no_evidence(service: Service) -> None:
    """80 bodies without any feature are copies of one row: the state stays, or a WARNING calls for their sender."""
    decisions = play(service, 6, (300, HONEST[:5], None), (80, [HOSTILE], empty))
    assert service.state() is State.NORMAL
    assert decisions[-1].damaged_features == ()
    play(service, 4, (300, HONEST[:5], None), (300, [HOSTILE], empty))
    assert service.state() is State.WARNING


def test_calm_sources_are_counted(service: Service) -> None:
    """A calm window names its largest clients, and has a calm reading of the signal."""
    service.send(300, source=lambda i: HONEST[min(i // 6, 40)])
    service.now += STEP
    run = service.run()
    assert run.window is not None
    assert run.decision is not None
    assert run.window.source_count == 41
    assert run.window.sources == {HONEST[40]: 60, **dict.fromkeys(HONEST[:4], 6)}
    assert (run.window.rest, run.window.outliers) == (None, {})
    assert [r.evidence for r in run.decision.readings if r.signal is Signal.SOURCE_DEVIATION] == [Evidence.OK]
    assert_derived(service)


def test_without_known_sources_nothing_changes(service: Service) -> None:
    """Rows of an earlier release give the readings of before: none of the new signal."""
    decisions = play(service, 2, (300, [None], None)) + play(service, 3, (300, [None], foreign))
    assert all(r.signal is not Signal.SOURCE_DEVIATION for decision in decisions for r in decision.readings)
    assert service.state() is State.DEGRADED
