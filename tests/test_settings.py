"""The settings file: a valid one is read completely, and each mistake has its line and its remedy."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.policy import Policy, Recovery
from stillsafe.core.schema import FeatureType, LogMode
from stillsafe.core.signals import Signal
from stillsafe.errors import ConfigurationError
from stillsafe.settings import Settings, load, parse
from stillsafe.store.codec import from_document, to_document

VALID = f"""\
[service]
name = "flights"

[model]
file = "model.skops"
sha256 = "{"0" * 64}"
version = "1"

[monitor]
every = "10m"

[policy]
warning_runs = 2

[fallback]
default = 0.5

[[fallback.rules]]
when = "distance > 30.0"
answer = 1

[[features]]
name = "distance"
type = "numeric"

[[features]]
name = "carrier"
type = "category"
log = "hash"
"""


@pytest.fixture(autouse=True)
def _no_database_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLSAFE_DATABASE_URL", raising=False)


def settings_file(folder: Path, old: str = "", new: str = "") -> Path:
    """The valid file with one change."""
    assert old in VALID
    file = folder / "stillsafe.toml"
    file.write_text(VALID.replace(old, new, 1), encoding="utf-8")
    return file


def refusal(file: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as error:
        load(file)
    return error.value


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    """A missing setting has its default."""
    settings = load(settings_file(tmp_path))
    assert settings.file == tmp_path / "stillsafe.toml"
    assert settings.folder == tmp_path
    assert settings.service.mode == "enforce"
    assert settings.policy == Policy()
    assert [f.type for f in settings.schema_of_features.features] == [FeatureType.NUMERIC, FeatureType.CATEGORY]
    assert settings.schema_of_features.features[1].log is LogMode.HASH
    assert settings.fallback.rules[0].answer == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("every =", "evry =", 10, ["monitor.evry", "Did you mean `every`?"]),
        ("warning_runs", "waring_runs", 13, ["policy.waring_runs", "Did you mean `warning_runs`?"]),
        ("version =", "versoin =", 7, ["model.versoin", "Did you mean `version`?"]),
        ("warning_runs = 2", 'every = "1m"', 13, ["policy.every", "It belongs in `[monitor]`"]),
        ("[service]", "[servce]", 1, ["`servce`", "Did you mean `service`?"]),
        ("answer = 1", "anser = 1", 20, ["fallback.rules.1.anser", "`answer`"]),
        ('log = "hash"', 'logs = "hash"', 29, ["features.2.logs", "`log`"]),
        ("[service]", 'folder = "x"\n[service]', 1, ["`folder` is not a setting"]),
        ('file = "model.skops"\n', "", 4, ["`model.file` is missing"]),
        ('type = "category"\n', "", 26, ["`features.2.type` is missing"]),
        ("default = 0.5\n", "", 15, ["`default` is required"]),
        ("answer = 1", "", 18, ["either `answer`", "`compute`"]),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, line: int, words: list[str]) -> None:
    """An unknown, misplaced or missing key is reported with its path, its line and a suggestion."""
    file = settings_file(tmp_path, old, new)
    error = refusal(file)
    assert error.line == line
    assert str(error).startswith(f"{file}, line {line}: ")
    assert "\n" not in str(error)
    assert all(word in str(error) for word in words), str(error)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"flights"', "3", 2, ["service.name", "a string in quotes", "not a whole number"]),
        ('"flights"', '""', 2, ["at least 1 character"]),
        ('"flights"', '"x"\nmode = "observ"', 3, ["'enforce' or 'observe'", "'observ'"]),
        ('"flights"', '"x"\ndatabase = "mysql://root:secret@db"', 3, ["sqlite:///", "postgresql://"]),
        ('version = "1"', 'version = "1"\ntrusted = "yes"', 8, ["true or false, not a string"]),
        ('version = "1"', 'version = "1"\ntrusted_types = "a"', 8, ["must be a list, not a string"]),
        (f'"{"0" * 64}"', '"0"', 6, ["64 lower-case hexadecimal digits", "sha256sum"]),
        ('"10m"', '"10 minutes"', 10, ["'10 minutes' is not a duration", '"15m"']),
        ('"10m"', "true", 10, ["must be a number, not true or false"]),
        ('"10m"', "[1]", 10, ["must be a number", "a list"]),
        ('"10m"', "nan", 10, ["monitor.every"]),
        ('"10m"', "inf", 10, ["366 days"]),
        ('"10m"', '"0s"', 10, ["longer than 0 seconds"]),
        ('"10m"', '"99999d"', 10, ["at most 366 days"]),
        ("warning_runs = 2", 'warning_runs = "two"', 13, ["policy.warning_runs", "whole number, not a string"]),
        ("warning_runs = 2", "warning_runs = 2.5", 13, ["whole number, not a decimal number"]),
        ("warning_runs = 2", "missing_rate_severe = 25", 13, ["at most 1", "five per cent is 0.05"]),
        ("warning_runs = 2", 'silence = "soon"', 13, ["is not a duration"]),
        ("warning_runs = 2", "silence = -1", 13, ["from 0 seconds to 366 days"]),
        ("warning_runs = 2", "low_confidence_threshold = 7", 13, ["at most 1"]),
        ("default = 0.5", "default = nan", 16, ["fallback.default", "finite number"]),
        ("default = 0.5", "default = [1]", 16, ["fallback.default"]),
        ("default = 0.5", "default = 1\nminimum = 3\nmaximum = 2", 17, ["`minimum` must not exceed `maximum`"]),
        ('"numeric"', '"number"', 24, ["features.1.type", "'numeric'", "not 'number'"]),
        ('"numeric"', '"numeric"\nminimum = 2\nmaximum = 1', 25, ["`minimum` of 'distance'"]),
        ('"numeric"', '"boolean"\nmaximum = 1', 25, ["`maximum` applies to numbers", "'distance' is a boolean"]),
        ('"numeric"', '"numeric"\ncategories = ["a"]', 25, ["`categories` applies to a category"]),
        ('"category"', '"category"\ncategories = []', 29, ["`categories` of 'carrier' is empty"]),
        ('"numeric"', '"numeric"\nminimum = nan', 25, ["features.1.minimum", "finite number"]),
    ],
)
def test_a_wrong_value_is_reported(tmp_path: Path, old: str, new: str, line: int, words: list[str]) -> None:
    """The message has the line and the expected type or range, and never a secret."""
    error = refusal(settings_file(tmp_path, old, new))
    assert error.line == line
    assert all(word in str(error) for word in words), str(error)
    assert "\n" not in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("policy", "line", "words"),
    [
        ("warning_runs = 1", 13, ["warning_runs must be at least 2"]),
        ("warning_runs = 2\ncritical_runs = 2", 14, ["critical_runs must be at least 3"]),
        ("missing_rate_moderate = 0.6", 13, ["missing_rate_moderate must not exceed"]),
        ("missing_rate_severe = 0.01", 13, ["missing_rate_moderate must not exceed missing_rate_severe"]),
        ("recovery_runs = 30", 13, ["max_recovery_runs at least recovery_runs"]),
        ("min_predictions = -4", 13, ["min_predictions must be"]),
        ("false_alarm_rate = 0.7", 13, ["false_alarm_rate must lie between"]),
    ],
)
def test_an_unsound_policy_names_the_offending_line(tmp_path: Path, policy: str, line: int, words: list[str]) -> None:
    """A problem of the policy has the line of the key that causes it, also if the other key is a default."""
    error = refusal(settings_file(tmp_path, "warning_runs = 2", policy))
    assert error.line == line
    assert all(word in str(error) for word in words), str(error)


def test_a_gap_shorter_than_the_interval_names_the_schedule(tmp_path: Path) -> None:
    """A problem of the policy that comes from `[monitor]` points there."""
    error = refusal(settings_file(tmp_path, '"10m"', '"10m"\nmax_gap = "1m"'))
    assert error.line == 11
    assert "max_gap" in str(error)


def test_a_feature_described_twice_points_at_the_second(tmp_path: Path) -> None:
    """The error has the line of the second feature."""
    error = refusal(settings_file(tmp_path, '"carrier"', '"distance"'))
    assert error.line == 27
    assert "'distance' is described twice" in str(error)


def test_a_table_in_single_brackets_is_reported(tmp_path: Path) -> None:
    """The message shows the double brackets of a list of tables."""
    file = tmp_path / "stillsafe.toml"
    file.write_text(VALID[: VALID.index("[[features]]")] + '[features]\nname = "x"\n')
    error = refusal(file)
    assert "`[[features]]`, in double brackets" in str(error)
    assert error.line == 22


def test_no_features_are_an_error(tmp_path: Path) -> None:
    """The message shows how to describe features."""
    file = tmp_path / "stillsafe.toml"
    file.write_text("features = []\n" + VALID[: VALID.index("[[features]]")])
    error = refusal(file)
    assert "there is no feature" in str(error).lower()
    assert error.line == 1


@pytest.mark.parametrize("section", ["service", "model", "monitor", "serving", "observer", "policy", "fallback"])
@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "true", "1979-05-27"])
def test_a_section_that_is_no_table_is_reported(
    tmp_path: Path, section: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the environment overrides a setting of that section."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "sqlite:///other.db")
    file = tmp_path / "stillsafe.toml"
    body = tomllib.loads(VALID)
    body[section] = tomllib.loads(f"v = {value}")["v"]
    with pytest.raises(ConfigurationError, match=f"`{section}` must be a table"):
        parse(body, folder=tmp_path, file=str(file), text=f"{section} = {value}")


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"[service\n", 1, ["Not valid TOML"]),
        (b"[service]\nname = [\n", 2, ["Not valid TOML"]),
        (b"[service]\nname\n", 2, ["Not valid TOML"]),
        (b"a = 1\na = 2\n", 2, ["Not valid TOML"]),
        (b"a = " + b"[" * 100_000, None, ["nested too deeply"]),
        (b"a = " + b"9" * 5_000, None, ["Not valid TOML"]),
        (b'[service]\nname = "\xff"\n', 2, ["not UTF-8", "Save it as UTF-8"]),
        (b"", None, ["`service` is missing", "`[service]`"]),
    ],
)
def test_a_file_that_is_no_toml_is_reported(tmp_path: Path, content: bytes, line: int | None, words: list[str]) -> None:
    """Invalid TOML and invalid encoding are one sentence with the line, never a traceback."""
    file = tmp_path / "stillsafe.toml"
    file.write_bytes(content)
    error = refusal(file)
    assert error.line == line
    assert all(word in str(error) for word in words), str(error)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Some editors write one at the start of UTF-8."""
    file = tmp_path / "stillsafe.toml"
    file.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert load(file).service.name == "flights"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """The message names the ways to name or create one."""
    error = refusal(tmp_path / "none.toml")
    assert "no such file" in str(error)
    assert "--config" in str(error)
    assert "stillsafe init" in str(error)


