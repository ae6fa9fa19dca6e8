"""Fault injection changes the given rows and features, and nothing else."""

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
LATER_ROWS = np.arange(ROWS) >= 150
INJECTED_ROWS = range(150, ROWS)


def injected_columns(text: str, rows: NDArray[np.bool_] = LATER_ROWS, seed: int = 7) -> dict[str, list[object]]:
    return inject(COLUMNS, parse(text), rows, seed)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_changes_only_the_given_rows(fault: Fault) -> None:
    """It changes something there, and the columns depends only on the seed."""
    features = {Fault.SWAP: "town,street", Fault.RENAMING: "town"}.get(fault, "age")
    columns = injected_columns(f"{fault}:{features}")
    assert {name: column[:150] for name, column in columns.items()} == {n: c[:150] for n, c in PLAIN.items()}
    assert all(columns[name][150:] != PLAIN[name][150:] for name in features.split(","))
    assert columns == injected_columns(f"{fault}:{features}")


def test_the_input_is_not_modified() -> None:
    """Injection returns new columns."""
    original = {name: list(column) for name, column in PLAIN.items()}
    injected_columns("nulls:age,town")
    assert {name: list(column) for name, column in COLUMNS.items()} == original


def test_only_the_named_features_change() -> None:
    """A fault changes neither other features nor the label."""
    columns = injected_columns("sentinel:age,visits")
    assert [name for name in PLAIN if columns[name] != PLAIN[name]] == ["age", "visits"]
    assert set(columns["age"][150:]) == set(columns["visits"][150:]) == {fault_injection.SENTINEL_VALUE}


def test_each_fault_changes_values_as_documented() -> None:
    """Values, rows and the lag are those that the enum describes."""
    assert injected_columns("nulls:town")["town"][150:] == [None] * 250
    assert injected_columns("stuck:visits")["visits"][150:] == [149] * 250
    assert injected_columns("stale:visits")["visits"][150:] == list(range(50, 300))
    assert injected_columns("unit_change:visits")["visits"][150:] == [
        i * fault_injection.UNIT_FACTOR for i in INJECTED_ROWS
    ]
    assert injected_columns("renamed:town")["town"][151] == "Ulm (renamed)"
    columns = injected_columns("swapped:age,visits")
    assert columns["age"][150:] == PLAIN["visits"][150:]
    assert columns["visits"][150:] == PLAIN["age"][150:]


def test_permuted_features_keep_their_joint_distribution() -> None:
    """Features permuted by one injection keep their relation to each other and lose it to the other features."""
    columns = injected_columns("permuted:age,visits")
    assert sorted(zip(columns["age"], columns["visits"], strict=True), key=str) == sorted(
        zip(PLAIN["age"], PLAIN["visits"], strict=True), key=str
    )
    assert columns["town"] == PLAIN["town"]


def test_a_shift_copies_whole_rows() -> None:
    """A shift corrupts nothing: each row, with its label, is a row of the history."""
    rows = set(zip(*PLAIN.values(), strict=True))
    columns = injected_columns("shift:age")
    assert set(zip(*columns.values(), strict=True)) <= rows
    assert min(age for age in columns["age"][150:] if isinstance(age, float)) >= float(np.quantile(AGES, 0.75))
    assert set(injected_columns("shift:town")["town"][150:]) == {"Bonn"}


def test_missing_values_stay_missing() -> None:
    """NaN in the input becomes None in the output, whatever the fault does to other values."""
    columns: dict[str, NDArray[Any] | Sequence[object]] = {
        "age": np.array([1.0, np.nan, 3.0]),
        "town": ["Ulm", None, float("nan")],
    }
    rows = np.ones(3, np.bool_)
    assert inject(columns, parse("unit_change:age"), rows, 1)["age"] == [100.0, None, 300.0]
    assert inject(columns, parse("renamed:town"), rows, 1)["town"] == ["Ulm (renamed)", None, None]
    assert inject(columns, parse("shift:age"), rows, 1)["age"] == [3.0, 3.0, 3.0]


def test_a_fault_without_rows_changes_nothing() -> None:
    """An empty row mask returns the columns unchanged."""
    assert injected_columns("shift:age", np.zeros(ROWS, np.bool_)) == PLAIN


def test_parsing_ignores_blanks_and_repetitions() -> None:
    """A feature's name may contain a colon."""
    assert parse(" swapped : a , b ,a") == Injection(Fault.SWAP, ("a", "b"))
    assert parse("nulls:ns:age") == Injection(Fault.NULLS, ("ns:age",))


@pytest.mark.parametrize("text", ["", "nulls", "nulls:", "nulls: ,", "melted:age", "age:nulls"])
def test_an_invalid_injection_is_rejected(text: str) -> None:
    """The error lists every fault and gives an example."""
    with pytest.raises(ConfigurationError, match=r"swapped:age,income.*unit_change.*shift"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_a_fault_that_does_not_fit_the_features_is_rejected(text: str, message: str) -> None:
    """The message lists the features that fit."""
    with pytest.raises(ConfigurationError, match=message):
        injected_columns(text)


def test_a_shift_needs_a_value() -> None:
    """A feature that is always missing has no tail to draw from."""
    with pytest.raises(ConfigurationError, match="Every value of 'a' is missing"):
        inject({"a": [None, None]}, parse("shift:a"), np.ones(2, np.bool_), 1)
