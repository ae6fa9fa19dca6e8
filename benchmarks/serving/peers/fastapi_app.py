"""FastAPI, pydantic, scikit-learn: as most tutorials have it. With BENCHMARK_LOG each answer is committed first."""

import json
import os
import sqlite3
from threading import Lock
from typing import Any

import pipeline
from fastapi import FastAPI
from pydantic import create_model

LOG = os.environ.get("BENCHMARK_LOG")
model = pipeline.load()
fields: Any = {name: (float | None if number else str | None, None) for name, number in pipeline.COLUMNS.items()}
Features = create_model("Features", **fields)
Request = create_model("Request", features=(Features, ...))
Batch = create_model("Batch", instances=(list[Features], ...))  # type: ignore[valid-type]
app = FastAPI()
writing = Lock()

if LOG:
    log = sqlite3.connect(LOG, check_same_thread=False)
    log.execute("PRAGMA journal_mode=WAL")
    log.execute("PRAGMA synchronous=FULL")
    log.execute(
        "CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, features TEXT, prediction TEXT, confidence REAL)"
    )


def record(rows: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    """One commit for the request."""
    log_rows = [(json.dumps(row), str(a["prediction"]), a["confidence"]) for row, a in zip(rows, answers, strict=True)]
    with writing, log:
        log.executemany("INSERT INTO log (features, prediction, confidence) VALUES (?, ?, ?)", log_rows)


def answer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model's predictions, recorded if BENCHMARK_LOG is set."""
    answers: list[dict[str, Any]] = pipeline.answers(model, rows)
    if LOG:
        record(rows, answers)
    return answers


@app.get("/ready")
def ready() -> dict[str, bool]:
    """It is."""
    return {"ready": True}


@app.post("/predict")
def predict(request: Request) -> dict[str, Any]:  # type: ignore[valid-type]
    """One row."""
    return answer([request.features.model_dump()])[0]  # type: ignore[attr-defined]


@app.post("/batch")
def batch(request: Batch) -> list[dict[str, Any]]:  # type: ignore[valid-type]
    """Many rows."""
    return answer([row.model_dump() for row in request.instances])  # type: ignore[attr-defined]
