"""Answering and recording: the state applies, the answer is on disk before it is sent, unknown is not NORMAL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, select
from starlette.testclient import TestClient

from stillsafe.core.fallback import Rule
from stillsafe.core.state import Hold, Memory, State
from stillsafe.errors import StoreError
from stillsafe.logs import JsonLine
from stillsafe.serving.app import build
from stillsafe.serving.predict import answer, answer_requests, record_refusals
from stillsafe.serving.prediction_request import PredictionRequest, Refusal
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.tables import prediction_logs, system_state
from stillsafe.store.write.decisions import record_hold
from tests.faults.api import wait_until
from tests.serving.services import GOOD, OLD, Service, fitted_pipeline, fresh

ROW: Any = {**GOOD, "age": 30.0}
OLDER: Any = {**OLD, "age": 70.0}


class Hanging:
    """Wraps an estimator so that it blocks until an event is set."""

    def __init__(self, estimator: Any, release: Event) -> None:
        self.estimator = estimator
        self.release = release

    def __getattr__(self, name: str) -> Any:
        return getattr(self.estimator, name)

    def predict(self, rows: Any) -> Any:
        """Late."""
        self.release.wait(10)
        return self.estimator.predict(rows)


class Forbidden:
    """An estimator that must not be called."""

    def predict(self, _rows: Any) -> Any:
        """Fails the test."""
        raise AssertionError("the model was called")


def test_no_prediction_leaves_unrecorded(service: Service) -> None:
    """When an answer returns, another connection can already read its row, and the row has the same values."""
    service.decide(State.NORMAL)
    for record in answer(service.context, [ROW, OLDER, {**ROW, "town": None}]):
        with service.engine.connect() as other:
            row = other.execute(
                select(prediction_logs).where(prediction_logs.c.prediction_id == record.prediction_id)
            ).one()
        assert (row.timestamp, row.model_version) == (record.timestamp, "v1")
        assert (row.prediction, row.confidence_score) == (record.prediction, record.confidence_score)
        assert (row.system_state, row.fallback_used, row.decided_by) == ("NORMAL", False, "model")
        assert (row.reason, row.model_error) == (record.reason, None)
    assert [row.input_summary for row in service.log()] == [ROW, OLDER, {**ROW, "town": None}]


def test_a_batch_is_one_commit(service: Service) -> None:
    """If the last row cannot be written, none is, and no request gets an answer."""
    service.decide(State.NORMAL)
    repeating = Service(fresh(service.context, new_ids=lambda count: ["same"] * count), service.clock)
    with pytest.raises(StoreError):
        answer(repeating.context, [ROW, OLDER])
    assert service.log() == []


def test_degraded_bypasses_the_model(service: Service) -> None:
    """The answer is the deterministic fallback's, without a confidence and with the reason; the model is not called."""
    service.decide(State.DEGRADED, reason="Mean confidence is 0.6.")
    bypassed_service = service.with_estimator(Forbidden())
    young, old = answer(bypassed_service.context, [ROW, OLDER])
    assert (young.prediction, old.prediction) == ("no", "yes")
    for record in (young, old):
        assert (record.decided_by, record.fallback_used) == ("fallback", True)
        assert (record.confidence_score, record.probabilities, record.model_error) == (None, None, None)
        assert record.system_state is State.DEGRADED
        assert "Mean confidence is 0.6." in record.reason
    assert "rule 1: age > 60.0" in old.reason
    assert [row.system_state for row in service.log()] == ["DEGRADED", "DEGRADED"]
    assert [row.confidence_score for row in service.log()] == [None, None]


def test_in_warning_the_model_answers(service: Service) -> None:
    """Only DEGRADED bypasses."""
    service.decide(State.WARNING)
    record = answer(service.context, [ROW])[0]
    assert (record.decided_by, record.system_state) == ("model", State.WARNING)


