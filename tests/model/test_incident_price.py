"""The price of an incident, from the labels that runs have read since."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.core.decide import decide
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_tally import AnswerTally, LabelTally
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.state import Memory
from stillsafe.core.window import Tally, Window
from stillsafe.model.incident_price import incident_price, newest_price
from stillsafe.store import database
from stillsafe.store.read.incidents import IncidentRecord
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.write.baselines import insert_baseline
from stillsafe.store.write.decisions import RunRows, record_run
from tests.dashboard.story import healthy
from tests.store.conftest import at, empty, engine

__all__ = ["empty", "engine"]
BASELINE = replace(healthy(), harm=PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}, row_count=4000))
INCIDENT = IncidentRecord(
    "inc", at(10), "CRITICAL", ["realised_loss"], "", True, True, at(20), at(60), "", "1", BASELINE.baseline_id
)


def answers(right: int) -> AnswerTally:
    """Of a hundred answers, so many are right."""
    return AnswerTally(100, (("yes", "no", 100 - right), ("yes", "yes", right)))


def record(connection: Connection, minute: int, labels: LabelTally | None) -> None:
    """A run that read labels."""
    window = Window(at(minute - 10), at(minute), "1", Tally(), Tally(), labels=labels)
    decision = decide(Policy(), None, window, Memory())
    record_run(connection, Policy(), window, Memory(), decision, RunRows(RowMarks(), RowMarks()), enforce=True)


def labels(first: int, last: int, model: int, fallback: int) -> LabelTally:
    """Labels of rows of some minutes that the fallback answered."""
    return LabelTally(at(first), at(last), 100, paired_model=answers(model), fallback=answers(fallback))


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Runs that read labels of the bypass, of other times, and none."""
    with database.writing(engine) as connection:
        insert_baseline(connection, BASELINE)
        record(connection, 40, None)
        record(connection, 80, labels(25, 40, 40, 90))
        record(connection, 90, labels(41, 55, 60, 90))
        record(connection, 95, labels(70, 75, 10, 90))
        record(connection, 99, LabelTally(None, None, 0, old_count=5))
    return engine


def test_the_labels_of_its_bypass_count(log: Engine) -> None:
    """Those of rows between the bypass and its end, whenever they came."""
    with database.reading(log) as connection:
        price = incident_price(connection, INCIDENT)
        still_open = incident_price(connection, replace(INCIDENT, resolved=False, resolved_at=None))
    assert price is not None
    assert still_open is not None
    assert (price.label_count, still_open.label_count) == (200, 300)
    assert price.gain == pytest.approx(0.4)


def test_an_incident_without_a_bypass_has_no_price(log: Engine) -> None:
    """Nor one whose baseline has no study, or of before versions were named."""
    with database.reading(log) as connection:
        for other in (
            replace(INCIDENT, fallback_activated=False),
            replace(INCIDENT, baseline_id=None),
            replace(INCIDENT, model_version=None),
        ):
            assert incident_price(connection, other) is None
        assert newest_price(connection, "1") is None
