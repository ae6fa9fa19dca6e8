"""`check` finds now what would fail later, one finding a subject, and does not stop at the first."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe import service
from stillsafe.check import Verdict, check

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def verdicts(folder: Path, now: datetime = NOW) -> dict[str, tuple[Verdict, str]]:
    return {f.subject: (f.verdict, f.told) for f in check(folder / "stillsafe.toml", now=now)}


def change(folder: Path, pattern: str, replacement: str) -> None:
    file = folder / "stillsafe.toml"
    text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)


def test_a_fresh_service_is_sound_but_not_watched_yet(made_service: Path) -> None:
    """What `init` wrote has no errors; that the monitor never ran is a warning."""
    found = verdicts(made_service)
    assert {verdict for verdict, _ in found.values()} <= {Verdict.OK, Verdict.WARNING}
    assert found["settings"][0] is found["model"][0] is found["fallback"][0] is found["database"][0] is Verdict.OK
    assert found["monitor"] == (
        Verdict.WARNING,
        "It has never run. Run `stillsafe monitor`, then `schedule install`.",
    )


def test_a_run_makes_it_watched_and_time_makes_it_stale(made_service: Path) -> None:
    """The monitor counts as alive for two intervals; a last run in the future is a wrong clock."""
    service.monitor(made_service / "stillsafe.toml", now=NOW)
    assert verdicts(made_service)["monitor"][0] is Verdict.OK
    assert verdicts(made_service, NOW + timedelta(hours=1))["monitor"][0] is Verdict.WARNING
    assert verdicts(made_service, NOW - timedelta(hours=1))["clock"][0] is Verdict.ERROR


def test_broken_settings_end_the_check(made_service: Path) -> None:
    """Nothing else can be told where the settings cannot be read."""
    change(made_service, r"^mode = .*", 'mode = "maybe"')
    assert list(verdicts(made_service)) == ["settings"]


def test_a_swapped_model_is_an_error_beside_the_rest(made_service: Path) -> None:
    """A model with another hash is found, and everything that does not need it is still looked at."""
    (made_service / "model.skops").write_bytes(b"something else")
    found = verdicts(made_service)
    assert found["model"][0] is Verdict.ERROR
    assert "SHA-256" in found["model"][1]
    assert found["database"][0] is Verdict.OK


@pytest.mark.parametrize(
    ("pattern", "replacement", "subject", "verdict", "told"),
    [
        (r"^default = .*", "default = 7", "fallback answers", Verdict.WARNING, "the model never would"),
        (r'^log = "keep"', 'log = "drop"', "shadow score", Verdict.WARNING, "input signals alone"),
        (r"^version = .*", 'version = "next"', "baseline", Verdict.WARNING, "unwatched"),
        (r"^window = .*", 'window = "5m"', "window", Verdict.WARNING, "no run ever judges"),
        (
            r"^default = (.*)",
            'default = \\1\nrules = [{when = "1 +", answer = 1}]',
            "fallback",
            Verdict.ERROR,
            "rule 1",
        ),
        (r"^database = .*", 'database = "sqlite:////nowhere/at/all.db"', "database", Verdict.ERROR, "database"),
    ],
    ids=["answer", "shadow", "version", "window", "rule", "database"],
)
def test_each_mistake_is_found(
    made_service: Path, pattern: str, replacement: str, subject: str, verdict: Verdict, told: str
) -> None:
    """One change to the settings, one finding that names it."""
    change(made_service, pattern, replacement)
    found = verdicts(made_service)
    assert found[subject][0] is verdict
    assert told in found[subject][1]
