"""Same stored metrics, same decisions: replay recomputes all of them, and finds what was tampered with."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Integer, and_, select, text, update

from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION
from stillsafe.core.schema import FeatureType
from stillsafe.errors import StoreError
from stillsafe.monitoring import hold
from stillsafe.monitoring.difference import FIRST_VERSION
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import ReplayResult, replay
from stillsafe.settings_sections import Feature
from stillsafe.store import database
from stillsafe.store.read.runs import RunRecord, all_runs
from stillsafe.store.tables import current_window_metrics, metadata
from tests.monitoring.conftest import Service, lose

_TAMPERING = {
    "sqlite": "replace(\"window\", '300', '301')",
    "postgresql": "CAST(replace(CAST(\"window\" AS TEXT), '300', '301') AS JSON)",
}


@pytest.fixture
def history(service: Service) -> Service:
    """A degradation, a hold in the middle of it, a recovery, and a quiet window."""
    service.step()
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    hold.hold(service.engine, "1", by="Ada", reason="to be sure", at=service.now)
    service.step()
    hold.release(service.engine, "1", by="Ada", reason="sure", at=service.now)
    for _ in range(3):
        service.step()
    service.step(10)
    return service


def from_logs(service: Service) -> ReplayResult:
    """A replay that recounts the windows too."""
    return replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
    )


def test_same_stored_metrics_same_decisions(history: Service) -> None:
    """Every decision and every window recomputes to what is stored."""
    assert replay(history.engine).difference is None
    result = from_logs(history)
    assert result.difference is None
    assert result.not_recomputed == {}
    assert (result.runs, result.windows, result.not_recounted) == (9, 9, {})


def test_later_rows_do_not_change_earlier_windows(history: Service) -> None:
    """Rows that arrive late, even with an old timestamp, stay out of windows that were judged without them."""
    history.send(500, start=history.now - timedelta(hours=1))
    assert from_logs(history).difference is None


@pytest.mark.parametrize(
    ("tampering", "words"),
    [
        ("UPDATE current_window_metrics SET severity = 'NORMAL' WHERE id = 4", "Run 4"),
        ("UPDATE current_window_metrics SET state_after = 'NORMAL' WHERE id = 4", "state_after"),
        ('UPDATE current_window_metrics SET "window" = {tampered} WHERE id = 2', "Run 2"),
        ("UPDATE system_state SET current_state = 'DEGRADED'", "system_state"),
        ("DELETE FROM operator_actions", "Run 5"),
        ("DELETE FROM system_state", "has lost its state"),
        ("UPDATE current_window_metrics SET prediction_count = 7 WHERE id = 3", "prediction_count"),
        ("UPDATE incidents SET resolved = false", "resolved"),
        ("DELETE FROM incidents", "incidents"),
    ],
)
def test_tampering_is_found(history: Service, tampering: str, words: str) -> None:
    """A changed decision, window, state or operator's action is named with its run and both values."""
    with database.writing(history.engine) as connection:
        connection.execute(text(tampering.format(tampered=_TAMPERING[connection.dialect.name])))
    difference = replay(history.engine).difference
    assert difference is not None
    assert words in str(difference)


def test_a_tampered_log_is_found_from_the_logs(history: Service) -> None:
    """Replay from the log finds a prediction that was changed after it was judged."""
    with database.writing(history.engine) as connection:
        connection.execute(text("UPDATE prediction_logs SET confidence_score = 0.1 WHERE id = 2100"))
    assert replay(history.engine).difference is None
    assert "confidence" in str(from_logs(history).difference)


def test_windows_that_cannot_be_recounted_are_named(history: Service) -> None:
    """Without the model at hand shadow-scored windows are left out, and said to be."""
    result = replay(
        history.engine, from_logs=True, log_format=LogFormat.of(history.settings), model_version="2", score=None
    )
    assert result.difference is None
    assert result.not_recounted
    assert all("model version 1" in why for why in result.not_recounted.values())


def execute(service: Service, statement: str) -> None:
    """Change the store by hand."""
    with database.writing(service.engine) as connection:
        connection.execute(text(statement))


def run_4(service: Service) -> RunRecord:
    """The run that made the state DEGRADED."""
    with database.reading(service.engine) as connection:
        return list(all_runs(connection))[3]


def change_runs(service: Service, first: int = 1, last: int = 9, **columns: object) -> None:
    """Change columns of some runs by hand."""
    runs = update(current_window_metrics).where(current_window_metrics.c.id.between(first, last))
    with database.writing(service.engine) as connection:
        connection.execute(runs.values(**columns))


