"""Stored baselines lose the features that their owner hides later, and the runs go on to replay."""

from dataclasses import replace

from stillsafe.core.schema import LogMode, Schema
from stillsafe.monitoring.baseline_redaction import redact_baselines
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.recount import REDACTED_DOCUMENTS
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.read.baselines import all_baselines
from stillsafe.store.read.runs import all_runs
from tests.monitoring.conftest import Service


def test_a_feature_that_is_dropped_later_leaves_the_baselines(service: Service) -> None:
    """Its profile goes; the runs before are replayed by their stored readings and named by a recount."""
    for _ in range(2):
        service.step(400)
    log_format = LogFormat.of(service.settings)
    assert redact_baselines(service.engine, log_format) == []
    features = tuple(
        replace(spec, log=LogMode.DROP) if spec.name == "size" else spec for spec in log_format.schema.features
    )
    hidden_format = replace(log_format, schema=Schema(features))
    baseline_ids = redact_baselines(service.engine, hidden_format)
    with database.reading(service.engine) as connection:
        baselines = [record.baseline for record in all_baselines(connection)]
        runs = list(all_runs(connection))
    assert baseline_ids == [each.baseline_id for each in baselines]
    assert not [each for each in baselines if '"size"' in dumps(to_document(each))]
    assert [run.is_redacted for run in runs] == [True, True]
    result = replay(service.engine, from_logs=True, log_format=log_format)
    assert (result.difference, result.runs) == (None, 2)
    assert set(result.not_recounted.values()) <= {REDACTED_DOCUMENTS}
    assert redact_baselines(service.engine, hidden_format) == []
