"""The names of the metrics that a service exposes and that queries read."""

import re
from pathlib import Path

METRICS = Path(__file__).parents[2] / "src/stillsafe/serving"


def metric_names() -> set[str]:
    """The names in the code of the metrics, counters with their suffix."""
    text = "".join((METRICS / name).read_text() for name in ("metrics.py", "run_metrics.py"))
    names = set(re.findall(r'"(stillsafe_\w+)"', text))
    return names | {f"{name}{end}" for name in names for end in ("_total", "_bucket", "_count", "_sum")} | {"up"}


def query_names(query: str) -> set[str]:
    """The metrics that a query reads."""
    return set(re.findall(r"\b(stillsafe_\w+|up)(?=\{)", query))
