"""MLServer with adaptive batching: the Open Inference Protocol's columns in, the classes' probabilities out."""

import numpy as np
import pandas as pd
import pipeline
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Flights(MLModel):  # type: ignore[misc] # its packages are not in this environment
    """The pipeline on one tensor per feature."""

    async def load(self) -> bool:
        """Once per server."""
        self.model = pipeline.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """All rows of a request, or of the requests that waited together."""
        columns = {tensor.name: list(tensor.data) for tensor in payload.inputs}
        rows = pd.DataFrame({name: _column(columns[name], number) for name, number in pipeline.COLUMNS.items()})
        chances = self.model.predict_proba(rows)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("chances", chances)])


def _column(values: list[object], number: bool) -> "np.ndarray[tuple[int], np.dtype[np.generic]]":
    """A tensor without null: NaN stands for what is missing."""
    plain = [np.nan if value is None else value.decode() if isinstance(value, bytes) else value for value in values]
    return np.array(plain, dtype=np.float64 if number else object)
