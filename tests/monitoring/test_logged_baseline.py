"""A baseline is cut down to what the log may hold before it is stored."""

from dataclasses import replace

import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.association import baseline_association_table
from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.core.schema import LogMode, Schema, salted_hash
from stillsafe.core.signals import Evidence
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import logged_baseline, shown_features
from stillsafe.monitoring.window_tally import both_tallies
from stillsafe.store.codec import dumps, from_document, to_document
from tests.monitoring.related import by_key, classifier, columns_of, machines

SALT = "pinch"


def log_format(**modes: LogMode) -> LogFormat:
    """The format of a log that hides some features of the machines."""
    features = tuple(replace(spec, log=modes.get(spec.name, spec.log)) for spec in classifier().schema.features)
    return LogFormat(Schema(features), SALT)


@pytest.fixture(scope="module")
def healthy() -> Baseline:
    """The machines with the impact study, and with the counts of one hour."""
    baseline = classifier().baseline
    bin_counts = {name: feature.bin_counts for name, feature in baseline.features.items() if feature.bins is not None}
    outputs = {name: output.bin_counts for name, output in baseline.outputs.items()}
    counts = tuple(count for counts in (*bin_counts.values(), *outputs.values()) for count in counts)
    slots = SlotTable("UTC", ("workday-07",), (3_000,), (3_000,), tuple(bin_counts), tuple(outputs), (counts,))
    return replace(baseline, slots=slots)


def test_a_log_in_clear_leaves_the_baseline_as_it_is(healthy: Baseline) -> None:
    """Nothing is hidden, so nothing is cut."""
    assert logged_baseline(healthy, log_format()) is healthy
    assert shown_features(healthy, log_format()) == ()


def test_a_dropped_feature_leaves_nothing(healthy: Baseline) -> None:
    """Its name occurs nowhere in the stored document, and all tables still fit together."""
    part = logged_baseline(healthy, log_format(load=LogMode.DROP))
    assert '"load"' not in dumps(to_document(part))
    assert not [key for key in (*part.variation, *part.offset) if key.endswith(":load")]
    assert part.joint is not None
    table = baseline_association_table(part)
    assert table is not None
    assert "load" not in table.features
    assert part.slots is not None
    sizes = {name: bins.size for name in part.slots.features if (bins := part.features[name].bins) is not None}
    outputs = sum(bins.size for name in part.slots.outputs if (bins := part.outputs[name].bins) is not None)
    assert {len(row) for row in part.slots.counts} == {sum(sizes.values()) + outputs}
    assert from_document(Baseline, to_document(part)) == part
    assert shown_features(healthy, log_format(load=LogMode.DROP)) == ("load",)


def test_a_hashed_category_leaves_only_hashes(healthy: Baseline) -> None:
    """Counts and bins stay, under the hashes that the log holds."""
    part = logged_baseline(healthy, log_format(site=LogMode.HASH))
    site, plain = part.features["site"], healthy.features["site"]
    assert site.category_counts == {salted_hash(name, SALT): count for name, count in plain.category_counts.items()}
    assert site.bin_counts == plain.bin_counts
    assert not [name for name in plain.category_counts if f'"{name}"' in dumps(to_document(part))]
    assert list(part.features) == list(healthy.features)


def test_a_hashed_number_leaves_its_missing_values(healthy: Baseline) -> None:
    """A hash has no size, so of a number only whether it is missing remains."""
    part = logged_baseline(healthy, log_format(load=LogMode.HASH))
    load = part.features["load"]
    assert (load.minimum, load.bins, load.frequent) == (None, None, ())
    assert load.value_count == healthy.features["load"].value_count
    assert part.joint is None or "load" not in part.joint.features


def test_a_healthy_window_of_such_a_log_is_calm(healthy: Baseline) -> None:
    """The part is a baseline like any other: what the log shows is compared, and nothing else."""
    service = classifier()
    hidden_format = replace(log_format(load=LogMode.DROP, site=LogMode.HASH, heat=LogMode.HASH), salt="s")
    rows, part = service.rows(machines(400, 9)), logged_baseline(healthy, hidden_format)
    columns = columns_of(hidden_format.schema, rows, service.model.score(rows))
    total, _ = both_tallies(columns, hidden_format, part, 0, 0)
    readings = by_key(part, total)
    assert not [key for key, reading in readings.items() if reading.evidence is Evidence.BAD]
    assert {name for name, tally in total.features.items() if tally.bin_counts} == part.features.keys() - {"heat"}
