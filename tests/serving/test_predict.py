"""A request's story: the state is obeyed, the answer is on disk before it is heard, and unknown is not NORMAL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, select

from stillsafe.core.fallback import Rule
from stillsafe.core.state import Hold, Memory, State
from stillsafe.errors import StoreError
from stillsafe.serving.predict import answer, refuse
from stillsafe.store import database
from stillsafe.store.tables import prediction_logs, system_state
from stillsafe.store.write.decisions import record_hold
from tests.serving.services import GOOD, OLD, Service, fitted, fresh

ROW: Any = {**GOOD, "age": 30.0}
OLDER: Any = {**OLD, "age": 70.0}


class Hanging:
    """Wraps an estimator so that it hangs until it is released."""

    def __init__(self, estimator: Any, released: Event) -> None:
        self.estimator = estimator
        self.released = released

    def __getattr__(self, name: str) -> Any:
        return getattr(self.estimator, name)

    def predict(self, rows: Any) -> Any:
        """Late."""
        self.released.wait(10)
        return self.estimator.predict(rows)


class Forbidden:
    """An estimator that must not be asked."""

    def predict(self, _rows: Any) -> Any:
        """Fails the test."""
        raise AssertionError("the model was asked")


def test_no_prediction_leaves_unrecorded(service: Service) -> None:
    """When an answer is there, another connection already reads its row, and the row says what the answer says."""
    service.decide(State.NORMAL)
    for answered in answer(service.context, [ROW, OLDER, {**ROW, "town": None}]):
        with service.engine.connect() as other:
            row = other.execute(
                select(prediction_logs).where(prediction_logs.c.prediction_id == answered.prediction_id)
            ).one()
        assert (row.timestamp, row.model_version) == (answered.timestamp, "v1")
        assert (row.prediction, row.confidence_score) == (answered.prediction, answered.confidence)
        assert (row.system_state, row.fallback_used, row.decided_by) == ("NORMAL", False, "model")
        assert (row.reason, row.model_error) == (answered.reason, None)
    assert [row.input_summary for row in service.log()] == [ROW, OLDER, {**ROW, "town": None}]


def test_a_drain_is_one_commit(service: Service) -> None:
    """Where the last row cannot be written, none is, and nobody gets an answer."""
    service.decide(State.NORMAL)
    twice = Service(fresh(service.context, new_id=lambda: "same"), service.clock)
    with pytest.raises(StoreError):
        answer(twice.context, [ROW, OLDER])
    assert service.log() == []


def test_degraded_bypasses_the_model(service: Service) -> None:
    """The answer is the deterministic fallback, without a confidence, and says why; the model is not asked."""
    service.decide(State.DEGRADED, reason="Mean confidence is 0.6.")
    bypassed = service.with_estimator(Forbidden())
    young, old = answer(bypassed.context, [ROW, OLDER])
    assert (young.prediction, old.prediction) == ("no", "yes")
    for answered in (young, old):
        assert (answered.decided_by, answered.fallback_used) == ("fallback", True)
        assert (answered.confidence, answered.probabilities, answered.model_error) == (None, None, None)
        assert answered.system_state is State.DEGRADED
        assert "Mean confidence is 0.6." in answered.reason
    assert "rule 1: age > 60.0" in old.reason
    assert [row.system_state for row in service.log()] == ["DEGRADED", "DEGRADED"]
    assert [row.confidence_score for row in service.log()] == [None, None]


def test_warning_still_asks_the_model(service: Service) -> None:
    """Only DEGRADED bypasses."""
    service.decide(State.WARNING)
    answered = answer(service.context, [ROW])[0]
    assert (answered.decided_by, answered.system_state) == ("model", State.WARNING)


def test_an_operators_hold_bypasses_the_model(service: Service) -> None:
    """Even where no run was ever made."""
    with database.writing(service.engine) as connection:
        record_hold(connection, Memory(), Hold("ann", "odd answers", service.clock.now), None)
    answered = answer(service.with_estimator(Forbidden()).context, [ROW])[0]
    assert answered.decided_by == "fallback"
    assert "Held by ann: odd answers" in answered.reason


def test_a_rule_that_reads_a_damaged_feature_is_skipped(service: Service) -> None:
    """The fallback leans only on what can still be trusted."""
    service.decide(State.DEGRADED, damaged=("age",))
    answered = answer(service.context, [OLDER])[0]
    assert answered.prediction == "no"
    assert "the default" in answered.reason


def test_a_rule_that_breaks_costs_nobody_an_answer(service: Service) -> None:
    """The default answers, for that row alone."""

    def matches(row: Any) -> bool:
        if row["age"] > 60:
            raise OverflowError
        return True

    fallback = replace(service.context.fallback, rules=(Rule("odd", frozenset(), matches, lambda _row: "yes"),))
    service.decide(State.DEGRADED)
    answered = answer(fresh(service.context, fallback=fallback), [ROW, OLDER])
    assert [each.prediction for each in answered] == ["yes", "no"]


def test_observe_mode_never_bypasses(service: Service) -> None:
    """The model answers, and the answer says what would have happened."""
    service.decide(State.DEGRADED)
    service.clock.now += timedelta(days=1)
    observing = service.with_settings(service={"mode": "observe"}, serving={"on_stale_monitor": "fallback"})
    answered = answer(observing.context, [ROW])[0]
    assert (answered.decided_by, answered.system_state) == ("model", State.DEGRADED)
    assert answered.confidence is not None
    assert "mode observe" in answered.reason


def test_before_the_first_run_the_state_is_normal_and_stale(service: Service) -> None:
    """Nobody watches yet, and every answer says so."""
    answered = answer(service.context, [ROW])[0]
    assert (answered.system_state, answered.monitor_stale, answered.watched) == (State.NORMAL, True, False)
    assert "stale" in answered.reason
    assert "unwatched" in answered.reason


@pytest.mark.parametrize(("seconds", "stale"), [(1199, False), (1200, False), (1201, True)])
def test_a_dead_monitor_shows_in_every_answer(service: Service, seconds: int, stale: bool) -> None:
    """Within two intervals; by default the model goes on answering, and the answer says that nobody watches."""
    service.decide(State.NORMAL)
    service.watch()
    service.clock.now += timedelta(seconds=seconds)
    answered = answer(service.context, [ROW])[0]
    assert (answered.monitor_stale, answered.watched) == (stale, True)
    assert ("stale" in answered.reason) == stale
    assert answered.decided_by == "model"


def test_a_dead_monitor_may_mean_fallback(service: Service) -> None:
    """Where the settings say so, an unwatched model is not asked."""
    service.decide(State.NORMAL)
    strict = service.with_settings(serving={"on_stale_monitor": "fallback"})
    assert answer(strict.context, [ROW])[0].decided_by == "model"
    service.clock.now += timedelta(seconds=1201)
    answered = answer(strict.with_estimator(Forbidden()).context, [ROW])[0]
    assert (answered.decided_by, answered.system_state) == ("fallback", State.NORMAL)
    assert "stale" in answered.reason


def _without_state(service: Service) -> None:
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE system_state RENAME TO gone")


@pytest.mark.parametrize("break_it", [_without_state, Service.close_store])
def test_unknown_is_not_normal(service: Service, break_it: Callable[[Service], None]) -> None:
    """A state that cannot be read, or an answer that cannot be written, is no answer."""
    service.decide(State.NORMAL)
    break_it(service)
    with pytest.raises(StoreError):
        answer(service.context, [ROW])


def test_a_failing_model_gets_the_fallback_for_its_own_rows(service: Service) -> None:
    """The failure is logged with its kind, and the neighbours are the model's."""
    service.decide(State.NORMAL)
    failing = service.with_estimator(fitted(unknown="error"))
    rows = [ROW, {**OLDER, "town": "Atlantis"}, ROW]
    answered = answer(failing.context, rows)
    assert [each.decided_by for each in answered] == ["model", "fallback", "model"]
    assert (answered[1].prediction, answered[1].confidence) == ("yes", None)
    assert "The model failed: raised ValueError." in answered[1].reason
    assert [row.model_error for row in service.log()] == [None, "raised ValueError", None]
    assert {row.system_state for row in service.log()} == {"NORMAL"}


