"""The laws of the whole decision, for every policy that is sound and every window that can be drawn."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.decide import Decision, decide
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import CLIENT, Evidence, Level, Reading, Signal
from stillsafe.core.state import Hold, Memory, State, Streak, recovery_runs_needed, step
from stillsafe.core.window import FeatureTally, Tally, Window

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
EVERY = timedelta(seconds=600)
ORDER = {State.NORMAL: 0, State.WARNING: 1, State.DEGRADED: 2}
LEVELS = [Level.NONE, Level.MODERATE, Level.SEVERE]
KEYS = [(Signal.AVG_CONFIDENCE, None), (Signal.MISSING_RATE, "temp"), (Signal.REFUSAL_RATE, None)]

OK, BAD, INSUFFICIENT = Evidence.OK, Evidence.BAD, Evidence.INSUFFICIENT


@st.composite
def sound_policies(draw: st.DrawFn) -> Policy:
    """Any policy that `problems` accepts, with counts small enough to be reached."""
    warning_runs = draw(st.integers(2, 4))
    recovery_runs = draw(st.integers(1, 4))
    moderate = draw(st.floats(0, 0.2))
    policy = Policy(
        warning_runs=warning_runs,
        critical_runs=draw(st.integers(max(3, warning_runs), 6)),
        warning_recovery_runs=draw(st.integers(1, 4)),
        recovery_runs=recovery_runs,
        relapse_runs=draw(st.integers(0, 12)),
        max_recovery_runs=draw(st.integers(recovery_runs, 10)),
        min_predictions=draw(st.integers(1, 300)),
        min_fresh_predictions=draw(st.integers(1, 100)),
        false_alarm_rate=draw(st.floats(1e-9, 0.4)),
        missing_rate_moderate=moderate,
        missing_rate_severe=draw(st.floats(moderate, 1)),
        max_gap_seconds=draw(st.sampled_from([600.0, 1800.0, 1e12])),
    )
    assume(not policy.problems())
    return policy


def reading(signal: Signal, feature: str | None, level: Level | None) -> Reading:
    """A reading at a level; None where there was too little evidence."""
    if level is None:
        return Reading(signal, feature, INSUFFICIENT, Level.NONE, None, None, None, None, 0)
    evidence = OK if level is Level.NONE else BAD
    return Reading(signal, feature, evidence, level, 0.5, 0.1, 0.05, 0.25, 500)


def readings(levels: Sequence[Level | None]) -> tuple[Reading, ...]:
    """One reading for each watched signal."""
    return tuple(reading(signal, feature, level) for (signal, feature), level in zip(KEYS, levels, strict=True))


def evidence_of(levels: Sequence[Level | None]) -> Evidence:
    """What a run with such readings says."""
    if any(level in (Level.MODERATE, Level.SEVERE) for level in levels):
        return BAD
    return INSUFFICIENT if all(level is None for level in levels) else OK


def next_memory(policy: Policy, memory: Memory, levels: Sequence[Level | None], delay: timedelta = EVERY) -> Memory:
    """One run at the given levels, on time, by the same version and baseline."""
    return step(
        policy,
        memory,
        readings(levels),
        evidence_of(levels),
        at=(memory.last_run_at or START) + delay,
        model_version="1",
        baseline_id="b",
    )


def fold_runs(policy: Policy, runs: Sequence[Sequence[Level | None]], memory: Memory | None = None) -> list[Memory]:
    """Every memory on the way."""
    results = [memory or Memory()]
    for levels in runs:
        results.append(next_memory(policy, results[-1], levels))
    return results[1:]


certain_levels = st.lists(st.sampled_from(LEVELS), min_size=3, max_size=3)
any_levels = st.lists(st.sampled_from([*LEVELS, None]), min_size=3, max_size=3)
CALM = [Level.NONE] * 3
SILENT: list[Level | None] = [None] * 3
WORST = [Level.SEVERE] * 3

histories = st.lists(any_levels, max_size=14)
policies = sound_policies()


@given(policies, certain_levels, st.integers(1, 5), st.integers(1, 5))
def test_an_isolated_anomaly_never_acts(
    policy: Policy, anomaly: list[Level], calm_before: int, calm_after: int
) -> None:
    """One deviating run between calm ones, whatever its readings, never leaves NORMAL."""
    results = fold_runs(policy, [CALM] * calm_before + [anomaly] + [CALM] * calm_after)
    assert {memory.state for memory in results} == {State.NORMAL}


@given(policies, st.lists(certain_levels, min_size=1, max_size=8))
def test_isolated_anomalies_never_add_up(policy: Policy, anomalies: list[list[Level]]) -> None:
    """However many there are, anomalies with a calm run after each never leave NORMAL."""
    results = fold_runs(policy, [levels for anomaly in anomalies for levels in (anomaly, CALM)])
    assert {memory.state for memory in results} == {State.NORMAL}


@given(policies, histories, certain_levels, certain_levels)
def test_worse_readings_never_give_a_better_state(
    policy: Policy, history: list[list[Level | None]], one: list[Level], other: list[Level]
) -> None:
    """From the same memory, readings pointwise as bad or worse lead to a state as bad or worse."""
    memory = fold_runs(policy, [CALM, *history])[-1]
    worse = [max(pair, key=LEVELS.index) for pair in zip(one, other, strict=True)]
    assert ORDER[next_memory(policy, memory, worse).state] >= ORDER[next_memory(policy, memory, one).state]


@given(policies, histories, st.lists(st.sampled_from([Level.NONE, None]), min_size=3, max_size=3))
def test_an_inconclusive_run_is_an_identity(
    policy: Policy, history: list[list[Level | None]], levels: list[Level | None]
) -> None:
    """A run that concludes nothing changes no state, streak or count, even where single readings were calm."""
    memory = fold_runs(policy, [CALM, *history])[-1]
    at = (memory.last_run_at or START) + EVERY
    new_memory = step(policy, memory, readings(levels), INSUFFICIENT, at=at, model_version="1", baseline_id="b")
    assert replace(new_memory, last_run_at=memory.last_run_at) == memory


@given(policies, histories, st.lists(any_levels, max_size=40))
def test_degraded_holds_until_the_evidence_is_calm(
    policy: Policy, history: list[list[Level | None]], later: list[list[Level | None]]
) -> None:
    """DEGRADED ends only with the last of the consecutive calm conclusive runs that recovery needs.

    A run whose only deviation are refusals is calm, where anything else was judged.
    """
    memory = fold_runs(policy, [*history, *[WORST] * policy.critical_runs])[-1]
    assert memory.state is State.DEGRADED
    calm = 0
    for levels in later:
        run_count = recovery_runs_needed(policy, memory)
        memory = next_memory(policy, memory, levels)
        inputs = levels[:-1]  # without the refusals
        calm = {OK: calm + 1, BAD: 0, INSUFFICIENT: calm}[evidence_of(inputs if Level.NONE in inputs else levels)]
        assert (memory.state is State.DEGRADED) == (calm < run_count)
        if memory.state is not State.DEGRADED:
            return


@given(policies, histories, any_levels)
def test_a_gap_neither_ends_degraded_nor_escalates(
    policy: Policy, history: list[list[Level | None]], levels: list[Level | None]
) -> None:
    """The run after a gap never makes the state worse, and ends DEGRADED only where one calm run is enough anyhow."""
    assume(policy.max_gap_seconds < 1e9)
    memory = fold_runs(policy, [CALM, *history])[-1]
    new_memory = next_memory(policy, memory, levels, delay=timedelta(seconds=policy.max_gap_seconds + 1))
    assert ORDER[new_memory.state] <= ORDER[memory.state]
    if memory.state is State.DEGRADED and recovery_runs_needed(policy, memory) > 1:
        assert new_memory.state is State.DEGRADED
    assert all(streak.deviating <= 1 for streak in new_memory.streaks.values())


@given(policies, histories, any_levels, st.booleans())
def test_another_version_or_baseline_is_no_evidence(
    policy: Policy, history: list[list[Level | None]], levels: list[Level | None], version: bool
) -> None:
    """Deploying never escalates, and never ends DEGRADED before the new evidence is calm."""
    memory = fold_runs(policy, [CALM, *history])[-1]
    new_memory = step(
        policy,
        memory,
        readings(levels),
        evidence_of(levels),
        at=(memory.last_run_at or START) + EVERY,
        model_version="2" if version else "1",
        baseline_id="b" if version else "c",
    )
    assert ORDER[new_memory.state] <= ORDER[memory.state]
    assert new_memory.calm_runs <= 1
    assert all(streak.deviating <= 1 for streak in new_memory.streaks.values())


@given(policies, histories)
def test_only_a_deviating_run_makes_it_worse_and_only_one_without_harm_better(
    policy: Policy, history: list[list[Level | None]]
) -> None:
    """The state never moves against the evidence of the run that moves it.

    NORMAL follows a run in which the clients alone deviated, if anything did; WARNING follows DEGRADED after a run in
    which nothing was severe.
    """
    memory = Memory()
    for levels in history:
        new_memory = next_memory(policy, memory, levels)
        if ORDER[new_memory.state] > ORDER[memory.state]:
            assert evidence_of(levels) is BAD
        if ORDER[new_memory.state] < ORDER[memory.state]:
            others = [level for (signal, _), level in zip(KEYS, levels, strict=True) if signal not in CLIENT]
            is_harm_over = new_memory.state is State.WARNING and Level.SEVERE not in levels
            assert evidence_of(levels) is not INSUFFICIENT
            assert OK in (evidence_of(levels), evidence_of(others)) or is_harm_over
        memory = new_memory


numbers = st.floats(allow_nan=True, allow_infinity=True)
shares = st.one_of(st.none(), numbers, st.floats(0, 1))
counts = st.one_of(st.integers(0, 3), st.integers(0, 600), st.integers(0, 2**63 - 1))
names = st.sampled_from(["temp", "carrier", "a:b", ""])
kinds = st.one_of(st.none(), st.sampled_from(FeatureType))


@st.composite
def any_tallies(draw: st.DrawFn) -> Tally:
    """Counts and sums that need not agree with one another."""
    features = draw(st.dictionaries(names, st.builds(FeatureTally, counts, counts, counts, counts, counts), max_size=3))
    n = [draw(counts) for _ in range(6)]
    return Tally(n[0], n[1], draw(numbers), draw(numbers), n[2], n[3], n[4], n[5], features)


@st.composite
def any_baselines(draw: st.DrawFn) -> Baseline:
    """A baseline of any numbers, of one of two versions."""
    categories = st.dictionaries(st.text(max_size=3), counts, max_size=3)
    feature = st.builds(FeatureBaseline, kinds, counts, counts, shares, shares, categories)
    return Baseline(
        baseline_id=draw(st.sampled_from(["b", "c"])),
        model_version=draw(st.sampled_from(["1", "2"])),
        created_at=START,
        source=BaselineSource.FIRST,
        sample_size=draw(counts),
        confidence_count=draw(counts),
        avg_confidence=draw(shares),
        confidence_sd=draw(shares),
        low_confidence_threshold=draw(shares),
        low_confidence_rate=draw(shares),
        refusal_count=draw(counts),
        model_error_count=draw(counts),
        features=draw(st.dictionaries(names, feature, max_size=3)),
        variation=draw(st.dictionaries(st.sampled_from(["avg_confidence", "missing_rate:temp"]), numbers, max_size=2)),
        longest_pause_seconds=draw(shares),
    )


streak_maps = st.dictionaries(
    st.sampled_from(["avg_confidence", "missing_rate:temp", "out_of_range_rate:a:b"]),
    st.builds(Streak, st.integers(0, 9), st.integers(0, 9)),
    max_size=3,
)
moments = st.one_of(st.none(), st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
memories = st.builds(
    Memory,
    state=st.sampled_from(State),
    since=moments,
    streaks=streak_maps,
    calm_runs=st.integers(0, 30),
    relapses=st.integers(0, 10**6),
    runs_since_recovery=st.one_of(st.none(), st.integers(0, 30)),
    last_run_at=moments,
    last_conclusive_at=moments,
    model_version=st.sampled_from([None, "1", "2"]),
    baseline_id=st.sampled_from([None, "b", "c"]),
    incident_id=st.sampled_from([None, "inc-1"]),
    hold=st.sampled_from([None, Hold("ada", "to be sure", START)]),
)
windows = st.builds(
    Window,
    start=st.just(START),
    end=st.just(START + EVERY),
    model_version=st.sampled_from(["1", "2"]),
    total=any_tallies(),
    fresh=any_tallies(),
    shadow=st.booleans(),
    silent_seconds=shares,
)
baselines = st.one_of(st.none(), any_baselines())


def finite(decision: Decision) -> bool:
    """Whether every number in the readings can be written as JSON."""
    results = [(r.value, r.reference, r.moderate_limit, r.severe_limit) for r in decision.readings]
    return all(number is None or math.isfinite(number) for numbers in results for number in numbers)


@given(policies, baselines, windows, memories)
def test_the_decision_is_total(policy: Policy, baseline: Baseline | None, window: Window, memory: Memory) -> None:
    """Whatever the numbers, there is a decision that can be stored, and unknown is never calm.

    DEGRADED also ends where clients alone deviate, if the model was judged.
    """
    decision = decide(policy, baseline, window, memory)
    assert finite(decision)
    assert decision.reason
    if memory.state is not State.NORMAL and decision.memory.state is State.NORMAL and decision.evidence is not OK:
        assert (memory.state, decision.evidence) == (State.DEGRADED, BAD)
        of_the_model = {reading.evidence for reading in decision.readings if reading.signal not in CLIENT}
        assert OK in of_the_model
        assert BAD not in of_the_model
    if decision.evidence is OK:
        assert window.fresh.prediction_count >= policy.min_fresh_predictions
        assert baseline is not None
        assert baseline.model_version == window.model_version


@given(policies, baselines, windows, memories)
def test_the_same_numbers_give_the_same_decision(
    policy: Policy, baseline: Baseline | None, window: Window, memory: Memory
) -> None:
    """Nothing but the arguments goes into a decision."""
    assert repr(decide(policy, baseline, window, memory)) == repr(decide(policy, baseline, window, memory))


@given(policies, baselines, windows, memories)
def test_a_hold_degrades_and_changes_no_evidence(
    policy: Policy, baseline: Baseline | None, window: Window, memory: Memory
) -> None:
    """With a hold everybody obeys DEGRADED; all else is as it would be without."""
    held = decide(policy, baseline, window, replace(memory, hold=Hold("ada", "to be sure", START)))
    free = decide(policy, baseline, window, replace(memory, hold=None))
    assert held.memory.effective_state is State.DEGRADED
    assert repr(replace(held, memory=replace(held.memory, hold=None))) == repr(free)


@given(policies, windows, memories)
def test_without_a_baseline_nothing_moves(policy: Policy, window: Window, memory: Memory) -> None:
    """A version that nothing is known about keeps the state it was found in, and says so.

    Where that is not NORMAL and no incident is open, the state was inherited, which opens one.
    """
    decision = decide(policy, None, window, memory)
    assert decision.memory.state is memory.state
    assert decision.evidence is INSUFFICIENT
    is_inherited = memory.state is not State.NORMAL and memory.incident_id is None
    assert (decision.incident is not None) == is_inherited
    assert decision.reason.startswith("Inherited from version" if is_inherited else "Unwatched")


row_values = st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(-30, 50)), st.booleans())


def tally_of(rows: Sequence[tuple[float, float | None, bool]]) -> Tally:
    """The tally of some rows: (confidence, temp, whether the model failed)."""
    confidences = [confidence for confidence, _, has_failed in rows if not has_failed]
    temps = [temp for _, temp, _ in rows if temp is not None]
    return Tally(
        prediction_count=len(rows),
        confidence_count=len(confidences),
        confidence_sum=math.fsum(confidences),
        confidence_square_sum=math.fsum(confidence * confidence for confidence in confidences),
        low_confidence_count=sum(confidence < 0.6 for confidence in confidences),
        model_error_count=sum(has_failed for _, _, has_failed in rows),
        features={
            "temp": FeatureTally(
                value_count=len(temps),
                missing_count=len(rows) - len(temps),
                below_count=sum(temp < -20 for temp in temps),
                above_count=sum(temp > 40 for temp in temps),
            )
        },
    )


HEALTHY = Baseline(
    "b",
    "1",
    START,
    BaselineSource.REFERENCE,
    sample_size=10_000,
    confidence_count=10_000,
    avg_confidence=0.5,
    confidence_sd=0.2,
    low_confidence_threshold=0.6,
    low_confidence_rate=0.4,
    features={"temp": FeatureBaseline(FeatureType.NUMERIC, 9_900, 100, -20.0, 40.0)},
)


@given(st.lists(row_values, min_size=20, max_size=80).flatmap(lambda r: st.tuples(st.just(r), st.permutations(r))))
def test_row_order_is_irrelevant(
    orders: tuple[list[tuple[float, float | None, bool]], list[tuple[float, float | None, bool]]],
) -> None:
    """The same rows in any order give the same decision, to the last digit."""
    decisions = []
    for rows in orders:
        tally = tally_of(rows)
        window = Window(START, START + EVERY, "1", tally, tally)
        decisions.append(decide(Policy(min_predictions=20, min_fresh_predictions=10), HEALTHY, window, Memory()))
    assert decisions[0] == decisions[1]
