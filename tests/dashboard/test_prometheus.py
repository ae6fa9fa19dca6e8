"""The rules for Prometheus read metrics that exist. `make conformance` has promtool check and try them."""

import re

import pytest

from stillsafe.dashboard.prometheus import RULES, Rule, rules_text
from tests.dashboard.exposition import metric_names, query_names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_reads_metrics_that_exist_of_its_job_alone(rule: Rule) -> None:
    """Every selector has the matcher."""
    names = query_names(rule.expression)
    assert names
    assert names <= metric_names()
    assert rule.expression.count("{") == rule.expression.count("JOB")


def test_the_file_has_every_rule_and_quotes_the_job() -> None:
    """Whatever the service is called."""
    text = rules_text('my "own" job: ü')
    assert re.findall(r"- alert: (\w+)", text) == [rule.name for rule in RULES]
    assert r"job=\"my \\\"own\\\" job: ü\"" in text
    assert "JOB" not in text
