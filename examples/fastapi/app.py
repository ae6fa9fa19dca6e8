"""An application that has a model already: its own route is guarded, and Stillsafe's API is mounted beside it.

STILLSAFE_CONFIG=service/stillsafe.toml uvicorn app:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import stillsafe

CONFIG = os.environ.get("STILLSAFE_CONFIG", "stillsafe.toml")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the guard once, and close it with the application."""
    with stillsafe.Guard(CONFIG) as guard:
        app.state.guard = guard
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/stillsafe", stillsafe.create_app(CONFIG))  # dashboard, state, labels, metrics


@app.exception_handler(stillsafe.InvalidFeatures)
async def refuse(_request: Request, error: stillsafe.InvalidFeatures) -> JSONResponse:
    """Features that break the schema are the client's mistake: 422, not 500."""
    return JSONResponse({"detail": [asdict(violation) for violation in error.violations]}, 422)


@app.post("/diagnose")
async def diagnose(features: dict[str, Any]) -> dict[str, Any]:
    """The route that the application has always had; the guard decides who answers, and records it first."""
    answer = await app.state.guard.apredict(features)
    return {
        "prediction_id": answer.prediction_id,
        "benign": bool(answer.prediction),
        "decided_by": answer.decided_by,
        "needs_a_person": answer.confidence is None,
    }
