"""The settings file: what a right one means, and that every wrong one is told with its line and its remedy."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType, Logged
from stillsafe.errors import ConfigurationError
from stillsafe.settings import LONGEST_SECONDS, Settings, duration, load, parse, seconds
from stillsafe.settings_errors import line_of

SOUND = f"""\
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


def written(folder: Path, old: str = "", new: str = "") -> Path:
    """The sound file with one thing changed."""
    assert old in SOUND
    file = folder / "stillsafe.toml"
    file.write_text(SOUND.replace(old, new, 1), encoding="utf-8")
    return file


def refusal(file: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return caught.value


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    """What is written is what is meant, and what is not written has its default."""
    settings = load(written(tmp_path))
    assert settings.file == tmp_path / "stillsafe.toml"
    assert settings.folder == tmp_path
    assert settings.service.mode == "enforce"
    assert settings.policy == Policy()
    assert [f.type for f in settings.schema_of_features.features] == [FeatureType.NUMERIC, FeatureType.CATEGORY]
    assert settings.schema_of_features.features[1].log is Logged.HASH
    assert settings.fallback.rules[0].answer == 1


def test_answers_keep_the_type_that_was_written(tmp_path: Path) -> None:
    """A fallback's answer is neither rounded nor turned from text into a number or a truth."""
    for text, value in [("1", 1), ("1.0", 1.0), ("true", True), ('"1"', "1")]:
        default = load(written(tmp_path, "default = 0.5", f"default = {text}")).fallback.default
        assert default == value
        assert type(default) is type(value)


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
    """An unknown, misplaced or missing key is told by its path, with its line and what was probably meant."""
    file = written(tmp_path, old, new)
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
        ('"10m"', '"10 minutes"', 10, ["'10 minutes' is no duration", '"15m"']),
        ('"10m"', "true", 10, ["must be a number, not true or false"]),
        ('"10m"', "[1]", 10, ["must be a number", "a list"]),
        ('"10m"', "nan", 10, ["monitor.every"]),
        ('"10m"', "inf", 10, ["366 days"]),
        ('"10m"', '"0s"', 10, ["longer than nothing"]),
        ('"10m"', '"99999d"', 10, ["at most 366 days"]),
        ("warning_runs = 2", 'warning_runs = "two"', 13, ["policy.warning_runs", "whole number, not a string"]),
        ("warning_runs = 2", "warning_runs = 2.5", 13, ["whole number, not a decimal number"]),
        ("warning_runs = 2", "missing_rate_severe = 25", 13, ["at most 1", "five per cent is 0.05"]),
        ("warning_runs = 2", 'silence = "soon"', 13, ["is no duration"]),
        ("warning_runs = 2", "silence = -1", 13, ["from nothing to 366 days"]),
        ("warning_runs = 2", "low_confidence_threshold = 7", 13, ["at most 1"]),
        ("default = 0.5", "default = nan", 16, ["fallback.default", "finite number"]),
        ("default = 0.5", "default = [1]", 16, ["fallback.default"]),
        ("default = 0.5", "default = 1\nminimum = 3\nmaximum = 2", 17, ["`minimum` must not exceed `maximum`"]),
        ('"numeric"', '"number"', 24, ["features.1.type", "'numeric'", "not 'number'"]),
        ('"numeric"', '"numeric"\nminimum = 2\nmaximum = 1', 25, ["`minimum` of 'distance'"]),
        ('"numeric"', '"boolean"\nmaximum = 1', 25, ["`maximum` is for numbers", "'distance' is a boolean"]),
        ('"numeric"', '"numeric"\ncategories = ["a"]', 25, ["`categories` is for a category"]),
        ('"category"', '"category"\ncategories = []', 29, ["`categories` of 'carrier' is empty"]),
        ('"numeric"', '"numeric"\nminimum = nan', 25, ["features.1.minimum", "finite number"]),
    ],
)
def test_a_wrong_value_is_told(tmp_path: Path, old: str, new: str, line: int, words: list[str]) -> None:
    """A value of the wrong type or range is told with its line, what is wanted, and never a secret."""
    error = refusal(written(tmp_path, old, new))
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
    """The policy's own law is told with the line of the key that breaks it, also where the other key is a default."""
    error = refusal(written(tmp_path, "warning_runs = 2", policy))
    assert error.line == line
    assert all(word in str(error) for word in words), str(error)


