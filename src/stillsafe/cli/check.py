"""`check`: find out now what would fail later."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from stillsafe import service
from stillsafe.check import checks
from stillsafe.check.findings import Finding, Verdict, error
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_MISCONFIGURED, Config, Json, app
from stillsafe.cli.output import console, core_document, print_result, progress_bar

VERDICT_STYLE = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "bold red"}

Deep = Annotated[
    bool,
    typer.Option(
        "--deep",
        help="Also play a fault and its mending through a copy of the service, in about a minute, and say in how many "
        "runs it would be noticed and whether the service would recover.",
    ),
]
Sample = Annotated[
    Path | None, typer.Option(help="With --deep: a table of healthy rows, CSV or Parquet; by default those of the log.")
]
Rate = Annotated[
    float | None,
    typer.Option(min=0, help="With --deep: requests per hour; by default as in the log of the last day."),
]


@app.command()
def check(
    config: Config = DEFAULT_CONFIG,
    deep: Deep = False,
    sample: Sample = None,
    rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Find out now what would fail later: settings, model, schema, fallback, database, clock, cron."""
    findings = checks.check(config, now=service.utc_now())
    document: Any = [finding_document(each) for each in findings]
    if deep:
        result, deep_findings = play(config, findings, sample, rate)
        findings += deep_findings
        document = {"findings": [finding_document(each) for each in findings], "deep": result}
    print_result(document, as_json, lambda: print_findings(findings))
    if any(finding.verdict is Verdict.ERROR for finding in findings):
        sys.exit(EXIT_MISCONFIGURED)


def play(
    config: Path, findings: list[Finding], sample: Path | None, requests_per_hour: float | None
) -> tuple[Any, list[Finding]]:
    """The JSON of the deep check and its findings; it needs settings, a model and a database without errors."""
    # Imported here: it is subjects by this option only.
    from stillsafe.check import deep
    from stillsafe.errors import StillsafeError

    failing_subjects = {each.subject for each in findings if each.verdict is Verdict.ERROR}
    if subjects := sorted(failing_subjects & {"settings", "model", "fallback", "database"}):
        return None, [error(deep.SUBJECT, f"Not played: correct {', '.join(subjects)} first.")]
    try:
        with progress_bar("Reading the log") as progress:
            result = deep.play_faults(
                config, now=service.utc_now(), sample=sample, requests_per_hour=requests_per_hour, progress=progress
            )
    except StillsafeError as failure:
        return None, [error(deep.SUBJECT, f"Not played: {failure}")]
    return core_document(result), list(result.findings())


def finding_document(finding: Finding) -> dict[str, str]:
    """The JSON of one finding."""
    return {"subject": finding.subject, "verdict": finding.verdict.value, "told": finding.message}


def print_findings(findings: list[Finding]) -> None:
    """Print the text of `check`: a line per finding."""
    for finding in findings:
        verdict = f"[{VERDICT_STYLE[finding.verdict]}]{finding.verdict.value:>7}[/]"
        console.print(f"{verdict}  {finding.subject}: {escape(finding.message)}")
