"""`stillsafe` in a program that never asks for OpenTelemetry, asks in vain, or has its spans set up.

`spans_app.py MODE ARGUMENT...`. The exporter throws the spans away once they are encoded: what a collector costs is not
measured.
"""

import sys
from typing import Any


def main() -> None:
    """Run the command."""
    mode, *arguments = sys.argv[1:]
    if mode == "absent":
        from stillsafe import tracing

        tracing.tracer = lambda: None  # FastAPI itself needs the package
    if mode == "on":
        _set_up()
    sys.argv = ["stillsafe", *arguments]
    from stillsafe.cli import main as run

    run()


def _set_up() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Dropping(SpanExporter):  # type: ignore[misc] # the SDK is not installed with the tests
        """Encodes spans, and throws them away."""

        def export(self, spans: Any) -> Any:
            """As JSON."""
            for each in spans:
                each.to_json(indent=None)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    main()
