"""The reference of a sample: profile, hours and impact study in one baseline."""

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline
from stillsafe.errors import ConfigurationError
from stillsafe.init.reference_study import ReferenceRequest, ReferenceSample, study_reference
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.progress import no_progress
from tests.core.healthy import START
from tests.monitoring.related import classifier, machines

REQUEST = ReferenceRequest(START, Disclosure(5, "pinch"), baseline_id="reference-of-tests", timezone="Europe/Berlin")


def study(count: int, *, with_times: bool = False, heavier_half: bool = False) -> tuple[Baseline, list[str]]:
    """The reference of machines that a model scores, one every twenty minutes."""
    table, service = machines(count, 3), classifier()
    if heavier_half:
        table.loc[count // 2 :, "load"] += 500
    rows = service.rows(table)
    times = np.arange(count) * 1_200 * 10**6 if with_times else None
    healthy_sample = ReferenceSample(rows, service.model.score(rows), table["fails"].tolist(), with_times, times)
    return study_reference(service.model, healthy_sample, REQUEST, no_progress)


def test_the_reference_has_identity_threshold_and_impact() -> None:
    """Of the request, and measured on the sample with its labels."""
    reference, warnings = study(600)
    assert (reference.baseline_id, reference.min_count, reference.slots) == ("reference-of-tests", 5, None)
    assert reference.harm is not None
    assert reference.harm.labelled
    assert reference.harm.features["load"].permuted > 0.01
    assert warnings == []


def test_known_times_give_hours_in_the_zone_of_the_request() -> None:
    """Where the sample has them."""
    reference, _ = study(1_500, with_times=True)
    assert reference.slots is not None
    assert reference.slots.timezone == "Europe/Berlin"


def test_halves_that_deviate_are_a_warning() -> None:
    """With the advice that fits: to shuffle where the order means nothing."""
    _, warnings = study(600, heavier_half=True)
    assert "shuffle it if it is sorted" in warnings[0]
    assert any("load" in warning for warning in warnings[1:])


def test_too_small_a_sample_is_refused() -> None:
    """With the remedy."""
    with pytest.raises(ConfigurationError, match="Give a larger sample"):
        study(30)