def test_levels_of_other_rules_are_taken_and_their_states_folded(history: Service) -> None:
    """The installed rules cannot recompute them, so another value of the same level is no difference."""
    readings = [{**each, "value": 0.123} if each["level"] == "SEVERE" else each for each in run_4(history).readings]
    change_runs(history, 4, 4, readings=readings)
    difference = replay(history.engine).difference
    assert difference is not None
    assert "readings" in difference.what
    change_runs(history, 4, 4, rules_version=99)
    result = replay(history.engine)
    assert (result.difference, result.runs, result.not_recomputed) == (None, 9, {99: 1})


def test_a_state_that_does_not_follow_from_the_levels_of_other_rules_is_found(history: Service) -> None:
    """Severity, state, memory and incident are folded for every version of the rules."""
    change_runs(history, 4, 4, rules_version=99)
    readings = [
        {**each, "level": "MODERATE"} if each["level"] == "SEVERE" else each for each in run_4(history).readings
    ]
    change_runs(history, 4, 4, readings=readings)
    difference = replay(history.engine).difference
    assert difference is not None
    assert (difference.run_id, difference.what) == (4, "severity")


@pytest.mark.parametrize("column", ["severity", "state_before", "state_after", "incident_id"])
def test_tampering_with_a_run_of_other_rules_is_found(history: Service, column: str) -> None:
    """The columns that its state shows in are compared."""
    change_runs(history, 4, 4, rules_version=99, **{column: "x"})
    difference = replay(history.engine).difference
    assert difference is not None
    assert (difference.run_id, difference.what) == (4, column)


def test_all_runs_of_other_rules_are_folded(history: Service) -> None:
    """A database that other rules have written replays, and says how many runs of each."""
    change_runs(history, 1, 3, rules_version=98)
    change_runs(history, 4, 9, rules_version=99)
    result = from_logs(history)
    assert (result.difference, result.runs, result.windows, result.not_recounted) == (None, 9, 9, {})
    assert result.not_recomputed == {98: 3, 99: 6}


def test_a_window_that_other_rules_counted_may_be_counted_otherwise(history: Service) -> None:
    """From the log it does not recount, which is no difference where other rules counted it, and is said."""
    execute(history, "UPDATE prediction_logs SET confidence_score = 0.1 WHERE id BETWEEN 2100 AND 3300")
    windows = from_logs(history)
    assert windows.difference is not None
    change_runs(history, rules_version=99)
    result = from_logs(history)
    assert result.difference is None
    assert result.not_recounted
    assert all(reason.startswith("rules 99 counted it") for reason in result.not_recounted.values())


@pytest.mark.parametrize("wording", [WORDING_VERSION - 1, None])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE current_window_metrics SET reason = 'other words'", "reason"),
        ("UPDATE incidents SET decision_reason = 'other words'", "incidents"),
        ("UPDATE incidents SET resolution = 'other words'", "incidents"),
    ],
)
def test_sentences_are_compared_in_the_same_wording_only(
    history: Service, wording: int | None, change: str, what: str
) -> None:
    """A sentence of this version's wording is recomputed to the letter, one of another wording is not compared."""
    execute(history, change)
    difference = replay(history.engine).difference
    assert difference is not None
    assert what in difference.what
    change_runs(history, wording_version=wording)
    assert replay(history.engine).difference is None


def test_other_sentences_hide_no_other_difference_of_an_incident(history: Service) -> None:
    """The columns beside the sentences are compared in every wording."""
    change_runs(history, wording_version=1)
    execute(history, "UPDATE incidents SET severity = 'WARNING', decision_reason = 'other words'")
    difference = replay(history.engine).difference
    assert difference is not None
    assert difference.what.endswith(".severity")


def test_a_run_that_names_no_rules_was_decided_by_the_first(history: Service) -> None:
    """A row of an older version, or one written by hand, has no version."""
    change_runs(history, 1, 2, rules_version=None)
    result = replay(history.engine)
    assert result.difference is None
    assert result.not_recomputed == ({} if RULES_VERSION == FIRST_VERSION else {FIRST_VERSION: 2})


#: Table -> its columns that copy nothing: keys, what a decision is recomputed from, and what no stored value implies.
SOURCES = {
    "baseline_metrics": {"document", "active", "is_redacted"},
    "current_window_metrics": {
        *("id", "policy", "rules_version", "wording_version", "schema_digest", "inherited", "shadow_problem"),
        *("superseded_at", "superseded_reason", "window", "rows"),
    },
    "system_state": {"id"},
    "incidents": {"fallback_activated"},
}
COPIES = [
    (name, column)
    for name, sources in SOURCES.items()
    for column in metadata.tables[name].columns
    if column.name not in {*sources, "service_id"} and not column.primary_key
]


