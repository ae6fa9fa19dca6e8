"""The database server goes away under load; answers go on, and every one of them is in the log afterwards, once."""

import json
import time

import pytest

from tests.faults.api import Api, Load, Refused, missing_and_doubled, until
from tests.faults.conftest import often
from tests.faults.figures import Figure
from tests.faults.proxy import Proxy
from tests.postgres import Postgres

CALM = {"status": "ready", "store": "up", "spooled_rows": 0}


def is_calm(api: Api) -> bool:
    """Whether the store is up and nothing waits."""
    ready = api.get("/health/ready")
    return bool(ready == ready | CALM)


def is_spooling(api: Api) -> bool:
    """Whether rows wait on this host."""
    return bool(api.get("/health/ready")["status"] == "spooling")


def in_order(api: Api) -> bool:
    """Whether the log's rows are in the order of their times."""
    times = [row.timestamp for row in api.logged()]
    return times == sorted(times)


@pytest.mark.parametrize("mode", ["reset", "blackhole"])
def test_a_disturbed_line_costs_nobody_an_answer(on_postgres: Api, proxy: Proxy, mode: str, figure: Figure) -> None:
    """A cut or a silent line: no request fails, and after the drain each row is there once, in order."""
    seconds = often(3, 10)
    with Load(on_postgres) as load:
        load.more(50)
        proxy.set(mode)
        until(lambda: is_spooling(on_postgres))
        time.sleep(seconds)
        during = len(load.acknowledged)
        proxy.set("ok")
        until(lambda: is_calm(on_postgres))
        load.more(20)
    missing, doubled = missing_and_doubled(load.ids, on_postgres.logged())
    figure(f"line {mode} for {seconds} s: requests failed, of answered", f"{len(load.failed)} of {len(load.ids)}")
    figure(f"line {mode} for {seconds} s: longest answer", f"{load.longest_seconds:.2f} s")
    figure(f"line {mode} for {seconds} s: rows missing / doubled after the drain", f"{missing} / {doubled}")
    assert during > 50
    assert load.failed == []
    assert (missing, doubled) == (0, 0)
    assert in_order(on_postgres)


def test_a_killed_server_costs_nobody_an_answer(on_postgres: Api, server: Postgres, figure: Figure) -> None:
    """PostgreSQL is killed under load and started again: no request fails, each row is there once, in order."""
    seconds = often(2, 10)
    with Load(on_postgres, 32) as load:
        load.more(50)
        server.kill()
        until(lambda: is_spooling(on_postgres))
        time.sleep(seconds)
        server.start()
        until(lambda: is_calm(on_postgres))
        load.more(20)
    missing, doubled = missing_and_doubled(load.ids, on_postgres.logged())
    figure(f"PostgreSQL killed, out for {seconds} s: requests failed", f"{len(load.failed)} of {len(load.ids)}")
    figure(f"PostgreSQL killed, out for {seconds} s: rows missing / doubled after the drain", f"{missing} / {doubled}")
    assert load.failed == []
    assert (missing, doubled) == (0, 0)
    assert in_order(on_postgres)


def test_rows_outlive_the_process_that_took_them(on_postgres: Api, server: Postgres) -> None:
    """Killed with rows in its spool, the service's next start brings them home."""
    ids = [on_postgres.predict()["prediction_id"]]
    server.kill()
    ids += [on_postgres.predict()["prediction_id"] for _ in range(20)]
    assert on_postgres.get("/health/ready")["spooled_rows"] == 20
    on_postgres.kill()
    server.start()
    on_postgres.start()
    until(lambda: is_calm(on_postgres))
    assert [row.prediction_id for row in on_postgres.logged()] == ids