def test_an_operators_hold_bypasses_the_model(service: Service) -> None:
    """Even before the first run."""
    with database.writing(service.engine) as connection:
        record_hold(connection, {"v1": Memory()}, Hold("ann", "odd answers", service.clock.now), None)
    record = answer(service.with_estimator(Forbidden()).context, [ROW])[0]
    assert record.decided_by == "fallback"
    assert "Held by ann: odd answers" in record.reason


def test_a_rule_that_reads_a_damaged_feature_is_skipped(service: Service) -> None:
    """The fallback uses only features that are intact."""
    service.decide(State.DEGRADED, damaged_features=("age",))
    record = answer(service.context, [OLDER])[0]
    assert record.prediction == "no"
    assert "the default" in record.reason


def test_a_rule_that_raises_is_skipped_by_itself_and_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The later rules still apply to that row, and the log names the rule."""

    def matches(row: Any) -> bool:
        if row["age"] > 60:
            raise OverflowError
        return True

    rules = (
        Rule("odd", frozenset(), matches, lambda _row: "yes"),
        Rule("old", frozenset(), lambda _row: True, lambda _row: "old"),
    )
    fallback = replace(service.context.fallback, rules=rules)
    service.decide(State.DEGRADED)
    records = answer(fresh(service.context, fallback=fallback), [ROW, OLDER])
    assert [record.prediction for record in records] == ["yes", "old"]
    assert "rule 2: old" in records[1].reason
    (failure,) = [each for each in caplog.records if each.message == "a fallback rule failed and was skipped"]
    assert failure.exc_info is None
    fields = vars(failure)["fields"]
    assert fields["rule"] == "Fallback rule 1: odd"
    assert fields["error"].startswith(f"OverflowError at {__file__}:")


def test_the_log_of_a_failing_rule_quotes_no_value(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The message of an exception may have the row's value, as that of `float` has."""
    name = "carol.4711@example.org"
    rule = Rule("odd", frozenset(), lambda _row: bool(float(name)), lambda _row: "yes")
    fallback = replace(service.context.fallback, rules=(rule,))
    service.decide(State.DEGRADED)
    answer(fresh(service.context, fallback=fallback), [ROW])
    line = next(JsonLine().format(each) for each in caplog.records if "rule failed" in each.message)
    assert "ValueError at" in line
    assert name not in line


def test_observe_mode_never_bypasses(service: Service) -> None:
    """The model answers, and the reason names the state that does not apply."""
    service.decide(State.DEGRADED)
    service.clock.now += timedelta(days=1)
    observing = service.with_settings(service={"mode": "observe"}, serving={"on_stale_monitor": "fallback"})
    record = answer(observing.context, [ROW])[0]
    assert (record.decided_by, record.system_state) == ("model", State.DEGRADED)
    assert record.confidence_score is not None
    assert "mode observe" in record.reason


def test_before_the_first_run_the_state_is_normal_and_stale(service: Service) -> None:
    """No run has checked the model yet, and every answer says so."""
    record = answer(service.context, [ROW])[0]
    assert (record.system_state, record.monitor_stale, record.watched) == (State.NORMAL, True, False)
    assert "stale" in record.reason
    assert "unwatched" in record.reason


@pytest.mark.parametrize(("seconds", "stale"), [(1199, False), (1200, False), (1201, True)])
def test_a_stopped_monitor_shows_in_every_answer(service: Service, seconds: int, stale: bool) -> None:
    """After two intervals; by default the model goes on answering, and the reason says that the monitor is stale."""
    service.decide(State.NORMAL)
    service.watch()
    service.clock.now += timedelta(seconds=seconds)
    record = answer(service.context, [ROW])[0]
    assert (record.monitor_stale, record.watched) == (stale, True)
    assert ("stale" in record.reason) == stale
    assert record.decided_by == "model"


