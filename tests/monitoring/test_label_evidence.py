"""Labels as evidence: late, few at a time, corrected, of old rows; what a run makes of them, and a replay."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import LabelTally
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import State
from stillsafe.core.window import Window
from stillsafe.errors import RefusedError
from stillsafe.label_intake import LabelItem, take_in
from stillsafe.monitoring import erasure
from stillsafe.monitoring.hold import hold, release
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.recount import ROWS_ERASED, ROWS_PRUNED
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.retention import prune_texts
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.requests import RequestTable, request_ids, request_rows
from stillsafe.store.read.runs import RunRecord, last_run
from stillsafe.store.write.baselines import insert_baseline, mark_active
from tests.monitoring.conftest import STEP, Service, settings

DAY = timedelta(days=1)
HARM = PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}, row_count=2000)


@pytest.fixture(autouse=True)
def _with_study(service: Service) -> None:
    """The baseline gets a study with labels: the model is right in nine of ten cases. Nights are silent."""
    service.settings = settings(Path(service.settings.folder), policy={"silence": 0})
    with database.writing(service.engine) as connection:
        baseline = active_baseline(connection, "1")
        assert baseline is not None
        with_study = replace(baseline, baseline_id="with-study", harm=HARM)
        insert_baseline(connection, with_study)
        mark_active(connection, with_study)


def prediction_ids(connection: Connection, start: datetime, end: datetime) -> list[str]:
    """The identifiers of the rows of a time, in order."""
    rows = request_rows(
        connection, RequestTable.PREDICTIONS, request_ids(connection, RequestTable.PREDICTIONS, start, end, "1")
    )
    return [row["prediction_id"] for row in rows]


def add_labels(service: Service, start: datetime, end: datetime, right: float, most: int = 10_000) -> list[str]:
    """Labels of the rows of a time arrive now: `1`, as the model answers, for this share of them."""
    with database.writing(service.engine) as connection:
        names = prediction_ids(connection, start, end)[:most]
        labels = ["1" if service.random.random() < right else "0" for _ in names]
        items = [LabelItem(name, None, label) for name, label in zip(names, labels, strict=True)]
        take_in(connection, items, service.now)
    return labels


def newest_run(service: Service) -> RunRecord:
    """The newest run."""
    with database.reading(service.engine) as connection:
        record = last_run(connection)
    assert record is not None
    return record


def tally(record: RunRecord) -> LabelTally | None:
    """The labels of a run."""
    return stored_value(Window, record.window).labels


def loss_reading(record: RunRecord) -> Reading | None:
    """The reading of the realised loss of a run."""
    readings = stored_value(tuple[Reading, ...], record.readings)
    return next((each for each in readings if each.signal is Signal.REALISED_LOSS), None)


def labelled_day(service: Service, right: float, count: int = 200) -> State:
    """A day: traffic, a run, a night, and the labels of that traffic in one file with the next run."""
    start = service.now
    service.step(count)
    service.now = start + DAY
    add_labels(service, start, start + STEP, right)
    service.run()
    return service.state()


def assert_replays(service: Service, score: object = None) -> None:
    """Every run recounts to what it stored, whatever has come since."""
    result = replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=score or service.score,  # type: ignore[arg-type] # a scorer
    )
    assert (result.difference, result.not_recounted) == (None, {})


def test_without_labels_nothing_knows_of_them(service: Service) -> None:
    """No reading, no memory, no mark: a run is what it was before labels could be evidence."""
    service.step()
    record = newest_run(service)
    assert (tally(record), loss_reading(record), record.memory["labels"]) == (None, None, None)
    assert "labels" not in record.rows


def test_a_changed_world_is_found_by_its_labels(service: Service) -> None:
    """A day late, in one file a night: WARNING after two labelled runs, DEGRADED after three, whatever lies between."""
    assert labelled_day(service, 0.9) is State.NORMAL
    assert labelled_day(service, 0.7) is State.NORMAL
    for _ in range(3):
        assert service.step() is State.NORMAL
    assert labelled_day(service, 0.7) is State.WARNING
    for _ in range(5):
        assert service.step() is State.WARNING
    assert labelled_day(service, 0.7) is State.DEGRADED
    reading = loss_reading(newest_run(service))
    assert reading is not None
    assert (reading.level, reading.sample_count) == (Level.SEVERE, 200)
    assert reading.value == pytest.approx(0.2, abs=0.06)
    with database.reading(service.engine) as connection:
        [incident] = recent_incidents(connection, 5)
    assert incident.trigger_signals == ["realised_loss"]
    assert "By the labels of 200 predictions of " in incident.decision_reason
    assert_replays(service)


def degrade(service: Service) -> None:
    """Three labelled days of a changed world."""
    for _ in range(3):
        labelled_day(service, 0.7)
    assert service.state() is State.DEGRADED


def test_labels_of_older_rows_do_not_end_it_and_those_of_newer_ones_do(service: Service) -> None:
    """Recovery is judged by what the model would have answered to rows newer than the degradation."""
    first_start = service.now
    service.step(600)
    degrade(service)
    for quarter in range(4):
        add_labels(service, first_start + quarter * STEP / 4, first_start + (quarter + 1) * STEP / 4, 1.0)
        service.step(100)
    labels, reading = tally(newest_run(service)), loss_reading(newest_run(service))
    assert labels is not None
    assert reading is not None
    assert (service.state(), labels.old_count, reading.evidence) == (State.DEGRADED, 150, Evidence.INSUFFICIENT)
    states = [labelled_day(service, 0.9) for _ in range(4)]
    assert states[:3] == [State.DEGRADED, State.DEGRADED, State.NORMAL]
    with database.reading(service.engine) as connection:
        incident = recent_incidents(connection, 1)[0]
    assert (incident.resolved, incident.resolution) == (
        True,
        f"Recovered after 3 consecutive labelled runs without a loss. The state had been DEGRADED since "
        f"{incident.escalated_at:%Y-%m-%dT%H:%M:%SZ}.",
    )
    assert_replays(service)


def test_it_stays_where_newer_labels_show_the_loss_and_the_fallback_is_better(service: Service) -> None:
    """While the model would be wrong and the fallback is right, the fallback answers."""
    degrade(service)

    def wrong(rows: Sequence[Row]) -> list[Score]:
        return [replace(score, prediction="0") for score in Service.score(service, rows)]

    service.score = wrong  # type: ignore[method-assign] # the world of this test
    assert [labelled_day(service, 0.9) for _ in range(4)] == [State.DEGRADED] * 4
    reading = loss_reading(newest_run(service))
    assert reading is not None
    assert reading.truth is not None
    assert (reading.truth.advantage or 0) == pytest.approx(0.8, abs=0.1)
    assert_replays(service, wrong)


def test_a_fallback_that_is_no_better_gives_the_answers_back(service: Service) -> None:
    """Both answer the same here: the labels show no advantage, so the model answers with a WARNING."""
    degrade(service)
    assert [labelled_day(service, 0.6) for _ in range(4)][2:] == [State.WARNING] * 2
    assert_replays(service)


def test_few_labels_wait_until_they_are_enough(service: Service) -> None:
    """Each label is evidence in one run only, with as many others as the policy asks for."""
    start = service.now
    service.step(600)
    judged_counts = []
    for number in range(4):
        add_labels(service, start, start + STEP, 0.9, most=60 * (number + 1))
        service.step(50)
        labels, reading = tally(newest_run(service)), loss_reading(newest_run(service))
        assert labels is not None
        assert reading is not None
        judged_counts.append((labels.model.count, reading.value is not None))
    assert judged_counts == [(60, False), (120, True), (60, False), (120, True)]
    assert_replays(service)


def test_a_correction_is_no_new_evidence(service: Service) -> None:
    """A row whose label an earlier run has read counts no second time; within one run its last label counts."""
    start = service.now
    service.step(300)
    labels = add_labels(service, start, start + STEP, 0.9, most=200)
    service.step(50)
    with database.writing(service.engine) as connection:
        names = prediction_ids(connection, start, start + STEP)
        turned_items = [LabelItem(name, None, "01"[label == "0"]) for name, label in zip(names, labels, strict=False)]
        take_in(connection, turned_items, service.now)
        take_in(connection, [LabelItem(name, None, "0") for name in names[200:]], service.now)
        take_in(connection, [LabelItem(name, None, "1") for name in names[200:]], service.now)
    service.step(50)
    labels_read = tally(newest_run(service))
    assert labels_read is not None
    assert labels_read.model.outcomes == (("1", "1", 100),)
    assert_replays(service)


def test_rows_that_are_too_old_are_no_evidence(service: Service) -> None:
    """The policy's age limit: the rows are counted as too old, and nothing is judged."""
    start = service.now
    service.step(300)
    service.now = start + timedelta(days=31)
    service.step(300)
    add_labels(service, start, start + STEP, 0.2)
    service.step(300)
    labels, reading = tally(newest_run(service)), loss_reading(newest_run(service))
    assert labels is not None
    assert reading is not None
    assert (service.state(), labels.old_count, reading.evidence) == (State.NORMAL, 300, Evidence.INSUFFICIENT)
    assert_replays(service)


