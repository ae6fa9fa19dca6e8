"""`check --deep` plays a fault and its mending through a copy of the service, and leaves the service as it was."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path

import pandas as pd
import pytest

from stillsafe import service, settings
from stillsafe.check import deep
from stillsafe.check.deep import DeepCheck, PlayedFault, copy_of, costliest_fault, play_faults
from stillsafe.check.findings import Verdict
from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.errors import RefusedError
from stillsafe.model.load import load_model
from stillsafe.model.reference import read_baseline
from stillsafe.serving.predict import Context, answer
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.requests import prediction_count

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
FAULT = PlayedFault("worst area", 500.0, 0.4)
RESULT = DeepCheck(FAULT, 300, "the log", 1800.0, 600.0, 1, State.NORMAL, 2, 3, 4)


@pytest.fixture
def sample(tmp_path: Path, healthy_rows: list[dict[str, float]]) -> Path:
    """Healthy rows as a table."""
    pd.DataFrame(healthy_rows).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def settings_with(folder: Path, section: str, **values: object) -> Settings:
    """The settings with keys of a section changed."""
    own_settings = settings.load(folder / "stillsafe.toml")
    return own_settings.model_copy(update={section: getattr(own_settings, section).model_copy(update=values)})


def log_rows(folder: Path, rows: list[dict[str, float]], per_hour: int) -> None:
    """Answer the rows at a steady rate that ends now."""
    own_settings = settings.load(folder / "stillsafe.toml")
    engine, ids = service.open_store(own_settings), count()
    first = NOW - timedelta(hours=len(rows) / per_hour)
    times = (first + timedelta(hours=index / per_hour) for index in range(len(rows)))
    clock, fallback = cycle(at for each in times for at in [each] * 2), service.fallback_of(own_settings)
    context = Context(
        own_settings,
        engine,
        load_model(own_settings),
        fallback,
        lambda: next(clock),
        lambda count: [str(next(ids)) for _ in range(count)],
    )
    for row in rows:
        answer(context, [dict(row)])
    engine.dispose()


def test_a_dense_service_acts_and_recovers(made_service: Path, sample: Path) -> None:
    """WARNING and DEGRADED come within the runs of the policy, recovery after the mending; nothing is written."""
    folder_before = sorted(made_service.iterdir())
    result = play_faults(made_service / "stillsafe.toml", now=NOW, sample=sample, requests_per_hour=900)
    assert (result.healthy_state, result.runs_per_conclusion, result.complete) == (State.NORMAL, 1, True)
    assert result.degraded_run is not None
    assert result.degraded_run <= 5
    assert result.recovered_run is not None
    assert {finding.verdict for finding in result.findings()} == {Verdict.OK}
    assert set(made_service.iterdir()) - set(folder_before) <= {
        made_service / name for name in ("stillsafe.db", "stillsafe.db-wal", "stillsafe.db-shm")
    }
    engine = service.open_store(settings.load(made_service / "stillsafe.toml"))
    with database.reading(engine) as connection:
        assert prediction_count(connection) == 0
    engine.dispose()


def test_thin_traffic_is_judged_late_or_never(made_service: Path, sample: Path) -> None:
    """Thin traffic needs several runs for each conclusion and more runs to act; almost none is never judged."""
    late = play_faults(made_service / "stillsafe.toml", now=NOW, sample=sample, requests_per_hour=120)
    assert late.runs_per_conclusion is not None
    assert late.runs_per_conclusion > 1
    assert late.degraded_run is not None
    assert late.degraded_run > 3
    assert Verdict.WARNING in {finding.verdict for finding in late.findings()}
    never = play_faults(made_service / "stillsafe.toml", now=NOW, sample=sample, requests_per_hour=1)
    (finding,) = never.findings()
    assert (never.runs_per_conclusion, finding.verdict) == (None, Verdict.ERROR)
    assert "no run would ever" in finding.message


def test_rows_and_rate_come_from_the_log(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """Without options the log of the last day gives both; a play with too few rows or none is refused."""
    with pytest.raises(RefusedError, match="no request of the last day"):
        play_faults(made_service / "stillsafe.toml", now=NOW)
    log_rows(made_service, healthy_rows[:240], 600)
    result = play_faults(made_service / "stillsafe.toml", now=NOW)
    assert (result.source, result.rows, round(result.requests_per_hour)) == ("the log", 240, 600)
    with pytest.raises(RefusedError, match="no request of the last day"):
        play_faults(made_service / "stillsafe.toml", now=NOW + timedelta(days=3))


def test_what_a_play_needs(made_service: Path, sample: Path) -> None:
    """Enough rows, in clear, and a baseline: each refusal names its remedy."""
    config = made_service / "stillsafe.toml"
    with pytest.raises(RefusedError, match=r"0 healthy rows in the log.*--sample"):
        play_faults(config, now=NOW, requests_per_hour=600)
    own_settings = settings.load(config)
    features = (own_settings.features[0].model_copy(update={"log": "hash"}), *own_settings.features[1:])
    with pytest.raises(RefusedError, match=r"hashed.*--sample"):
        play_faults(own_settings.model_copy(update={"features": features}), now=NOW, requests_per_hour=600)
    with pytest.raises(RefusedError, match="baseline create"):
        play_faults(settings_with(made_service, "model", version="next"), now=NOW, sample=sample, requests_per_hour=600)


def test_the_fault_is_of_the_most_important_feature(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """The study of `init` names it; without a study the feature that changes most answers, missing where it may be."""
    model = load_model(settings.load(made_service / "stillsafe.toml"))
    baseline = read_baseline(made_service / "reference.json")
    rows: list[Row] = [dict(row) for row in healthy_rows]
    assert baseline.harm is not None
    most_important = max(baseline.harm.features, key=lambda name: baseline.harm.features[name].permuted)  # type: ignore[union-attr] # studied
    fault = costliest_fault(model, rows, baseline)
    assert (fault.feature, fault.change > 0.1) == (most_important, True)
    without_study = costliest_fault(model, rows, replace(baseline, harm=None))
    assert without_study.feature in model.features.names
    assert "missing" in replace(fault, value=None).description


def test_the_copy_shares_nothing_that_is_written(made_service: Path, tmp_path: Path) -> None:
    """Store, spool and reference are in the other folder, and no incident is sent to a language model."""
    original = settings_with(made_service, "observer", use="llm", base_url="http://127.0.0.1:1", model="m")
    copy = copy_of(original, read_baseline(made_service / "reference.json"), tmp_path)
    assert copy.database_url == f"sqlite:///{tmp_path}/play.db"
    assert service.spool_of(copy).path == tmp_path / "spool.db"
    assert read_baseline(copy.path(copy.model.reference)) == read_baseline(made_service / "reference.json")
    assert copy.observer.use == "offline"
    assert (copy.policy, copy.monitor, copy.features) == (original.policy, original.monitor, original.features)


def test_a_play_ends_in_time(made_service: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A play that takes too long is stopped and says so, and nothing is concluded about what was not played."""
    monkeypatch.setattr(deep, "MOST_SECONDS", 0.0)
    result = play_faults(made_service / "stillsafe.toml", now=NOW, sample=sample, requests_per_hour=900)
    assert not result.complete
    messages = [finding.message for finding in result.findings()]
    assert any("stopped after" in message for message in messages)
    assert not any("never" in message for message in messages)


@pytest.mark.parametrize(
    ("result", "verdict", "words"),
    [
        (RESULT, Verdict.OK, "WARNING after 2 runs (20 min), and to DEGRADED after 3 runs (30 min)"),
        (RESULT, Verdict.OK, "would answer again after 4 runs (40 min)"),
        (
            replace(RESULT, recovered_run=None, progress="Waits."),
            Verdict.ERROR,
            "would not recover. The state says: Waits.",
        ),
        (replace(RESULT, degraded_run=None), Verdict.WARNING, "WARNING after 2 runs (20 min), and never to DEGRADED"),
        (replace(RESULT, degraded_run=None, warning_run=None), Verdict.ERROR, "would never be noticed"),
        (replace(RESULT, healthy_state=State.WARNING), Verdict.WARNING, "Healthy rows (the log) alone led to WARNING"),
        (replace(RESULT, runs_per_conclusion=3), Verdict.WARNING, "only one run in 3"),
    ],
)
def test_each_result_has_its_finding(result: DeepCheck, verdict: Verdict, words: str) -> None:
    """A service that acts and recovers is fine; what it does not notice or end is an error."""
    assert any(finding.verdict is verdict and words in finding.message for finding in result.findings())
