"""The documents of realised performance have what the figures have, no more and no less."""

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from stillsafe.core.evidence.estimate_account import EstimateAccount
from stillsafe.model.label_performance import ClassFigures, Figures, RealisedPerformance
from stillsafe.model.probability_performance import CalibrationBin, Estimate
from stillsafe.serving.performance_schemas import (
    CalibrationBinDocument,
    ClassFiguresDocument,
    EstimateAccountDocument,
    EstimateDocument,
    FiguresDocument,
    PeriodDocument,
)
from stillsafe.serving.schemas import Document

OWN_FIELDS = {PeriodDocument: {"start", "end", "model_version"}, EstimateAccountDocument: {"is_trusted", "sentence"}}
"""Schema -> fields that the figures have as properties, or that belong to the period."""


@pytest.mark.parametrize(
    ("schema", "figures"),
    [
        (EstimateDocument, Estimate),
        (ClassFiguresDocument, ClassFigures),
        (CalibrationBinDocument, CalibrationBin),
        (FiguresDocument, Figures),
        (PeriodDocument, RealisedPerformance),
        (EstimateAccountDocument, EstimateAccount),
    ],
)
def test_a_schema_has_the_fields_of_its_figures(schema: type[Document], figures: Any) -> None:
    """A figure that is added to the report is a field of the API, and no field stays without a figure."""
    assert set(schema.model_fields) - OWN_FIELDS.get(schema, set()) == {field.name for field in fields(figures)}


def test_an_account_is_read_with_its_sentence() -> None:
    """The account of the estimate is sent with its verdict and its words; NaN is refused."""
    account = EstimateAccount("points", 40, -0.2, 0.2, 3)
    document = EstimateAccountDocument.model_validate(account, from_attributes=True)
    assert (document.is_trusted, document.sentence) == (False, account.sentence)
    with pytest.raises(ValidationError):
        EstimateAccountDocument.model_validate(
            EstimateAccount("points", 40, float("nan"), 0.2, 3), from_attributes=True
        )
