"""What a client sent to follow its request comes back, and spans are made where a program has set up OpenTelemetry."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.logs import JsonLine
from stillsafe.serving import app
from stillsafe.tracing import TRACE, span, trace_fields, trace_headers, tracer, with_span
from tests.stores import with_store

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "x-request-id": "order-7"}


class AttributeSpan(trace.NonRecordingSpan):
    """A span that keeps its attributes."""

    def __init__(self, context: trace.SpanContext, attributes: dict[str, Any]) -> None:
        super().__init__(context)
        self.attributes = attributes

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep one."""
        self.attributes[key] = value


@dataclass
class Spans(trace.Tracer):
    """A tracer that keeps what it is given, as (name, parent's span id, trace id, attributes)."""

    ends: list[tuple[str, int, int, dict[str, Any]]] = field(default_factory=list)

    def start_span(self, name: str, context: Any = None, *_: Any, **options: Any) -> trace.Span:
        """A span with an id of its own, in its parent's trace."""
        parent = trace.get_current_span(context).get_span_context()
        trace_id, number = parent.trace_id or 100 + len(self.ends), 1 + len(self.ends)
        attributes = dict(options.get("attributes") or {})
        self.ends.append((name, parent.span_id, trace_id, attributes))
        return AttributeSpan(trace.SpanContext(trace_id, number, is_remote=False), attributes)

    @contextmanager
    def start_as_current_span(self, name: str, *arguments: Any, **options: Any) -> Iterator[trace.Span]:  # type: ignore[override] # a context manager too
        """The span, current while the block runs."""
        new_span = self.start_span(name, *arguments, **options)
        token = otel_context.attach(trace.set_span_in_context(new_span))
        yield new_span
        otel_context.detach(token)


@pytest.mark.parametrize(
    ("name", "value", "is_read"),
    [
        ("traceparent", HEADERS["traceparent"], True),
        ("traceparent", HEADERS["traceparent"].upper(), False),
        ("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        ("traceparent", "garbage", False),
        ("x-request-id", "order-7", True),
        ("x-request-id", "two words", False),
        ("x-request-id", "x" * 129, False),
        ("x-request-id", "", False),
        ("x-other", "order-7", False),
    ],
)
def test_only_well_formed_headers_are_taken(name: str, value: str, is_read: bool) -> None:
    """Others are ignored: they come back into a header and a log line."""
    assert bool(trace_headers([(name.encode(), value.encode())])) is is_read


def test_they_come_back_on_every_path_and_are_in_log_lines(
    made_service: Path, healthy_rows: list[dict[str, float]]
) -> None:
    """Answers, refusals and pages; a request without them gets none."""
    with TestClient(service.create_app(with_store(made_service) / "stillsafe.toml")) as client:
        for method, path, body in (
            ("POST", "/v1/predict", {"features": healthy_rows[0]}),
            ("POST", "/v1/predict", {"features": {"mean radius": "wide"}}),
            ("GET", "/v1/state", None),
            ("GET", "/nothing", None),
        ):
            answer = client.request(method, path, json=body, headers=HEADERS)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            assert not {*HEADERS} & {*client.request(method, path, json=body).headers}
    fields = trace_fields([(name.encode(), value.encode()) for name, value in HEADERS.items()])
    token = TRACE.set(fields)
    line = json.loads(JsonLine({"service": "s"}).format(logging.makeLogRecord({"msg": "x"})))
    TRACE.reset(token)
    assert (line["trace_id"], line["request_id"]) == (TRACE_ID, "order-7")
    assert trace_fields([]) == {}


@pytest.mark.parametrize("is_hidden", [False, True])
def test_the_row_has_the_trace(
    made_service: Path, named_store: str, healthy_rows: list[dict[str, float]], is_hidden: bool
) -> None:
    """One row, rows by column, and tensors; none where the client names none, or a feature is kept out of the log."""
    assert named_store
    config = with_store(made_service) / "stillsafe.toml"
    if is_hidden:
        text = config.read_text()
        config.write_text(text.replace('log = "keep"', 'log = "hash"', 1))
        assert config.read_text() != text
    row = healthy_rows[0]
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    name = service.settings_of(config).service.name
    with TestClient(service.create_app(config)) as client:
        answers = [
            client.post("/v1/predict", json={"features": row}, headers=headers).json()
            for headers in (HEADERS, {"x-request-id": "order-7"}, {})
        ]
        ids = [answer["prediction_id"] for answer in answers]
        batch = client.post("/v1/predict/batch", json={"instances": [row] * 16}, headers=HEADERS).json()["results"]
        infer = client.post(f"/v2/models/{name}/infer", json={"inputs": tensors}, headers=HEADERS).json()["outputs"]
        ids += [batch[15]["prediction_id"], infer[-1]["data"][0]]
        traces = [client.get(f"/v1/predictions/{each}").json()["trace_id"] for each in ids]
    expected = [TRACE_ID, "order-7", None, TRACE_ID, TRACE_ID]
    assert traces == ([None] * 5 if is_hidden else expected)


def test_request_batch_model_and_commit_are_spans(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """The request continues the client's trace, and the batch names the predictions."""
    settings, spans = service.settings_of(with_store(made_service) / "stillsafe.toml"), Spans()
    context = replace(service.serving_context(settings, service.utc_now), tracer=spans)
    with TestClient(app.build(context)) as client:
        answer = client.post("/v1/predict", json={"features": healthy_rows[0]}, headers=HEADERS).json()
    context.engine.dispose()
    ends = {name: (parent, trace_id, attributes) for name, parent, trace_id, attributes in spans.ends}
    assert [*ends] == ["POST /v1/predict", "stillsafe.batch", "stillsafe.model", "stillsafe.commit"]
    request, batch, model, commit = ends.values()
    assert (request[0], request[1]) == (int("b7ad6b7169203331", 16), int(TRACE_ID, 16))
    assert batch[2] == {"stillsafe.rows": 1, "stillsafe.prediction_ids": [answer["prediction_id"]]}
    assert model[0] == commit[0] == 2
    assert model[2]["stillsafe.model_version"] == settings.model.version


def test_without_a_provider_there_is_no_tracer() -> None:
    """Nor a span; a function with one runs as it is."""
    assert tracer() is None
    with span(None, "batch", rows=1) as current:
        assert current is None
    assert with_span("run")(lambda number: number + 1)(1) == 2


def test_a_provider_of_the_program_is_used(tmp_path: Path) -> None:
    """As `opentelemetry-instrument` sets it before the service starts."""
    script = tmp_path / "program.py"
    script.write_text(
        "from opentelemetry import trace\n"
        "class Provider(trace.TracerProvider):\n"
        "    def get_tracer(self, *names, **_): return names\n"
        "trace.set_tracer_provider(Provider())\n"
        "from stillsafe.tracing import tracer\n"
        "print(tracer()[0])\n"
    )
    output = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert output == "stillsafe\n"


def test_a_request_has_its_own_trace_or_none(made_service: Path) -> None:
    """A request that begins in the context of another one, as on a connection that both share, has none of its own."""
    application = service.create_app(with_store(made_service) / "stillsafe.toml")

    async def ask(headers: dict[str, str]) -> Any:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(_message: Any) -> None:
            traces.append(TRACE.get())

        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": "/health/live", "headers": pairs, "query_string": b""}
        await application(scope, receive, send)

    async def ask_twice() -> None:
        await ask(HEADERS)
        await ask({})

    traces: list[Any] = []
    asyncio.run(ask_twice())
    assert traces[0]["request_id"] == "order-7"
    assert traces[-1] is None