def test_a_directory_is_reported(tmp_path: Path) -> None:
    """The message suggests the file in it."""
    error = refusal(tmp_path)
    assert "It is a directory" in str(error)
    assert str(tmp_path / "stillsafe.toml") in str(error)


def test_an_impossible_file_name_is_reported() -> None:
    """A path that the operating system refuses is a configuration error, too."""
    assert "cannot be read" in str(refusal(Path("a\0b")))


def test_the_environment_overrides_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's address takes precedence over the file's."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "postgresql+psycopg://user@host/name")
    assert load(settings_file(tmp_path)).database_url == "postgresql+psycopg://user@host/name"


def test_a_wrong_address_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has no line of the file and does not quote the address with its password."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "mysql://root:secret@host/name")
    error = refusal(settings_file(tmp_path))
    assert "STILLSAFE_DATABASE_URL" in str(error)
    assert error.line is None
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///log.db", "sqlite:///{folder}/log.db"),
        ("sqlite+pysqlite:///log.db", "sqlite+pysqlite:///{folder}/log.db"),
        ("sqlite:////var/log.db", "sqlite:////var/log.db"),
        ("postgresql://host/name", "postgresql://host/name"),
    ],
)
def test_a_relative_database_path_starts_at_the_file(tmp_path: Path, url: str, expected: str) -> None:
    """The working directory of a command does not change the database."""
    settings = load(settings_file(tmp_path, '"flights"', f'"flights"\ndatabase = "{url}"'))
    assert settings.database_url == expected.format(folder=tmp_path.resolve())


