"""LitServe with batching: whatever waits is taken together, at most a millisecond after the first."""

import sys
from typing import Any

import litserve
import pipeline

ROWS, SECONDS = 64, 0.001


class Flights(litserve.LitAPI):  # type: ignore[misc] # its packages are not in this environment
    """The pipeline, one row a request."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the library's signature
        """Once per worker."""
        self.model = pipeline.load()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The row of one request."""
        return request["features"]

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Rows stay rows."""
        return inputs

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All that waited."""
        answers: list[dict[str, Any]] = pipeline.answers(self.model, rows)
        return answers

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a request."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Flights(max_batch_size=ROWS, batch_timeout=SECONDS), accelerator="cpu", workers_per_device=1
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False, num_api_servers=1
    )
