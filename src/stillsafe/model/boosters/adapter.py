"""A booster of another library with the interface of a fitted scikit-learn estimator. Each library has a subclass.

An adapter does not train. It gives a row's values to the library in the form that the library was trained with, and
returns what the library answers. It stores the booster in the library's own format, which runs no code when it is
loaded.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from stillsafe.errors import ModelError

Numbers = npt.NDArray[np.float64]
Output = tuple[npt.NDArray[Any], Numbers | None, Numbers | None]
"""Per row the prediction, and either its raw confidence or the probabilities of the classes."""
Categories = Mapping[int, Sequence[Any] | None]
"""Column -> its categories in the order of their codes, or None if the values of the column are the codes."""
CLASSIFIER, REGRESSOR = "classifier", "regressor"


def import_library(name: str) -> Any:
    """The library of a booster.

    Raises:
        ModelError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        problem = "is not installed" if missing else f"cannot be imported ({error})"
        raise ModelError(f"The model needs {name}, which {problem}.", library_remedy(name)) from error


def library_remedy(name: str) -> str:
    """How to install the library of a booster."""
    return f"Install it where Stillsafe runs: pip install 'stillsafe[{name}]'."


class BoosterInterface:
    """What scikit-learn requires of an estimator besides its answers."""

    kind: str

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        """There are no parameters: an adapter does not train."""
        return {}

    def set_params(self, **_parameters: Any) -> "BoosterInterface":
        """There are no parameters."""
        return self

    def fit(self, *_arguments: Any) -> None:
        """Refuse: an adapter does not train.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a stored booster is not trained")

    @property
    def _estimator_type(self) -> str:
        return self.kind

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type=self.kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if self.kind == CLASSIFIER else None,
            regressor_tags=RegressorTags() if self.kind == REGRESSOR else None,
            input_tags=InputTags(sparse=True, allow_nan=True, categorical=True),
        )


class UnfittedBooster(BoosterInterface):
    """The place of a booster that was never trained: the template of a search or of an ensemble.

    Attributes:
        kind: `classifier` or `regressor`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __sklearn_is_fitted__(self) -> bool:
        return False

    def predict(self, inputs: Any) -> Any:
        """Refuse.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("the booster is not fitted")


class BoosterModel(BoosterInterface, ABC):
    """A fitted booster.

    Attributes:
        library: the library's name, which is also the name of its format in the settings.
        booster: the library's object.
        kind: `classifier` or `regressor`.
        classes_: (k,) a classifier's classes, in the order of its probabilities; a regressor has none.
        feature_names_in_: (m,) the names of the columns, if the booster was trained with names.
        n_features_in_: m, the number of columns.
        categories: the columns with categories.
        decision_threshold: probability of the second class from which on it is the answer, if it is not one half.
        has_decisions: whether the library's own class has a decision function, which calibration prefers.
    """

    library: ClassVar[str] = ""
    decision_threshold: float | None = None
    has_decisions: bool = False

    def __init__(
        self,
        booster: Any,
        kind: str,
        width: int,
        *,
        names: Sequence[str] | None = None,
        classes: Sequence[Any] = (),
        categories: Categories | None = None,
    ) -> None:
        self.booster = booster
        self.kind = kind
        self.n_features_in_ = width
        self.categories = dict(categories or {})
        if names is not None:
            self.feature_names_in_ = np.array([str(name) for name in names], dtype=object)
        if kind == CLASSIFIER:
            self.classes_ = np.array(classes)
        self._codes = {
            column: {value: float(code) for code, value in enumerate(values)}
            for column, values in self.categories.items()
            if values is not None
        }

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        # scikit-learn uses `hasattr` to find out what an estimator can do.
        if self.__dict__.get("kind") == CLASSIFIER:
            if name == "predict_proba":
                return MethodType(predict_proba, self)
            if name == "decision_function" and self.has_decisions:
                return MethodType(decision_function, self)
        raise AttributeError(name)

    def predict(self, inputs: Any) -> npt.NDArray[Any]:
        """(n,) the predictions for an (n, m) table or matrix."""
        return self.raw_output(inputs)[0]

    def raw_output(self, inputs: Any) -> Output:
        """Predictions and probabilities in one call, for an (n, m) table or matrix."""
        return self.evaluate(self.library_inputs(inputs))

    def evaluate(self, inputs: Any) -> Output:
        """Predictions and probabilities for inputs in the library's form; see `library_inputs` and `encode_values`."""
        outputs = self.library_output(inputs)
        if self.kind == REGRESSOR:
            predictions = np.asarray(outputs, np.float64)
            return predictions, predictions, None
        probabilities = outputs if outputs.ndim == 2 else np.column_stack([1 - outputs, outputs])
        return self.classes_[self.class_positions(probabilities, inputs)], None, np.asarray(probabilities, np.float64)

    def class_positions(self, probabilities: Numbers, _inputs: Any) -> npt.NDArray[np.intp]:
        """(n,) the position of the answer among the classes, for (n, k) probabilities."""
        return np.asarray(np.argmax(probabilities, axis=1))

    def library_inputs(self, inputs: Any) -> Any:
        """A table or matrix in the library's form: an (n, m) matrix of float64 with NaN for missing, or a sparse one.

        Raises:
            ValueError: a value is no number, or a category that the library refuses.
        """
        if hasattr(inputs, "tocsr"):
            return inputs.tocsr()
        if isinstance(inputs, np.ndarray) and inputs.dtype != object and not self._codes:
            return inputs
        columns = self.columns_of(inputs)
        code_columns = [self.encode_column(number, column) for number, column in enumerate(columns)]
        return np.column_stack(code_columns) if code_columns else np.empty((len(inputs), 0))

    def columns_of(self, inputs: Any) -> list[npt.NDArray[Any]]:
        """The columns of a table by name, or by position if it has other names."""
        if not hasattr(inputs, "iloc"):
            return list(np.asarray(inputs, dtype=object).T)
        names = getattr(self, "feature_names_in_", None)
        table = inputs[list(names)] if names is not None and set(names) <= set(inputs.columns) else inputs
        return [table.iloc[:, position].to_numpy() for position in range(table.shape[1])]

    def encode_column(self, number: int, column: Any) -> Numbers:
        """(n,) a column as numbers, with NaN for missing."""
        codes = self._codes.get(number)
        if codes is None:
            return np.asarray(column, np.float64)
        return np.array([self.code_of(codes, value) for value in column], np.float64)

    def encode_values(self, block: Any) -> Any:
        """Rows in the library's form: a matrix of numbers, or per row a list of values with None for missing.

        Raises:
            ValueError: as `library_inputs`.
        """
        if isinstance(block, np.ndarray) and not self._codes:
            return block
        columns = [self._codes.get(number) for number in range(self.n_features_in_)]
        return np.array(
            [
                [
                    value if codes is None else self.code_of(codes, value)
                    for value, codes in zip(row, columns, strict=True)
                ]
                for row in (block.tolist() if isinstance(block, np.ndarray) else block)
            ],
            np.float64,
        )

    def code_of(self, codes: Mapping[Any, float], value: Any) -> float:
        """The code of a category, NaN if it is missing or unseen."""
        return codes.get(value, np.nan)

    def encoded_columns(self, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The columns with categories, by name, each with the categories as far as they are known."""
        return {names[number]: tuple(values or ()) for number, values in self.categories.items()}

    @abstractmethod
    def library_output(self, inputs: Any) -> Any:
        """What the library answers: (n,) numbers, (n,) probabilities of the second class, or (n, k) of all."""

    @abstractmethod
    def native_content(self) -> bytes:
        """The booster in the library's own format."""

    @property
    def is_whole_in_native_format(self) -> bool:
        """Whether the library's own format holds all that the answers depend on, except for the classes."""
        return True

    @classmethod
    @abstractmethod
    def parse(cls, content: bytes) -> "BoosterModel":
        """The model of a file in the library's own format.

        Raises:
            ModelError: it cannot be served.
            Exception: whatever the library raises for a damaged file.
        """

    def with_classes(self, classes: Sequence[Any]) -> "BoosterModel":
        """The model with names for its classes, in place of 0, 1 and so on.

        Raises:
            ModelError: their number is wrong.
        """
        count = len(self.classes_) if self.kind == CLASSIFIER else 0
        if len(classes) != count:
            raise ModelError(
                f"The model has {count} classes, and {len(classes)} are named.", "Name each class, in their order."
            )
        self.classes_ = np.array(list(classes))
        return self

    def take_names(self, columns: Sequence[str]) -> None:
        """Take over the names of a table's columns where those of the booster have `_` for other characters.

        LightGBM stores `post code` as `post_code`.
        """
        booster_names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        table_names = {re.sub(r"\W", "_", str(column)): str(column) for column in columns}
        if booster_names and not set(booster_names) <= set(columns) and set(booster_names) <= set(table_names):
            self.feature_names_in_ = np.array([table_names[name] for name in booster_names], dtype=object)

    def extra_state(self) -> dict[str, Any]:
        """Further attributes to store."""
        return {"has_decisions": self.has_decisions}

    def __getstate__(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {
            "content": self.native_content(),
            "kind": self.kind,
            "width": int(self.n_features_in_),
            "names": None if names is None else names.tolist(),
            "classes": self.classes_.tolist() if self.kind == CLASSIFIER else [],
            "categories": [[column, None if v is None else list(v)] for column, v in self.categories.items()],
            "extra": self.extra_state(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        BoosterModel.__init__(
            self,
            type(self).parse(bytes(state["content"])).booster,
            str(state["kind"]),
            int(state["width"]),
            names=state["names"],
            classes=state["classes"],
            categories={int(column): values for column, values in state["categories"]},
        )
        self.__dict__.update(state["extra"])


def predict_proba(model: BoosterModel, inputs: Any) -> Numbers | None:
    """(n, k) the probabilities of a classifier. scikit-learn reads the name of this function."""
    return model.raw_output(inputs)[2]


def decision_function(model: Any, inputs: Any) -> Any:
    """(n,) the margin of the second class, or (n, k) of all. scikit-learn reads the name of this function.

    Args:
        model: one whose library has a decision function: with `has_decisions`, and a method `library_margins`.
        inputs: an (n, m) table or matrix.
    """
    return model.library_margins(model.library_inputs(inputs))
