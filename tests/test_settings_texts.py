"""Checks of single texts of the settings."""

import pytest

from stillsafe.settings_texts import digest, http_address, time_zone, variable_name


def test_good_texts_stay_as_they_are() -> None:
    """None is changed."""
    for check, text in (
        (http_address, "https://host:8000/path"),
        (variable_name, "STILLSAFE_KEY_1"),
        (time_zone, "Europe/Berlin"),
        (digest, "0f" * 32),
    ):
        assert check(text) == text


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (http_address, "ftp://host"),
        (http_address, "https://user:secret@host"),
        (http_address, "https://host/?key=secret"),
        (variable_name, "sk-secret"),
        (variable_name, "1SECRET"),
        (time_zone, "Europe/Atlantis"),
        (digest, "0F" * 32),
        (digest, "00"),
    ],
)
def test_wrong_texts_are_refused_without_a_secret(check: object, text: str) -> None:
    """No message quotes one."""
    with pytest.raises(ValueError, match="must") as refusal:
        check(text)  # type: ignore[operator] # one of the checks above
    assert "secret" not in str(refusal.value).lower()
