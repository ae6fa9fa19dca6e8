"""One stored run in full: each reading with its limits, its streak and how it came about."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.corruption import Diagnosis
from stillsafe.core.evidence.diagnosis import run_diagnosis
from stillsafe.core.evidence.measures import RunMeasures, measure_reading, measure_run
from stillsafe.core.evidence.possible_loss import possible_loss
from stillsafe.core.evidence.relation_record import Record
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.evidence.sources import window_readings
from stillsafe.core.policy import RULES_VERSION, Policy
from stillsafe.core.signals import METRIC_SIGNALS, Evidence, Reading, Signal
from stillsafe.core.state import Memory, Streak
from stillsafe.core.window import Window
from stillsafe.monitoring.derivation import (
    Step,
    count_steps,
    evaluated_steps,
    measures_by_key,
    no_outlier_steps,
    outlier_steps,
    silence_steps,
    too_little_steps,
)
from stillsafe.monitoring.fold import run_baseline
from stillsafe.monitoring.impact_derivation import impact_steps
from stillsafe.monitoring.label_derivation import realised_steps
from stillsafe.monitoring.relation_derivation import association_search, relation_steps
from stillsafe.store.codec import stored_value
from stillsafe.store.read.runs import RunRecord

Derivations = Mapping[str, tuple[Step, ...]]


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One stored run.

    Attributes:
        run: its row.
        policy: the policy that it used.
        window: what it counted, or None where it is no longer stored.
        memory: after the run.
        readings: in their order.
        healthy_error: the model's error in the healthy period, if known.
        derivations: per reading key, how it came about; empty where other rules than the installed ones judged the
            run, or where values of few rows were removed from its documents since.
    """

    run: RunRecord
    policy: Policy
    window: Window | None
    memory: Memory
    readings: tuple[Reading, ...]
    healthy_error: float | None
    derivations: Derivations

    def streak(self, reading: Reading) -> Streak:
        """The consecutive runs in which a reading deviated, up to this run."""
        return self.memory.streaks.get(reading.key, Streak())


def run_detail(connection: Connection, run: RunRecord) -> RunDetail:
    """Read everything about a run from what it stored.

    Raises:
        StoreError: a document of the run is damaged.
    """
    policy, memory = stored_value(Policy, run.policy or {}), stored_value(Memory, run.memory or {})
    window = None if run.window is None else stored_value(Window, run.window)
    readings = stored_value(tuple[Reading, ...], run.readings or [])
    baseline = run_baseline(connection, run)
    harm = None if baseline is None else baseline.harm
    derivations: Derivations = {}
    is_recomputable = run.rules_version == RULES_VERSION and not run.is_redacted
    if is_recomputable and baseline is not None and window is not None:
        outlier_reading = next((reading for reading in readings if reading.sources), None)
        own_window = window.rest if outlier_reading is not None and window.rest is not None else window
        own_baseline = composed_baseline(baseline, own_window.slot_counts, policy.evidence)
        derivations = dict(derive(policy, own_baseline, own_window, readings))
        if outlier_reading is not None:
            whole_readings = window_readings(policy, baseline, window, None, _record(readings))
            steps = outlier_steps(own_window, outlier_reading, whole_readings, readings)
            derivations[outlier_reading.key] = evaluated_steps(steps)
    return RunDetail(run, policy, window, memory, readings, None if harm is None else harm.healthy_error, derivations)


def derive(policy: Policy, baseline: Baseline, window: Window, readings: tuple[Reading, ...]) -> Derivations:
    """How each reading of a run came about.

    Args:
        policy: the policy that the run used.
        baseline: the one of the window's own hours.
        window: what the run counted.
        readings: what it read.
    """
    run = measure_run(policy, baseline, window)
    measures = measures_by_key(run.measures)
    record = _record(readings)
    diagnosis = _diagnosis(policy, run, record)
    search = association_search(policy, run, record)
    derivations: dict[str, tuple[Step, ...]] = {}
    for reading in readings:
        if reading.evidence is Evidence.INSUFFICIENT:
            derivations[reading.key] = too_little_steps(policy, window, reading)
        elif reading.signal is Signal.SILENCE_SECONDS:
            derivations[reading.key] = silence_steps(policy, run.baseline, window, reading)
        elif reading.signal is Signal.REALISED_LOSS:
            derivations[reading.key] = realised_steps(policy, reading)
        elif reading.key in measures:
            derivations[reading.key] = count_steps(policy, run, measures[reading.key], reading)
        elif reading.signal is Signal.SOURCE_DEVIATION:
            derivations[reading.key] = no_outlier_steps(reading)
        elif diagnosis is None:
            derivations[reading.key] = ()
        elif reading.signal is Signal.BROKEN_RELATION_RATE and search is not None:
            derivations[reading.key] = relation_steps(policy, run, search, diagnosis, reading)
        else:
            derivations[reading.key] = impact_steps(policy, run, diagnosis, reading)
        if reading.is_change and diagnosis is not None:
            steps = _change_steps(policy, run, diagnosis, readings, reading)
            derivations[reading.key] = (*derivations[reading.key][:-1], *steps)
    return {key: evaluated_steps(steps) for key, steps in derivations.items()}


def _change_steps(
    policy: Policy, run: RunMeasures, diagnosis: Diagnosis, readings: tuple[Reading, ...], reading: Reading
) -> tuple[Step, ...]:
    """Why an unusual value is no alarm: the most that it may cost, and the loss that matters."""
    estimate = next((each for each in readings if each.signal in METRIC_SIGNALS.values()), None)
    if run.shift is None or run.baseline.harm is None or estimate is None:
        return (Step("level", reading.level.value, "a change, and no alarm: what it may cost is below what matters"),)
    loss = possible_loss(policy, run.baseline.harm, run.shift, diagnosis.genuine, estimate, reading)
    formula = "'NONE' if possible_loss < loss_limit else 'MODERATE'"
    return (
        Step("possible_loss", loss, "the most that it may cost, by the study at `init`"),
        Step("loss_limit", estimate.moderate_limit, "first limit of the estimated loss"),
        Step("level", None, "a change, and no alarm where it may cost less than what matters", formula),
    )


def _record(readings: tuple[Reading, ...]) -> Record:
    """The broken relations of the runs before, as the run knew them."""
    return {r.feature: r.shares_before for r in readings if r.signal is Signal.BROKEN_RELATION_RATE and r.feature}


def _diagnosis(policy: Policy, run: RunMeasures, record: Record) -> Diagnosis | None:
    """The damaged features, as the run found them."""
    if run.shift is None:
        return None
    readings = {each.key: measure_reading(policy, each, run.baseline, run.z) for each in run.measures}
    return run_diagnosis(policy, run.baseline, run.tally, run.shift, readings, run.z, record)