def test_the_schedule_reaches_the_policy(tmp_path: Path) -> None:
    """The policy's times come from `[monitor]`, and dependent defaults follow."""
    settings = load(settings_file(tmp_path, '"10m"', '"2s"\nwindow = "3s"'))
    assert (settings.policy.every_seconds, settings.policy.window_seconds) == (2.0, 3.0)
    assert settings.policy.max_gap_seconds == 6.0
    few = load(settings_file(tmp_path, "warning_runs = 2", "min_predictions = 9"))
    assert few.policy.min_fresh_predictions == 4


@pytest.mark.parametrize(("text", "expected"), [('"auto"', None), ('"0s"', 0.0), ('"2h"', 7200.0), ("30", 30.0)])
def test_silence_is_automatic_a_time_or_off(tmp_path: Path, text: str, expected: float | None) -> None:
    """`silence` is `"auto"`, a duration, or zero, which switches the signal off."""
    assert load(settings_file(tmp_path, "warning_runs = 2", f"silence = {text}")).policy.silence_seconds == expected


TOML_VALUES: st.SearchStrategy[object] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    (section, key)
    for section, model in Settings.model_fields.items()
    if hasattr(model.annotation, "model_fields")
    for key in ["", *model.annotation.model_fields]  # type: ignore[union-attr] # guarded by the line above
]


