"""Response schemas of realised performance: what the labels that have come show."""

from datetime import datetime

from pydantic import Field

from stillsafe.serving.schemas import Document


class EstimateDocument(Document):
    """A figure with its 95% interval; null where there is none."""

    value: float
    low: float | None
    high: float | None


class ClassFiguresDocument(Document):
    """Figures of one class."""

    precision: float
    recall: float
    f1: float
    label_count: int = Field(description="Labels that are this class.")
    intervals: dict[str, tuple[float, float]] = Field(description="The 95% interval of each of the three.")


class CalibrationBinDocument(Document):
    """Labelled answers with about the same probability."""

    probability: float = Field(description="Their mean, of the positive class of two, else of the answer.")
    share: float = Field(description="How many of them really are that class.")
    label_count: int


class FiguresDocument(Document):
    """Realised performance of some answers."""

    label_count: int
    metrics: dict[str, EstimateDocument]
    classes: dict[str, ClassFiguresDocument]
    calibration: list[CalibrationBinDocument] = Field(description="Empty where the answers have no probabilities.")


class PeriodDocument(Document):
    """Performance of the answers of a time, by their labels."""

    start: datetime
    end: datetime
    model_version: str
    prediction_count: int
    label_count: int
    abstention_count: int = Field(description="Labelled requests without an answer; no metric counts them.")
    coverage: float | None = Field(description="Share of the answers that have a label.")
    coverage_of_answers: dict[str, float] = Field(description="The same per answer: missing labels may have a reason.")
    delay_seconds: float | None = Field(description="Mean time from the request to its label.")
    overall: FiguresDocument | None
    model: FiguresDocument | None = Field(description="Of the model's answers.")
    fallback: FiguresDocument | None = Field(description="Of the fallback's answers.")


class EstimateAccountDocument(Document):
    """The estimated loss held to account by the labels that have come."""

    unit: str = Field(description="`points` of a hundred (as a share of 1), `growth` (a share), or `loss`.")
    window_count: int = Field(description="Newest windows of the monitor whose labels have come, at most 40.")
    bias: float = Field(
        description="Mean of estimated minus realised loss: below zero where the estimate saw too little."
    )
    median_error: float
    within_count: int = Field(description="Windows whose realised loss was within the interval of the estimate.")
    is_trusted: bool
    sentence: str


class PerformanceDocument(Document):
    """Realised performance of the served model version, newest period first."""

    model_version: str
    by: str
    periods: list[PeriodDocument]
    estimate: EstimateAccountDocument | None = Field(
        None, description="Null where no labelled window has an estimated loss."
    )