def test_a_stopped_monitor_may_mean_fallback(service: Service) -> None:
    """If the settings say so, the fallback answers while no monitor runs."""
    service.decide(State.NORMAL)
    strict = service.with_settings(serving={"on_stale_monitor": "fallback"})
    assert answer(strict.context, [ROW])[0].decided_by == "model"
    service.clock.now += timedelta(seconds=1201)
    record = answer(strict.with_estimator(Forbidden()).context, [ROW])[0]
    assert (record.decided_by, record.system_state) == ("fallback", State.NORMAL)
    assert "stale" in record.reason


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
    """The failure is logged with its kind, and the model answers the other rows."""
    service.decide(State.NORMAL)
    failing = service.with_estimator(fitted_pipeline(unknown="error"))
    rows = [ROW, {**OLDER, "town": "Atlantis"}, ROW]
    records = answer(failing.context, rows)
    assert [each.decided_by for each in records] == ["model", "fallback", "model"]
    assert (records[1].prediction, records[1].confidence_score) == ("yes", None)
    assert "The model failed: raised ValueError." in records[1].reason
    assert [row.model_error for row in service.log()] == [None, "raised ValueError", None]
    assert {row.system_state for row in service.log()} == {"NORMAL"}


def test_a_model_that_answers_nan_gets_the_fallback(service: Service) -> None:
    """NaN is never sent."""

    class BrokenModel:
        """A classifier whose probabilities are NaN."""

        def predict(self, rows: Any) -> Any:
            """Answers."""
            return np.full(len(rows), "no")

        def predict_proba(self, rows: Any) -> Any:
            """None."""
            return np.full((len(rows), 2), np.nan)

    record = answer(service.with_estimator(BrokenModel()).context, [ROW])[0]
    assert (record.decided_by, record.model_error) == ("fallback", "not finite")


def test_a_hanging_model_costs_one_deadline(service: Service) -> None:
    """Its batch waits that long; until the call returns, later batches get the fallback at once."""
    service.decide(State.NORMAL)
    release = Event()
    slow = service.with_settings(model={"timeout": 0.2})
    slow = slow.with_estimator(Hanging(slow.context.model.estimator, release))
    first = answer(slow.context, [ROW])[0]
    began = perf_counter()
    second = answer(slow.context, [OLDER])[0]
    assert perf_counter() - began < 0.2
    assert [(each.decided_by, each.model_error) for each in (first, second)] == [("fallback", "timed out")] * 2
    assert "timed out" in first.reason
    release.set()
    while slow.context.deadline.is_busy:
        pass
    assert answer(slow.context, [ROW])[0].decided_by == "model"
    assert [row.model_error for row in service.log()] == ["timed out", "timed out", None]


def test_requests_over_http_get_the_fallback_while_the_model_hangs(service: Service) -> None:
    """Another thread answers the batch of the late call: each request once, and again by the model when it returns."""
    service.decide(State.NORMAL)
    release = Event()
    slow = service.with_settings(model={"timeout": 0.3})
    slow = slow.with_estimator(Hanging(slow.context.model.estimator, release))
    with TestClient(build(slow.context)) as client:

        def post(_number: int) -> str:
            return str(client.post("/v1/predict", json={"features": GOOD}).json()["decided_by"])

        with ThreadPoolExecutor(4) as clients:
            assert [*clients.map(post, range(8))] == ["fallback"] * 8
        assert slow.context.deadline.is_busy
        release.set()
        wait_until(lambda: not slow.context.deadline.is_busy)
        assert [post(number) for number in range(3)] == ["model"] * 3
    assert [row.model_error for row in service.log()] == ["timed out"] * 8 + [None] * 3


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
    refusals = (("age", "missing"), ("town", "wrong_type")), (("body", "not_json"),)
    record_refusals(service.context, [Refusal(defects, "0123456789abcdef") for defects in refusals])
    assert [row.violations for row in service.refusals()] == [
        [{"feature": "age", "kind": "missing"}, {"feature": "town", "kind": "wrong_type"}],
        [{"feature": "body", "kind": "not_json"}],
    ]
    assert {(row.timestamp, row.model_version) for row in service.refusals()} == {(service.clock.now, "v1")}
    assert {row.source for row in service.refusals()} == {"0123456789abcdef"}


