"""The record of accepted answers: every acceptance stays, in order, in a file that only its owner reads."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.errors import ModelError
from stillsafe.model.acceptance import Acceptance, read_acceptances, record_of, write_acceptance
from stillsafe.model.reference import ProbeAnswers

PROBES = ProbeAnswers(("x",), ((1.5,), (None,)), ("no", 3), (0.5, None), ((0.5, 0.5), ()))


def acceptance_of(by: str, probes: ProbeAnswers | None = PROBES) -> Acceptance:
    """An acceptance by a person."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Acceptance(at, by, "compared", "0" * 64, {"scikit-learn": "1.5.2"}, {"scikit-learn": "1.9.1"}, 3, probes)


def test_acceptances_are_read_back_in_order(tmp_path: Path) -> None:
    """The record survives the file exactly, and nothing is ever removed from it."""
    reference = tmp_path / "reference-2.json"
    assert read_acceptances(reference) == ()
    for by in ("Ada", "Ben"):
        write_acceptance(reference, acceptance_of(by))
    write_acceptance(reference, acceptance_of("Cem", None))
    assert read_acceptances(reference) == (acceptance_of("Ada"), acceptance_of("Ben"), acceptance_of("Cem", None))
    record = record_of(reference)
    assert record.name == "reference-2.accepted.json"
    assert [each.name for each in tmp_path.iterdir()] == [record.name]
    assert record.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["{", "[1]", '{"at": 1}', "\xff"])
def test_a_damaged_record_is_an_error(tmp_path: Path, content: str) -> None:
    """Who accepted what is not forgotten silently, and never overwritten."""
    reference = tmp_path / "reference.json"
    record_of(reference).write_text(content)
    with pytest.raises(ModelError, match="record of accepted answers"):
        read_acceptances(reference)
    with pytest.raises(ModelError, match="record of accepted answers"):
        write_acceptance(reference, acceptance_of("Ada"))
    assert record_of(reference).read_text() == content


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The sentence has the file and the cause."""
    with pytest.raises(ModelError, match="cannot be written: No such file or directory"):
        write_acceptance(tmp_path / "absent" / "reference.json", acceptance_of("Ada"))
