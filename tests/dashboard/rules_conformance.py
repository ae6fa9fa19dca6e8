"""Has promtool check the exported rules and try them on made-up series: `make conformance`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from stillsafe.dashboard.prometheus import rules_text

UNIT_TESTS = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'stillsafe_state{state="DEGRADED",job="stay",instance="a"}', values: '0x9 1x20'}
      - {series: 'stillsafe_state{state="DEGRADED",job="other",instance="a"}', values: '1x30'}
      - {series: 'stillsafe_store_up{job="stay",instance="a"}', values: '1x9 0x20'}
      - {series: 'stillsafe_answers_total{job="stay",decided_by="model"}', values: '0+60x30'}
      - {series: 'stillsafe_refusals_total{job="stay",kind="missing"}', values: '0+30x30'}
      - {series: 'up{job="stay",instance="a"}', values: '1x30'}
    alert_rule_test:
      - {eval_time: 5m, alertname: StillsafeDegraded, exp_alerts: []}
      - eval_time: 15m
        alertname: StillsafeDegraded
        exp_alerts:
          - exp_labels: {job: stay, severity: critical}
            exp_annotations: {summary: 'stay: The model is bypassed: the state is DEGRADED.'}
      - eval_time: 15m
        alertname: StillsafeStoreOut
        exp_alerts:
          - exp_labels: {job: stay, severity: critical}
            exp_annotations: {summary: 'stay: The database cannot be read.'}
      - eval_time: 25m
        alertname: StillsafeRefusals
        exp_alerts:
          - exp_labels: {job: stay, severity: warning}
            exp_annotations: {summary: 'stay: More than a fifth of the requests are refused.'}
      - {eval_time: 25m, alertname: StillsafeDown, exp_alerts: []}
"""


def main() -> int:
    """The exit code of promtool."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules.yml").write_text(rules_text("stay"))
        Path(folder, "odd.yml").write_text(rules_text('my "own" job: ü'))
        Path(folder, "tests.yml").write_text(UNIT_TESTS)
        for words in (["check", "rules", "rules.yml", "odd.yml"], ["test", "rules", "tests.yml"]):
            code = subprocess.run(["promtool", *words], cwd=folder, check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
