"""The pipeline as an MLflow model, with a signature: run once before MLflow's own server is started on it."""

import sys
from pathlib import Path

import mlflow.sklearn
import pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

if __name__ == "__main__":
    out = Path(sys.argv[1])
    columns = [
        ColSpec("double" if number else "string", name, required=False) for name, number in pipeline.COLUMNS.items()
    ]
    mlflow.sklearn.save_model(
        pipeline.load(),
        out,
        signature=ModelSignature(Schema(columns)),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
