"""Clients that nobody here wrote, tritonclient and MLServer's types, against a served model.

Runs in an environment of its own (`make conformance`), because MLServer pins older libraries than Stillsafe needs.
"""

import sys
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import tritonclient.http as triton
from mlserver.codecs import PandasCodec
from mlserver.types import InferenceResponse, MetadataModelResponse, MetadataServerResponse, RequestOutput

FRAME = pd.DataFrame({"age": [30.0, 70.0], "visits": [3, 9], "member": [True, False]}).assign(
    town=pd.Series(["Ulm", "Bonn"], dtype=object)
)
DATATYPES = {"age": "FP64", "visits": "INT64", "member": "BOOL", "town": "BYTES"}
MODEL = "stay"


def triton_inputs(*, binary: bool) -> list[Any]:
    """A tensor per feature."""
    inputs = []
    for name, datatype in DATATYPES.items():
        values = FRAME[[name]].to_numpy()
        each = triton.InferInput(name, list(values.shape), datatype)
        each.set_data_from_numpy(values, binary_data=binary)
        inputs.append(each)
    return inputs


def try_triton(address: str) -> list[list[str]]:
    """What tritonclient offers for HTTP; returns the predictions of each request."""
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "stillsafe"
    assert [each["name"] for each in client.get_model_metadata(MODEL)["inputs"]] == [*DATATYPES]
    predictions = []
    for binary in (True, False):
        result = client.infer(MODEL, triton_inputs(binary=binary), request_id="7")
        assert result.get_response()["id"] == "7"
        assert result.as_numpy("predict_proba").shape == (2, 2)
        assert np.isfinite(result.as_numpy("confidence")).all()
        assert not result.as_numpy("fallback_used").any()
        predictions.append(result.as_numpy("predict").ravel().tolist())
    output = triton.InferRequestedOutput("predict")
    result = client.infer(MODEL, triton_inputs(binary=True), outputs=[output], model_version="v1")
    predictions.append(result.as_numpy("predict").ravel().tolist())
    for name, inputs, word in (("other", triton_inputs(binary=True), "no such model"), (MODEL, [_wide()], "member")):
        assert word in _error(client, name, inputs)
    return predictions


def _error(client: Any, name: str, inputs: list[Any]) -> str:
    try:
        client.infer(name, inputs)
    except triton.InferenceServerException as error:
        return str(error)
    return ""


def _wide() -> Any:
    wide = triton.InferInput("age", [1], "FP64")
    wide.set_data_from_numpy(np.array([1.0]))
    return wide


def try_mlserver(address: str) -> list[str]:
    """MLServer's pandas codec and its types of responses; returns the predictions."""
    request = PandasCodec.encode_request(FRAME, use_bytes=False)
    request.outputs = [RequestOutput(name=name) for name in ("predict", "confidence")]  # the columns of a frame
    content = _get(address, f"/v2/models/{MODEL}/infer", request.model_dump_json().encode())
    answers = PandasCodec.decode_response(InferenceResponse.model_validate_json(content))
    MetadataModelResponse.model_validate_json(_get(address, f"/v2/models/{MODEL}"))
    MetadataServerResponse.model_validate_json(_get(address, "/v2"))
    predictions: list[str] = answers["predict"].tolist()
    return predictions


def _get(address: str, path: str, content: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"} if content else {}
    with urlopen(Request(f"http://{address}{path}", content, headers)) as response:
        body: bytes = response.read()
    return body


def main() -> None:
    """Try all clients against the server at an address."""
    results = [*try_triton(sys.argv[1]), try_mlserver(sys.argv[1])]
    assert results == [["no", "yes"]] * len(results), results
    print(f"conformance: {len(results)} requests of tritonclient and MLServer's codecs, all answered alike")  # noqa: T201


if __name__ == "__main__":
    main()
