"""What `check` says about the reference file and the active baseline: what is missing, and the one command."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe import settings as settings_files
from stillsafe.check.findings import Finding, Verdict
from stillsafe.check.reference import REFRESH, baseline_finding, reference_findings, time_findings
from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit, SlotTable
from stillsafe.model.reference import Reference, read_reference
from stillsafe.settings import Settings

KEPT_FOLDER = Path(__file__).parents[1] / "kept" / "loan"


@pytest.fixture
def settings() -> Settings:
    """Of a service of an older release."""
    return settings_files.load(KEPT_FOLDER / "stillsafe.toml")


@pytest.fixture
def reference() -> Reference:
    """Its reference file."""
    return read_reference(KEPT_FOLDER / "reference.json")


def baseline_of(reference: Reference) -> Baseline:
    assert reference.baseline is not None
    return reference.baseline


def test_an_older_file_is_complete_after_one_command(settings: Settings, reference: Reference) -> None:
    """Each missing part is named, and the command that adds them; the settings stay."""
    (finding,) = reference_findings(settings, reference)
    assert finding.verdict is Verdict.WARNING
    for part in ("format 1", "hours of the week", "standard errors", "prices of the fallback", "[privacy]", REFRESH):
        assert part in finding.message


def test_a_new_file_without_times_is_no_warning(settings: Settings, reference: Reference) -> None:
    """What its sample could not show is said, and how to add it."""
    (finding,) = reference_findings(settings, replace(reference, format=2))
    assert finding.verdict is Verdict.OK
    assert REFRESH in finding.message


def test_a_feature_that_the_log_hides_and_the_file_shows_is_a_warning(settings: Settings, reference: Reference) -> None:
    """The owner had it dropped after `init`."""
    features = tuple(
        each.model_copy(update={"log": "drop"}) if each.name == "income" else each for each in settings.features
    )
    finding = next(reference_findings(settings.model_copy(update={"features": features}), reference))
    assert finding.verdict is Verdict.WARNING
    assert "shows values of income" in finding.message


def test_without_a_baseline_there_is_nothing_to_say(settings: Settings) -> None:
    """Another check tells that the file is missing."""
    assert list(reference_findings(settings, Reference())) == []


def verdict_of(finding: Finding | None) -> str:
    return "" if finding is None else finding.message


def test_an_active_baseline_below_the_threshold_is_a_warning(settings: Settings, reference: Reference) -> None:
    """With the command that makes a new one: of the sample, or of the log."""
    active = replace(baseline_of(reference), min_count=1)
    assert REFRESH in verdict_of(baseline_finding(settings, reference, active))
    of_log = replace(active, source=BaselineSource.FIRST, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "`stillsafe baseline create`" in verdict_of(baseline_finding(settings, reference, of_log))
    assert baseline_finding(settings, reference, replace(active, min_count=5)) is None


def test_a_reference_that_is_not_active_yet_is_a_warning(settings: Settings, reference: Reference) -> None:
    """A refresh could not reach the store: the command activates it."""
    active = replace(baseline_of(reference), baseline_id="reference-older", min_count=5)
    assert "`stillsafe baseline activate reference-49b4989a`" in verdict_of(
        baseline_finding(settings, reference, active)
    )


def test_what_is_known_of_time_is_said(reference: Reference) -> None:
    """A clock feature whose times are not known is a warning with its remedy; with times there is nothing to do."""
    timeless = replace(baseline_of(reference), clock={"hour": ClockFeature(ClockUnit.UNKNOWN)})
    (finding,) = time_findings(replace(reference, baseline=timeless))
    assert (finding.verdict, "`timestamp`" in finding.message) == (Verdict.WARNING, True)
    time_baseline = replace(
        timeless, slots=SlotTable("UTC", day_count=14), clock={"hour": ClockFeature(ClockUnit.HOUR)}
    )
    assert [each.verdict for each in time_findings(replace(reference, baseline=time_baseline))] == [Verdict.OK]
    assert list(time_findings(reference)) == []
