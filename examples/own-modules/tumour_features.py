"""What the model computes from its features: a module of your own, in your own repository."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin


class LogAreas(TransformerMixin, BaseEstimator):
    """Adds the logarithm of every column whose name has `area`."""

    def fit(self, frame: pd.DataFrame, _labels: object = None) -> "LogAreas":
        """Learn the names of the columns."""
        self.feature_names_in_ = np.asarray(frame.columns, dtype=object)
        self.n_features_in_ = len(frame.columns)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """(n, columns) -> (n, columns + areas), without changing the input."""
        areas = [name for name in frame if "area" in name]
        return frame.assign(**{f"log {name}": np.log1p(frame[name].astype(float)) for name in areas})
