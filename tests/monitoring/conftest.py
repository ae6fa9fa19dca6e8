"""A service with a real store and made-up traffic, for all tests of monitoring."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

import pytest
from sqlalchemy import Engine

from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.core.state import State
from stillsafe.monitoring import baseline, run
from stillsafe.settings import Settings, parse
from stillsafe.store import database
from stillsafe.store.read.state import current_state
from stillsafe.store.records import PredictionRecord, RefusalRecord
from stillsafe.store.write.predictions import append_predictions, append_refusals
from stillsafe.store.write.services import register_service

START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=10)

DOCUMENT: dict[str, Any] = {
    "service": {"name": "made-up"},
    "model": {"file": "none.skops", "sha256": "0" * 64, "version": "1"},
    "fallback": {"default": 0},
    "features": [
        {"name": "size", "type": "numeric", "required": False},
        {"name": "floor", "type": "integer", "required": False},
        {"name": "lift", "type": "boolean", "required": False},
        {"name": "town", "type": "category", "required": False},
    ],
}


@dataclass
class Service:
    """A store, its settings, and methods for traffic and runs on a simulated clock."""

    engine: Engine
    settings: Settings
    random: Random = field(default_factory=lambda: Random(11))
    now: datetime = START
    sent_count: int = 0
    scored_count: int = 0
    confidence_of_shadow: float = 0.85
    prefix: str = "p"

    def state(self, version: str | None = None) -> State:
        """The current state of a version (default: the one at hand)."""
        with database.reading(self.engine) as connection:
            record = current_state(connection, version or self.settings.model.version)
        return State.NORMAL if record is None else record.state

    def send(
        self,
        count: int,
        *,
        over: timedelta = STEP,
        start: datetime | None = None,
        confidence: float = 0.85,
        version: str | None = None,
        change: Callable[[int, Row], None] | None = None,
        model_error: str | None = None,
        source: str | Callable[[int], str] | None = None,
    ) -> None:
        """Log `count` answered requests, spread evenly over the time after `start` (default: now)."""
        version = version or self.settings.model.version
        state, begin, records = self.state(version), start or self.now, []
        for i in range(count):
            row: Row = {
                "size": self.random.gauss(50, 10),
                "floor": self.random.randint(0, 9),
                "lift": self.random.random() < 0.5,
                "town": self.random.choice("ABCDE"),
            }
            if change is not None:
                change(i, row)
            self.sent_count += 1
            is_bypassed = state is State.DEGRADED or model_error is not None
            records.append(
                PredictionRecord(
                    f"{self.prefix}{self.sent_count}",
                    begin + over * (i / count),
                    version,
                    state,
                    row,
                    "1",
                    None if is_bypassed else min(1.0, max(0.0, self.random.gauss(confidence, 0.05))),
                    is_bypassed,
                    "made up",
                    model_error,
                    source=source(i) if callable(source) else source,
                )
            )
        with database.writing(self.engine) as connection:
            append_predictions(connection, records)

    def refuse(self, count: int, source: str | None = None) -> None:
        """Log refused requests, now."""
        with database.writing(self.engine) as connection:
            violations, version = (("size", "wrong_type"),), self.settings.model.version
            append_refusals(connection, [RefusalRecord(self.now, version, violations, source) for _ in range(count)])

    def score(self, rows: Sequence[Row]) -> list[Score]:
        """A shadow scorer with a mean confidence of `confidence_of_shadow`; it counts the rows."""
        self.scored_count += len(rows)
        spread = NormalDist(self.confidence_of_shadow, 0.05)
        confidences = [min(1.0, spread.inv_cdf((i % 20 + 0.5) / 20)) for i, _ in enumerate(rows)]
        return [Score("1", confidence, None, None) for confidence in confidences]

    def sharing_service(self, **sections: dict[str, Any]) -> "Service":
        """Another version or service on the same database, with other settings and a baseline of its own."""
        other_settings = settings(Path(self.settings.folder), **sections)
        for name in (self.settings.service.name, other_settings.service.name):
            engine = self.engine.execution_options(service=name)
            with database.writing(engine) as connection:
                register_service(connection)
        other = Service(engine, other_settings, Random(12), self.now, prefix=f"{sections}")
        other.make_baseline()
        return other

    def run(self) -> run.Run:
        """One monitoring run, now."""
        return run.run(self.engine, self.settings, now=self.now, score=self.score)

    def step(self, count: int = 300, **traffic: Any) -> State:
        """Ten minutes of traffic, and the run that evaluates them."""
        self.send(count, **traffic)
        self.now += STEP
        self.run()
        return self.state()

    def make_baseline(self, count: int = 2000) -> None:
        """Healthy traffic two days before the start, which no run reads any more, and its baseline."""
        self.send(count, start=START - timedelta(days=2), over=timedelta(hours=3))
        baseline.create(self.engine, self.settings, baseline.HealthyPeriod(count), at=START)


def settings(folder: Path, **sections: dict[str, Any]) -> Settings:
    """The made-up service's settings, sections merged in."""
    document = {**DOCUMENT, **{name: {**DOCUMENT.get(name, {}), **section} for name, section in sections.items()}}
    return parse(document, folder=folder)


@pytest.fixture
def bare_service(named_store: str, tmp_path: Path) -> Iterator[Service]:
    """A service without a baseline, once on each kind of database."""
    service_settings = settings(tmp_path)
    engine = database.connect(service_settings.database_url)
    database.upgrade(engine)
    yield Service(engine, service_settings)
    engine.dispose()


@pytest.fixture
def service(bare_service: Service) -> Service:
    """A service with a baseline."""
    bare_service.make_baseline()
    return bare_service


def lose(feature: str, rate: float) -> Callable[[int, Row], None]:
    """A fault: a share of a feature's values is missing."""

    def change(i: int, row: Row) -> None:
        if i % 100 < 100 * rate:
            row[feature] = None

    return change
