"""The benchmark of growth: exponents, the results file, the picture; and that the page shows what was recorded."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from benchmarks.scale import curves, pictures
from benchmarks.scale.__main__ import PAGE, PICTURE, page, recorded_parts, section
from benchmarks.scale.curves import Curve, Part, decades, exponent_text
from benchmarks.scale.parts import PARTS, with_categories
from benchmarks.spread import Spread

SIZES = (10, 100, 1_000)
LINEAR = Curve("rows", "seconds", "a store", {size: (size * 2.0, size * 3.0) for size in SIZES})
CONSTANT = Curve("rows", "seconds", "another", {0: (9.0,), **dict.fromkeys(SIZES, (7.0,))})
PART = Part("rows", "python -m benchmarks.scale rows", "2026-01-01", "a machine", (LINEAR, CONSTANT))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_the_power(power: float) -> None:
    """In every round, whatever its factor."""
    curve = Curve("rows", "seconds", "", {size: (size**power, 5 * size**power) for size in SIZES})
    for exponent in (curve.exponent(), curve.last_exponent()):
        assert (exponent.low, exponent.median, exponent.high) == pytest.approx((power, power, power), abs=1e-9)


def test_a_constant_part_hides_growth_less_in_the_last_step() -> None:
    """Linear on top of a constant: both exponents are below 1, and that of the last step is nearer to it."""
    curve = Curve("rows", "seconds", "", {size: (100.0 + size,) for size in SIZES})
    assert 0 < curve.exponent().median < curve.last_exponent().median < 1


def test_a_size_of_zero_is_shown_and_has_no_part_in_the_exponent() -> None:
    """Zero has no logarithm."""
    assert exponent_text(CONSTANT.exponent()) == "0.00"
    assert CONSTANT.spreads()[0] == Spread(9.0, 9.0, 9.0)


def test_results_are_read_as_they_were_written() -> None:
    """And a part that is measured again takes the place of its earlier figures."""
    assert curves.read(curves.document([PART])) == [PART]
    newer = Part("rows", "again", "2026-01-02", "a machine", (LINEAR,))
    other = Part("window", "other", "2026-01-02", "a machine", (LINEAR,))
    assert curves.with_part([PART, other], newer) == [newer, other]
    assert curves.with_part([PART], other) == [PART, other]


def test_a_table_has_each_size_and_both_exponents() -> None:
    """What a curve lacks is a dash."""
    text = section(PART)
    assert "| a store, seconds | – | 25.0 (20.0 to 30.0) | 250 (200 to 300) |" in text
    assert text.count("1.00") == 2


@pytest.mark.parametrize(
    ("values", "ends"), [([3.0, 40.0], (0, 2)), ([1.0], (0, 1)), ([0.02, 0.03], (-2, -1)), ([10.0, 100.0], (1, 2))]
)
def test_an_axis_spans_whole_powers_of_ten(values: list[float], ends: tuple[int, int]) -> None:
    """At least one, and every value lies in them."""
    assert decades(values) == ends


@pytest.mark.parametrize(
    ("power", "text"), [(-2, "0.01"), (0, "1"), (2, "100"), (4, "10 k"), (6, "1 M"), (9, "1 G"), (10, "10 G")]
)
def test_a_tick_has_few_letters(power: int, text: str) -> None:
    """Thousands, millions and milliards have a letter."""
    assert pictures.tick(power) == text


def test_a_picture_shows_every_point_inside_its_panel() -> None:
    """Lines of the same cost share a panel, with their exponents; a size of 0 has no place on a logarithmic axis."""
    tree = ET.fromstring(pictures.picture([PART, PART]))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    panels = tree.findall(f"{space}g")
    assert len(panels) == 2
    dots = panels[0].findall(f"{space}circle[@r='3']")
    assert len(dots) == 2 * len(SIZES)
    assert all(0 < float(dot.get("cx", 0)) <= pictures.WIDTH for dot in dots)
    assert all(0 < float(dot.get("cy", 0)) < pictures.HEIGHT for dot in dots)
    assert {"a store 1.00", "another 0.00"} <= {text.text for text in panels[0].iter(f"{space}text")}


def test_rows_get_categories_of_their_own() -> None:
    """Only the feature of the categories changes, and all of a few categories occur."""
    template = [("1", '{"age":3,"key":"k1"}', None)]
    rows = with_categories(template, 3, 100)
    assert {row[1] for row in rows} == {f'{{"age":3,"key":"k{number}"}}' for number in range(3)}
    assert {(row[0], row[2]) for row in rows} == {("1", None)}


def test_sizes_grow() -> None:
    """Both forms of each part have ascending sizes, and the full one goes at least as far."""
    for part in PARTS.values():
        assert all(low < high for sizes in (part.quick, part.full) for low, high in pairwise(sizes))
        assert part.full[-1] >= part.quick[-1]


def test_the_page_shows_the_recorded_figures() -> None:
    """Picture and tables are those of the results file; `python -m benchmarks.scale draw` makes them."""
    parts = recorded_parts()
    assert {part.name for part in parts} <= {*PARTS}
    assert PICTURE.read_text(encoding="utf-8") == pictures.picture(parts)
    text = PAGE.read_text(encoding="utf-8")
    assert "(growth.svg)" in text
    assert page(text, parts) == text
