"""A view belongs to the feature that the model takes: what hides, ends or damages the one does so to the other."""

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.view import View, ViewKind, view_name, viewed_features, with_views_of
from stillsafe.core.schema import FeatureType

FEATURES = {
    "signup": FeatureBaseline(FeatureType.DATE, 100, 0),
    "signup (lag)": FeatureBaseline(FeatureType.NUMERIC, 100, 0, view=View("signup", ViewKind.LAG)),
    "amount (lag)": FeatureBaseline(FeatureType.NUMERIC, 100, 0),
}


def test_a_view_is_named_after_its_feature() -> None:
    """The name says what of which feature it shows."""
    assert View("signup", ViewKind.UNKNOWN_WORDS).name == view_name("signup", ViewKind.UNKNOWN_WORDS)
    assert view_name("signup", ViewKind.LAG) == "signup (lag)"


def test_a_feature_goes_with_its_views() -> None:
    """Who leaves out a feature leaves out its views, and no feature that merely has such a name."""
    assert with_views_of(["signup"], FEATURES) == {"signup", "signup (lag)"}
    assert with_views_of(["amount"], FEATURES) == {"amount"}


def test_a_damaged_view_is_a_damaged_feature() -> None:
    """A fallback rule reads features, so these are named; a feature with the name of a view stays itself."""
    assert viewed_features(["signup (lag)", "signup", "amount (lag)"], FEATURES) == ("amount (lag)", "signup")
    assert viewed_features(["signup (lag)"], None) == ("signup (lag)",)