def test_a_gap_shorter_than_the_interval_names_the_schedule(tmp_path: Path) -> None:
    """A problem of the policy that comes from `[monitor]` points there."""
    error = refusal(written(tmp_path, '"10m"', '"10m"\nmax_gap = "1m"'))
    assert error.line == 11
    assert "max_gap" in str(error)


def test_a_feature_described_twice_points_at_the_second(tmp_path: Path) -> None:
    """Two features of one name are refused at the later one."""
    error = refusal(written(tmp_path, '"carrier"', '"distance"'))
    assert error.line == 27
    assert "'distance' is described twice" in str(error)


def test_a_table_in_single_brackets_is_told(tmp_path: Path) -> None:
    """Features written as one table are told how a list of tables is written."""
    file = tmp_path / "stillsafe.toml"
    file.write_text(SOUND[: SOUND.index("[[features]]")] + '[features]\nname = "x"\n')
    error = refusal(file)
    assert "`[[features]]`, in double brackets" in str(error)
    assert error.line == 22


def test_no_features_at_all_is_told(tmp_path: Path) -> None:
    """A service without features is told to describe them."""
    file = tmp_path / "stillsafe.toml"
    file.write_text("features = []\n" + SOUND[: SOUND.index("[[features]]")])
    error = refusal(file)
    assert "there is no feature" in str(error).lower()
    assert error.line == 1


@pytest.mark.parametrize("section", ["service", "model", "monitor", "serving", "observer", "policy", "fallback"])
@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "true", "1979-05-27"])
def test_a_section_that_is_no_table_is_told(
    tmp_path: Path, section: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value where a table belongs is told so, also while the environment overrides a part of it."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "sqlite:///other.db")
    file = tmp_path / "stillsafe.toml"
    body = tomllib.loads(SOUND)
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
def test_a_file_that_is_no_toml_is_told(tmp_path: Path, content: bytes, line: int | None, words: list[str]) -> None:
    """Broken TOML and broken encoding are one sentence with the line, never a traceback."""
    file = tmp_path / "stillsafe.toml"
    file.write_bytes(content)
    error = refusal(file)
    assert error.line == line
    assert all(word in str(error) for word in words), str(error)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """An editor that marks its UTF-8 is forgiven."""
    file = tmp_path / "stillsafe.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SOUND.encode())
    assert load(file).service.name == "flights"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Where there is no file, the remedies are named."""
    error = refusal(tmp_path / "none.toml")
    assert "no such file" in str(error)
    assert "--config" in str(error)
    assert "stillsafe init" in str(error)


def test_a_directory_is_told(tmp_path: Path) -> None:
    """Where a directory is named, the file in it is suggested."""
    error = refusal(tmp_path)
    assert "It is a directory" in str(error)
    assert str(tmp_path / "stillsafe.toml") in str(error)


def test_a_name_that_no_file_can_have_is_told() -> None:
    """A path that the system itself refuses is a configuration mistake too."""
    assert "cannot be read" in str(refusal(Path("a\0b")))


def test_the_environment_overrides_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address in the environment wins over the file's."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "postgresql+psycopg://user@host/name")
    assert load(written(tmp_path)).database_url == "postgresql+psycopg://user@host/name"


def test_a_wrong_address_in_the_environment_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's mistake names the variable, no line of the file, and not the address with its password."""
    monkeypatch.setenv("STILLSAFE_DATABASE_URL", "mysql://root:secret@host/name")
    error = refusal(written(tmp_path))
    assert "STILLSAFE_DATABASE_URL" in str(error)
    assert error.line is None
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("written_url", "meant"),
    [
        ("sqlite:///log.db", "sqlite:///{folder}/log.db"),
        ("sqlite+pysqlite:///log.db", "sqlite+pysqlite:///{folder}/log.db"),
        ("sqlite:////var/log.db", "sqlite:////var/log.db"),
        ("postgresql://host/name", "postgresql://host/name"),
    ],
)
def test_a_relative_database_lies_beside_the_file(tmp_path: Path, written_url: str, meant: str) -> None:
    """Where a command is started from does not change which database is meant."""
    settings = load(written(tmp_path, '"flights"', f'"flights"\ndatabase = "{written_url}"'))
    assert settings.database_url == meant.format(folder=tmp_path.resolve())


def test_the_schedule_reaches_the_policy(tmp_path: Path) -> None:
    """The policy's times come from `[monitor]`, and what hangs together follows."""
    settings = load(written(tmp_path, '"10m"', '"2s"\nwindow = "3s"'))
    assert (settings.policy.every_seconds, settings.policy.window_seconds) == (2.0, 3.0)
    assert settings.policy.max_gap_seconds == 6.0
    few = load(written(tmp_path, "warning_runs = 2", "min_predictions = 9"))
    assert few.policy.min_fresh_predictions == 4


