"""`check` finds now what would fail later, one finding a subject, and does not stop at the first."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe import service
from stillsafe.backtest import fallback_evaluation
from stillsafe.check import Verdict, check
from stillsafe.core.evidence.impact import Metric
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.spool import Entry

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
        (r"^when = .*", 'when = "1 +"', "fallback", Verdict.ERROR, "rule 1"),
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


def keep_price(folder: Path, model: float, fallback: float, metric: Metric = Metric.ACCURACY) -> None:
    """As a backtest of this service with labels would have."""
    settings = service.settings_of(folder / "stillsafe.toml")
    digest = fallback_evaluation.digest(settings.fallback)
    kept = fallback_evaluation.Price(digest, settings.model.version, metric, model, fallback, 12, (), NOW, "past.csv")
    (folder / "price.json").write_text(dumps(to_document(kept)))


def test_without_a_backtest_there_is_a_hint(made_service: Path) -> None:
    """That nobody knows the fallback's price is no fault of the service."""
    verdict, told = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.OK
    assert "stillsafe backtest DATA --label" in told


def test_a_fallback_that_costs_more_than_it_saves_is_a_warning(made_service: Path) -> None:
    """With both numbers and what to do; one that is better, or just as good, is none."""
    keep_price(made_service, 0.9, 0.6)
    verdict, told = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.WARNING
    assert all(words in told for words in ("past.csv", "12 runs", "60.0%", "90.0%", "Edit [fallback], or raise"))
    keep_price(made_service, 0.6, 0.9)
    assert verdicts(made_service)["fallback price"][0] is Verdict.OK
    keep_price(made_service, 0.6, 0.6)
    assert verdicts(made_service)["fallback price"][0] is Verdict.OK
    keep_price(made_service, 0.6, 0.9, Metric.MEAN_ABSOLUTE_ERROR)
    assert verdicts(made_service)["fallback price"][0] is Verdict.WARNING


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^default = .*", "default = 0"),
        (r"^version = .*", 'version = "next"'),
    ],
    ids=["fallback", "version"],
)
def test_a_price_of_something_else_is_out_of_date(made_service: Path, pattern: str, replacement: str) -> None:
    """It says nothing about the fallback in force, and it says so."""
    keep_price(made_service, 0.9, 0.6)
    change(made_service, pattern, replacement)
    verdict, told = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.OK
    assert told.startswith("Out of date")


def test_a_damaged_price_is_a_warning(made_service: Path) -> None:
    """It is not taken for no price."""
    (made_service / "price.json").write_text("{")
    assert verdicts(made_service)["fallback price"][0] is Verdict.WARNING


def test_rows_need_somewhere_to_wait(made_service: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a spool that cannot be written is an error now, rather than in the first outage."""
    monkeypatch.setenv(DATABASE_VARIABLE, postgres_url)
    assert verdicts(made_service)["spool"][0] is Verdict.OK
    waiting = service.spool_of(service.settings_of(made_service / "stillsafe.toml"))
    waiting.append([Entry("prediction", {})])
    assert verdicts(made_service)["spool"][0] is Verdict.WARNING
    change(made_service, r"^\[serving\]", '[serving]\nspool = "nowhere/spool.db"')
    assert verdicts(made_service)["spool"][0] is Verdict.ERROR


def test_sqlite_has_no_spool(made_service: Path) -> None:
    """Where the database is a file of this host, there is nothing to wait for."""
    assert "spool" not in verdicts(made_service)
