"""How broken relations came about: the steps are those of the diagnosis, whatever it leaves out."""

from stillsafe.core.evidence.measures import measure_run
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import Evidence
from stillsafe.monitoring.relation_derivation import association_search
from stillsafe.monitoring.run_detail import derive
from tests.core.healthy import a_window
from tests.monitoring.formulas import as_documents, check_reading, reading_document
from tests.monitoring.related import POLICY, classifier, machines, permute


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


def test_without_a_joint_table_there_is_nothing_to_search() -> None:
    """A window with too few rows has no distributions, and so no associations."""
    service = classifier()
    window = a_window(service.tally(machines(10, 6)), silent_seconds=0.0)
    assert association_search(POLICY, measure_run(POLICY, service.baseline, window)) is None
