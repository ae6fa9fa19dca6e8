"""Whether the served model is the one that `init` measured, with the same libraries and the same answers."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sklearn

from stillsafe import settings
from stillsafe.model.consistency import UNKNOWN_CONSISTENCY, Consistency, accept, consistency_of, log_consistency
from stillsafe.model.load import load_model
from stillsafe.model.probe_answers import AnswerChange
from tests.upgrades import OLD_VERSION, answered_otherwise, edit_reference, saved_with_old_version

AT = datetime(2026, 3, 1, tzinfo=UTC)


def consistency_in(folder: Path) -> Consistency:
    """The comparison at a start of the service in a folder."""
    service_settings = settings.load(folder / "stillsafe.toml")
    return consistency_of(load_model(service_settings), service_settings)


def accept_in(folder: Path) -> None:
    """A person accepts what is there."""
    service_settings = settings.load(folder / "stillsafe.toml")
    accept(load_model(service_settings), service_settings, by="Ada", reason="compared", at=AT)


def test_a_new_service_is_consistent(made_service: Path) -> None:
    """The versions are known on every side, and the answers are equal."""
    consistency = consistency_in(made_service)
    versions = {"scikit-learn": sklearn.__version__}
    for each in (consistency.versions, consistency.versions_before, consistency.origin_versions):
        assert versions.items() <= each.items()
    assert consistency.change == AnswerChange(60, 0, 0.0)
    assert (consistency.problem, consistency.origin_changes) == (None, {})


def test_accepted_answers_take_the_place_of_those_of_init(made_service: Path) -> None:
    """A second change after an acceptance is compared with what was accepted, and needs one of its own."""
    edit_reference(made_service, answered_otherwise)
    assert consistency_in(made_service).problem is not None
    accept_in(made_service)
    assert consistency_in(made_service).problem is None
    record = made_service / "reference.accepted.json"
    record.write_text(record.read_text().replace('"confidences":[', '"confidences":[0.123,', 1))
    assert "record" in str(_failure(made_service))


def _failure(folder: Path) -> BaseException:
    with pytest.raises(Exception, match="record of accepted answers") as failure:
        consistency_in(folder)
    return failure.value


def test_an_acceptance_counts_for_its_model_file_alone(made_service: Path) -> None:
    """A later model in the same folder is not covered by what a person accepted for the earlier one."""
    edit_reference(made_service, answered_otherwise)
    accept_in(made_service)
    record = made_service / "reference.accepted.json"
    digest = settings.load(made_service / "stillsafe.toml").model.sha256
    record.write_text(record.read_text().replace(digest, "0" * 64))
    assert consistency_in(made_service).problem is not None


def test_a_reference_of_another_model_file_is_not_compared(made_service: Path) -> None:
    """Where the owner replaced the model by hand, the stored answers are those of another one."""
    edit_reference(made_service, answered_otherwise)
    edit_reference(made_service, lambda document: document["model"].update(sha256="0" * 64))
    assert (consistency_in(made_service).change, consistency_in(made_service).problem) == (None, None)


def test_versions_of_the_file_are_reported_until_they_are_accepted(made_service: Path) -> None:
    """A file of another version is no reason to bypass the model, and is accepted like changed answers."""
    edit_reference(made_service, saved_with_old_version)
    consistency = consistency_in(made_service)
    assert consistency.origin_changes == {"scikit-learn": (OLD_VERSION, sklearn.__version__)}
    assert consistency.problem is None
    accept_in(made_service)
    assert consistency_in(made_service).origin_changes == {}


@pytest.mark.parametrize(
    ("consistency", "event"),
    [
        (UNKNOWN_CONSISTENCY, None),
        (Consistency({"scikit-learn": "2"}, {"scikit-learn": "1"}, {}, AnswerChange(60, 0, 0.0)), None),
        (Consistency({"scikit-learn": "2"}, {}, {"scikit-learn": "1"}, AnswerChange(60, 0, 0.0)), "model_versions"),
        (Consistency({"scikit-learn": "2"}, {"scikit-learn": "1"}, {}, AnswerChange(60, 2, 0.5)), "model_changed"),
    ],
)
def test_each_start_logs_one_line(
    made_service: Path, consistency: Consistency, event: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """With both versions; a start without a difference logs nothing."""
    caplog.set_level(logging.INFO)
    log_consistency(consistency, settings.load(made_service / "stillsafe.toml"))
    assert [record.getMessage() for record in caplog.records] == ([] if event is None else [event])
    if event is not None:
        assert "scikit-learn 1 (here 2)" in caplog.records[0].__dict__["fields"]["message"]


def test_the_sentence_names_what_is_known(made_service: Path) -> None:
    """Answers that changed with the same libraries have another remedy than a version."""
    consistency = Consistency({"numpy": "2"}, {"numpy": "2"}, {}, AnswerChange(60, 2, 0.5))
    assert "with the same libraries" in (consistency.problem or "")
    assert consistency.remedy.startswith("Restore the model")
    upgrade = replace(consistency, versions={"numpy": "3"})
    assert upgrade.remedy.startswith("Install numpy==2")
