"""Boosters of LightGBM: its scikit-learn classes, `Booster` objects, and text files of `Booster.save_model`."""

import re
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

_CLASSES = frozenset({"LGBMClassifier", "LGBMRegressor", "LGBMRanker"})
_CLASSIFYING = frozenset({"binary", "multiclass", "multiclassova"})
_DEFAULT_NAME = re.compile(r"Column_\d+")
_END, _SIZES = "\nend of trees\n", re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_CATEGORICAL = re.compile(r"^\[categorical_feature: ([\d,]*)\]$", re.MULTILINE)


class LightGBMModel(BoosterModel):
    """A booster of LightGBM."""

    library = "lightgbm"

    @classmethod
    def parse(cls, content: bytes) -> "LightGBMModel":
        """The model of a text file; its classes are 0, 1 and so on, which such a file does not name.

        Raises:
            ValueError: the file is cut off.
            LightGBMError: a tree is damaged.
        """
        text = content.decode().replace("\r\n", "\n")
        if _END not in text:
            raise ValueError("the file is cut off")
        # With the sizes of the trees, LightGBM reads them in threads, where a damaged tree ends the whole process.
        return _model_of(import_library("lightgbm").Booster(model_str=_SIZES.sub("", text, count=1)), None)

    def library_output(self, inputs: Any) -> Any:
        """Numbers or probabilities of up to the best iteration."""
        return self.booster.predict(inputs, num_threads=1)

    def library_margins(self, inputs: Any) -> Any:
        """Raw scores."""
        return self.booster.predict(inputs, num_threads=1, raw_score=True)

    def native_content(self) -> bytes:
        """The booster up to its best iteration as text."""
        return str(self.booster.model_to_string()).encode()


def adapter_of(part: Any) -> LightGBMModel | UnfittedBooster | None:
    """The adapter of an object of LightGBM, or None if it is no model.

    Raises:
        ModelError: it cannot be served.
    """
    name = type(part).__name__
    if name == "Booster":
        return _model_of(part, None)
    if name not in _CLASSES:
        return None
    kind = CLASSIFIER if name == "LGBMClassifier" else REGRESSOR
    return _model_of(part.booster_, part) if part.__sklearn_is_fitted__() else UnfittedBooster(kind)


def _model_of(booster: Any, estimator: Any) -> LightGBMModel:
    """The model of a booster, with the classes of its scikit-learn estimator, if there is one."""
    text = booster.model_to_string(num_iteration=1)
    header = dict(line.split("=", 1) for line in text.split("\nTree=", 1)[0].splitlines() if "=" in line)
    objective = header.get("objective", "").partition(" ")[0]
    kind = CLASSIFIER if objective in _CLASSIFYING else REGRESSOR
    if estimator is not None:
        kind = CLASSIFIER if type(estimator).__name__ == "LGBMClassifier" else REGRESSOR
    outputs = int(header["num_class"])
    if kind == CLASSIFIER and not objective:
        raise ModelError(
            "The LightGBM classifier has an objective of its own, so its answers are no probabilities.",
            "Train it with the objective `binary` or `multiclass`.",
        )
    if kind == REGRESSOR and outputs > 1:
        raise ModelError("The LightGBM model gives several numbers per row.", "Serve one model per number.")
    names = booster.feature_name()
    classes = list(range(max(2, outputs))) if estimator is None else list(getattr(estimator, "classes_", ()))
    model = LightGBMModel(
        booster,
        kind,
        len(names),
        names=None if all(_DEFAULT_NAME.fullmatch(name) for name in names) else names,
        classes=classes if kind == CLASSIFIER else (),
        categories=_categories(booster, text, header["feature_infos"].split(" ")),
    )
    model.has_decisions = hasattr(estimator, "decision_function")
    return model


def _categories(booster: Any, text: str, infos: list[str]) -> Categories:
    """The columns with categories. Those of a data frame have a list of their values, in the order of the columns.

    Raises:
        ModelError: it cannot be known to which columns the lists belong.
    """
    parameter = _CATEGORICAL.search(text)
    by_parameter = {int(number) for number in parameter[1].split(",") if number} if parameter else set()
    by_info = {number for number, info in enumerate(infos) if info != "none" and not info.startswith("[")}
    columns = sorted(by_parameter | by_info)
    values = booster.pandas_categorical or []
    if not values:
        return dict.fromkeys(columns)
    if len(values) != len(columns):
        raise ModelError(
            f"The LightGBM model has {len(values)} lists of categories for {len(columns)} columns with categories.",
            "Train it with `categorical_feature` at its default, and with ordered categories as numbers.",
        )
    return {column: _plain(each) for column, each in zip(columns, values, strict=True)}


def _plain(values: Any) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]
