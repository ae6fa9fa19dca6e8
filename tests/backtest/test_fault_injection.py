"""Histories broken on purpose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stillsafe.backtest import fault_injection
from stillsafe.backtest.fault_injection import Fault, Injection, inject, parse
from stillsafe.errors import ConfigurationError

ROWS = 400
AGES: NDArray[np.float64] = np.random.default_rng(1).normal(40, 10, ROWS)
COLUMNS: dict[str, NDArray[Any] | Sequence[object]] = {
    "age": AGES,
    "visits": list(range(ROWS)),
    "town": ["Ulm" if i % 10 else "Bonn" for i in range(ROWS)],
    "street": [f"street {i % 7}" for i in range(ROWS)],
    "member": [i % 2 == 0 for i in range(ROWS)],
    "label": [int(age > 40) for age in AGES],
}
PLAIN: dict[str, list[Any]] = {
    name: column.tolist() if isinstance(column, np.ndarray) else list(column) for name, column in COLUMNS.items()
}
LATE = np.arange(ROWS) >= 150
HIT = range(150, ROWS)


def broken(text: str, rows: NDArray[np.bool_] = LATE, seed: int = 7) -> dict[str, list[object]]:
    return inject(COLUMNS, parse(text), rows, seed)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_can_be_written_and_leaves_other_rows_alone(fault: Fault) -> None:
    """A fault befalls the given rows only, changes something there, and is the same for the same seed."""
    features = {Fault.SWAPPED: "town,street", Fault.RENAMED: "town"}.get(fault, "age")
    found = broken(f"{fault}:{features}")
    assert {name: column[:150] for name, column in found.items()} == {n: c[:150] for n, c in PLAIN.items()}
    assert all(found[name][150:] != PLAIN[name][150:] for name in features.split(","))
    assert found == broken(f"{fault}:{features}")


def test_what_it_is_given_stays_as_it_is() -> None:
    """Injecting is pure."""
    before = {name: list(column) for name, column in PLAIN.items()}
    broken("nulls:age,town")
    assert {name: list(column) for name, column in COLUMNS.items()} == before


def test_only_the_named_features_change() -> None:
    """A fault of a feature reaches neither other features nor the label."""
    found = broken("sentinel:age,visits")
    assert [name for name in PLAIN if found[name] != PLAIN[name]] == ["age", "visits"]
    assert set(found["age"][150:]) == set(found["visits"][150:]) == {fault_injection.SENTINEL}


def test_values_fail_as_their_fault_says() -> None:
    """Each fault does what its name says."""
    assert broken("nulls:town")["town"][150:] == [None] * 250
    assert broken("stuck:visits")["visits"][150:] == [149] * 250
    assert broken("stale:visits")["visits"][150:] == list(range(50, 300))
    assert broken("unit_change:visits")["visits"][150:] == [i * fault_injection.FACTOR for i in HIT]
    assert broken("renamed:town")["town"][151] == "Ulm (renamed)"
    swapped = broken("swapped:age,visits")
    assert swapped["age"][150:] == PLAIN["visits"][150:]
    assert swapped["visits"][150:] == PLAIN["age"][150:]


def test_permuted_features_keep_their_distribution_and_stay_together() -> None:
    """Several features permuted are a join that found the wrong row: true to each other, false to the rest."""
    found = broken("permuted:age,visits")
    assert sorted(zip(found["age"], found["visits"], strict=True), key=str) == sorted(
        zip(PLAIN["age"], PLAIN["visits"], strict=True), key=str
    )
    assert found["town"] == PLAIN["town"]


def test_a_shift_brings_whole_rows() -> None:
    """A shift corrupts nothing: each row, with its label, is one that there was."""
    rows = set(zip(*PLAIN.values(), strict=True))
    found = broken("shift:age")
    assert set(zip(*found.values(), strict=True)) <= rows
    assert min(age for age in found["age"][150:] if isinstance(age, float)) >= float(np.quantile(AGES, 0.75))
    assert set(broken("shift:town")["town"][150:]) == {"Bonn"}


def test_missing_values_stay_missing_and_leave_as_none() -> None:
    """NaN is missing in the columns given and None in those returned, whatever the fault does to the others."""
    columns: dict[str, NDArray[Any] | Sequence[object]] = {
        "age": np.array([1.0, np.nan, 3.0]),
        "town": ["Ulm", None, float("nan")],
    }
    rows = np.ones(3, np.bool_)
    assert inject(columns, parse("unit_change:age"), rows, 1)["age"] == [100.0, None, 300.0]
    assert inject(columns, parse("renamed:town"), rows, 1)["town"] == ["Ulm (renamed)", None, None]
    assert inject(columns, parse("shift:age"), rows, 1)["age"] == [3.0, 3.0, 3.0]


def test_a_fault_that_befalls_no_row_does_nothing() -> None:
    """No row named, no row changed."""
    assert broken("shift:age", np.zeros(ROWS, np.bool_)) == PLAIN


def test_written_injections_are_read_leniently() -> None:
    """Blanks and repetitions do not matter; a feature's name may hold a colon."""
    assert parse(" swapped : a , b ,a") == Injection(Fault.SWAPPED, ("a", "b"))
    assert parse("nulls:ns:age") == Injection(Fault.NULLS, ("ns:age",))


@pytest.mark.parametrize("text", ["", "nulls", "nulls:", "nulls: ,", "melted:age", "age:nulls"])
def test_what_is_no_injection_is_told_what_is_possible(text: str) -> None:
    """The error names every fault and how to write one."""
    with pytest.raises(ConfigurationError, match=r"swapped:age,income.*unit_change.*shift"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nulls:height", "no feature 'height'.*age, visits, town"),
        ("renamed:age", "'age' is not.*town, street"),
        ("sentinel:town", "'town' is not.*age, visits"),
        ("unit_change:member", "'member' is not"),
        ("swapped:age", "cannot be swapped.*two"),
        ("swapped:age,town", "cannot be swapped"),
        ("shift:age,town", "one feature"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(text: str, told: str) -> None:
    """Nothing is guessed: the message says what there is."""
    with pytest.raises(ConfigurationError, match=told):
        broken(text)


def test_a_shift_needs_a_value_to_go_by() -> None:
    """A feature that is always missing has no far end."""
    with pytest.raises(ConfigurationError, match="Every value of 'a' is missing"):
        inject({"a": [None, None]}, parse("shift:a"), np.ones(2, np.bool_), 1)
