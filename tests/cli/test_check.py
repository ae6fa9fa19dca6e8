"""`check` prints its findings and exits with 2 where something would fail."""

from pathlib import Path

from .commands import Command, document


def test_an_error_makes_the_check_fail(run: Command, made_service: Path) -> None:
    """`check` exits with 0 on a sound service, warnings included, and with 2 where something would fail."""
    code, out, _ = run("check", "--json")
    findings = document(out)
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert code == 0
    assert {tuple(finding) for finding in findings} == {("subject", "verdict", "told")}
    assert verdicts["model"] == "ok"
    assert verdicts["monitor"] == "warning"
    model = next(made_service.glob("model.*"))
    model.write_bytes(model.read_bytes() + b" ")
    code, out, _ = run("check")
    assert code == 2
    assert "hash" in out or "sha256" in out