def other_value(column: Column[Any], value: object) -> object:
    """Another value that the column can hold."""
    if value is None:
        examples = {"UtcDateTime": datetime(2026, 1, 1, tzinfo=UTC), "Float": 0.5, "JSON": {"a": {"min": 1}}}
        return examples.get(type(column.type).__name__, 5 if isinstance(column.type, Integer) else "tampered")
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(seconds=1)
    if isinstance(value, dict) and "calm_runs" in value:
        return {**value, "calm_runs": value["calm_runs"] + 1}
    if isinstance(value, dict):
        return {**value, "tampered": {"min": 1, "max": 2}}
    return [*value, "tampered"] if isinstance(value, list) else f"{value} tampered"


def replay_text(service: Service) -> str:
    """The difference that replay finds, or the error that a damaged value raises; empty if there is neither."""
    try:
        return str(replay(service.engine).difference or "")
    except StoreError as error:
        return str(error)


def test_each_stored_copy_is_compared_with_what_it_copies(service: Service) -> None:
    """Whichever column is edited by hand, replay names a difference; restored, there is none."""
    service.step()
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    missed_edits: list[str] = []
    false_alarms: list[str] = []
    for name, column in COPIES:
        with database.reading(service.engine) as connection:
            row = connection.execute(select(column.table)).all()[-1]
        key = and_(*(each == getattr(row, each.name) for each in column.table.primary_key.columns))
        value = getattr(row, column.name)
        for new_value, messages in ((other_value(column, value), missed_edits), (value, false_alarms)):
            with database.writing(service.engine) as connection:
                connection.execute(update(column.table).where(key).values({column.name: new_value}))
            difference = replay_text(service)
            if bool(difference) is (messages is false_alarms):
                messages.append(f"{name}.{column.name}: {difference}")
    assert (missed_edits, false_alarms) == ([], [])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE baseline_metrics SET avg_confidence = 0.1", ".avg_confidence"),
        ("UPDATE system_state SET current_state = 'NORMAL'", "system_state.current_state"),
        ("UPDATE system_state SET reason = 'all is well'", "system_state.reason"),
        ("UPDATE current_window_metrics SET avg_confidence = 0.99 WHERE id = 2", "avg_confidence"),
    ],
)
def test_a_copy_that_was_edited_by_hand_is_named(service: Service, change: str, what: str) -> None:
    """People and other programs read the mission's columns, so these must agree with what was decided."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    execute(service, change)
    difference = replay(service.engine).difference
    assert difference is not None
    assert difference.what.endswith(what)


def test_the_columns_of_a_window_are_compared_whatever_rules_judged_it(history: Service) -> None:
    """The counts of a run of other rules are copies of its window too."""
    change_runs(history, 2, 2, rules_version=99, prediction_count=1)
    difference = replay(history.engine).difference
    assert difference is not None
    assert (difference.run_id, difference.what) == (2, "prediction_count")


def test_a_deploy_that_adds_a_feature_is_no_difference(service: Service) -> None:
    """Each run is recounted with the schema that it was judged by, also after the deploy is rolled back."""
    old_settings = service.settings
    service.step()
    new_feature = Feature(name="garden", type=FeatureType.CATEGORY, required=False)
    service.settings = old_settings.model_copy(update={"features": (*old_settings.features, new_feature)})
    service.step(change=lambda i, row: row.update(garden="yes" if i % 2 else "no"))
    service.step(change=lambda _, row: row.update(garden=None))
    for _ in range(2):
        result = from_logs(service)
        assert (result.difference, result.windows, result.not_recounted) == (None, 3, {})
        service.settings = old_settings
    service.step()
    assert from_logs(service).difference is None


def test_runs_that_were_discarded_are_no_difference(history: Service) -> None:
    """What is left folds to the restored state, and the runs after it go on from there."""
    middle = history.now - timedelta(minutes=55)
    hold.discard_after(history.engine, "1", time=middle, by="Ada", reason="a wrong clock", at=history.now)
    assert replay(history.engine).difference is None
    history.now += timedelta(minutes=10)
    history.step()
    assert from_logs(history).difference is None


def test_actions_between_runs_are_folded_into_the_state(service: Service) -> None:
    """After a hold, a release and a hold of a state without any run, the columns of the state agree."""
    for step in range(3):
        hold.hold(service.engine, "1", by="Ada", reason="to be sure", at=service.now)
        assert replay(service.engine).difference is None
        service.now += timedelta(seconds=1)
        hold.release(service.engine, "1", by="Ada", reason="sure", at=service.now)
        assert replay(service.engine).difference is None
        service.step(change=lose("town", 0.6) if step else None)
        assert replay(service.engine).difference is None