def test_what_features_say_of_watching_is_in_the_policy(tmp_path: Path) -> None:
    """A run stores its policy, so the features that are not watched and limits of single features are part of it."""
    file = settings_file(tmp_path, 'type = "numeric"', 'type = "numeric"\nlimits = {missing_rate = 0.1}')
    file.write_text(file.read_text().replace('log = "hash"', 'log = "hash"\nwatch = false'))
    policy = load(file).policy
    assert policy.unwatched_features == ("carrier",)
    assert policy.feature_limits == {"missing_rate:distance": 0.1}
    assert from_document(Policy, to_document(policy)) == policy
    assert policy.effects(Signal.MISSING_RATE, "distance") == (0.1, policy.missing_rate_severe)
    assert policy.effects(Signal.MISSING_RATE, "carrier")[0] == policy.missing_rate_moderate
    assert "carrier (`watch = false`); limits of their own: missing_rate:distance 0.1." in load(file).watch_sentence
    assert load(settings_file(tmp_path)).watch_sentence == ""


def test_a_wrong_limit_has_its_line(tmp_path: Path) -> None:
    """The message names the signal and those that there are."""
    file = settings_file(tmp_path, 'type = "numeric"', 'type = "numeric"\nlimits = {nulls = 0.1}')
    with pytest.raises(
        ConfigurationError, match=r"'nulls' is no signal of a feature; there are: missing_rate"
    ) as error:
        load(file)
    assert error.value.line is not None


@given(st.sampled_from(PLACES), TOML_VALUES)
def test_no_value_anywhere_is_a_traceback(place: tuple[str, str], value: object) -> None:
    """Any value of any key gives settings or one sentence."""
    document = tomllib.loads(VALID)
    section, key = place
    if key:
        document.setdefault(section, {})[key] = value
    else:
        document[section] = value
    message = "Valid."
    try:
        parse(document, folder=Path("/nowhere"))
    except ConfigurationError as error:
        message = str(error)
    assert message.endswith((".", "?"))
    assert len(message) < 400


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_log_in_memory_is_refused(tmp_path: Path, address: str) -> None:
    """Such a log would be lost with its process."""
    with pytest.raises(ConfigurationError, match="must name a file"):
        load(settings_file(tmp_path, 'name = "flights"', f'name = "flights"\ndatabase = "{address}"'))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('use = "llm"\nmodel = "m"', "`base_url` is required if `use` is llm"),
        ('use = "llm"\nbase_url = "http://host/v1"', "`model` is required"),
        ('base_url = "host/v1"', "must begin with http:// or https://"),
        ('base_url = "https://me:sk-secret@host/v1"', "must be the bare address"),
        ('key_variable = "sk-secret"', "must be the name of an environment variable"),
        ('use = "always"', "'offline' or 'llm'"),
        ("budget = 0", "must be longer than 0 seconds"),
    ],
)
def test_a_wrong_observer_is_reported_without_its_secrets(tmp_path: Path, lines: str, words: str) -> None:
    """The message names what is missing and never quotes a key in the wrong place."""
    error = refusal(settings_file(tmp_path, "[policy]", f"[observer]\n{lines}\n\n[policy]"))
    assert words in str(error)
    assert "secret" not in str(error)


