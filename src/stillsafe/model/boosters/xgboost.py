"""Boosters of XGBoost: its scikit-learn classes, `Booster` objects, and `.json` and `.ubj` files."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import (
    CLASSIFIER,
    REGRESSOR,
    BoosterModel,
    Categories,
    UnfittedBooster,
    import_library,
)

_CLASSIFIERS = frozenset({"XGBClassifier", "XGBRFClassifier"})
_CLASSES = _CLASSIFIERS | {"XGBRegressor", "XGBRFRegressor", "XGBRanker"}
_RAW_MARGIN = "binary:logitraw"
_HARD_CLASS = "multi:softmax"


class XGBoostModel(BoosterModel):
    """A booster of XGBoost.

    Attributes:
        missing: the number that means a missing value, by default NaN.
        by_matrix: whether the booster needs a DMatrix, as a linear one does.
        by_margin: whether its answer is the class alone, so that probabilities are computed from its margins.
    """

    library = "xgboost"
    missing: float = math.nan
    by_matrix: bool = False
    by_margin: bool = False

    @classmethod
    def parse(cls, content: bytes) -> "XGBoostModel":
        """The model of a `.json` or `.ubj` file. One that a scikit-learn class saved is used up to its best round."""
        booster = import_library("xgboost").Booster(model_file=bytearray(content))
        return _model_of(_best_rounds(booster) if booster.attr("scikit_learn") else booster)

    def library_output(self, inputs: Any) -> Any:
        """Numbers or probabilities."""
        if self.by_matrix:
            matrix = import_library("xgboost").DMatrix(inputs, missing=self.missing, nthread=1)
            outputs = self.booster.predict(matrix, output_margin=self.by_margin, validate_features=False)
        else:
            kind = "margin" if self.by_margin else "value"
            outputs = self.booster.inplace_predict(
                inputs, predict_type=kind, missing=self.missing, validate_features=False
            )
        return _softmax(outputs) if self.by_margin else outputs

    def native_content(self) -> bytes:
        """The booster in UBJSON."""
        return bytes(self.booster.save_raw("ubj"))

    @property
    def is_whole_in_native_format(self) -> bool:
        """The format lacks `missing`."""
        return math.isnan(self.missing)

    def code_of(self, codes: Mapping[Any, float], value: Any) -> float:
        """The code of a category, NaN if it is missing.

        Raises:
            ValueError: it is unseen; XGBoost refuses it as well.
        """
        if value is None or value != value:
            return math.nan
        if (code := codes.get(value)) is None:
            raise ValueError("a category that XGBoost was not trained on")
        return code

    def extra_state(self) -> dict[str, Any]:
        """The attributes of this class."""
        own = {"missing": self.missing, "by_matrix": self.by_matrix, "by_margin": self.by_margin}
        return super().extra_state() | own


def adapter_of(part: Any) -> XGBoostModel | UnfittedBooster | None:
    """The adapter of an object of XGBoost, or None if it is no model.

    Raises:
        ModelError: it cannot be served.
    """
    name = type(part).__name__
    if name == "Booster":
        return _model_of(part)
    if name not in _CLASSES:
        return None
    if not part.__sklearn_is_fitted__():
        return UnfittedBooster(CLASSIFIER if name in _CLASSIFIERS else REGRESSOR)
    model = _model_of(_best_rounds(part.get_booster()))
    model.missing = math.nan if part.missing is None else float(part.missing)
    return model


def _best_rounds(booster: Any) -> Any:
    """The booster up to its best round, if it was stopped early: that is what the scikit-learn classes answer with."""
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _model_of(booster: Any) -> XGBoostModel:
    booster.set_param({"nthread": 1})
    learner = json.loads(booster.save_config())["learner"]
    objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
    kind = CLASSIFIER if objective.startswith(("binary:", "multi:")) else REGRESSOR
    if objective == _RAW_MARGIN:
        raise ModelError(
            "The XGBoost model answers with margins (`binary:logitraw`).", "Train it with `binary:logistic`."
        )
    outputs = int(parameters.get("num_class", 0))
    if int(parameters.get("num_target", 1)) > 1 or (kind == REGRESSOR and outputs > 1):
        raise ModelError("The XGBoost model gives several outputs per row.", "Train one model per output.")
    width = booster.num_features()
    model = XGBoostModel(
        booster,
        kind,
        width,
        names=booster.feature_names,
        classes=range(max(2, outputs)) if kind == CLASSIFIER else (),
        categories=_categories(booster),
    )
    model.by_matrix = learner["gradient_booster"]["name"] == "gblinear"
    model.by_margin = objective == _HARD_CLASS
    return model


def _categories(booster: Any) -> Categories:
    """The columns with categories. Before version 3.1 the values of categories were not stored, only their codes."""
    types = booster.feature_types or []
    if "c" not in types or not hasattr(booster, "get_categories"):
        return {number: None for number, kind in enumerate(types) if kind == "c"}
    stored = booster.get_categories(export_to_arrow=True).to_arrow()
    values = [None if each is None else each.to_pylist() for _, each in stored] or [None] * len(types)
    return {number: values[number] for number, kind in enumerate(types) if kind == "c"}


def _softmax(margins: Any) -> Any:
    """Probabilities of the classes: exp(m) over the sum of all, less the largest margin first."""
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
