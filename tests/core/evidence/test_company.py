"""Company: genuine shifts move what is associated, faults do not; two doubtful features vouch by their rows."""

import numpy as np
import pytest

from stillsafe.core.evidence.association import AssociationNoise, Numbers, WindowAssociation, bin_shares
from stillsafe.core.evidence.association import window_association as window_association_of
from stillsafe.core.evidence.company import fits_by_row, has_moved_alone, has_moved_along, lasting_share
from stillsafe.core.evidence.corruption import Diagnosis, Limits, Suspicion, diagnose
from stillsafe.core.evidence.distributions import distribution_shift
from tests.core.evidence.rows import (
    FIRST,
    INDEPENDENT,
    NAMES,
    SECOND,
    Codes,
    baseline_of,
    draw_rows,
    table_of,
    tally_of,
)

HEALTHY = draw_rows(4_000, 0)
TABLE, BASELINE = table_of(HEALTHY), baseline_of(HEALTHY)
LIMITS = Limits(z=4.5, least_share=0.15)
PAIR = (FIRST, SECOND)


def window_of(rows: Codes) -> tuple[WindowAssociation, Numbers]:
    """A window's associations, and the share of its rows in each bin."""
    tally = tally_of(rows, HEALTHY)
    counts = {name: tally.features[name].bin_counts for name in NAMES}
    shares = bin_shares(TABLE, counts, len(rows))
    return window_association_of(TABLE, shares, tally.agreement, len(rows)), shares


def summer(share: float, seed: int, *, together: bool = True, codes: tuple[int, ...] = (3,)) -> Codes:
    """Rows of which a part has other codes in the first two columns, in the same rows or each in its own."""
    rows, draw = draw_rows(1_000, seed), np.random.default_rng(seed)
    is_warm = [draw.random(len(rows)) < share] * 2 if together else [draw.random(len(rows)) < share for _ in PAIR]
    new_codes = draw.choice(codes, len(rows))
    for column, mask in zip(PAIR, is_warm, strict=True):
        rows[mask, column] = new_codes[mask]
    return rows


def diagnosis_of(rows: Codes, suspicion: Suspicion) -> Diagnosis:
    """The corrupted features of a window."""
    tally = tally_of(rows, HEALTHY)
    shift = distribution_shift(BASELINE, tally)
    assert shift is not None
    return diagnose(BASELINE, tally, shift, suspicion, LIMITS)


@pytest.mark.parametrize(
    ("moved_part", "lasting_part", "along", "is_alone"),
    [
        (1.0, 1.0, True, False),
        (0.3, 1.0, False, True),
        (0.3, 0.4, True, False),
        (0.0, 1.0, False, True),
        (0.0, 0.4, False, True),
        (0.0, 0.01, False, False),
        (-0.3, 0.4, False, True),
    ],
)
def test_a_genuine_shift_moves_as_much_as_associations_last(
    moved_part: float, lasting_part: float, *, along: bool, is_alone: bool
) -> None:
    """Half of what lasts is between both; associations that last hardly at all tell neither."""
    genuine_rows = draw_rows(40_000, 3)
    genuine_rows = genuine_rows[genuine_rows[:, FIRST] == 0][:2_000]
    _, healthy = window_of(HEALTHY)
    _, genuine = window_of(genuine_rows)
    shares = healthy + moved_part * (genuine - healthy)
    shares[: TABLE.sizes[0]] = genuine[: TABLE.sizes[0]]
    assert has_moved_along(TABLE, shares, 1_000, FIRST, [], lasting_part) is along
    assert has_moved_alone(TABLE, shares, 1_000, FIRST, [], lasting_part) is is_alone


def test_a_movement_by_chance_is_no_company() -> None:
    """Of forty windows of few rows, in which one feature moves alone, none moves along, however little is asked."""
    for seed in range(40):
        rows = draw_rows(40, seed)
        rows[:, FIRST] = 0
        assert not has_moved_along(TABLE, window_of(rows)[1], len(rows), FIRST, [], 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_two_doubtful_features_fit_where_their_rows_agree(seed: int) -> None:
    """In the same rows they do; each in its own rows, permuted, or all one number, they do not."""
    rows = summer(0.6, seed)
    assert fits_by_row(TABLE, *window_of(rows), PAIR, 1.0)
    assert not fits_by_row(TABLE, *window_of(np.random.default_rng(seed).permuted(rows, axis=0)), PAIR, 1.0)
    assert not fits_by_row(TABLE, *window_of(summer(1.0, seed)), PAIR, 1.0)
    assert not fits_by_row(TABLE, *window_of(rows), (FIRST, INDEPENDENT), 1.0)


def test_what_healthy_rows_show_as_broken_does_not_last() -> None:
    """The rest of the offset lasts, between nothing and everything; a table of few rows fits its own rows better."""
    none = np.zeros(len(NAMES))
    lasting_parts = [lasting_share(TABLE, AssociationNoise(none + o, none, none), FIRST) for o in (-1, 0, 0.4, 2)]
    assert lasting_parts == pytest.approx([1, 1, 0.6, 0], abs=0.02)
    assert lasting_share(table_of(HEALTHY[:200]), AssociationNoise(none, none, none), FIRST) < 0.97


@pytest.mark.parametrize("kind", ["out_of_range", "repeated_number"])
@pytest.mark.parametrize("together", [True, False])
def test_a_season_moves_two_features_and_corrupts_none(kind: str, *, together: bool) -> None:
    """Both are outside in the same rows, though a third stays: a shift. In different rows, or one number: damage."""
    suspicion = Suspicion(**{kind: {"first": 0.6, "second": 0.6}})
    diagnosis = diagnosis_of(summer(0.6, 7, together=together), suspicion)
    is_genuine = together and kind == "out_of_range"
    assert ({"first", "second"} <= diagnosis.intact) is is_genuine
    assert bool({"first", "second"} & diagnosis.corruptions.keys()) is not is_genuine