def test_the_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is no key."""
    lines = 'use = "llm"\nbase_url = "https://host/v1"\nmodel = "m"\nkey_variable = "SHOP_KEY"'
    observer = load(settings_file(tmp_path, "[policy]", f"[observer]\n{lines}\n\n[policy]")).observer
    monkeypatch.delenv("SHOP_KEY", raising=False)
    assert observer.key is None
    monkeypatch.setenv("SHOP_KEY", "")
    assert observer.key is None
    monkeypatch.setenv("SHOP_KEY", "sk-1")
    assert observer.key == "sk-1"
    assert "sk-1" not in repr(observer)


def test_how_long_requests_are_carried_is_a_setting(tmp_path: Path) -> None:
    """A day by default, a longer window if there is one, so that settings of an earlier release stay valid."""
    assert load(settings_file(tmp_path)).policy.max_carry_seconds == 86_400
    assert load(settings_file(tmp_path, '"10m"', '"10m"\nwindow = "3d"')).policy.max_carry_seconds == 3 * 86_400
    policy = load(settings_file(tmp_path, '"10m"', '"10m"\nmax_carry = "2h"')).policy
    assert (policy.max_carry_seconds, policy.not_judged_seconds) == (7_200, 3_600)
    error = refusal(settings_file(tmp_path, '"10m"', '"10m"\nmax_carry = "1m"'))
    assert "max_carry must be at least the window" in str(error)


def test_a_limit_that_stands_in_the_file_is_written(tmp_path: Path) -> None:
    """The policy names the limits that the owner wrote, whatever their values, and no others."""
    policy = "warning_runs = 2\nmissing_rate_severe = 0.25\navg_confidence_moderate = 0.1"
    assert load(settings_file(tmp_path)).policy.written_limits == ()
    limits = load(settings_file(tmp_path, "warning_runs = 2", policy)).policy.written_limits
    assert limits == ("avg_confidence_moderate", "missing_rate_severe")


def test_a_key_without_effect_is_no_mistake(tmp_path: Path) -> None:
    """A file of an earlier release that sets it is read; the key is named with the reason, and changes nothing."""
    settings = load(settings_file(tmp_path, "warning_runs = 2", "warning_runs = 2\nrefusal_rate_severe = 0.1"))
    assert list(settings.ignored_keys) == ["policy.refusal_rate_severe"]
    assert "never severe" in settings.ignored_keys["policy.refusal_rate_severe"]
    assert settings.policy == load(settings_file(tmp_path)).policy


def test_a_stored_policy_with_a_number_of_an_earlier_release_is_read() -> None:
    """Numbers that have no effect any more are left out."""
    assert from_document(Policy, to_document(Policy()) | {"refusal_rate_severe": 0.25}) == Policy()


@pytest.mark.parametrize("recovery", list(Recovery))
def test_what_ends_degraded_is_a_setting(tmp_path: Path, recovery: Recovery) -> None:
    """`[policy] recovery` reaches the policy; another word is a mistake with its line."""
    line = f'recovery = "{recovery.value}"'
    assert load(settings_file(tmp_path, "warning_runs = 2", line)).policy.recovery is recovery
    assert load(settings_file(tmp_path)).policy.recovery is Recovery.NOT_SEVERE
    error = refusal(settings_file(tmp_path, "warning_runs = 2", 'recovery = "soon"'))
    assert error.line == VALID.splitlines().index("warning_runs = 2") + 1


def test_the_policy_says_who_answers_in_degraded(tmp_path: Path) -> None:
    """In mode observe the model does, so that its own scores count; a run stores that with its policy."""
    assert not load(settings_file(tmp_path)).policy.observe
    assert load(settings_file(tmp_path, "[service]", '[service]\nmode = "observe"')).policy.observe
