"""The table that a run of the fault suite ends with: what was done, and what was measured."""

from collections.abc import Callable
from typing import Any

import pytest

Figure = Callable[[str, object], None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a figure for the table at the end of the run."""

    def noted(what: str, measured: object) -> None:
        request.node.user_properties.append((what, str(measured)))

    return noted


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: what was done, and what was measured."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    figures = [each for report in reports if "tests/faults" in report.nodeid for each in report.user_properties]
    if figures:
        terminalreporter.section("faults, measured")
        width = max(len(what) for what, _ in figures)
        for what, measured in figures:
            terminalreporter.write_line(f"{what:<{width}}  {measured}")
