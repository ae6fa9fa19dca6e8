"""What commands print for a person."""

from stillsafe.cli.show import dearest
from stillsafe.core.evidence.impact import FeatureHarm, Harm, Metric


def harm(metric: Metric, **permuted: float) -> Harm:
    features = {name: FeatureHarm(loss, ()) for name, loss in permuted.items()}
    return Harm(metric, labelled=True, healthy_error=2.0, all_permuted=1.0, features=features)


def test_the_dearest_features_come_first_and_cheap_ones_not_at_all() -> None:
    """A person sees at once what the model leans on, in the unit that its quality is measured in."""
    told = dearest(harm(Metric.ACCURACY, age=0.031, noise=0.001, income=0.233))
    assert told.endswith(": income 23.3 points of accuracy, age 3.1 points of accuracy.")
    assert dearest(harm(Metric.MEAN_ABSOLUTE_ERROR, rent=1.0)).endswith(": rent 50% more error.")


def test_a_model_that_leans_on_nothing_is_told_as_such() -> None:
    """Where no feature is dear, that is what is said."""
    assert dearest(harm(Metric.ACCURACY, noise=0.0)).startswith("No feature alone costs")
