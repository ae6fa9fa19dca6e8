"""A price is kept beside the settings, and belongs to one fallback and one model version."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.backtest import fallback_evaluation
from stillsafe.errors import ConfigurationError
from stillsafe.settings import FallbackSettings
from tests.backtest.pasts import broken, judges, past, played

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """The file says what the backtest found, and over what."""
    by = judges(tmp_path)
    found = played(broken(past(3_000), 1_000, 3_000), by, rows_per_run=250)
    assert fallback_evaluation.write(by.settings, found, at=NOW, source="past.csv") == tmp_path.resolve() / "price.json"
    kept = fallback_evaluation.read(by.settings)
    assert kept is not None
    assert found.price is not None
    assert (kept.model_score, kept.fallback_score) == (found.price.model_score, found.price.fallback_score)
    assert (kept.run_count, kept.made_at, kept.source, kept.injected) == (found.price.run_count, NOW, "past.csv", ())
    assert (kept.model_version, kept.fallback_digest) == ("1", fallback_evaluation.digest(by.settings.fallback))


def test_without_a_price_nothing_is_written(tmp_path: Path) -> None:
    """No labels, or a fallback that answered nothing: the price known before is left alone."""
    by = judges(tmp_path)
    for table in (past(1_000), past(1_000).drop(columns="label")):
        assert fallback_evaluation.write(by.settings, played(table, by), at=NOW, source="past.csv") is None
    assert fallback_evaluation.read(by.settings) is None


def test_another_fallback_has_another_digest() -> None:
    """Any change of the section changes it, and nothing else does."""
    bare = FallbackSettings(default=0)
    assert fallback_evaluation.digest(bare) == fallback_evaluation.digest(FallbackSettings(default=0))
    assert fallback_evaluation.digest(bare) != fallback_evaluation.digest(FallbackSettings(default=1))
    assert fallback_evaluation.digest(bare) != fallback_evaluation.digest(
        FallbackSettings.model_validate({"default": 0, "rules": [{"when": "true", "answer": 1}]})
    )


@pytest.mark.parametrize("text", ["", "{}", "[1", "\x00"])
def test_a_damaged_price_is_told(tmp_path: Path, text: str) -> None:
    """It is named, with what to do."""
    by = judges(tmp_path)
    (tmp_path / "price.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"price\.json: It is no price"):
        fallback_evaluation.read(by.settings)