def test_a_model_that_answers_nan_gets_the_fallback(service: Service) -> None:
    """A number that is none never leaves."""

    class Broken:
        """Probabilities of nothing."""

        def predict(self, rows: Any) -> Any:
            """Answers."""
            return np.full(len(rows), "no")

        def predict_proba(self, rows: Any) -> Any:
            """None."""
            return np.full((len(rows), 2), np.nan)

    answered = answer(service.with_estimator(Broken()).context, [ROW])[0]
    assert (answered.decided_by, answered.model_error) == ("fallback", "not finite")


def test_a_hanging_model_costs_one_deadline(service: Service) -> None:
    """Its own drain waits that long; while it hangs the next get the fallback at once; then the model is back."""
    service.decide(State.NORMAL)
    released = Event()
    slow = service.with_settings(model={"timeout": 0.2})
    slow = slow.with_estimator(Hanging(slow.context.model.estimator, released))
    first = answer(slow.context, [ROW])[0]
    began = perf_counter()
    second = answer(slow.context, [OLDER])[0]
    assert perf_counter() - began < 0.2
    assert [(each.decided_by, each.model_error) for each in (first, second)] == [("fallback", "timed out")] * 2
    assert "timed out" in first.reason
    released.set()
    while slow.context.deadline.stuck:
        pass
    assert answer(slow.context, [ROW])[0].decided_by == "model"
    assert [row.model_error for row in service.log()] == ["timed out", "timed out", None]


