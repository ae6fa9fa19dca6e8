"""Stories: monitoring windows in, states and sentences out, told in TOML.

A story is a unit test of rules. It says what differs from healthy and what should follow::

    title = "A feature goes missing upstream"

    [policy]                                # only what differs from the defaults
    recovery_runs = 2

    [baseline]                              # what healthy looks like
    predictions = 10000
    avg_confidence = 0.86
    features.temp = { type = "numeric", missing_rate = 0.01 }
    features.carrier = { type = "category", categories = ["AA", "DL", "UA"] }

    [versions."2"]                          # another model version's baseline: only what differs
    avg_confidence = 0.80

    [[run]]                                 # a run in which nothing differs from healthy
    at = "10:00"

    [[run]]                                 # `at` defaults to one interval later
    repeat = 2                              # two such runs; the second is the one expected of
    missing.temp = 0.4
    expect.state = "WARNING"

In a run, **a whole number is a count and a fraction is a share**: `missing.temp = 40` is forty values,
`missing.temp = 0.4` is four in ten. An `at` not later than the last one is on the next day.
`RUN_KEYS`, `EXPECT_KEYS`, `BASELINE_KEYS` and `FEATURE_KEYS` list every word there is.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.policy import Policy, Recovery
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import Evidence, Level
from stillsafe.core.state import Hold, Memory, recovery_runs_needed
from stillsafe.core.window import FeatureTally, Tally, Window

Table = Mapping[str, Any]

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
HEALTHY_PREDICTIONS = 500

STORY_KEYS = {
    "title": "one line",
    "policy": "overrides of the defaults",
    "baseline": "what healthy looks like",
    "versions": "per other model version, what differs in its baseline",
    "run": "the runs, in order",
}
BASELINE_KEYS = {
    "version": 'the model version it speaks for; "1"',
    "predictions": "how many it was made from; 10000",
    "avg_confidence": "mean, in [0, 1]; 0.86. false for a model without confidences",
    "confidence_sd": "standard deviation; 0.12",
    "low_confidence_rate": "in [0, 1]; 0.10",
    "refusals": "requests refused besides `predictions`; 0",
    "model_errors": "predictions on which the model failed; 0",
    "longest_pause_seconds": "longest time without a request; unknown",
    "variation": "per reading key, its standard deviation from stretch to stretch; none",
    "features": "per feature, a table",
}
FEATURE_KEYS = {
    "type": '"numeric", "integer", "boolean" or "category"',
    "missing_rate": "in [0, 1]; 0",
    "range": "of a number, [lowest, highest] seen; [0, 1]",
    "categories": "the categories seen, equally often",
    "once": "how many more categories were seen exactly once; 0",
}
RUN_KEYS = {
    "at": 'end of the window: "10:10", or a full date and time; one interval after the last run',
    "repeat": "how many such runs, one interval apart; 1. `expect` is about the last one",
    "predictions": f"rows that no run has judged before; {HEALTHY_PREDICTIONS}",
    "in_window": "rows in the whole window, judged before or not; `predictions`",
    "scored": "rows with a confidence; all on which the model did not fail",
    "avg_confidence": "mean of them; the baseline's. nan where the model gave NaN",
    "low_confidence": "low ones among them; the baseline's rate",
    "missing": "per feature, missing values; the baseline's rate",
    "unseen": "per feature, values of a category never seen; 0",
    "outside": "per feature, values outside the range; 0",
    "refusals": "requests refused besides `predictions`; the baseline's rate",
    "model_errors": "rows on which the model failed; the baseline's rate",
    "silent_seconds": "time since the last request; 0",
    "shadow": "true: the monitor scored bypassed rows afterwards; false",
    "late": "fresh rows whose time an earlier run had covered; 0",
    "version": "the model version that served; that of the run before",
    "hold": "{ by, reason }: an operator forces DEGRADED before this run",
    "release": "true: the operator's hold ends before this run",
    "expect": "what should follow",
}


class StoryError(Exception):
    """A story that cannot be told: names the file, the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a story: its window, what the operator did before it, and what is expected of it."""

    number: int
    window: Window
    hold: Hold | None
    release: bool
    expected: Table


@dataclass(frozen=True, slots=True)
class Story:
    """A policy, the baseline of each model version, and runs in order."""

    title: str
    policy: Policy
    baselines: Mapping[str, Baseline]
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run and what was decided in it."""

    run: Run
    decision: Decision


def load(path: Path) -> Story:
    """The story in a file.

    Raises:
        StoryError: for a word that no story knows, a policy that is not sound, or a story without runs.
    """
    try:
        return tell(tomllib.loads(path.read_text(encoding="utf-8")))
    except (StoryError, tomllib.TOMLDecodeError) as error:
        raise StoryError(f"{path.name}: {error}") from error


