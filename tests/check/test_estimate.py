"""`check` holds the estimate to account."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from stillsafe.check import estimate
from stillsafe.check.findings import Verdict
from stillsafe.core.evidence.bypass_price import BypassPrice
from stillsafe.core.evidence.estimate_account import EstimateAccount
from stillsafe.settings import Settings
from tests.dashboard.story import settings_of
from tests.store.conftest import empty, engine

__all__ = ["empty", "engine"]


@pytest.fixture
def service_settings(tmp_path: Path) -> Settings:
    """Of a made-up service."""
    return settings_of(tmp_path)


@pytest.mark.parametrize(("within_count", "verdict"), [(9, Verdict.OK), (3, Verdict.WARNING)])
def test_an_estimate_that_is_not_to_be_trusted_is_a_warning(
    engine: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch, within_count: int, verdict: Verdict
) -> None:
    """Its message is the account in words."""
    account = EstimateAccount("points", 10, -0.05, 0.05, within_count)
    monkeypatch.setattr(estimate, "estimate_account", lambda _connection, _version: account)
    [finding] = estimate.estimate_findings(engine, service_settings)
    assert (finding.subject, finding.verdict, finding.message) == ("estimate", verdict, account.sentence)


def test_without_labels_there_is_no_finding(engine: Engine, service_settings: Settings) -> None:
    """Labels are never needed."""
    assert list(estimate.estimate_findings(engine, service_settings)) == []


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, Verdict.OK), (-0.01, Verdict.OK), (-0.3, Verdict.WARNING)])
def test_a_bypass_that_lost_is_a_warning(
    engine: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch, gain: float, verdict: Verdict
) -> None:
    """By labels, and beyond chance."""
    price = BypassPrice("accuracy", 400, 0.5, 0.5 + gain, gain, 0.02)
    incident = SimpleNamespace(incident_id="inc-1")
    monkeypatch.setattr(estimate, "newest_price", lambda _connection, _version: (incident, price))
    [finding] = estimate.estimate_findings(engine, service_settings)
    assert (finding.subject, finding.verdict) == ("bypass price", verdict)
    assert finding.message == f"Incident inc-1: {price.sentence}"