@pytest.mark.parametrize(("text", "meant"), [('"auto"', None), ('"0s"', 0.0), ('"2h"', 7200.0), ("30", 30.0)])
def test_silence_is_automatic_a_time_or_off(tmp_path: Path, text: str, meant: float | None) -> None:
    """`silence` takes `"auto"`, a duration, or nothing at all, which switches it off."""
    assert load(written(tmp_path, "warning_runs = 2", f"silence = {text}")).policy.silence_seconds == meant


@given(st.integers(min_value=1, max_value=int(LONGEST_SECONDS)) | st.floats(min_value=1e-9, max_value=LONGEST_SECONDS))
def test_durations_round_trip(length: float) -> None:
    """A duration written out is read back as exactly the same number of seconds."""
    assert seconds(duration(float(length))) == length


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Whatever stands where a duration belongs is a number of seconds or a plain ValueError."""
    try:
        length = seconds(text)
    except ValueError as error:
        length = str(error)
    assert isinstance(length, float) or "is no duration" in str(length)


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


@given(st.sampled_from(PLACES), TOML_VALUES)
def test_no_value_anywhere_is_a_traceback(place: tuple[str, str], value: object) -> None:
    """Any value under any key gives settings or one sentence."""
    document = tomllib.loads(SOUND)
    section, key = place
    if key:
        document.setdefault(section, {})[key] = value
    else:
        document[section] = value
    told = "Sound."
    try:
        parse(document, folder=Path("/nowhere"))
    except ConfigurationError as error:
        told = str(error)
    assert told.endswith((".", "?"))
    assert len(told) < 400


def test_lines_are_found_in_every_way_of_writing() -> None:
    """Quoted keys, dotted keys, inline tables, comments and lists of tables are all found."""
    text = (
        'service.name = "x"\n["monitor"] # c\n"every" = 1\n'
        "[[features]]\nname = 1\n[[features]]\n  name = 2\n[fallback]\nrules = [{when = 1}]\n"
    )
    assert line_of(text, ("service", "name")) == 1
    assert line_of(text, ("monitor", "every")) == 3
    assert line_of(text, ("features", 1, "name")) == 7
    assert line_of(text, ("features", 1, "type")) == 6
    assert line_of(text, ("fallback", "rules", 0, "when")) == 9
    assert line_of(text, ("fallback", "default")) == 8
    assert line_of(text, ("model", "file")) is None
    assert line_of("", ("a",)) is None


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_log_in_memory_is_refused(tmp_path: Path, address: str) -> None:
    """A log that is lost with its process is none."""
    with pytest.raises(ConfigurationError, match="must name a file"):
        load(written(tmp_path, 'name = "flights"', f'name = "flights"\ndatabase = "{address}"'))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('use = "llm"\nmodel = "m"', "`base_url` is required where `use` is llm"),
        ('use = "llm"\nbase_url = "http://host/v1"', "`model` is required"),
        ('base_url = "host/v1"', "must begin with http:// or https://"),
        ('base_url = "https://me:sk-secret@host/v1"', "must be the bare address"),
        ('key_variable = "sk-secret"', "must be the name of an environment variable"),
        ('use = "always"', "'offline' or 'llm'"),
        ("budget = 0", "must be longer than nothing"),
    ],
)
def test_a_wrong_observer_is_told_without_its_secrets(tmp_path: Path, lines: str, words: str) -> None:
    """What a language model needs is asked for by name, and a key in the wrong place is not repeated."""
    error = refusal(written(tmp_path, "[policy]", f"[observer]\n{lines}\n\n[policy]"))
    assert words in str(error)
    assert "secret" not in str(error)


def test_the_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read where it is needed; an empty one is none."""
    lines = 'use = "llm"\nbase_url = "https://host/v1"\nmodel = "m"\nkey_variable = "SHOP_KEY"'
    observer = load(written(tmp_path, "[policy]", f"[observer]\n{lines}\n\n[policy]")).observer
    monkeypatch.delenv("SHOP_KEY", raising=False)
    assert observer.key is None
    monkeypatch.setenv("SHOP_KEY", "")
    assert observer.key is None
    monkeypatch.setenv("SHOP_KEY", "sk-1")
    assert observer.key == "sk-1"
    assert "sk-1" not in repr(observer)
