"""BentoML with adaptive batching."""

from typing import Any

import bentoml
import pipeline


@bentoml.service(
    workers=1,
    threads=1,
    metrics={"enabled": False},
    tracing={"sample_rate": 0.0},
    logging={"access": {"enabled": False}},
)
class Flights:
    """The pipeline behind one batched endpoint: a request of one row joins others, one of many goes with them."""

    def __init__(self) -> None:
        self.model = pipeline.load()

    @bentoml.api(batchable=True, max_batch_size=1000, max_latency_ms=1000)  # type: ignore[untyped-decorator] # not in this environment
    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of any number."""
        answers: list[dict[str, Any]] = pipeline.answers(self.model, rows)
        return answers
