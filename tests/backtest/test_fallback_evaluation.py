"""A fallback evaluation is stored next to the settings, and is valid for one fallback and one model version."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.backtest import fallback_evaluation
from stillsafe.errors import ConfigurationError
from stillsafe.settings_fallback import FallbackSettings
from tests.backtest.histories import backtest_context, past, run_backtest, without_sizes

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def test_an_evaluation_is_read_as_written(tmp_path: Path) -> None:
    """The file holds the scores of the backtest and their origin."""
    context = backtest_context(tmp_path)
    result = run_backtest(without_sizes(past(3_000), 1_000, 3_000), context, rows_per_run=250)
    assert (
        fallback_evaluation.write(context.settings, result, at=NOW, source="past.csv")
        == tmp_path.resolve() / "price.json"
    )
    evaluation = fallback_evaluation.read(context.settings)
    assert evaluation is not None
    assert result.price is not None
    assert (evaluation.model_score, evaluation.fallback_score) == (
        result.price.model_score,
        result.price.fallback_score,
    )
    assert (evaluation.run_count, evaluation.made_at, evaluation.source, evaluation.injected) == (
        result.price.run_count,
        NOW,
        "past.csv",
        (),
    )
    assert (evaluation.model_version, evaluation.fallback_digest) == (
        "1",
        fallback_evaluation.digest(context.settings.fallback),
    )


def test_without_a_comparison_nothing_is_written(tmp_path: Path) -> None:
    """Without labels, or without a bypassed run, an earlier evaluation stays."""
    context = backtest_context(tmp_path)
    for table in (past(1_000), past(1_000).drop(columns="label")):
        assert (
            fallback_evaluation.write(context.settings, run_backtest(table, context), at=NOW, source="past.csv") is None
        )
    assert fallback_evaluation.read(context.settings) is None


def test_another_fallback_has_another_digest() -> None:
    """The digest changes with the section, and only then."""
    settings = FallbackSettings(default=0)
    assert fallback_evaluation.digest(settings) == fallback_evaluation.digest(FallbackSettings(default=0))
    assert fallback_evaluation.digest(settings) != fallback_evaluation.digest(FallbackSettings(default=1))
    assert fallback_evaluation.digest(settings) != fallback_evaluation.digest(
        FallbackSettings.model_validate({"default": 0, "rules": [{"when": "true", "answer": 1}]})
    )


@pytest.mark.parametrize("text", ["", "{}", "[1", "\x00"])
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    context = backtest_context(tmp_path)
    (tmp_path / "price.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"price\.json: The fallback evaluation is invalid"):
        fallback_evaluation.read(context.settings)
