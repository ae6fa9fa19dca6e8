"""How broken relations came about: the steps are those of the diagnosis, whatever it leaves out."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from stillsafe.core.decide import decide
from stillsafe.core.evidence.measures import measure_run
from stillsafe.core.evidence.relation_record import noise_factor, noise_factor_formula
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import Evidence, Level
from stillsafe.core.state import Memory
from stillsafe.monitoring.formula import evaluate
from stillsafe.monitoring.relation_derivation import association_search
from stillsafe.monitoring.run_detail import derive
from tests.core.healthy import START, a_window
from tests.monitoring.formulas import as_documents, check_reading, reading_document
from tests.monitoring.related import POLICY, classifier, machines, permute

FEW_ROWS, FEW_BROKEN = 120, 0.3


def test_features_that_are_left_out_are_named() -> None:
    """The partners and the features left out are told; leaving out the damaged one explains what the others show."""
    service = classifier()
    window = a_window(service.tally(permute(machines(500, 6), "load", "humidity")), silent_seconds=0.0)
    readings = {reading.key: reading for reading in read_signals(POLICY, service.baseline, window)}
    steps = derive(POLICY, service.baseline, window, tuple(readings.values()))
    damaged_keys = {key for key, reading in readings.items() if "broken" in key and reading.evidence is Evidence.BAD}
    assert damaged_keys
    for key, reading in readings.items():
        if not key.startswith("broken_relation_rate") or reading.evidence is Evidence.INSUFFICIENT:
            continue
        step_values = check_reading(as_documents(steps[key]), reading_document(reading))
        assert not set(step_values["without"]) & set(step_values["partner"])
        assert reading.feature not in step_values["partner"]
        assert reading.noise is not None
        if reading.evidence is Evidence.BAD:
            assert step_values["is_clear"] is True
            assert step_values["value"] > step_values["moderate_limit"]


def test_runs_that_are_judged_together_are_told() -> None:
    """A break in so few rows that no single run shows it: together they do, and the limit is recomputed with them."""
    service, memory, levels = classifier(), Memory(), []
    for run in range(4):
        spoilt = permute(machines(FEW_ROWS, 70 + run), "humidity", share=FEW_BROKEN)
        window = replace(a_window(service.tally(spoilt)), end=START + run * timedelta(minutes=10))
        decision = decide(POLICY, service.baseline, window, memory)
        reading = next(each for each in decision.readings if each.key == "broken_relation_rate:humidity")
        assert reading.shares_before == memory.relations.get("humidity", ())
        steps = derive(POLICY, service.baseline, window, decision.readings)[reading.key]
        values = check_reading(as_documents(steps), reading_document(reading))
        assert (values["noise_factor"] < 1) is (run > 0)
        memory = decision.memory
        levels.append(reading.level)
    assert levels[0] is Level.NONE
    assert levels[-1] is not Level.NONE


@pytest.mark.parametrize("shares_before", [(), (0.3,), (1.0,), (0.6, 0.6), (0.3, 1.0), (1.0, 1.0)])
def test_the_formula_that_is_told_is_the_one_that_is_computed(shares_before: tuple[float, ...]) -> None:
    """To the digit, for each number of runs before."""
    before_1, before_2, *_ = [*shares_before, 0.0, 0.0]
    by_formula = evaluate(noise_factor_formula(EVIDENCE), {"before_1": before_1, "before_2": before_2})
    assert by_formula == pytest.approx(noise_factor(shares_before, EVIDENCE))


@pytest.mark.parametrize("change", ["another model version", "another baseline", "a gap"])
def test_runs_that_do_not_follow_each_other_are_not_judged_together(change: str) -> None:
    """What runs of another model, another baseline or long ago showed counts no longer."""
    service = classifier()
    memory = Memory(relations={"humidity": (1.0, 1.0)}, last_run_at=START, model_version="1")
    memory = replace(memory, baseline_id=service.baseline.baseline_id)
    window = replace(a_window(service.tally(machines(FEW_ROWS, 70))), end=START + timedelta(minutes=10))
    key = "broken_relation_rate:humidity"

    def shares_before(old_memory: Memory, end: datetime = window.end) -> tuple[float, ...]:
        decision = decide(POLICY, service.baseline, replace(window, end=end), old_memory)
        return next(each for each in decision.readings if each.key == key).shares_before

    assert shares_before(memory) == (1.0, 1.0)
    match change:
        case "another model version":
            assert shares_before(replace(memory, model_version="0")) == ()
        case "another baseline":
            assert shares_before(replace(memory, baseline_id="old")) == ()
        case _:
            assert shares_before(memory, START + timedelta(seconds=POLICY.max_gap_seconds + 1)) == ()


def test_without_a_joint_table_there_is_nothing_to_search() -> None:
    """A window with too few rows has no distributions, and so no associations."""
    service = classifier()
    window = a_window(service.tally(machines(10, 6)), silent_seconds=0.0)
    assert association_search(POLICY, measure_run(POLICY, service.baseline, window), {}) is None
