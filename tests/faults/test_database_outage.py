"""During an outage of the database server requests are answered, and afterwards each answer is in the log once."""

import json
import time
from typing import Any

import pytest

from tests.faults.api import BODY, Api, Load, RequestRefused, missing_and_duplicate_counts, wait_until
from tests.faults.conftest import repetitions
from tests.faults.figures import Figure
from tests.faults.proxy import Proxy
from tests.postgres import Postgres

READY = {"status": "ready", "store": "up", "spooled_rows": 0}


def is_recovered(api: Api) -> bool:
    """Whether the store is up and the spool is empty."""
    ready = api.get("/health/ready")
    return bool(ready == ready | READY)


def is_spooling(api: Api) -> bool:
    """Whether rows are in the spool."""
    return bool(api.get("/health/ready")["status"] == "spooling")


def in_order(api: Api) -> bool:
    """Whether the rows of the log are in time order."""
    times = [row.timestamp for row in api.prediction_log()]
    return times == sorted(times)


@pytest.mark.serial
@pytest.mark.parametrize("mode", ["reset", "blackhole"])
def test_no_request_fails_on_a_disturbed_connection(on_postgres: Api, proxy: Proxy, mode: str, figure: Figure) -> None:
    """With a reset or silent connection no request fails; after the drain each row is in the log once, in order."""
    seconds = repetitions(3, 10)
    with Load(on_postgres) as load:
        load.wait_for_answers(50)
        proxy.set(mode)
        wait_until(lambda: is_spooling(on_postgres))
        time.sleep(seconds)
        during = len(load.answers)
        proxy.set("ok")
        wait_until(lambda: is_recovered(on_postgres))
        load.wait_for_answers(20)
    missing, duplicates = missing_and_duplicate_counts(load.prediction_ids, on_postgres.prediction_log())
    figure(
        f"line {mode} for {seconds} s: requests failed, of answered",
        f"{len(load.failures)} of {len(load.prediction_ids)}",
    )
    figure(f"line {mode} for {seconds} s: longest answer", f"{load.longest_seconds:.2f} s")
    figure(f"line {mode} for {seconds} s: rows missing / doubled after the drain", f"{missing} / {duplicates}")
    assert during > 50
    assert load.failures == []
    assert (missing, duplicates) == (0, 0)
    assert in_order(on_postgres)


def test_no_request_fails_when_the_server_is_killed(on_postgres: Api, server: Postgres, figure: Figure) -> None:
    """PostgreSQL is killed under load and restarted; each row is in the log once, in order."""
    seconds = repetitions(2, 10)
    with Load(on_postgres, 32) as load:
        load.wait_for_answers(50)
        server.kill()
        wait_until(lambda: is_spooling(on_postgres))
        time.sleep(seconds)
        server.start()
        wait_until(lambda: is_recovered(on_postgres))
        load.wait_for_answers(20)
    missing, duplicates = missing_and_duplicate_counts(load.prediction_ids, on_postgres.prediction_log())
    figure(
        f"PostgreSQL killed, out for {seconds} s: requests failed",
        f"{len(load.failures)} of {len(load.prediction_ids)}",
    )
    figure(
        f"PostgreSQL killed, out for {seconds} s: rows missing / doubled after the drain", f"{missing} / {duplicates}"
    )
    assert load.failures == []
    assert (missing, duplicates) == (0, 0)
    assert in_order(on_postgres)


def test_the_spool_outlives_its_process(on_postgres: Api, server: Postgres) -> None:
    """After the service is killed with rows in its spool, the next start drains them."""
    ids = [on_postgres.predict()["prediction_id"]]
    server.kill()
    ids += [on_postgres.predict()["prediction_id"] for _ in range(20)]
    assert on_postgres.get("/health/ready")["spooled_rows"] == 20
    on_postgres.kill()
    server.start()
    on_postgres.start()
    wait_until(lambda: is_recovered(on_postgres))
    assert [row.prediction_id for row in on_postgres.prediction_log()] == ids


def test_a_host_keeps_its_ids_through_an_outage(on_postgres: Api, proxy: Proxy) -> None:
    """Retries get the first answer and no second row, other content is a conflict, after a restart too."""

    def post(text: str, radius: float = 14.0) -> Any:
        return on_postgres.post("/v1/predict", json.dumps({"id": text, "features": BODY | {"mean radius": radius}}))

    def require_conflict(text: str) -> None:
        with pytest.raises(RequestRefused) as error:
            post(text, 15.0)
        assert error.value.status == 409

    first = post("before")
    proxy.set("reset")
    wait_until(lambda: is_spooling(on_postgres))
    second = post("during")
    assert post("during") == second
    require_conflict("during")
    on_postgres.kill()
    on_postgres.start()
    assert post("during") == second
    require_conflict("during")
    proxy.set("ok")
    wait_until(lambda: is_recovered(on_postgres))
    assert (post("before"), post("during")) == (first, second)
    assert [list(each["probabilities"]) for each in (post("during"), second)] == [list(first["probabilities"])] * 2
    require_conflict("during")
    assert [row.prediction_id for row in on_postgres.prediction_log()] == [
        each["prediction_id"] for each in (first, second)
    ]


