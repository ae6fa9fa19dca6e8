"""The table of measurements at the end of a run of the faults or of the attacks."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

Figure = Callable[[str, object], None]
_BOOLEANS = {str(True), str(False)}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Record a figure for the table at the end of the run; booleans are counted."""

    def record_figure(what: str, value: object) -> None:
        request.node.user_properties.append((what, str(value)))

    return record_figure


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table: the fault or attack, and the measurement."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    records = [each for report in reports for each in report.user_properties]
    counts = Counter(what for what, value in records if value in _BOOLEANS)
    true_counts = Counter(what for what, value in records if value == str(True))
    figures = [each for each in records if each[1] not in _BOOLEANS]
    figures += [(what, f"{true_counts[what]} of {count}") for what, count in counts.items()]
    if figures:
        terminalreporter.section("measured")
        width = max(len(what) for what, _ in figures)
        for what, value in figures:
            terminalreporter.write_line(f"{what:<{width}}  {value}")
