"""A service's life with labels: healthy, in another world whose features are the same, and healthy again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Engine

from stillsafe.core.schema import sanitise
from stillsafe.core.signals import Evidence, Signal
from stillsafe.core.state import State, severity_of
from stillsafe.label_intake import LabelItem, take_in
from stillsafe.model.model import Model
from stillsafe.model.reference import read_baseline
from stillsafe.monitoring import registration, run
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.state import current_state
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.predictions import append_predictions
from tests.matrix.simulation import START, labels_of, people, rows_of, service_of, shadow_scorer

EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How labels come: all those of a period at once, some time after its end.

    Attributes:
        period: the time whose labels come together.
        delay: from the end of the period to their arrival.
        batches: bursts of requests in a period, each followed by a run.
        rows: requests of a burst.
        coverage: share of the rows that get a label at all.
    """

    period: timedelta
    delay: timedelta
    batches: int
    rows: int
    coverage: float = 1.0


DELIVERIES = {
    "hourly": Delivery(timedelta(hours=1), timedelta(hours=6), 1, 500),
    "nightly": Delivery(timedelta(days=1), timedelta(hours=6), 2, 250),
    "nightly, half": Delivery(timedelta(days=1), timedelta(days=1), 2, 400, 0.5),
    "weekly": Delivery(timedelta(days=7), timedelta(days=1), 3, 200),
}


@dataclass(slots=True)
class LabelLife:
    """The life, one delivery after the other."""

    delivery: Delivery
    url: str
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(23))
    engine: Engine = field(init=False)
    settings: Settings = field(init=False)
    model: Model = field(init=False)
    number: int = 0
    waiting: list[list[LabelItem]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The store, with a baseline."""
        self.settings, self.model = service_of(3000)
        self.engine = database.connect(self.url, self.settings.service.name)
        database.upgrade(self.engine)
        registration.ensure_registered(self.engine)
        with database.writing(self.engine) as connection:
            baseline = read_baseline(self.settings.path(self.settings.model.reference))
            insert_baseline(connection, baseline)
            mark_active(connection, baseline)

    def play(self, periods: int, drift: float = 0.0) -> Iterator[tuple[State, str, bool]]:
        """After each run: the state, the severity by labels, and whether the run was a labelled one.

        Args:
            periods: how many deliveries' worth of requests.
            drift: accuracy lost by other labels of the same features.
        """
        for _ in range(periods):
            start, items = START + self.number * self.delivery.period, []
            self.number += 1
            for burst in range(self.delivery.batches):
                at = start + burst * self.delivery.period / self.delivery.batches
                items += self._send(at, drift)
                yield self._run(at + EVERY)
            self.waiting.append(items)
            end = start + self.delivery.period
            while len(self.waiting) * self.delivery.period > self.delivery.delay:
                with database.writing(self.engine) as connection:
                    take_in(connection, self.waiting.pop(0), end - EVERY / 2)
                yield self._run(end - EVERY / 4)

    def _send(self, at: datetime, drift: float) -> list[LabelItem]:
        table = people(self.random, self.delivery.rows)
        labels = labels_of(self.random, table).to_numpy()
        rows, state = rows_of(table), self.state()
        scores = self.model.score(list(rows))
        answers = np.array([score.prediction for score in scores])
        is_right = answers == labels
        is_turned = is_right & (self.random.random(len(rows)) < drift / is_right.mean())
        labels = np.where(is_turned, 1 - labels, labels)
        snapshots = sanitise(self.settings.schema_of_features, rows, self.settings.service.hash_salt)
        is_bypassed = state is State.DEGRADED
        records = [
            PredictionRecord(
                f"p{at}-{index}",
                at + EVERY * (index / len(rows)),
                self.settings.model.version,
                state,
                snapshot,
                0 if is_bypassed else score.prediction or 0,
                None if is_bypassed else score.confidence,
                is_bypassed,
                "matrix",
            )
            for index, (snapshot, score) in enumerate(zip(snapshots, scores, strict=True))
        ]
        with database.writing(self.engine) as connection:
            append_predictions(connection, records)
        has_label = self.random.random(len(rows)) < self.delivery.coverage
        return [
            LabelItem(record.prediction_id, None, str(label))
            for record, label, keep in zip(records, labels.tolist(), has_label, strict=True)
            if keep
        ]

    def _run(self, now: datetime) -> tuple[State, str, bool]:
        scorer = shadow_scorer(self.settings, self.model)
        result = run.run(self.engine, self.settings, now=now, score=scorer)
        assert result.decision is not None
        reading = next((each for each in result.decision.readings if each.signal is Signal.REALISED_LOSS), None)
        is_labelled = reading is not None and reading.evidence is not Evidence.INSUFFICIENT
        streak = result.decision.memory.streaks.get(Signal.REALISED_LOSS)
        severity = "NORMAL" if streak is None else severity_of(self.settings.policy, streak).value
        return result.decision.memory.state, severity, is_labelled

    def state(self) -> State:
        """The state in force."""
        with database.reading(self.engine) as connection:
            record = current_state(connection, self.settings.model.version)
        return State.NORMAL if record is None else record.state
