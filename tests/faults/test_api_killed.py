"""The API is killed in full swing, again and again; what any client ever held is in the log."""

from tests.faults.api import Api, Load, missing_and_doubled, until
from tests.faults.conftest import often
from tests.faults.figures import Figure
from tests.postgres import Postgres

CONNECTIONS = 32


def test_kill_minus_nine_under_load(on_either: Api, figure: Figure) -> None:
    """Every acknowledged prediction is a row, once, whatever the process was doing when it died."""
    kills = often(3, 50)
    acknowledged: set[str] = set()
    for kill in range(kills):
        with Load(on_either, CONNECTIONS) as load:
            load.more(40 + 37 * (kill % 5))
            on_either.kill()
        acknowledged |= load.ids
        on_either.start()
    rows = on_either.logged()
    missing, doubled = missing_and_doubled(acknowledged, rows)
    store = "PostgreSQL" if on_either.database.startswith("postgresql") else "SQLite"
    figure(
        f"API killed {kills} times under {CONNECTIONS} connections, {store}: missing / doubled, of acknowledged",
        f"{missing} / {doubled} of {len(acknowledged)}",
    )
    assert (missing, doubled) == (0, 0)
    assert len(acknowledged) >= 40 * kills


def test_killed_while_rows_wait_and_go_home(on_postgres: Api, server: Postgres, figure: Figure) -> None:
    """The API dies while it spools and while it drains: each row is in the log once all the same."""
    kills = often(2, 20)
    acknowledged: set[str] = set()
    for kill in range(kills):
        with Load(on_postgres, 8) as load:
            load.more(20)
            server.kill()
            load.more(100)
            if kill % 2:
                server.start()
            load.more(10)
            on_postgres.kill()
        acknowledged |= load.ids
        if not kill % 2:
            server.start()
        on_postgres.start()
    until(lambda: bool(on_postgres.get("/health/ready")["status"] == "ready"))
    missing, doubled = missing_and_doubled(acknowledged, on_postgres.logged())
    figure(
        f"API killed {kills} times while PostgreSQL was killed too: missing / doubled, of acknowledged",
        f"{missing} / {doubled} of {len(acknowledged)}",
    )
    assert (missing, doubled) == (0, 0)
