"""Reference files lose what few values share and what the log hides, and stay readable."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stillsafe import settings as settings_files
from stillsafe.core.schema import LogMode, Schema
from stillsafe.model.reference import NO_REFERENCE, read_reference
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.reference_files import (
    disclosing_files,
    redact_files,
    redaction_sentence,
    undisclosed_reference,
)

KEPT_FOLDER = Path(__file__).parent.parent / "kept" / "loan"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of an older release, with a file that is no reference."""
    folder = Path(shutil.copytree(KEPT_FOLDER, tmp_path / "loan"))
    (folder / "reference-notes.json").write_text("not JSON")
    return folder


@pytest.fixture
def log_format(folder: Path) -> LogFormat:
    """Of its service."""
    return LogFormat.of(settings_files.load(folder / "stillsafe.toml"))


def test_an_older_file_is_written_again_once(folder: Path, log_format: LogFormat) -> None:
    """What it is read as stays; afterwards there is nothing to do."""
    file = folder / "reference.json"
    old = read_reference(file)
    assert disclosing_files(folder, log_format) == [file]
    assert redact_files(folder, log_format) == [file]
    assert read_reference(file) == replace(old, shows_rare_values=False)
    assert redact_files(folder, log_format) == []
    assert (folder / "reference-notes.json").read_text() == "not JSON"
    assert not list(folder.glob(".*"))


def test_what_the_log_hides_goes_too(folder: Path, log_format: LogFormat) -> None:
    """A feature that its owner has dropped since."""
    redact_files(folder, log_format)
    features = tuple(
        replace(spec, log=LogMode.DROP) if spec.name == "income" else spec for spec in log_format.schema.features
    )
    hidden_format = replace(log_format, schema=Schema(features))
    assert redact_files(folder, hidden_format) == [folder / "reference.json"]
    assert '"income"' not in (folder / "reference.json").read_text()


def test_the_sentence_names_the_files() -> None:
    """Nothing is said where nothing was done."""
    assert redaction_sentence([]) == ""
    assert "reference.json" in redaction_sentence([Path("/somewhere/reference.json")])
    assert undisclosed_reference(NO_REFERENCE, LogFormat(Schema(()))) is None
