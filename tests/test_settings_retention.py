"""Ages of tables are durations; nothing is deleted that the owner does not name."""

import pytest
from pydantic import ValidationError

from stillsafe.settings_retention import Retention


def test_ages_are_durations_and_optional() -> None:
    """By default everything stays; years are possible."""
    assert not Retention().is_set
    retention = Retention(predictions="90d", labels="730d")  # type: ignore[arg-type] # as a settings file has it
    assert retention.is_set
    assert (retention.predictions, retention.refusals, retention.labels) == (90 * 86400, None, 730 * 86400)


@pytest.mark.parametrize("section", [{"predictions": "0s"}, {"labels": "soon"}, {"rows": "90d"}, {"refusals": -1.0}])
def test_what_is_no_age_or_no_table_is_refused(section: dict[str, str]) -> None:
    """With pydantic's error, which names the key."""
    with pytest.raises(ValidationError):
        Retention(**section)  # type: ignore[arg-type] # as a settings file has it
