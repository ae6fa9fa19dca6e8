"""The evidence section of the policy."""

import math
from dataclasses import replace

from stillsafe.core.evidence.evidence_policy import EvidencePolicy
from stillsafe.core.policy import EVIDENCE, Policy


def test_the_installed_rules_are_sound() -> None:
    """They are part of every policy."""
    assert list(EVIDENCE.problems()) == []
    assert Policy().evidence == EvidencePolicy()


def test_a_number_that_is_none_is_named() -> None:
    """One sentence each."""
    policy = replace(EvidencePolicy(), repeat_factor=math.nan, realised_loss_deviations=-1.0)
    assert [text.split()[0] for text in policy.problems()] == [
        "evidence.repeat_factor",
        "evidence.realised_loss_deviations",
    ]
