"""The benchmark of serving: requests, responses, and no timing of a contender with other answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from benchmarks.serving import contenders, keys, load, results, visit, workload
from benchmarks.serving.contenders import CONTENDERS, REFERENCE, Ours, Place, Server
from benchmarks.serving.load import Load, LoadFailed
from benchmarks.serving.visit import Disagrees, Visit
from benchmarks.serving.workload import Workload
from rich.console import Console
from rich.table import Table

from benchmarks import environments
from tests.ports import free_port

WRK = '{"requests": 300, "seconds": 2.0, "wrong": %d, "p50_ms": 1.5, "p99_ms": 9.0}\n'


def visit_of(per_second: float, *, rows_per_second: float | None = None) -> Visit:
    return Visit(2.0, Load(per_second, 10.0, 20.0), Load(100.0, 10.0, 20.0), rows_per_second, 10**8, None, 0.0)


def rendered_text(table: Table) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def prepare_server(work: Workload, folder: Path) -> tuple[Server, Place]:
    place = Place(work, folder, free_port(), lambda: "")
    return Ours().prepare(place), place


def test_the_last_line_of_wrk_is_read() -> None:
    """Requests per second are those that were answered, whatever else wrk prints."""
    assert load.read(f"Running 2s test\n{WRK % 0}") == Load(150.0, 1.5, 9.0)


@pytest.mark.parametrize("output", [WRK % 1, WRK.replace("300", "0") % 0, "unable to connect", ""])
def test_a_wrong_answer_is_no_throughput(output: str) -> None:
    """One refused request among thousands, none at all, or no answer: the contender is not measured."""
    with pytest.raises(LoadFailed):
        load.read(output)


def test_ratios_are_to_the_reference_of_the_same_round() -> None:
    """Twice and three times as fast, whatever each round was worth; what has no batch has no ratio."""
    visits = {
        REFERENCE: [visit_of(100.0, rows_per_second=1000.0), visit_of(10.0, rows_per_second=1000.0)],
        "other": [visit_of(200.0), visit_of(30.0)],
    }
    line = next(line for line in rendered_text(results.relative(visits)).splitlines() if "other" in line)
    assert "2.50 (2.00 to 3.00)" in line
    assert "–" in line
    assert "115 (30.0 to 200)" in rendered_text(results.absolute(visits))


def test_growth_is_compared_with_its_smallest() -> None:
    """Half as many requests per second on a long log show as 0.5."""
    loads = {"ours": {"0": [Load(100.0, 1.0, 1.0)], "1,000": [Load(50.0, 1.0, 1.0)]}}
    assert "0.500" in rendered_text(results.growth_table("Growth", "rows", loads, "0"))


def test_every_contender_is_pinned() -> None:
    """No name twice; every environment names versions, and never where they come from."""
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    for file in environments.REQUIREMENTS.glob("*.txt"):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        assert lines, file
        assert all("==" in line and "/" not in line and "-" not in line[:1] for line in lines), file


def test_a_variant_changes_its_lines_alone(pristine_service: Path) -> None:
    """A line of the model's section is replaced, and the rest of the settings stays as `init` wrote it."""
    settings_before = (pristine_service / "stillsafe.toml").read_text(encoding="utf-8")
    settings_after = contenders._with_model(settings_before, {"timeout": '"1s"'})
    assert '[model]\ntimeout = "1s"\n' in settings_after
    assert [line for line in settings_before.splitlines() if not line.startswith("timeout = ")] == [
        line for line in settings_after.splitlines() if not line.startswith("timeout = ")
    ]


@pytest.mark.parametrize("features", [10, 16, 40])
def test_wider_rows_repeat_columns_under_other_names(flights: pd.DataFrame, features: int) -> None:
    """It has the requested number of features, each with the values of an existing one."""
    some = flights[:500]
    wide = workload.widen(some, features)
    assert wide.shape == (500, features + 1)
    assert wide.columns.is_unique
    for name in wide.columns[:features]:
        own = name.rpartition("_")[0] if name not in some else name
        assert wide[name].value_counts().to_dict() == some[own].value_counts().to_dict()


def test_stillsafe_answers_as_scikit_learn(work: Workload, tmp_path: Path) -> None:
    """One by one from several clients at once, and in a batch; every answer is in its log."""
    server, place = prepare_server(work, tmp_path)
    assert server.log is not None
    with visit.up(server, place) as running:
        assert visit.check(server, place.port, work) <= visit.MOST_DIFFERENCE
        size, rows = server.log.measure()
        assert rows == visit.CHECKED_ROWS + workload.BATCH
        assert size > rows
        assert running.memory_bytes() > 10**7


@pytest.mark.parametrize(
    "wrong", [lambda answer: (1 - answer[0], answer[1]), lambda answer: (answer[0], answer[1] + 1e-3)]
)
def test_nobody_is_timed_who_answers_otherwise(
    work: Workload, tmp_path: Path, wrong: Callable[[workload.Answer], workload.Answer]
) -> None:
    """Another class, or another probability, for one of many rows is found before anything is measured."""
    server, place = prepare_server(work, tmp_path)
    other = replace(work, answers=(*work.answers[:77], wrong(work.answers[77]), *work.answers[78:]))
    with visit.up(server, place), pytest.raises(Disagrees):
        visit.check(server, place.port, other)


def test_a_key_is_needed_where_its_cost_is_measured(work: Workload, tmp_path: Path) -> None:
    """The load with keys is one of a service that refuses requests without; the key's rate is never reached."""
    plain_server, place = prepare_server(work, tmp_path)
    server, key = keys.with_key(plain_server, place)
    address = f"http://127.0.0.1:{place.port}{server.one.path}"
    body = server.one.body(work.rows[:1])
    with visit.up(server, place):
        assert httpx2.post(address, json=body).status_code == 401
        answer = httpx2.post(address, json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
