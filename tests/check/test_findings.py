"""A finding has a subject, a verdict and a message."""

from stillsafe.check.findings import Finding, Verdict, error, ok, warning


def test_each_function_gives_its_verdict() -> None:
    """The three functions differ in nothing but the verdict."""
    assert [make("model", "fine") for make in (ok, warning, error)] == [
        Finding("model", verdict, "fine") for verdict in (Verdict.OK, Verdict.WARNING, Verdict.ERROR)
    ]