def tell(document: Table) -> Story:
    """The story in a document already parsed. Raises StoryError as `load` does."""
    _only(document, STORY_KEYS, "the story")
    policy = _policy(document.get("policy", {}))
    healthy: dict[str, Any] = dict(document.get("baseline", {}))
    first = str(healthy.get("version", "1"))
    tables = {first: healthy}
    for version, differs in document.get("versions", {}).items():
        tables[version] = {**healthy, **differs, "version": version}
    baselines = {version: _baseline(table) for version, table in tables.items()}
    runs = tuple(_runs(document.get("run", []), policy, baselines, first))
    if not runs:
        raise StoryError("a story needs at least one [[run]].")
    return Story(str(document.get("title", "")), policy, baselines, runs)


def play(story: Story) -> list[Outcome]:
    """Every run decided in turn, each from the memory that the one before left."""
    memory, outcomes = Memory(), []
    for run in story.runs:
        hold = run.hold or (None if run.release else memory.hold)
        decision = decide(
            story.policy, story.baselines.get(run.window.model_version), run.window, replace(memory, hold=hold)
        )
        outcomes.append(Outcome(run, decision))
        memory = decision.memory
    return outcomes


def differences(story: Story, outcome: Outcome) -> list[str]:
    """What was decided otherwise than expected, one line each; empty when all is as told."""
    place = f"run {outcome.run.number} at {outcome.run.window.end:%H:%M}"
    lines = []
    for key, expected in outcome.run.expected.items():
        actual = EXPECT_KEYS[key](story, outcome.decision)
        if actual != expected:
            lines.append(f"{place}: {key} is\n    {actual!r}\n  and should be\n    {expected!r}")
    return lines


def _streaks(_story: Story, decision: Decision) -> dict[str, list[int]]:
    return {key: [streak.deviating, streak.severe] for key, streak in decision.memory.streaks.items()}


def _at_level(*levels: Level) -> Callable[[Story, Decision], list[str]]:
    return lambda _story, decision: sorted(r.key for r in decision.readings if r.level in levels)


EXPECT_KEYS: dict[str, Callable[[Story, Decision], Any]] = {
    "state": lambda _, decision: decision.memory.effective_state.value,
    "state_beneath": lambda _, decision: decision.memory.state.value,
    "severity": lambda _, decision: decision.severity.value,
    "evidence": lambda _, decision: decision.evidence.value,
    "deviating": _at_level(Level.MODERATE, Level.SEVERE),
    "severe": _at_level(Level.SEVERE),
    "unread": lambda _, decision: sorted(r.key for r in decision.readings if r.evidence is Evidence.INSUFFICIENT),
    "streaks": _streaks,
    "calm_runs": lambda _, decision: decision.memory.calm_runs,
    "calm_runs_to_recover": lambda story, decision: recovery_runs_needed(story.policy, decision.memory),
    "incident": lambda _, decision: decision.incident.event.value if decision.incident else "none",
    "triggers": lambda _, decision: list(decision.incident.trigger_signals) if decision.incident else [],
    "damaged": lambda _, decision: list(decision.damaged_features),
    "reason": lambda _, decision: decision.reason,
    "progress": lambda _, decision: decision.progress,
}
"""What may be expected of a run. `state` is what everybody obeys, `state_beneath` what it is without a hold;
`streaks` maps a reading key to [runs deviating, runs severe]; `incident` is "none" where nothing happened to it."""


def _policy(table: Table) -> Policy:
    _only(table, {f.name: "" for f in fields(Policy)}, "[policy]")
    recovery = {"recovery": Recovery(table["recovery"])} if "recovery" in table else {}
    policy = Policy(**{**table, **recovery})
    if problems := policy.problems():
        raise StoryError(f"[policy]: {' '.join(problems)}")
    return policy


def _baseline(table: Table) -> Baseline:
    _only(table, BASELINE_KEYS, "[baseline]")
    count = table.get("predictions", 10_000)
    confident = table.get("avg_confidence", 0.86) is not False
    version = str(table.get("version", "1"))
    return Baseline(
        baseline_id=f"healthy-{version}",
        model_version=version,
        created_at=FIRST_DAY,
        source=BaselineSource.REFERENCE,
        sample_size=count,
        confidence_count=count if confident else 0,
        avg_confidence=table.get("avg_confidence", 0.86) if confident else None,
        confidence_sd=table.get("confidence_sd", 0.12) if confident else None,
        low_confidence_threshold=0.6 if confident else None,
        low_confidence_rate=table.get("low_confidence_rate", 0.10) if confident else None,
        refusal_count=table.get("refusals", 0),
        model_error_count=table.get("model_errors", 0),
        features={
            name: _feature(name, features_table, count) for name, features_table in table.get("features", {}).items()
        },
        variation=table.get("variation", {}),
        longest_pause_seconds=table.get("longest_pause_seconds"),
    )


