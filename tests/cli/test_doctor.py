"""`doctor` writes one file that only its user can read."""

from pathlib import Path

from .commands import Command, document


def test_the_report_is_one_private_file(run: Command, made_service: Path) -> None:
    """The command names the file and what it holds; a place that cannot be written is an error with a remedy."""
    code, out, _ = run("doctor")
    file = made_service / "stillsafe-doctor.txt"
    assert (code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert "Read it before you send it." in out
    assert file.read_text().startswith("Stillsafe bug report, ")
    code, _, errors = run("doctor", "--out", "nowhere/report.txt")
    assert (code, "--out" in errors) == (2, True)
    assert document(run("doctor", "--config", "nowhere.toml", "--json")[1])["file"] == "stillsafe-doctor.txt"
    assert "not readable: ConfigurationError" in file.read_text()
