"""Same stored metrics, same decisions: replay recomputes all of them, and finds what was tampered with."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from stillsafe.monitoring import run
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from tests.monitoring.conftest import Service, lose

_TAMPERED = {
    "sqlite": "replace(\"window\", '300', '301')",
    "postgresql": "CAST(replace(CAST(\"window\" AS TEXT), '300', '301') AS JSON)",
}


@pytest.fixture
def history(service: Service) -> Service:
    """A degradation, a hold in the middle of it, a recovery, and a quiet window."""
    service.step()
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    run.hold(service.engine, by="Ada", reason="to be sure", at=service.now)
    service.step()
    run.release(service.engine, by="Ada", reason="sure", at=service.now)
    for _ in range(3):
        service.step()
    service.step(10)
    return service


def again(service: Service) -> object:
    return replay(
        service.engine,
        from_logs=True,
        schema=service.settings.schema_of_features,
        model_version="1",
        score=service.score,
    ).difference


def test_same_stored_metrics_same_decisions(history: Service) -> None:
    """Every decision and every window recomputes to what is stored."""
    assert replay(history.engine).difference is None
    found = replay(
        history.engine,
        from_logs=True,
        schema=history.settings.schema_of_features,
        model_version="1",
        score=history.score,
    )
    assert found.difference is None
    assert (found.runs, found.windows, found.not_recounted) == (9, 9, {})


def test_later_rows_do_not_change_earlier_windows(history: Service) -> None:
    """Rows that arrive late, even with an old timestamp, stay out of windows that were judged without them."""
    history.send(500, start=history.now - timedelta(hours=1))
    assert again(history) is None


@pytest.mark.parametrize(
    ("tampering", "told"),
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
def test_tampering_is_found(history: Service, tampering: str, told: str) -> None:
    """A changed decision, window, state or operator's action is named with its run and both values."""
    with database.writing(history.engine) as connection:
        connection.execute(text(tampering.format(tampered=_TAMPERED[connection.dialect.name])))
    difference = replay(history.engine).difference
    assert difference is not None
    assert told in str(difference)


def test_a_tampered_log_is_found_from_the_logs(history: Service) -> None:
    """Replay from the log finds a prediction that was changed after it was judged."""
    with database.writing(history.engine) as connection:
        connection.execute(text("UPDATE prediction_logs SET confidence_score = 0.1 WHERE id = 2100"))
    assert replay(history.engine).difference is None
    assert "confidence" in str(again(history))


def test_windows_that_cannot_be_recounted_are_named(history: Service) -> None:
    """Without the model at hand shadow-scored windows are left out, and said to be."""
    found = replay(
        history.engine, from_logs=True, schema=history.settings.schema_of_features, model_version="2", score=None
    )
    assert found.difference is None
    assert found.not_recounted
    assert all("model version 1" in why for why in found.not_recounted.values())
