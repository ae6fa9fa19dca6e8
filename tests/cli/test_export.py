"""`export` prints the files, named after the service or a job."""

import json

from .commands import Command


def test_files_are_printed_for_the_service_or_a_job(run: Command) -> None:
    """As YAML and as JSON."""
    code, out, _ = run("export", "prometheus-rules")
    assert (code, 'job=\\"tumours\\"' in out) == (0, True)
    assert 'job=\\"other\\"' in run("export", "prometheus-rules", "--job", "other")[1]
    code, out, _ = run("export", "grafana-dashboard")
    assert (code, json.loads(out)["title"]) == (0, "Stillsafe: tumours")
