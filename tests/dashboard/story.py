"""A made-up service and its runs, decided by the real core and written by the real store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.schema import FeatureType
from stillsafe.core.state import Hold, Memory
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.monitoring.memory import current_memory
from stillsafe.settings import Settings, parse
from stillsafe.store import database
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.decisions import RunRows, record_hold, record_run
from stillsafe.store.write.explanations import append_explanation

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY = timedelta(minutes=10)
FEATURES = ("dep_delay", "distance", "wind_speed", "carrier")


def settings_of(folder: Path, **sections: Mapping[str, Any]) -> Settings:
    """The service's settings, any section changed."""
    document: dict[str, Any] = {
        "service": {"name": "flights"},
        "model": {"file": "model.skops", "sha256": "0" * 64, "version": "1"},
        "fallback": {"default": "on time"},
        "features": [{"name": name, "type": "category" if name == "carrier" else "numeric"} for name in FEATURES],
    }
    for name, changes in sections.items():
        document[name] = {**document.get(name, {}), **changes}
    return parse(document, folder=folder)


def healthy(version: str = "1") -> Baseline:
    """What healthy looks like."""
    number = FeatureBaseline(FeatureType.NUMERIC, 9_800, 200, 0.0, 100.0)
    features = {name: number for name in FEATURES if name != "carrier"}
    features["carrier"] = FeatureBaseline(FeatureType.CATEGORY, 10_000, 0, category_counts={"AA": 6_000, "UA": 4_000})
    return Baseline(
        baseline_id=f"reference-{version}",
        model_version=version,
        created_at=START - timedelta(days=1),
        source=BaselineSource.REFERENCE,
        sample_size=10_000,
        confidence_count=10_000,
        avg_confidence=0.842,
        confidence_sd=0.12,
        low_confidence_threshold=0.61,
        low_confidence_rate=0.1,
        features=features,
        longest_pause_seconds=180.0,
    )


def tally(
    n: int = 600,
    *,
    confidence: float = 0.842,
    low: float = 0.1,
    missing: Mapping[str, float] | None = None,
    unseen: Mapping[str, int] | None = None,
    fallback: bool = False,
    refusals: int = 0,
) -> Tally:
    """A window's counts, healthy where nothing else is said."""
    features = {}
    for name in FEATURES:
        missing_count = round(n * (missing or {}).get(name, 0.02)) if name != "carrier" else 0
        features[name] = FeatureTally(n - missing_count, missing_count)
    if unseen:
        features["carrier"] = FeatureTally(n, 0, sum(unseen.values()), unseen_examples=unseen)
    return Tally(
        prediction_count=n,
        confidence_count=n,
        confidence_sum=n * confidence,
        confidence_square_sum=n * (confidence**2 + 0.0144),
        low_confidence_count=round(n * low),
        fallback_count=n if fallback else 0,
        refusal_count=refusals,
        features=features,
    )


FAULT_RATES = {"dep_delay": 0.97, "wind_speed": 0.12}


def faulty_tally(n: int = 600, **more: Any) -> Tally:
    """A window in which a feed has failed and the model feels it."""
    return tally(n, confidence=0.66, low=0.41, missing=FAULT_RATES, **more)


@dataclass
class Story:
    """Plays runs into a store, one after the other."""

    engine: Engine
    settings: Settings
    baseline: Baseline | None
    memory: Memory = field(default_factory=Memory)
    now: datetime = START

    def watch(self) -> None:
        """Activate the baseline."""
        assert self.baseline is not None
        with database.writing(self.engine) as connection:
            insert_baseline(connection, self.baseline)
            mark_active(connection, self.baseline)

    def run(self, counts: Tally, *, interval: timedelta = EVERY, version: str = "1", **more: Any) -> Decision:
        """One run, some time after the last; `more` are further fields of its window."""
        self.now += interval
        start = self.now - timedelta(minutes=15)
        window = Window(start, self.now, version, counts, counts, silent_seconds=4.0, **more)
        with database.writing(self.engine) as connection:
            decision = decide(self.settings.policy, self.baseline, window, self.memory)
            rows = RunRows(RowMarks(), RowMarks(), window.late_count, window.expired_count)
            enforce = self.settings.service.mode == "enforce"
            record_run(connection, self.settings.policy, window, self.memory, decision, rows, enforce=enforce)
        self.memory = decision.memory
        return decision

    def runs(self, count: int, counts: Tally) -> Decision:
        """The same run several times."""
        return [self.run(counts) for _ in range(count)][-1]

    def hold(self, by: str = "ada", reason: str = "drill") -> None:
        """An operator's hold."""
        with database.writing(self.engine) as connection:
            version = self.settings.model.version
            record_hold(connection, {version: self.memory}, Hold(by, reason, self.now), None)
            self.memory = current_memory(connection, version)

    def explain(self, incident_id: str, summary: str, recommendations: str, status: str = "opened") -> None:
        """An explanation of an incident."""
        with database.writing(self.engine) as connection:
            append_explanation(
                connection,
                ExplanationRecord(
                    incident_id=incident_id,
                    incident_status=status,
                    source="offline",
                    likely_causes="",
                    generated_at=self.now,
                    summary=summary,
                    recommendations=recommendations,
                    llm_model="offline",
                ),
            )


def begin(folder: Path, *, watched: bool = True, **sections: Mapping[str, Any]) -> Story:
    """A service with an empty database, watched or not."""
    engine = database.connect(f"sqlite:///{folder / 'stillsafe.db'}")
    database.upgrade(engine)
    story = Story(engine, settings_of(folder, **sections), healthy() if watched else None)
    if watched:
        story.watch()
    return story