def test_every_batch_reads_the_state(service: Service) -> None:
    """A decision applies from the next batch on."""
    decisions = []
    for state in (State.NORMAL, State.DEGRADED, State.WARNING, State.DEGRADED, State.NORMAL):
        service.decide(state)
        decisions.append(answer(service.context, [ROW])[0].decided_by)
    assert decisions == ["model", "fallback", "model", "fallback", "model"]


def test_writers_share_a_lock(service: Service) -> None:
    """Answers and refusals from several threads are all written; none fails at the database's lock."""
    service.decide(State.NORMAL)

    def work() -> None:
        for _ in range(10):
            answer(service.context, [ROW])
            record_refusals(service.context, [Refusal((("age", "missing"),))])

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading(service.engine) as connection:
        count = connection.execute(select(func.count()).select_from(prediction_logs)).scalar()
    assert (count, len(service.refusals())) == (40, 40)


def test_a_state_row_without_a_run_counts_as_stale(service: Service) -> None:
    """A row written by hand gives the state, and no sign of a running monitor."""
    service.decide(State.NORMAL)
    with database.writing(service.engine) as connection:
        connection.execute(delete(system_state))
        connection.execute(
            system_state.insert().values(current_state="DEGRADED", last_updated=service.clock.now, reason="by hand")
        )
    record = answer(service.context, [ROW])[0]
    assert (record.decided_by, record.monitor_stale) == ("fallback", True)


@pytest.mark.parametrize(("on_not_judged", "fallback_used"), [("serve", False), ("fallback", True)])
def test_what_answers_while_not_judged_follows_the_settings(
    service: Service, on_not_judged: str, fallback_used: bool
) -> None:
    """A request that waits for a run longer than six intervals makes the version not judged, until it is judged."""
    settings = service.with_settings(serving={"on_not_judged": on_not_judged, "on_stale_monitor": "serve"})
    settings.decide(State.NORMAL)
    (first,) = answer(settings.context, [GOOD])
    assert (first.judged, first.fallback_used) == (True, False)
    settings.clock.now += timedelta(minutes=61)
    (later,) = answer(settings.context, [GOOD])
    assert (later.judged, later.judged_at, later.fallback_used) == (False, None, fallback_used)
    assert "Not judged: no run has reached a conclusion about its requests ever" in later.reason
    settings.decide(State.NORMAL)
    (again,) = answer(settings.context, [GOOD])
    assert (again.judged, again.fallback_used) == (True, False)


def test_rows_are_logged_with_their_marks(service: Service) -> None:
    """The flag and the source of each row, through the batcher's form of the call."""
    service.decide(State.NORMAL)
    requests = [PredictionRequest(GOOD, True, "0123456789abcdef"), PredictionRequest(OLD)]
    records = answer_requests(service.context, requests)
    assert [row.source for row in service.log()] == ["0123456789abcdef", None]
    assert [isinstance(record, PredictionRecord) and record.synthetic for record in records] == [True, False]
    assert [row.synthetic for row in service.log()] == [True, False]


def test_abstention_is_logged_and_sent_without_a_prediction(service: Service) -> None:
    """While the model is bypassed, the prediction is null, and the log has the row and the reason."""
    service.decide(State.DEGRADED)
    fallback = replace(service.context.fallback, rules=(), abstains=True)
    (record,) = answer(fresh(service.context, fallback=fallback), [ROW])
    assert (record.prediction, record.decided_by, record.fallback_kind) == (None, "fallback", "abstain")
    assert record.reason.endswith("No prediction, as the settings demand: a person or another system takes over.")
    (row,) = service.log()
    assert (row.prediction, row.fallback_used) == (None, True)


def test_an_answer_of_the_fallback_names_its_kind(service: Service) -> None:
    """Rules while the model is bypassed; no kind of an answer of the model."""
    service.decide(State.NORMAL)
    (record,) = answer(service.context, [ROW])
    assert record.fallback_kind is None
    service.decide(State.DEGRADED)
    (record,) = answer(service.context, [ROW])
    assert (record.fallback_kind, record.fallback_used) == ("rules", True)
