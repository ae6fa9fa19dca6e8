"""The outbox has each alert once, and what became of its delivery."""

from dataclasses import replace

from sqlalchemy import Connection

from stillsafe.store.read.alerts import pending_alerts, recent_alerts
from stillsafe.store.write.alerts import append_alert, update_delivery
from tests.store.read.test_alerts import alert


def test_a_second_alert_of_the_same_is_not_written(connection: Connection) -> None:
    """Its id says so."""
    for _ in range(2):
        append_alert(connection, alert(1))
    assert len(recent_alerts(connection, 10)) == 1


def test_a_delivery_is_stored(connection: Connection) -> None:
    """And an alert that is done waits no more."""
    append_alert(connection, alert(1))
    append_alert(connection, alert(2))
    first, second = pending_alerts(connection)
    update_delivery(connection, replace(first, deliveries={"chat": "now"}, attempts=2, failure="slow"))
    update_delivery(connection, replace(second, is_done=True))
    (stored,) = pending_alerts(connection)
    assert (stored.deliveries, stored.attempts, stored.failure) == ({"chat": "now"}, 2, "slow")
