"""Alert rules for Prometheus over the metrics of `/metrics`."""

import json
from typing import NamedTuple


class Rule(NamedTuple):
    """One alert rule; `JOB` in its expression is the matcher of the job."""

    name: str
    expression: str
    minutes: int
    severity: str
    summary: str


RULES = (
    Rule(
        "StillsafeDegraded",
        'max by (job) (stillsafe_state{state="DEGRADED",JOB}) == 1',
        0,
        "critical",
        "The model is bypassed: the state is DEGRADED.",
    ),
    Rule(
        "StillsafeWarning",
        'max by (job) (stillsafe_state{state="WARNING",JOB}) == 1',
        0,
        "warning",
        "The state is WARNING.",
    ),
    Rule(
        "StillsafeMonitorStale",
        "max by (job) (stillsafe_monitor_stale{JOB}) == 1",
        5,
        "critical",
        "The monitor has stopped or never run.",
    ),
    Rule(
        "StillsafeNotJudged",
        "min by (job) (stillsafe_judged{JOB}) == 0",
        5,
        "warning",
        "Runs reach no conclusions about the requests.",
    ),
    Rule(
        "StillsafeStoreOut",
        "min by (job) (stillsafe_store_up{JOB}) == 0",
        1,
        "critical",
        "The database cannot be read.",
    ),
    Rule(
        "StillsafeDown",
        "max by (job) (up{JOB}) == 0 or absent(up{JOB})",
        2,
        "critical",
        "No process of the service answers.",
    ),
    Rule(
        "StillsafeModelErrors",
        "sum by (job) (increase(stillsafe_model_errors_total{JOB}[15m])) > 0",
        0,
        "warning",
        "The model fails on rows.",
    ),
    Rule(
        "StillsafeRefusals",
        "sum by (job) (rate(stillsafe_refusals_total{JOB}[15m]))"
        " > 0.25 * sum by (job) (rate(stillsafe_answers_total{JOB}[15m]))",
        15,
        "warning",
        "More than a fifth of the requests are refused.",
    ),
    Rule(
        "StillsafeSpool",
        "max by (job) (stillsafe_spooled_rows{JOB}) > 0",
        30,
        "warning",
        "Rows wait in the spool of a host.",
    ),
    Rule("StillsafeHeld", "max by (job) (stillsafe_held{JOB}) == 1", 60, "info", "An operator holds the state."),
)


def rules_text(job: str) -> str:
    """The rules of one job as a YAML file of Prometheus.

    Args:
        job: the value of the label `job` under which Prometheus scrapes the service.
    """
    matcher = f"job={json.dumps(job, ensure_ascii=False)}"
    lines = ["groups:", f"  - name: {json.dumps(f'stillsafe {job}', ensure_ascii=False)}", "    rules:"]
    for rule in RULES:
        lines += [
            f"      - alert: {rule.name}",
            f"        expr: {json.dumps(rule.expression.replace('JOB', matcher), ensure_ascii=False)}",
            f"        for: {rule.minutes}m",
            "        labels:",
            f"          severity: {rule.severity}",
            "        annotations:",
            f"          summary: {json.dumps(f'{job}: {rule.summary}', ensure_ascii=False)}",
        ]
    return "\n".join(lines) + "\n"