def test_an_operator_releases_what_labels_made(service: Service) -> None:
    """At once, with a WARNING that labels of newer rows end; a hold is released first."""
    degrade(service)
    act: dict[str, Any] = {"by": "ann", "reason": "The labels were wrong"}
    hold(service.engine, "1", at=service.now, **act)
    release(service.engine, "1", at=service.now, **act)
    assert service.state() is State.DEGRADED
    release(service.engine, "1", at=service.now, **act)
    assert service.state() is State.WARNING
    with pytest.raises(RefusedError, match="Nothing is held"):
        release(service.engine, "1", at=service.now, **act)
    assert_replays(service)
    assert service.step() is State.WARNING
    with database.reading(service.engine) as connection:
        incident = recent_incidents(connection, 1)[0]
    assert incident.fallback_ended_reason is not None
    assert "an operator released" in incident.fallback_ended_reason
    assert [labelled_day(service, 0.9) for _ in range(2)] == [State.WARNING, State.NORMAL]
    assert_replays(service)


def test_healthy_labels_change_nothing(service: Service) -> None:
    """Hourly, in one file a night and in one file a week: the state stays NORMAL."""
    for count in (100, 400, 1000):
        assert labelled_day(service, 0.9, count) is State.NORMAL
        reading = loss_reading(newest_run(service))
        assert reading is not None
        assert reading.level is Level.NONE


