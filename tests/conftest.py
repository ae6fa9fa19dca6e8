"""A real service folder that `init` creates once from a real model."""

import logging
import shutil
from collections.abc import Iterator, Set
from datetime import UTC, datetime
from pathlib import Path

import pytest

SESSION_LEVEL = logging.getLogger().level
"""Level of the root logger before any test."""
pytest_plugins = ["tests.postgres", "tests.faults.figures", "tests.cli.command_server", "tests.cli.command_line"]


LONG_TESTS = tuple(
    f"tests/{name}"
    for name in (
        *("docs/test_documentation.py", "matrix/", "faults/", "attack/", "benchmarks/", "models/", "serving/test_acc"),
        *("test_tour.py", "test_personal_data.py", "serving/test_serve.py", "serving/test_connections.py"),
        *("init/test_own_modules.py", "scripts/"),
    )
)
"""Where the tests are that take longest, but for the demo's: each process that got one of them would run it anew."""


LONG_FORMS = (
    "tests/benchmarks/",
    "tests/test_tour.py",
    "tests/docs/test_documentation.py::test_the_operations_commands_run[sqlite]",
    "tests/docs/test_example_folders.py::test_a_broken_night_is_stopped_and_recovers",
    "tests/faults/test_monitor_killed.py::test_concurrent_monitors_write_one_run",
    "tests/faults/test_monitor_killed.py::test_a_killed_run_is_written_whole_or_not_at_all[sqlite]",
    "tests/serving/test_accessibility.py::test_every_page_is_for_everybody[docs]",
    "tests/test_demo.py::test_a_demo_without_a_degradation_fails",
    "tests/test_demo_concept.py::test_an_act_without_a_strike_fails",
    "tests/test_promises.py::test_5_same_stored_metrics_same_decisions[postgresql]",
    "tests/test_kept.py::test_its_runs_replay_from_the_log[sqlite]",
    "tests/test_kept.py::test_it_degrades_and_recovers_by_new_traffic[sqlite]",
    "tests/test_score_file.py::test_a_killed_job_loses_no_row[postgresql]",
    "tests/faults/test_workers.py::test_all_rows_are_logged_and_counted[postgresql]",
    "tests/faults/test_workers.py::test_all_workers_use_a_new_state_at_once[sqlite]",
    "tests/faults/test_life_cycle.py::test_an_upgrade_keeps_what_was_acknowledged[sqlite]",
    "tests/faults/test_life_cycle.py::test_a_server_refuses_another_schema_version[sqlite]",
    "tests/faults/test_labels_killed.py::test_kill_minus_nine_while_labels_come_in[sqlite]",
    "tests/faults/test_workers.py::test_workers_end_with_their_parent[postgresql]",
    "tests/faults/test_workers.py::test_sigterm_completes_accepted_requests[sqlite]",
    "tests/faults/test_workers.py::test_a_killed_worker_is_replaced_and_loses_nothing[sqlite]",
)
"""What `make long` runs and `make test` does not, which would take longer than it may."""


SHORT_FORMS = {
    "tests/attack/test_neighbours.py::test_neighbours_are_answered": (
        *("nobody", "a head of 100 MB", "1 MB of unknown keys", "connections of rubbish", "200 half heads"),
        "4 viewers of the dashboard",
    ),
    "tests/init/test_field_cases.py::test_open_ended_features_are_watched_by_their_form": (
        "title-None-missing_rate:title",
        "day-1970-01-01T00:00:00+00:00-unseen_category_rate:day",
    ),
    "tests/matrix/test_clients.py::test_a_fault_of_few_clients_warns_and_names_them": (
        "one of six-nulls",
        "one of fifty-stuck",
        "two of twenty-permuted",
    ),
    "tests/matrix/test_clients.py::test_a_fault_of_the_service_is_critical": (
        "one only-permuted",
        "one of two-stuck",
        "twenty of fifty-unseen",
        "all of fifty-nulls",
    ),
    "tests/observer/test_hostile.py::test_no_answer_changes_anything": (
        *("503", "hangs", "drips headers", "streams for ever", "not JSON", "10 MB", "packed", "cut", "deep answer"),
        *("much of '1,'", "orders", "everything evil"),
    ),
}
"""Test -> the values of its parameters that `make test` runs; `make long` runs the others."""


BOTH_STORES = ("alerts", "erasure", "hold", "log_export", "run", "same_on_both_stores", "side_by_side")
"""Tests of the monitor that `make test` runs on both stores; the others on PostgreSQL are left to `make long`."""


def _is_long(test: str) -> bool:
    """Whether a test, by its id, is left to `make long`."""
    name, _, parameters = test.partition("[")
    choice = SHORT_FORMS.get(name)
    if choice is not None:
        return parameters.removesuffix("]") not in choice
    is_second_store = name.startswith("tests/monitoring/") and "postgresql" in parameters
    file = name.partition("::")[0].rpartition("/")[2]
    return test.startswith(LONG_FORMS) or (is_second_store and file not in {f"test_{each}.py" for each in BOTH_STORES})


def _require_short_forms(tests: Set[str]) -> None:
    """Require that each value in `SHORT_FORMS` is a test's: the whole test would be left out by a wrong one.

    Raises:
        pytest.UsageError: one is not.
    """
    for name, choice in SHORT_FORMS.items():
        values = {test.removeprefix(f"{name}[").removesuffix("]") for test in tests if test.startswith(f"{name}[")}
        if len(values) > len(choice) and not values.issuperset(choice):  # fewer were named one by one
            raise pytest.UsageError(f"{name} has no {sorted({*choice} - values)}: correct SHORT_FORMS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests: at the end of a run a worker that had one left would work alone."""
    _require_short_forms({item.nodeid for item in items})
    for item in items:
        if _is_long(item.nodeid):
            item.add_marker("long")
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_TESTS))


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo the logging configuration of a command, which would otherwise affect the next tests.

    A fixture of a module or session that ran a command has left its level, so a test begins with the session's.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), SESSION_LEVEL
    root.setLevel(level)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def pristine_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder and database that `init` writes: a classifier of tumours with four numbers, one of them optional."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from skops import io

    from stillsafe import service, settings
    from stillsafe.init.create import ServiceRequest, create_service

    folder = tmp_path_factory.mktemp("init")
    tumours = load_breast_cancer(as_frame=True)
    features = tumours.data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(features[::2], tumours.target[::2])
    io.dump(model, folder / "model.skops")
    features[1::2].assign(benign=tumours.target[1::2]).to_csv(folder / "sample.csv", index=False)
    create_service(
        ServiceRequest(
            folder / "model.skops",
            folder / "sample.csv",
            label="benign",
            out=folder / "service",
            name="tumours",
            now=datetime(2026, 1, 1, tzinfo=UTC),
            salt="salt",
        )
    )
    new_service = settings.load(folder / "service" / settings.DEFAULT_FILE, environment={})
    service.open_store(new_service, create=True).dispose()
    return folder / "service"


@pytest.fixture(scope="session")
def healthy_rows() -> list[dict[str, float]]:
    """Features of tumours that the service's model was not trained on."""
    from sklearn.datasets import load_breast_cancer

    features = load_breast_cancer(as_frame=True).data[["mean radius", "mean texture", "mean smoothness", "worst area"]]
    return [
        {str(name): float(value) for name, value in row.items()}
        for row in features[1::2].sample(frac=1, random_state=3).to_dict("records")
    ]


@pytest.fixture
def made_service(pristine_service: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test."""
    return Path(shutil.copytree(pristine_service, tmp_path / "service"))
