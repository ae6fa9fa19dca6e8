"""The model of a service whose answers come from elsewhere: another language, another server, a vendor.

It knows classes, schema and the scale of confidences, so that answers can be checked and recorded. It scores no row.
"""

import numpy as np

from stillsafe.core.schema import Schema
from stillsafe.errors import ModelError
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.reference import REMEDY, Reference
from stillsafe.settings import Settings

NO_SCORES = (
    "the model runs elsewhere, so rows that bypass it have no shadow score: recovery rests on the input signals, and "
    "on labels of answers that are recorded meanwhile"
)
NEEDS_MODEL = {
    "backtest": "A backtest scores each row of a history, and this service's model runs elsewhere. Record its "
    "answers with `Guard.record` in a copy of the service, and run `stillsafe monitor --now` for each interval.",
    "deep check": "`check --deep` asks the model for answers to broken rows, and this service's model runs elsewhere.",
    "libraries": "The model runs elsewhere: it has no libraries here, and no answers to compare or to accept.",
    "labels": "--with-labels scores the labelled rows with the model, and this service's model runs elsewhere. Make "
    "the baseline without it.",
    "refresh": "--refresh scores a sample with the model, and this service's model runs elsewhere. Make the settings "
    "again: `stillsafe init --force --sample DATA --predictions COLUMN`.",
}
"""What only a model that is here can do, each with what to do in its place."""
NO_HARM = (
    "the model runs elsewhere and scores no changed row, so what damage costs is not known: signals are judged by "
    "their own limits"
)


def external_model(settings: Settings, reference: Reference) -> Model:
    """The external model that the settings describe.

    Raises:
        ModelError: the reference file has no scale of confidences, or one that does not fit the classes.
    """
    section, scale = settings.model, reference.confidence
    if scale is None:
        problem = "The reference file has no scale of confidences, which an external model needs."
        raise ModelError(problem, REMEDY, file=str(settings.path(section.reference)))
    is_typicality = scale.method is ConfidenceMethod.PREDICTION_TYPICALITY
    if is_typicality and section.classes:
        problem = "`model.classes` names classes, and the reference file is of a model that predicts numbers."
        raise ModelError(problem, REMEDY, file=str(settings.path(section.reference)))
    return model_of(section.version, section.classes, settings.schema_of_features, scale)


def model_of(
    version: str, classes: tuple[bool | int | float | str, ...], schema: Schema, scale: ConfidenceScale
) -> Model:
    """An external model: a classifier where it has classes, else a regressor."""
    kind = ModelKind.CLASSIFIER if classes else ModelKind.REGRESSOR
    return Model(version, kind, classes, schema, None, scale)


def typical_confidence(scale: ConfidenceScale, prediction: float) -> float:
    """The confidence of a regressor's prediction by its typicality."""
    return float(scale.confidence(np.array([prediction]))[0])
