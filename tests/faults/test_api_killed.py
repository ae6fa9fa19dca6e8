"""After the API is killed under load, every answer that a client received is in the log."""

from tests.faults.api import Api, Load, missing_and_duplicate_counts, wait_until
from tests.faults.conftest import repetitions
from tests.faults.figures import Figure
from tests.postgres import Postgres

CONNECTIONS = 32


def test_kill_minus_nine_under_load(on_either: Api, figure: Figure) -> None:
    """Every acknowledged prediction is exactly one row."""
    kills = repetitions(3, 50)
    prediction_ids: set[str] = set()
    for kill in range(kills):
        with Load(on_either, CONNECTIONS) as load:
            load.wait_for_answers(40 + 37 * (kill % 5))
            on_either.kill()
        prediction_ids |= load.prediction_ids
        on_either.start()
    rows = on_either.prediction_log()
    missing, duplicates = missing_and_duplicate_counts(prediction_ids, rows)
    store = "PostgreSQL" if on_either.database.startswith("postgresql") else "SQLite"
    figure(
        f"API killed {kills} times under {CONNECTIONS} connections, {store}: missing / doubled, of acknowledged",
        f"{missing} / {duplicates} of {len(prediction_ids)}",
    )
    assert (missing, duplicates) == (0, 0)
    assert len(prediction_ids) >= 40 * kills


def test_killed_while_it_spools_and_drains(on_postgres: Api, server: Postgres, figure: Figure) -> None:
    """If the API is killed while it spools or drains, each row is still in the log once."""
    kills = repetitions(2, 20)
    prediction_ids: set[str] = set()
    for kill in range(kills):
        with Load(on_postgres, 8) as load:
            load.wait_for_answers(20)
            server.kill()
            load.wait_for_answers(100)
            if kill % 2:
                server.start()
            load.wait_for_answers(10)
            on_postgres.kill()
        prediction_ids |= load.prediction_ids
        if not kill % 2:
            server.start()
        on_postgres.start()
    wait_until(lambda: bool(on_postgres.get("/health/ready")["status"] == "ready"))
    missing, duplicates = missing_and_duplicate_counts(prediction_ids, on_postgres.prediction_log())
    figure(
        f"API killed {kills} times while PostgreSQL was killed too: missing / doubled, of acknowledged",
        f"{missing} / {duplicates} of {len(prediction_ids)}",
    )
    assert (missing, duplicates) == (0, 0)
