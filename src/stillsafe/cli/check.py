"""`check`: find out now what would fail later."""

import sys

from rich.markup import escape

from stillsafe import check as checks
from stillsafe import service
from stillsafe.check import Finding, Verdict
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_MISCONFIGURED, Config, Json, app
from stillsafe.cli.output import console, print_result

VERDICT_STYLE = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "bold red"}


@app.command()
def check(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Find out now what would fail later: settings, model, schema, fallback, database, clock, cron."""
    findings = checks.check(config, now=service.utc_now())
    document = [{"subject": each.subject, "verdict": each.verdict.value, "told": each.message} for each in findings]
    print_result(document, as_json, lambda: print_findings(findings))
    if any(finding.verdict is Verdict.ERROR for finding in findings):
        sys.exit(EXIT_MISCONFIGURED)


def print_findings(findings: list[Finding]) -> None:
    """Print the text of `check`: a line per finding."""
    for finding in findings:
        verdict = f"[{VERDICT_STYLE[finding.verdict]}]{finding.verdict.value:>7}[/]"
        console.print(f"{verdict}  {finding.subject}: {escape(finding.message)}")