def _feature(name: str, table: Table, count: int) -> FeatureBaseline:
    _only(table, FEATURE_KEYS, f"feature {name}")
    kind = FeatureType(table.get("type", "numeric"))
    missing = round(table.get("missing_rate", 0.0) * count)
    present = count - missing
    if kind is not FeatureType.CATEGORY:
        low, high = table.get("range", (0.0, 1.0))
        return FeatureBaseline(kind, present, missing, low, high)
    single_categories = {f"once-{number}": 1 for number in range(table.get("once", 0))}
    often = table["categories"]
    each = (present - len(single_categories)) // len(often)
    return FeatureBaseline(kind, present, missing, category_counts=dict.fromkeys(often, each) | single_categories)


def _runs(tables: list[Table], policy: Policy, baselines: Mapping[str, Baseline], version: str) -> Iterator[Run]:
    interval = timedelta(seconds=policy.every_seconds)
    last = FIRST_DAY
    number = 0
    for table in tables:
        _only(table, RUN_KEYS, f"run {number + 1}")
        _only(table.get("expect", {}), EXPECT_KEYS, f"what is expected of run {number + 1}")
        version = str(table.get("version", version))
        repeat = table.get("repeat", 1)
        at = _later(last, table["at"]) if "at" in table else last + interval
        for turn in range(repeat):
            number += 1
            last = at + turn * interval
            window = _window(table, policy, baselines.get(version) or next(iter(baselines.values())), version, last)
            hold = Hold(at=last, **table["hold"]) if "hold" in table else None
            expected = table.get("expect", {}) if turn == repeat - 1 else {}
            yield Run(number, window, hold, table.get("release", False), expected)


def _later(last: datetime, at: object) -> datetime:
    if isinstance(at, datetime):
        return at
    clock = time.fromisoformat(str(at))
    moment = last.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
    return moment if moment > last else moment + timedelta(days=1)


def _window(table: Table, policy: Policy, healthy: Baseline, version: str, end: datetime) -> Window:
    fresh = _tally(table, healthy)
    total = replace(fresh, prediction_count=table.get("in_window", fresh.prediction_count))
    start = end - timedelta(seconds=policy.window_seconds)
    return Window(
        start,
        end,
        version,
        total,
        fresh,
        shadow=table.get("shadow", False),
        silent_seconds=float(table.get("silent_seconds", 0)),
        late_count=table.get("late", 0),
    )


def _tally(table: Table, healthy: Baseline) -> Tally:
    n = table.get("predictions", HEALTHY_PREDICTIONS)
    errors = _count(table.get("model_errors", healthy.model_error_count / healthy.sample_size), n)
    scored_count = table.get("scored", n - errors) if healthy.confidence_count else 0
    mean, spread = table.get("avg_confidence", healthy.avg_confidence or 0.0), healthy.confidence_sd or 0.0
    _only(
        {name: 0 for key in ("missing", "unseen", "outside") for name in table.get(key, {})},
        dict.fromkeys(healthy.features, ""),
        "the features of [baseline]",
    )
    return Tally(
        prediction_count=n,
        confidence_count=scored_count,
        confidence_sum=mean * scored_count,
        confidence_square_sum=(mean * mean + spread * spread) * scored_count,
        low_confidence_count=_count(table.get("low_confidence", healthy.low_confidence_rate or 0.0), scored_count),
        model_error_count=errors,
        refusal_count=_count(table.get("refusals", healthy.refusal_count / healthy.sample_size), n),
        features={name: _feature_tally(table, name, feature, n) for name, feature in healthy.features.items()},
    )


def _feature_tally(table: Table, name: str, healthy: FeatureBaseline, n: int) -> FeatureTally:
    missing = _count(table.get("missing", {}).get(name, healthy.missing_rate), n)
    present = n - missing
    unseen = _count(table.get("unseen", {}).get(name, 0), present)
    outside = _count(table.get("outside", {}).get(name, 0), present)
    return FeatureTally(present, missing, unseen_count=unseen, above_count=outside)


def _count(amount: float, of: int) -> int:
    """A whole number is a count; a fraction is a share."""
    return amount if isinstance(amount, int) else round(amount * of)


def _only(table: Table, words: Mapping[str, Any], where: str) -> None:
    if unknown := sorted(set(table) - set(words)):
        raise StoryError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(words)}.")
