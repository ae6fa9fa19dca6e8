"""The bug report has what helps, and nothing that is secret or of a person."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillsafe import service
from stillsafe.check.bug_report import bug_report
from stillsafe.settings import DATABASE_VARIABLE

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
SECRETS = {
    "SALT": "planted-salt-1",
    "PASSWORD": "planted-password-2",
    "TOKEN": "planted-token-3",
    "CATEGORY": "planted-category-4",
    "NUMBER": "8765.4321",
    "RULE": "987654.5",
    "REASON": "planted-reason-5",
    "CLIENT": "planted-client-6",
    "VARIABLE": "planted-variable-7",
    "BEAT": "planted-heartbeat-8",
}


@pytest.fixture
def planted_service(made_service: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service with a secret in every place that can hold one."""
    file = made_service / "stillsafe.toml"
    text = file.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("hash_salt", "heartbeat_url"))]
    index = lines.index("[service]") + 1
    lines.insert(index, f'hash_salt = "{SECRETS["SALT"]}"')
    index = lines.index("[monitor]") + 1
    lines.insert(index, f'heartbeat_url = "https://beat.example.org/{SECRETS["BEAT"]}"')
    lines += ["[[alerts]]", 'name = "chat"', 'url_variable = "CHAT_URL"', "[[fallback.rules]]"]
    lines += [f'when = "features[\\"worst area\\"] > {SECRETS["RULE"]}"', "answer = 1"]
    file.write_text("\n".join(lines))
    monkeypatch.setenv("CHAT_URL", f"https://chat.example.org/{SECRETS['VARIABLE']}")
    (made_service / ".env").write_text(f"OPENAI_API_KEY={SECRETS['TOKEN']}\n")
    version = json.loads((made_service / "reference.json").read_text())["baseline"]["model_version"]
    row = {"mean radius": float(SECRETS["NUMBER"]), "town": SECRETS["CATEGORY"]}
    rows = [json.dumps({**row, "mean texture": 19 + number / 100, "mean smoothness": 0.09}) for number in range(100)]
    connection = sqlite3.connect(made_service / "stillsafe.db")
    connection.executemany(
        "INSERT INTO prediction_logs (timestamp, model_version, input_summary, source, system_state, prediction,"
        " confidence_score) VALUES (?, ?, ?, ?, 'NORMAL', '1', 0.95)",
        [("2026-02-01 11:55:00.000000", version, each, SECRETS["CLIENT"]) for each in rows],
    )
    connection.commit()
    connection.close()
    log = {"at": "2026-02-01T12:00:00Z", "event": "run_failed", "kind": "StoreError", "message": SECRETS["REASON"]}
    (made_service / "stillsafe.monitor.log").write_text(f"{json.dumps(log)}\nplain {SECRETS['CATEGORY']}\n")
    return made_service


def leaks(text: str) -> list[str]:
    """The names of the secrets that a text holds."""
    return [name for name, secret in SECRETS.items() if secret in text]


def test_nothing_secret_is_in_it(planted_service: Path) -> None:
    """Neither secrets nor values of rows; versions, schema, runs with their readings, findings and log are."""
    config = planted_service / "stillsafe.toml"
    service.monitor(config, now=NOW)
    text = bug_report(config, NOW + timedelta(minutes=1))
    assert leaks(text) == []
    for words in ("stillsafe 0.", "scikit-learn ", ", schema 00", "service.mode = enforce", "Last 1 runs"):
        assert words in text
    assert "missing_rate:worst area MODERATE 1" in text
    assert "features[0].name = mean radius" in text
    assert '"event": "run_failed", "kind": "StoreError"' in text
    assert "1 lines of plain text are left out" in text
    assert str(planted_service) not in text


def test_an_outage_and_broken_settings_are_reported(planted_service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database or the settings are what is wrong, the report says so, and still tells no secret."""
    config = planted_service / "stillsafe.toml"
    address = f"postgresql://ada:{SECRETS['PASSWORD']}@127.0.0.1:9/none?sslpassword={SECRETS['TOKEN']}"
    monkeypatch.setenv(DATABASE_VARIABLE, address)
    text = bug_report(config, NOW)
    assert (leaks(text), "out: Store" in text) == ([], True)
    broken_lines = ("[service]", f'hash_salt = "{SECRETS["REASON"]}"', f'mode = "{SECRETS["RULE"]}"')
    config.write_text("\n".join((config.read_text(), *broken_lines)))
    text = bug_report(config, NOW)
    assert (leaks(text), "not readable: ConfigurationError" in text) == ([], True)