def test_every_interface_reports_the_outage(on_postgres: Api, proxy: Proxy) -> None:
    """Readiness, metrics, `status`, the read routes and the log report the outage; the API stays ready."""
    on_postgres.predict()
    proxy.set("reset")
    on_postgres.predict()
    wait_until(lambda: is_spooling(on_postgres))
    assert on_postgres.get("/health/ready")["store"].startswith("out: ")
    metrics = on_postgres.get("/metrics")
    assert "stillsafe_spooled_rows 1.0" in metrics
    assert "stillsafe_store_up 0.0" in metrics
    with pytest.raises(RequestRefused) as error:
        on_postgres.get("/v1/state")
    assert error.value.status == 503
    status = on_postgres.command("status", "--json")
    document = json.loads(status.stdout)
    assert (status.returncode, document["state"], document["spooled_rows"]) == (1, None, 1)
    assert "entries wait" in on_postgres.command("status").stdout
    assert "the store is out" in on_postgres.log_text()
    proxy.set("ok")
    wait_until(lambda: is_recovered(on_postgres))
    assert "the store is back" in on_postgres.log_text()
    assert json.loads(on_postgres.command("status", "--json").stdout)["store"] == "up"


def test_an_outage_is_detected_without_requests(on_postgres: Api, proxy: Proxy) -> None:
    """The heartbeat detects a silent connection before any request does."""
    proxy.set("blackhole")
    wait_until(lambda: is_spooling(on_postgres))
    began = time.monotonic()
    on_postgres.predict()
    assert "the store is out" in on_postgres.log_text()
    assert time.monotonic() - began < 2, "the request waited for the store's timeout"


def test_a_store_never_reached_gives_the_fallback(on_postgres: Api, proxy: Proxy) -> None:
    """If the service starts during an outage, the state is unknown: the fallback answers, and its rows are spooled."""
    on_postgres.kill()
    proxy.set("refuse")
    on_postgres.start()
    answer = on_postgres.predict()
    assert (answer["decided_by"], answer["system_state"]) == ("fallback", "DEGRADED")
    proxy.set("ok")
    wait_until(lambda: is_recovered(on_postgres))
    assert on_postgres.predict()["decided_by"] == "model"
    assert [row.decided_by for row in on_postgres.prediction_log()] == ["fallback", "model"]


def test_the_last_known_state_expires_into_the_fallback(on_postgres: Api, proxy: Proxy) -> None:
    """The state is valid for `max_state_age_seconds`; afterwards it is unknown, and the fallback answers."""
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
    wait_until(lambda: is_recovered(on_postgres))
    assert on_postgres.predict()["decided_by"] == "model"


def test_without_store_and_spool_requests_are_refused(on_postgres: Api, proxy: Proxy) -> None:
    """If no row can be recorded, predictions and readiness are 503 until store or spool is back."""
    on_postgres.predict()
    spool = on_postgres.folder / "stillsafe.spool.db"
    spool.mkdir()
    proxy.set("reset")
    with pytest.raises(RequestRefused) as predict_error:
        on_postgres.predict()
    with pytest.raises(RequestRefused) as health_error:
        on_postgres.get("/health/ready")
    assert (predict_error.value.status, health_error.value.status) == (503, 503)
    spool.rmdir()
    answer = on_postgres.predict()
    proxy.set("ok")
    wait_until(lambda: is_recovered(on_postgres))
    assert on_postgres.prediction_log()[-1].prediction_id == answer["prediction_id"]


def test_a_monitoring_run_drains_the_spool_first(on_postgres: Api, server: Postgres) -> None:
    """The window contains the rows that were in the spool."""
    server.kill()
    for _ in range(5):
        on_postgres.predict()
    on_postgres.kill()
    server.start()
    process = on_postgres.command("monitor", "--json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["prediction_count"] == 5


def test_a_monitoring_run_fails_without_the_server(on_postgres: Api, server: Postgres) -> None:
    """A run that cannot read the store exits with 1, and the next run succeeds."""
    server.kill()
    process = on_postgres.command("monitor", "--json")
    assert (process.returncode, process.stdout) == (1, "")
    server.start()
    assert on_postgres.command("monitor", "--json").returncode == 0
