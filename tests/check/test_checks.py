"""`check` finds now what would fail later: one finding per subject, and it does not stop at the first."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe import service
from stillsafe.backtest import fallback_evaluation
from stillsafe.check.checks import check
from stillsafe.check.findings import Verdict
from stillsafe.core.evidence.metric import Metric
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.spool import Entry

NOW = datetime(2026, 4, 1, tzinfo=UTC)


def verdicts(folder: Path, now: datetime = NOW) -> dict[str, tuple[Verdict, str]]:
    return {f.subject: (f.verdict, f.message) for f in check(folder / "stillsafe.toml", now=now)}


def change(folder: Path, pattern: str, replacement: str) -> None:
    file = folder / "stillsafe.toml"
    text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)


def test_a_new_service_has_no_errors(made_service: Path) -> None:
    """What `init` wrote has no errors; that the monitor never ran is a warning."""
    findings = verdicts(made_service)
    assert {verdict for verdict, _ in findings.values()} <= {Verdict.OK, Verdict.WARNING}
    for subject in ("settings", "model", "fallback", "database"):
        assert findings[subject][0] is Verdict.OK
    assert findings["monitor"] == (
        Verdict.WARNING,
        "It has never run. Run `stillsafe monitor`, then `stillsafe schedule install`.",
    )


def test_the_last_run_decides_whether_the_monitor_runs(made_service: Path) -> None:
    """The monitor counts as alive for two intervals; a last run in the future is a wrong clock."""
    service.monitor(made_service / "stillsafe.toml", now=NOW)
    assert verdicts(made_service)["monitor"][0] is Verdict.OK
    assert verdicts(made_service, NOW + timedelta(hours=1))["monitor"][0] is Verdict.WARNING
    assert verdicts(made_service, NOW - timedelta(hours=1))["clock"][0] is Verdict.ERROR


def test_broken_settings_end_the_check(made_service: Path) -> None:
    """Nothing else can be checked where the settings cannot be read."""
    change(made_service, r"^mode = .*", 'mode = "maybe"')
    assert list(verdicts(made_service)) == ["settings"]


def test_a_swapped_model_is_an_error_beside_the_rest(made_service: Path) -> None:
    """A model with another hash is an error, and everything that does not need the model is still checked."""
    (made_service / "model.skops").write_bytes(b"something else")
    findings = verdicts(made_service)
    assert findings["model"][0] is Verdict.ERROR
    assert "SHA-256" in findings["model"][1]
    assert findings["database"][0] is Verdict.OK


@pytest.mark.parametrize(
    ("pattern", "replacement", "subject", "verdict", "sentence"),
    [
        (r"^default = .*", "default = 7", "fallback answers", Verdict.WARNING, "the model never does"),
        (r'^log = "keep"', 'log = "drop"', "shadow score", Verdict.WARNING, "input signals alone"),
        (r"^version = .*", 'version = "next"', "baseline", Verdict.WARNING, "unwatched"),
        (r"^lists_file = .*", 'rules = [{when = "1 +", answer = 1}]', "fallback", Verdict.ERROR, "rule 1"),
        (r"^database = .*", 'database = "sqlite:////nowhere/at/all.db"', "database", Verdict.ERROR, "database"),
    ],
    ids=["answer", "shadow", "version", "rule", "database"],
)
def test_each_error_in_the_settings_is_found(
    made_service: Path, pattern: str, replacement: str, subject: str, verdict: Verdict, sentence: str
) -> None:
    """One change to the settings, one finding that names it."""
    change(made_service, pattern, replacement)
    findings = verdicts(made_service)
    assert findings[subject][0] is verdict
    assert sentence in findings[subject][1]


def write_evaluation(folder: Path, model: float, fallback: float, metric: Metric = Metric.ACCURACY) -> None:
    """Write the result file as a backtest with labels does."""
    settings = service.settings_of(folder / "stillsafe.toml")
    digest = fallback_evaluation.digest(settings.fallback)
    evaluation = fallback_evaluation.FallbackEvaluation(
        digest, settings.model.version, metric, model, fallback, 12, (), NOW, "past.csv"
    )
    (folder / "price.json").write_text(dumps(to_document(evaluation)))


def test_without_a_backtest_there_is_a_hint(made_service: Path) -> None:
    """Without a backtest the check is no warning, and it names the command."""
    verdict, message = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.OK
    assert "stillsafe backtest DATA --label" in message


def test_a_fallback_worse_than_the_model_is_a_warning(made_service: Path) -> None:
    """The warning has both scores and a remedy; a fallback that is better or equal is no warning."""
    write_evaluation(made_service, 0.9, 0.6)
    verdict, message = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.WARNING
    assert all(words in message for words in ("past.csv", "12 runs", "60.0%", "90.0%", "Edit [fallback], or raise"))
    write_evaluation(made_service, 0.6, 0.9)
    assert verdicts(made_service)["fallback price"][0] is Verdict.OK
    write_evaluation(made_service, 0.6, 0.6)
    assert verdicts(made_service)["fallback price"][0] is Verdict.OK
    write_evaluation(made_service, 0.6, 0.9, Metric.MEAN_ABSOLUTE_ERROR)
    assert verdicts(made_service)["fallback price"][0] is Verdict.WARNING


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^default = .*", "default = 0"),
        (r"^version = .*", 'version = "next"'),
    ],
    ids=["fallback", "version"],
)
def test_the_result_of_another_fallback_or_model_is_out_of_date(
    made_service: Path, pattern: str, replacement: str
) -> None:
    """A result for another fallback or model version is not used, and the message explains that."""
    write_evaluation(made_service, 0.9, 0.6)
    change(made_service, pattern, replacement)
    verdict, message = verdicts(made_service)["fallback price"]
    assert verdict is Verdict.OK
    assert message.startswith("Out of date")


def test_a_damaged_result_is_a_warning(made_service: Path) -> None:
    """A damaged file is not treated as a missing one."""
    (made_service / "price.json").write_text("{")
    assert verdicts(made_service)["fallback price"][0] is Verdict.WARNING


def test_rows_need_a_writable_spool(made_service: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a spool that cannot be written is an error now, rather than in the first outage."""
    monkeypatch.setenv(DATABASE_VARIABLE, postgres_url)
    service.open_store(service.settings_of(made_service / "stillsafe.toml"), create=True).dispose()
    assert verdicts(made_service)["spool"][0] is Verdict.OK
    waiting = service.spool_of(service.settings_of(made_service / "stillsafe.toml"))
    waiting.append([Entry("prediction", {})])
    assert verdicts(made_service)["spool"][0] is Verdict.WARNING
    change(made_service, r"^\[serving\]", '[serving]\nspool = "nowhere/spool.db"')
    assert verdicts(made_service)["spool"][0] is Verdict.ERROR


def test_sqlite_has_no_spool(made_service: Path) -> None:
    """Where the database is a file of this host, no spool is needed."""
    assert "spool" not in verdicts(made_service)


def test_a_key_without_effect_is_one_remark(made_service: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A settings file of an earlier release may set it: one warning, and one line in the log."""
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text().replace("[policy]", "[policy]\nrefusal_rate_severe = 0.25", 1))
    findings = [f for f in check(file, now=NOW) if "refusal_rate_severe" in f.message]
    assert [f.verdict.value for f in findings] == ["warning"]
    assert [record.getMessage() for record in caplog.records].count("setting_ignored") == 1
