"""`check` compares the libraries of the model and its answers with those of `init`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sklearn

from stillsafe import settings
from stillsafe.check.findings import Verdict
from stillsafe.check.model import model_findings
from stillsafe.model.consistency import accept
from stillsafe.model.load import load_model
from tests.upgrades import OLD_VERSION, answered_otherwise, edit_reference, saved_with_old_version


def versions_finding(folder: Path) -> tuple[Verdict, str]:
    """The finding about the versions."""
    service_settings = settings.load(folder / "stillsafe.toml")
    findings = {each.subject: each for each in model_findings(load_model(service_settings), service_settings)}
    assert {"missing values", "batches", "compiled model"} < set(findings)
    return findings["model versions"].verdict, findings["model versions"].message


def test_a_new_service_answers_as_at_init(made_service: Path) -> None:
    """The finding has the versions and the number of compared rows."""
    verdict, message = versions_finding(made_service)
    assert verdict is Verdict.OK
    assert f"scikit-learn {sklearn.__version__}" in message
    assert "60 synthetic rows are those of `init`" in message


@pytest.mark.parametrize(
    ("edit", "verdict"), [(answered_otherwise, Verdict.ERROR), (saved_with_old_version, Verdict.WARNING)]
)
def test_a_mismatch_is_one_sentence_until_it_is_accepted(made_service: Path, edit: Any, verdict: Verdict) -> None:
    """Both versions and the remedy; what a person accepted is no finding any more, but shown with who and why."""
    edit_reference(made_service, edit)
    found_verdict, message = versions_finding(made_service)
    assert found_verdict is verdict
    for words in (f"scikit-learn {OLD_VERSION} (here {sklearn.__version__})", "stillsafe model accept"):
        assert words in message
    service_settings = settings.load(made_service / "stillsafe.toml")
    at = datetime(2026, 2, 1, tzinfo=UTC)
    accept(load_model(service_settings), service_settings, by="Ada", reason="compared", at=at)
    verdict, message = versions_finding(made_service)
    assert verdict is Verdict.OK
    assert "as Ada accepted on 2026-02-01T00:00:00Z: compared" in message


def test_without_stored_answers_the_remedy_is_named(made_service: Path) -> None:
    """A reference file of an older release is no problem; the finding has the command that adds the answers."""
    edit_reference(made_service, lambda document: document.pop("probes"))
    verdict, message = versions_finding(made_service)
    assert verdict is Verdict.OK
    assert "init --refresh" in message


def test_an_unreadable_record_is_an_error(made_service: Path) -> None:
    """The record of accepted answers may not vanish without a word."""
    (made_service / "reference.accepted.json").write_text("{")
    verdict, message = versions_finding(made_service)
    assert verdict is Verdict.ERROR
    assert "reference.accepted.json" in message
