"""The fold: states and incidents follow from the runs, per version, and each copy of them is compared."""

from datetime import timedelta

import pytest

from stillsafe.core.state import State
from stillsafe.monitoring import hold, run
from stillsafe.monitoring.difference import Difference
from stillsafe.monitoring.fold import Fold
from stillsafe.store import database
from stillsafe.store.read.runs import all_actions, all_runs
from tests.monitoring.conftest import Service, lose


def fold(service: Service) -> tuple[Fold, list[Difference]]:
    """The fold over all runs, and the differences that it finds."""
    with database.reading(service.engine) as connection:
        result = Fold(connection, all_actions(connection))
        checks = [result.difference(each) for each in all_runs(connection)]
        checks += [result.state_difference(), result.incident_difference()]
    return result, [each for each in checks if each is not None]


def test_the_fold_ends_in_the_stored_memory_and_incidents(service: Service) -> None:
    """Its memory is that of the last run, and it has opened, escalated and resolved the same incident."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    while service.state() is not State.NORMAL:
        service.step()
    result, differences = fold(service)
    assert differences == []
    assert result.memories["1"].state is State.NORMAL
    (incident,) = result.incidents.values()
    assert (incident["resolved"], incident["severity"]) == (True, "CRITICAL")
    assert incident["detected_at"] < incident["escalated_at"] < incident["resolved_at"]


def test_the_end_of_the_harm_is_folded(service: Service) -> None:
    """An incident that goes on without the fallback, relapses and ends is the same from its runs."""
    for rate in [0.6] * 3 + [0.1] * 3:
        service.step(change=lose("town", rate))
    assert service.state() is State.WARNING
    result, differences = fold(service)
    assert differences == []
    (incident,) = result.incidents.values()
    assert (incident["severity"], incident["resolved"]) == ("CRITICAL", False)
    assert incident["fallback_ended_at"] == service.now.isoformat()
    for rate in [0.6] * 3 + [0.0] * 6:
        service.step(change=lose("town", rate))
    result, differences = fold(service)
    assert (service.state(), differences) == (State.NORMAL, [])
    (incident,) = result.incidents.values()
    assert (incident["resolved"], incident["fallback_ended_at"]) == (True, None)


def test_each_version_is_folded_by_itself(service: Service) -> None:
    """Two monitors on one database: one version degrades, the other starts from its state and goes its own way."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    old_settings = service.settings
    model = old_settings.model.model_copy(update={"version": "2"})
    service.settings = old_settings.model_copy(update={"model": model})
    for _ in range(2):
        service.send(200, version="2")
        service.now += timedelta(minutes=10)
        service.run()
        hold.hold(service.engine, "2", by="Ada", reason="a drill", at=service.now)
        hold.release(service.engine, "2", by="Ada", reason="it is over", at=service.now)
        run.run(service.engine, old_settings, now=service.now, score=service.score)
    result, differences = fold(service)
    assert differences == []
    assert set(result.memories) == {"1", "2"}
    assert result.memories["1"].state is State.DEGRADED


@pytest.mark.parametrize("count", [5, 300])
def test_a_quiet_service_folds(service: Service, count: int) -> None:
    """Runs that conclude nothing, and calm ones, leave the state as it is."""
    for _ in range(3):
        service.step(count)
    result, differences = fold(service)
    assert differences == []
    assert (result.runs, result.incidents) == (3, {})
