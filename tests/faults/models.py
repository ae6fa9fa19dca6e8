"""A model that misbehaves on command: what it is asked about says how."""

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

RAISES, SAYS_NAN, BLOCKS = 101.0, 102.0, 103.0
BLOCKED_SECONDS = 3.0


class Fickle(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Sure that a small `mean radius` is benign, until it is asked about one of the three."""

    def fit(self, inputs: Any, answers: Any) -> "Fickle":
        """Learn the classes and the columns, and nothing else."""
        self.classes_ = np.unique(answers)
        self.feature_names_in_ = np.array(list(inputs.columns), dtype=object)
        self.n_features_in_ = inputs.shape[1]
        return self

    def predict_proba(self, inputs: Any) -> Any:
        """A step at a radius of 15, or misbehaviour; shape (rows, 2)."""
        radius = np.asarray(inputs["mean radius"], dtype=float)
        if (radius == RAISES).any():
            raise RuntimeError("I was told to")
        if (radius == BLOCKS).any():
            time.sleep(BLOCKED_SECONDS)
        benign = np.where(radius < 15, 0.9, 0.2)
        benign[radius == SAYS_NAN] = np.nan
        return np.column_stack([1 - benign, benign])

    def predict(self, inputs: Any) -> Any:
        """The likelier class."""
        return self.classes_[np.argmax(self.predict_proba(inputs), axis=1)]
