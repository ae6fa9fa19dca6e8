"""The model of a service whose answers come from elsewhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from stillsafe import settings
from stillsafe.errors import ModelError, NoModel
from stillsafe.model.confidence import QUANTILES, ConfidenceMethod, ConfidenceScale
from stillsafe.model.external import NEEDS_MODEL, external_model, typical_confidence
from stillsafe.model.load import load_scoring_model
from stillsafe.model.model import ModelKind
from stillsafe.model.reference import NO_REFERENCE

NUMBERS = ConfidenceScale(ConfidenceMethod.PREDICTION_TYPICALITY, tuple(float(n) for n in range(QUANTILES)))
TOML = """
[service]
name = "elsewhere"
[model]
external = true
version = "7"
{classes}
[fallback]
default = 0
[[features]]
name = "age"
type = "numeric"
"""


def external_settings(folder: Path, classes: str = "classes = [0, 1]") -> settings.Settings:
    """Settings of an external model."""
    file = folder / settings.DEFAULT_FILE
    file.write_text(TOML.format(classes=classes))
    return settings.load(file)


def test_the_settings_name_the_classes_and_the_reference_the_scale(tmp_path: Path) -> None:
    """Without classes it predicts numbers."""
    shares = replace(NO_REFERENCE, confidence=ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY))
    classifier = external_model(external_settings(tmp_path), shares)
    assert (classifier.kind, classifier.classes, classifier.version) == (ModelKind.CLASSIFIER, (0, 1), "7")
    assert classifier.is_external
    assert classifier.has_probabilities
    regressor = external_model(external_settings(tmp_path, ""), replace(NO_REFERENCE, confidence=NUMBERS))
    assert (regressor.kind, regressor.classes) == (ModelKind.REGRESSOR, ())


def test_a_reference_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """No scale, or that of numbers for classes."""
    with pytest.raises(ModelError, match="no scale"):
        external_model(external_settings(tmp_path), NO_REFERENCE)
    with pytest.raises(ModelError, match="predicts numbers"):
        external_model(external_settings(tmp_path), replace(NO_REFERENCE, confidence=NUMBERS))


def test_a_typical_number_has_more_confidence() -> None:
    """The healthy median has all of it."""
    assert typical_confidence(NUMBERS, 50.0) == pytest.approx(1.0)
    assert typical_confidence(NUMBERS, 50.0) > typical_confidence(NUMBERS, 90.0) > typical_confidence(NUMBERS, 1e9)


@pytest.mark.parametrize("task", NEEDS_MODEL)
def test_what_needs_the_model_says_what_to_do(tmp_path: Path, task: str) -> None:
    """In a sentence, before anything is read."""
    with pytest.raises(NoModel, match="elsewhere"):
        load_scoring_model(external_settings(tmp_path), task)