def test_every_surface_says_so(on_postgres: Api, proxy: Proxy) -> None:
    """Readiness, metrics, `status`, the routes that look and the log tell of the outage; the API stays ready."""
    on_postgres.predict()
    proxy.set("reset")
    on_postgres.predict()
    until(lambda: is_spooling(on_postgres))
    assert on_postgres.get("/health/ready")["store"].startswith("out: ")
    metrics = on_postgres.get("/metrics")
    assert "stillsafe_spooled_rows 1.0" in metrics
    assert "stillsafe_store_up 0.0" in metrics
    with pytest.raises(Refused) as refused:
        on_postgres.get("/v1/state")
    assert refused.value.status == 503
    status = on_postgres.command("status", "--json")
    told = json.loads(status.stdout)
    assert (status.returncode, told["state"], told["spooled_rows"]) == (1, None, 1)
    assert "entries wait" in on_postgres.command("status").stdout
    assert "the store is out" in on_postgres.told()
    proxy.set("ok")
    until(lambda: is_calm(on_postgres))
    assert "the store is back" in on_postgres.told()
    assert json.loads(on_postgres.command("status", "--json").stdout)["store"] == "up"


def test_an_outage_is_noticed_though_nobody_asks(on_postgres: Api, proxy: Proxy) -> None:
    """The heartbeat finds a silent line, so that no client has to."""
    proxy.set("blackhole")
    until(lambda: is_spooling(on_postgres))
    began = time.monotonic()
    on_postgres.predict()
    assert "the store is out" in on_postgres.told()
    assert time.monotonic() - began < 2, "the request itself waited for the store's time-out"


def test_a_store_never_reached_gives_the_fallback(on_postgres: Api, proxy: Proxy) -> None:
    """Started while the database is out, nobody knows the state: the fallback answers, and its rows wait."""
    on_postgres.kill()
    proxy.set("refuse")
    on_postgres.start()
    answer = on_postgres.predict()
    assert (answer["decided_by"], answer["system_state"]) == ("fallback", "DEGRADED")
    proxy.set("ok")
    until(lambda: is_calm(on_postgres))
    assert on_postgres.predict()["decided_by"] == "model"
    assert [row.decided_by for row in on_postgres.logged()] == ["fallback", "model"]


def test_the_last_known_state_expires_into_the_fallback(on_postgres: Api, proxy: Proxy) -> None:
    """It holds for `max_state_age_seconds`; then the state is unknown, and unknown is not NORMAL."""
    on_postgres.kill()
    on_postgres.change("serving", 'max_state_age_seconds = "3s"')
    on_postgres.start()
    assert on_postgres.predict()["decided_by"] == "model"
    proxy.set("reset")
    answers = [on_postgres.predict()]
    while answers[-1]["decided_by"] == "model":
        answers.append(on_postgres.predict())
    assert answers[0]["decided_by"] == "model"
    assert "could not be read for more than 3 s" in answers[-1]["reason"]
    proxy.set("ok")
    until(lambda: is_calm(on_postgres))
    assert on_postgres.predict()["decided_by"] == "model"


def test_neither_store_nor_spool_is_a_refusal_and_heals(on_postgres: Api, proxy: Proxy) -> None:
    """No row can be kept, so there is no answer: 503 on both surfaces, until either is back."""
    on_postgres.predict()
    spool = on_postgres.folder / "stillsafe.spool.db"
    spool.mkdir()
    proxy.set("reset")
    with pytest.raises(Refused) as unanswered:
        on_postgres.predict()
    with pytest.raises(Refused) as unready:
        on_postgres.get("/health/ready")
    assert (unanswered.value.status, unready.value.status) == (503, 503)
    spool.rmdir()
    kept = on_postgres.predict()
    proxy.set("ok")
    until(lambda: is_calm(on_postgres))
    assert on_postgres.logged()[-1].prediction_id == kept["prediction_id"]


def test_a_run_of_the_monitor_brings_the_rows_home_first(on_postgres: Api, server: Postgres) -> None:
    """A window is not judged while rows of it wait on this host."""
    server.kill()
    for _ in range(5):
        on_postgres.predict()
    on_postgres.kill()
    server.start()
    ran = on_postgres.command("monitor", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["prediction_count"] == 5


def test_a_run_of_the_monitor_fails_without_the_server(on_postgres: Api, server: Postgres) -> None:
    """A run that cannot read is no calm one: it exits 1 and says why, and the next one goes on."""
    server.kill()
    failed = on_postgres.command("monitor", "--json")
    assert (failed.returncode, failed.stdout) == (1, "")
    server.start()
    assert on_postgres.command("monitor", "--json").returncode == 0
