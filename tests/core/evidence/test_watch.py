"""What an owner does not have watched is neither read nor compared; the rest stays as it is."""

from stillsafe.core.evidence.watch import watched_part
from tests.core.evidence.rows import NAMES, SECOND, baseline_of, draw_rows, tally_of

HEALTHY = draw_rows(2_000, 0)
BASELINE = baseline_of(HEALTHY)


def test_an_unwatched_feature_is_left_out() -> None:
    """It is gone from the features, the counts and the joint table; the others keep their counts."""
    tally = tally_of(draw_rows(500, 1), HEALTHY)
    baseline, counts = watched_part(BASELINE, tally, (NAMES[SECOND],))
    rest = [name for name in NAMES if name != NAMES[SECOND]]
    assert list(baseline.features) == rest
    assert {name: counts.features[name] for name in rest} == {name: tally.features[name] for name in rest}
    assert NAMES[SECOND] not in counts.features
    assert baseline.joint is not None
    assert list(baseline.joint.features) == rest


def test_where_all_is_watched_nothing_changes() -> None:
    """The baseline and the counts are the very same."""
    tally = tally_of(draw_rows(500, 1), HEALTHY)
    assert watched_part(BASELINE, tally, ()) == (BASELINE, tally)