def test_labels_of_an_incident_of_another_cause_are_no_second_one(service: Service) -> None:
    """The shadow scores of damaged rows show a harm that is over: the mended model goes on answering."""
    for _ in range(3):
        service.step(model_error="ValueError")
    assert service.state() is State.DEGRADED
    start = service.now
    service.step()
    end = service.now
    for _ in range(4):
        service.step()
    assert service.state() is not State.DEGRADED
    for third in range(3):
        add_labels(service, start + third * (end - start) / 3, start + (third + 1) * (end - start) / 3, 0.2)
        service.step()
        labels = tally(newest_run(service))
        assert labels is not None
        assert (labels.model.count, labels.paired_model.count, labels.fallback.count) == (0, 100, 100)
        assert service.state() is not State.DEGRADED
    assert_replays(service)


def _recount(service: Service) -> tuple[object, set[str]]:
    result = replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
    )
    return result.difference, set(result.not_recounted.values())


def test_an_erased_row_without_a_label_is_no_difference(service: Service) -> None:
    """The labels of a later run are a share of its rows; the run is named and not taken for a changed one."""
    start = service.now
    service.step(300)
    service.now = start + DAY
    add_labels(service, start, start + STEP, 0.9, most=200)
    service.step(300)
    with database.reading(service.engine) as connection:
        name = prediction_ids(connection, start, start + STEP)[250]
    subjects = [Subject(MarkKind.PREDICTION, name)]
    erasure.erase(
        service.engine,
        erasure.Places(None, service.settings.folder),
        subjects,
        at=service.now + DAY,
        by="me",
        reason="asked",
    )
    assert _recount(service) == (None, {ROWS_ERASED})


def test_labels_past_their_retention_are_no_difference(service: Service) -> None:
    """A prune of labels is on record, as one of rows is."""
    assert labelled_day(service, 0.9) is State.NORMAL
    assert _recount(service) == (None, set())
    service.now += 3 * DAY
    assert prune_texts(service.engine, now=service.now, labels=DAY, explanations=None) == (200, 0)
    assert _recount(service) == (None, {ROWS_PRUNED})