def test_the_log_holds_a_sanitised_snapshot(service: Service) -> None:
    """Kept, hashed with the salt, or dropped, as each feature says."""
    from stillsafe.settings import parse
    from tests.serving.services import FEATURES, document

    folder = service.context.settings.folder
    features = [{**FEATURES[0], "log": "drop"}, *FEATURES[1:3], {**FEATURES[3], "log": "hash"}]
    settings = parse(
        document(folder / "model.skops", service={"hash_salt": "s"}) | {"features": features}, folder=folder
    )
    model = replace(service.context.model, features=settings.schema_of_features)
    answer(fresh(service.context, settings=settings, model=model), [ROW])
    summary = service.log()[0].input_summary
    assert sorted(summary) == ["member", "town", "visits"]
    assert summary["town"] not in (None, "Ulm")


def test_refusals_are_written_together_without_values(service: Service) -> None:
    """Feature and kind of error, nothing else."""
    refuse(service.context, [(("age", "missing"), ("town", "wrong_type")), (("body", "not_json"),)])
    assert [row.violations for row in service.refusals()] == [
        [{"feature": "age", "kind": "missing"}, {"feature": "town", "kind": "wrong_type"}],
        [{"feature": "body", "kind": "not_json"}],
    ]
    assert {(row.timestamp, row.model_version) for row in service.refusals()} == {(service.clock.now, "v1")}


def test_the_state_is_read_anew_by_every_drain(service: Service) -> None:
    """A decision is obeyed from the next drain on, and back again."""
    decided = []
    for state in (State.NORMAL, State.DEGRADED, State.WARNING, State.DEGRADED, State.NORMAL):
        service.decide(state)
        decided.append(answer(service.context, [ROW])[0].decided_by)
    assert decided == ["model", "fallback", "model", "fallback", "model"]


def test_writers_take_turns(service: Service) -> None:
    """Answers and refusals from several threads are all written, none lost to the database's lock."""
    service.decide(State.NORMAL)

    def work() -> None:
        for _ in range(10):
            answer(service.context, [ROW])
            refuse(service.context, [(("age", "missing"),)])

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading(service.engine) as connection:
        count = connection.execute(select(func.count()).select_from(prediction_logs)).scalar()
    assert (count, len(service.refusals())) == (40, 40)


def test_a_state_row_without_a_run_counts_as_stale(service: Service) -> None:
    """A row written by hand says what to obey, and not that anybody watches."""
    service.decide(State.NORMAL)
    with database.writing(service.engine) as connection:
        connection.execute(delete(system_state))
        connection.execute(
            system_state.insert().values(current_state="DEGRADED", last_updated=service.clock.now, reason="by hand")
        )
    answered = answer(service.context, [ROW])[0]
    assert (answered.decided_by, answered.monitor_stale) == ("fallback", True)
