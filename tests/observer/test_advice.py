"""Likely causes and remedies: every signal has its own, and several deviations are considered together."""

import pytest

from stillsafe.core.signals import Signal
from stillsafe.observer.advice import likely_causes, recommendations
from tests.observer.incidents import payload, reading


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("value", [0.9, 0.001])
def test_every_signal_has_a_cause_and_a_remedy(signal: Signal, value: float) -> None:
    """No text is empty, and no placeholder is left in it."""
    incident = payload(reading(signal, "x" if signal.value.endswith("rate") else None, value))
    causes, remedies = likely_causes(incident), recommendations(incident)
    assert causes
    assert len(remedies) >= 2
    assert "{" not in "".join(causes + remedies)


def test_overconfidence_has_its_own_cause() -> None:
    """Confidence above the baseline has other causes than confidence below it."""
    (_, overconfident) = likely_causes(payload(reading(Signal.AVG_CONFIDENCE, None, 0.99)))
    (_, unsure) = likely_causes(payload(reading(Signal.AVG_CONFIDENCE, None, 0.001)))
    assert "more confident than in the healthy period" in overconfident
    assert "unsure" in unsure


def test_many_damaged_features_suggest_one_cause() -> None:
    """Three or more features that broke together share a feed, a join or a deployment."""
    damage = [reading(Signal.MISSING_RATE, name) for name in ("dep_delay", "carrier", "distance")]
    assert likely_causes(payload(*damage))[0].startswith("3 features broke together: check what they share")
    assert "broke together" not in "".join(likely_causes(payload(*damage[:2])))


def test_ambiguous_features_do_not_count_as_damaged_together() -> None:
    """Where the data does not show which feature is damaged, the impact is that of the worse case."""
    readings = [
        reading(Signal.BROKEN_RELATION_RATE, name, instead_of=alternatives)
        for name, alternatives in (
            ("dep_delay", ("carrier", "distance")),
            ("carrier", ("dep_delay",)),
            ("distance", ("dep_delay",)),
        )
    ]
    causes = "\n".join(likely_causes(payload(*readings, reading(Signal.ESTIMATED_ACCURACY_LOSS, None))))
    assert "broke together" not in causes
    assert "that of the worse case: find out which of carrier, dep_delay, distance are damaged" in causes
    assert "dep_delay, or else carrier and distance," in causes


def test_impact_is_attributed_to_damage() -> None:
    """A damaged feature explains the impact, the model's output and the feature's own distribution."""
    incident = payload(
        reading(),
        reading(Signal.ESTIMATED_ACCURACY_LOSS, None),
        reading(Signal.PREDICTION_CHANGE, None),
        reading(Signal.DISTRIBUTION_CHANGE, "dep_delay"),
        reading(Signal.DISTRIBUTION_CHANGE, "carrier"),
    )
    causes = likely_causes(incident)
    assert causes[0] == "The estimated impact comes with the damage to dep_delay: repair that first."
    assert [cause.partition(" of ")[0] for cause in sorted(causes[1:])] == ["The feed", "The population"]
    assert not any("population of dep_delay" in cause for cause in causes)


def test_output_without_input_suggests_other_requests() -> None:
    """Where only the model's output deviates, no feature is named."""
    causes = likely_causes(payload(reading(Signal.PREDICTION_CHANGE, None), reading(Signal.AVG_CONFIDENCE, None, 0.01)))
    assert causes[0].startswith("No input deviates by itself")


def test_labels_suggest_another_world_and_no_other_requests() -> None:
    """A loss by labels without any other deviation has one cause: the truth is another one."""
    assert likely_causes(payload(reading(Signal.REALISED_LOSS, None))) == (
        "The same inputs have another truth than before: the world has changed, and the model has not.",
    )


def test_a_repeated_number_is_named() -> None:
    """The constant often identifies its source."""
    incident = payload(reading(Signal.REPEATED_VALUE_RATE), repeated_values={"dep_delay": 999.0})
    assert "repeats one number, 999, as" in likely_causes(incident)[0]


def test_names_may_contain_braces() -> None:
    """A feature's name is inserted unchanged."""
    assert "{0}" in likely_causes(payload(reading(feature="{0}")))[0]


@pytest.mark.parametrize(
    ("status", "severity", "is_enforced", "text"),
    [
        ("escalated", "CRITICAL", True, "retrain the model"),
        ("escalated", "CRITICAL", False, "`stillsafe hold`"),
        ("opened", "WARNING", True, "not bypassed yet"),
        ("resolved", "NORMAL", True, "a relapse soon"),
    ],
)
def test_the_remedies_fit_the_step(status: str, severity: str, is_enforced: bool, text: str) -> None:
    """They depend on whether the model is bypassed, and a resolved incident has remedies of its own."""
    incident = payload(status=status, severity=severity, is_enforced=is_enforced)
    assert text in "\n".join(recommendations(incident))
    assert bool(likely_causes(incident)) is (status != "resolved")
