"""Models of CatBoost: its classes, and `.cbm` files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import (
    CLASSIFIER,
    REGRESSOR,
    BoosterModel,
    Numbers,
    UnfittedBooster,
    import_library,
)

_CLASSES = frozenset({"CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"})
_SEVERAL_OUTPUTS = ("MultiRMSE", "MultiLogloss", "MultiCrossEntropy", "RMSEWithUncertainty", "MultiQuantile")
NEAR_TIE = 1e-6
"""Difference of two probabilities below which CatBoost itself chooses the class."""
FEW = 64
"""Rows up to which lists are faster for CatBoost than a data frame."""


class CatBoostModel(BoosterModel):
    """A model of CatBoost. Its categories and texts stay as they are: CatBoost hashes them itself."""

    library = "catboost"
    _content: bytes | None = None

    @classmethod
    def parse(cls, content: bytes) -> "CatBoostModel":
        """The model of a `.cbm` file."""
        return _model_of(_model_of_content(content, "CatBoost"), content)

    def library_inputs(self, inputs: Any) -> Any:
        """A matrix of numbers, or a data frame in which whole numbers of columns with categories are integers."""
        if not self.categories:
            return super().library_inputs(inputs)
        columns = self.columns_of(inputs)
        if len(columns[0]) <= FEW:
            return self._lists(list(zip(*columns, strict=True)))
        import pandas as pd

        names = getattr(self, "feature_names_in_", range(len(columns)))
        return pd.DataFrame(
            {
                name: [_category(value) for value in column]
                if number in self.categories
                else np.asarray(column, np.float64)
                for number, (name, column) in enumerate(zip(names, columns, strict=True))
            }
        )

    def encode_values(self, block: Any) -> Any:
        """A matrix of numbers, or per row a list of values."""
        if not self.categories:
            return np.asarray(block, np.float64)
        return self._lists(block.tolist() if isinstance(block, np.ndarray) else block)

    def library_output(self, inputs: Any) -> Any:
        """Numbers or probabilities."""
        if self.kind == REGRESSOR:
            return self.booster.predict(inputs, thread_count=1)
        return self.booster.predict(inputs, prediction_type="Probability", thread_count=1)

    def class_positions(self, probabilities: Numbers, inputs: Any) -> npt.NDArray[np.intp]:
        """The class by CatBoost itself where two classes are nearly as likely, or with a threshold of its own."""
        two = np.partition(probabilities, probabilities.shape[1] - 2, axis=1)[:, -2:]
        if self.decision_threshold is None and (two[:, 1] - two[:, 0] > NEAR_TIE).all():
            return super().class_positions(probabilities, inputs)
        answers = np.asarray(self.booster.predict(inputs, prediction_type="Class", thread_count=1)).ravel()
        positions = {str(name): position for position, name in enumerate(self.classes_.tolist())}
        return np.array([positions[str(answer)] for answer in answers.tolist()], np.intp)

    def native_content(self) -> bytes:
        """The model as `.cbm`, or the file that it was loaded from.

        Raises:
            ModelError: it takes texts and was pickled: what CatBoost saves then ends the process that loads it.
        """
        if self._content is not None:
            return self._content
        if self.booster.get_text_feature_indices():
            raise ModelError("CatBoost cannot save a pickled model with texts.", "Save it with `save_model` at once.")
        return _file_content(self.booster)

    def _lists(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        is_category = [number in self.categories for number in range(self.n_features_in_)]
        return [
            [
                _category(value) if flag else np.nan if value is None else value
                for value, flag in zip(row, is_category, strict=True)
            ]
            for row in rows
        ]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._content = bytes(state["content"])
        self.decision_threshold = _threshold(self.booster) if self.kind == CLASSIFIER else None


def adapter_of(part: Any) -> CatBoostModel | UnfittedBooster | None:
    """The adapter of an object of CatBoost, or None if it is no model.

    Raises:
        ModelError: it cannot be served.
    """
    name = type(part).__name__
    if name not in _CLASSES:
        return None
    if not part.is_fitted():
        return UnfittedBooster(CLASSIFIER if name == "CatBoostClassifier" else REGRESSOR)
    return _model_of(part)


def _model_of(model: Any, content: bytes | None = None) -> CatBoostModel:
    loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    if loss in _SEVERAL_OUTPUTS:
        raise ModelError(f"The CatBoost model gives several outputs per row ({loss}).", "Train one model per output.")
    if model.get_embedding_feature_indices():
        raise ModelError("The CatBoost model takes embeddings, which a request cannot carry.", "Train it without.")
    labels = [_plain(label) for label in model.classes_]
    if loss == "CrossEntropy" and not labels:
        labels = [0, 1]
    name = "CatBoostClassifier" if labels else "CatBoostRegressor"
    # A regressor knows the link of its loss (Poisson and Tweedie answer with a power), and a classifier its threshold.
    if content is not None:
        model = _model_of_content(content, name)
    elif type(model).__name__ != name:
        model = _model_of_content(_file_content(model), name)
    names = [str(name) for name in model.feature_names_]
    adapter = CatBoostModel(
        model,
        CLASSIFIER if labels else REGRESSOR,
        len(names),
        names=None if names == [str(number) for number in range(len(names))] else names,
        classes=labels,
        categories=dict.fromkeys([*model.get_cat_feature_indices(), *model.get_text_feature_indices()]),
    )
    adapter.decision_threshold = _threshold(model) if labels else None
    adapter._content = content
    return adapter


def _file_content(model: Any) -> bytes:
    """The model as `.cbm`."""
    with tempfile.TemporaryDirectory(prefix="stillsafe-catboost-") as folder:
        file = Path(folder) / "model.cbm"
        model.save_model(str(file), format="cbm")
        return file.read_bytes()


def _model_of_content(content: bytes, name: str) -> Any:
    """The model of a `.cbm` file as an object of a class of CatBoost."""
    model = getattr(import_library("catboost"), name)()
    with tempfile.TemporaryDirectory(prefix="stillsafe-catboost-") as folder:
        file = Path(folder) / "model.cbm"
        file.write_bytes(content)
        model.load_model(str(file))  # from bytes, it would lose the parameters of its loss
    return model


def _threshold(model: Any) -> float | None:
    """The threshold of a binary classifier, or None if it is one half."""
    if len(model.classes_) != 2:
        return None
    threshold = float(model.get_probability_threshold())
    return None if threshold == 0.5 else threshold


def _category(value: Any) -> Any:
    """A category as CatBoost takes it: a text or a whole number."""
    plain = _plain(value)
    if plain is None:
        return np.nan
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
