"""The fallback of the settings: answers keep their type, lists have prices, and each mistake has its line."""

from pathlib import Path

import pytest

from stillsafe.core.policy import Bypass, FallbackPrice, Policy
from stillsafe.errors import ConfigurationError
from stillsafe.settings import load
from stillsafe.store.codec import from_document, to_document
from tests.test_settings import settings_file


def test_answers_keep_the_type_that_was_settings_file(tmp_path: Path) -> None:
    """A fallback's answer is neither rounded nor converted to another type."""
    for text, value in [("1", 1), ("1.0", 1.0), ("true", True), ('"1"', "1")]:
        default = load(settings_file(tmp_path, "default = 0.5", f"default = {text}")).fallback.default
        assert default == value
        assert type(default) is type(value)


LISTS = """\
# Short lists.
[[lists]]
reads = ["distance"]
score = 0.7
rules = [{when = "distance > 30.0", answer = 1}]

[[lists]]
reads = ["carrier"]
rules = [{when = 'carrier == "AA"', answer = 0}]
"""
WITH_PRICES = (
    'default = 0.5\nlists_file = "lists.toml"\nbypass = "when_it_pays"\nmodel_score = 0.8\ndefault_score = 0.6'
)


def test_the_lists_of_a_file_belong_to_the_fallback(tmp_path: Path) -> None:
    """They are read from beside the settings, and the policy holds the prices of those that have a score."""
    (tmp_path / "lists.toml").write_text(LISTS)
    settings = load(settings_file(tmp_path, "default = 0.5", WITH_PRICES))
    assert [each.reads for each in settings.fallback.lists] == [("distance",), ("carrier",)]
    assert (settings.policy.bypass, settings.policy.model_score) == (Bypass.WHEN_IT_PAYS, 0.8)
    assert settings.policy.fallback_prices == (FallbackPrice(("distance",), 0.7), FallbackPrice((), 0.6))
    assert from_document(Policy, to_document(settings.policy)) == settings.policy


@pytest.mark.parametrize(
    ("old", "new", "problem", "line"),
    [
        ("score = 0.7", 'score = "high"', "`lists.1.score` must be a number", 4),
        ("score = 0.7", "scores = 0.7", "`lists.1.scores` is not a setting. Did you mean `score`?", 4),
        ('[[lists]]\nreads = ["d', '[lists]\nreads = ["d', "Not valid TOML", None),
        (LISTS, "lists = 3", "Write `[[lists]]`", 1),
    ],
)
def test_a_mistake_in_the_lists_has_its_file_and_line(
    old: str, new: str, problem: str, line: int | None, tmp_path: Path
) -> None:
    """The error names the file of the lists, not the settings file."""
    (tmp_path / "lists.toml").write_text(LISTS.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as failure:
        load(settings_file(tmp_path, "default = 0.5", WITH_PRICES))
    assert problem in str(failure.value)
    assert failure.value.file == str(tmp_path / "lists.toml")
    assert line is None or failure.value.line == line


def test_a_file_of_lists_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The remedy is the setting that names it."""
    with pytest.raises(ConfigurationError, match=r"no such file.*Correct `lists_file`"):
        load(settings_file(tmp_path, "default = 0.5", WITH_PRICES))


@pytest.mark.parametrize(
    ("section", "prices"),
    [
        ("default = 0.5\ndefault_score = 0.6\nmodel_score = 0.8", (FallbackPrice((), 0.6),)),
        ("default = 0.5\nsafe_class = 1\ndefault_score = 0.6\nmodel_score = 0.8", ()),
        ("safe_class = 1", ()),
        ('default = 0.5\nanswer = "abstain"\nabstention_cost = 0.1\nmodel_score = 0.8', (FallbackPrice((), 0.9),)),
        ('default = 0.5\nanswer = "abstain"\nabstention_cost = 0.1\nmodel_score = -1.0', (FallbackPrice((), -0.1),)),
        ('default = 0.5\nanswer = "abstain"\nmodel_score = 0.8', ()),
    ],
)
def test_the_last_answer_has_the_price_of_what_it_is(
    section: str, prices: tuple[FallbackPrice, ...], tmp_path: Path
) -> None:
    """The default its score, a safe class none, abstention one minus the owner's cost (of the model's error)."""
    assert load(settings_file(tmp_path, "default = 0.5", section)).policy.fallback_prices == prices


def test_a_bypass_that_pays_needs_the_models_score(tmp_path: Path) -> None:
    """Without it nothing has a price, and the error names the key."""
    with pytest.raises(ConfigurationError, match="`when_it_pays` needs `model_score`"):
        load(settings_file(tmp_path, "default = 0.5", 'default = 0.5\nbypass = "when_it_pays"'))
