"""`score` answers a file and says what became of it."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from .commands import Command, document


def test_a_file_is_scored_or_the_job_stops(
    run: Command, made_service: Path, healthy_rows: list[dict[str, float]]
) -> None:
    """As text and as JSON; in DEGRADED with `--fail-on` exit 4, and the job goes on later."""
    assert run("db", "upgrade")[0] == 0
    pd.DataFrame(healthy_rows[:20]).to_csv(made_service / "in.csv", sep=";", index=False)
    code, out, _ = run("score", "in.csv", "--out", "out.csv")
    assert (code, "20 rows scored (20 by model)" in out) == (0, True)
    assert run("score", "in.csv", "--out", "out.csv")[0] == 1
    assert run("hold", "--reason", f"a test at {datetime.now(UTC):%H}")[0] == 0
    code, out, _ = run("score", "in.csv", "--out", "more.csv", "--fail-on", "degraded", "--json")
    report = document(out)
    assert (code, report["rows"], report["state"], report["is_complete"]) == (4, 0, "DEGRADED", False)
    code, out, _ = run("score", "in.csv", "--out", "more.csv", "--separator", ";")
    assert (code, "20 rows scored (20 by fallback)" in out) == (0, True)
    assert run("score", "none.csv", "--out", "x.csv")[0] == 2
