"""The table that a run of the fault suite ends with: what was done, and what was measured."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

Figure = Callable[[str, object], None]
_VERDICTS = {str(True), str(False)}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a figure for the table at the end of the run; of what holds or does not, all noted are counted."""

    def noted(what: str, measured: object) -> None:
        request.node.user_properties.append((what, str(measured)))

    return noted


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: what was done, and what was measured."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    noted = [each for report in reports for each in report.user_properties]
    verdicts = Counter(what for what, measured in noted if measured in _VERDICTS)
    held = Counter(what for what, measured in noted if measured == str(True))
    figures = [each for each in noted if each[1] not in _VERDICTS]
    figures += [(what, f"{held[what]} of {count}") for what, count in verdicts.items()]
    if figures:
        terminalreporter.section("faults, measured")
        width = max(len(what) for what, _ in figures)
        for what, measured in figures:
            terminalreporter.write_line(f"{what:<{width}}  {measured}")
