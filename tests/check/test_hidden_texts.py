"""No secret gets through, whatever it stands in."""

from pathlib import Path

import pytest

from stillsafe.check.hidden_texts import MASK, HiddenTexts

SETTINGS = """
[service]
database = "postgresql://ada:p4ssw0rd@db.example.org/models?sslpassword=hunter22"
hash_salt = "c0ffee-salt"
[monitor]
heartbeat_url = "https://beat.example.org/ping/0f0e-secret-path"
[made_up]
api_token = 'quoted-token'
"""


@pytest.mark.parametrize("text", [SETTINGS, f"{SETTINGS}\nbroken = = toml"])
def test_secrets_of_a_file_are_hidden(tmp_path: Path, text: str) -> None:
    """Those of readable settings and of a file that is no TOML, of `.env`, and of the environment."""
    config = tmp_path / "stillsafe.toml"
    config.write_text(text)
    (tmp_path / ".env").write_text("export SIGNING='from-dot-env'\n")
    hidden_texts = HiddenTexts(config, {"ALERT_URL": "https://chat.example.org/hooks/T0K3N", "HOME": "/nowhere"})
    secrets = ("p4ssw0rd", "c0ffee-salt", "0f0e-secret-path", "quoted-token", "from-dot-env", "T0K3N", "hunter22")
    words = " and ".join((*secrets, SETTINGS, str(tmp_path)))
    public_text = hidden_texts.remove_from(words)
    assert not [secret for secret in (*secrets, str(tmp_path)) if secret in public_text]
    assert MASK in public_text


def test_addresses_of_others_lose_their_credentials(tmp_path: Path) -> None:
    """Also where the address stands in no setting: in the message of a driver, say. Other words stay."""
    public_text = HiddenTexts(tmp_path / "none.toml", {}).remove_from(
        "amqp://bob:pw@mq:5672/x failed: see https://a.b/c?k=v"
    )
    assert public_text == f"amqp://{MASK}@mq:5672/x failed: see https://a.b/c?{MASK}"
