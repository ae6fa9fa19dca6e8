"""Medians, ranges and ratios of rounds."""

import pytest
from benchmarks.console import markdown
from benchmarks.spread import Spread
from rich.table import Table

from benchmarks import spread


def test_a_spread_is_the_middle_and_the_ends() -> None:
    """The order of the rounds does not matter; an even number has its middle between two."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which the whole machine was slow does not widen it."""
    assert spread.ratio([20.0, 10.0, 40.0], [2.0, 1.0, 4.0]) == Spread(10.0, 10.0, 10.0)


def test_rounds_that_are_missing_are_no_ratio() -> None:
    """Rounds are never paired with those of another number."""
    with pytest.raises(ValueError, match="longer"):
        spread.ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "digits"),
    [(0, "0"), (1, "1.00"), (99.44, "99.4"), (1234.5, "1,230"), (0.09661, "0.0966"), (0.5, "0.500"), (-12.34, "-12.3")],
)
def test_numbers_have_three_digits(value: float, digits: str) -> None:
    """Neither a large nor a small one claims more than it knows."""
    assert spread.significant(value, 3) == digits


def test_what_was_not_measured_is_a_dash() -> None:
    """It is never shown as 0; and a range of one value is not shown at all."""
    assert spread.text(None) == "–"
    assert spread.text(Spread(2.0, 2.0, 2.0)) == "2.00"
    assert spread.text(Spread(2.0, 1.0, 3.0)) == "2.00 (1.00 to 3.00)"


def test_a_table_can_be_put_on_a_page() -> None:
    """Title, heading and rows, numbers to the right."""
    table = Table("who", "how fast", title="All")
    table.add_row("ours", "2.0")
    assert markdown(table) == "**All**\n\n| who | how fast |\n| --- | ---: |\n| ours | 2.0 |\n"
