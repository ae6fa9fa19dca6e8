"""`stillsafe.toml` and the environment, read once into frozen settings.

A mistake in the file is told as one sentence with the file, the line and the remedy. Secrets and addresses
come from the environment: `STILLSAFE_DATABASE_URL` overrides `service.database`.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Schema
from stillsafe.errors import ConfigurationError
from stillsafe.settings_errors import NOT_WRITTEN, explained, short

DEFAULT_FILE = "stillsafe.toml"
DATABASE_VARIABLE = "STILLSAFE_DATABASE_URL"
LONGEST_SECONDS = 366 * 86400.0
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_ADDRESS = re.compile(r"(sqlite|postgresql)(\+\w+)?://")
_RELATIVE_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!/|:memory:)")


def seconds(value: object) -> object:
    """A duration as a number of seconds: `"3s"`, `"15m"`, `"1h"`, `"7d"`, or a plain number of seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value, flags=re.ASCII)
    if match is None:
        raise ValueError(f'{short(value)} is no duration; write for example "30s", "15m", "2h" or "7d"')
    return float(match[1]) * _UNITS[match[2]]


def duration(length_seconds: float) -> str:
    """A number of seconds as the shortest text that `seconds` reads back exactly: 900.0 is `"15m"`."""
    for unit in ("d", "h", "m"):
        if length_seconds and length_seconds % _UNITS[unit] == 0:
            return f"{length_seconds // _UNITS[unit]:.0f}{unit}"
    return f"{Decimal(repr(length_seconds)).normalize():f}s"


def _misplaced(problem: str, *path: int | str, others: Sequence[tuple[str, ...]] = ()) -> PydanticCustomError:
    """A mistake that only the whole section can see, and the key inside it that a person should look at.

    Where that key is not written, one of the `others` is to blame.
    """
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "paths": [path, *others]})


def _answer(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("must be a finite number, a string, true or false")


def _automatic(value: object) -> object:
    """`"auto"` is what the policy calls None."""
    return None if value == "auto" else value


def _address(value: str) -> str:
    # The address itself is never shown: it may hold a password.
    if not _ADDRESS.match(value):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if value.startswith("sqlite") and (":memory:" in value or value.partition("://")[2] in ("", "/")):
        raise ValueError("must name a file: a log in memory is lost with the process")
    return value


def _web_address(value: str) -> str:
    # The address itself is never shown: it may hold a password.
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("must be the bare address: the key comes from the environment (`key_variable`)")
    return value


def _variable(value: str) -> str:
    # Not shown either: somebody may have written the key itself.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("must be the name of an environment variable, and never the key itself")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("must be 64 lower-case hexadecimal digits, as `sha256sum` prints them")
    return value


def _bounded(value: float) -> float:
    if not 0 <= value <= LONGEST_SECONDS:
        raise ValueError("must last from nothing to 366 days")
    return value


def _lasting(value: float) -> float:
    if not 0 < value <= LONGEST_SECONDS:
        raise ValueError("must be longer than nothing and at most 366 days")
    return value


Seconds = Annotated[float, BeforeValidator(seconds), AfterValidator(_lasting)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Growth = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Span = Annotated[float, BeforeValidator(seconds), AfterValidator(_bounded)]
GivenAnswer = Annotated[bool | int | float | str | None, PlainValidator(_answer)]
# A list or an enum's value arrives as TOML's own types, which pydantic takes only where it may convert.
Words = Annotated[tuple[str, ...], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Service(_Section):
    """Who this service is and where it keeps its log."""

    name: str = Field(min_length=1, max_length=100)
    """What this service is called, on the dashboard and in explanations."""
    mode: Literal["enforce", "observe"] = "enforce"
    """`enforce` bypasses the model in DEGRADED; `observe` only records what would have happened."""
    database: Annotated[str, AfterValidator(_address)] = "sqlite:///stillsafe.db"
    """Where the log lives: `sqlite:///FILE` or `postgresql://...`. `STILLSAFE_DATABASE_URL` overrides it."""
    hash_salt: str = ""
    """Mixed into features logged as `hash`, so that nobody can guess their values back."""


class ModelFile(_Section):
    """The model that is served, and the proof that it is the one meant."""

    file: str
    """The model file."""
    sha256: Annotated[str, AfterValidator(_digest)]
    """Its SHA-256: another file is never served by mistake."""
    version: str = Field(min_length=1, max_length=100)
    """The name under which its predictions and baselines are kept. A new model needs a new one."""
    format: Literal["skops", "joblib"] = "skops"
    """`skops` runs no code when it is loaded; `joblib` can run any."""
    trusted: bool = False
    """Must be true for joblib: the file comes from you."""
    trusted_types: Words = ()
    """Further exact type names that a skops file may hold."""
    reference: str = "reference.json"
    """The reference baseline and confidence scale that `init` made."""
    timeout: Seconds = 2.0
    """A model that takes longer gets its request answered by the fallback."""
    compiled: bool = False
    """Serve it compiled, which is faster. Proven at every start to answer as scikit-learn, which serves otherwise."""


class Monitor(_Section):
    """When the watcher runs and what it looks at."""

    every: Seconds = 600.0
    """How often cron starts the monitor."""
    window: Seconds = 900.0
    """How much recent traffic a run looks at."""
    max_gap: Seconds | None = None
    """Runs further apart are not consecutive; by default three times `every`."""


class Serving(_Section):
    """The HTTP side."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port to listen on."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Larger requests are refused (413)."""
    max_batch: int = Field(default=1_000, ge=1)
    """Most instances in one batch request."""
    on_stale_monitor: Literal["serve", "fallback"] = "serve"
    """While nobody is watching: `serve` the model and say so, or use the `fallback`."""
    max_state_age_seconds: Seconds = 300.0
    """PostgreSQL out: how long the last known state holds. Then the fallback answers. Half a monitoring interval."""
    store_timeout_seconds: Seconds = 3.0
    """PostgreSQL slower than this counts as out: rows then wait in the spool, and no client waits for it."""
    spool: str | None = None
    """The file they wait in, on a disk that outlives the process; by default `<settings>.spool.db`."""


class Observer(_Section):
    """Who explains incidents to people. Nothing that it says changes anything."""

    use: Literal["offline", "llm"] = "offline"
    """`offline` explains from templates, and nothing leaves the machine; `llm` asks a language model as well."""
    base_url: Annotated[str, AfterValidator(_web_address)] | None = None
    """Where the model answers in OpenAI's protocol, for example `http://127.0.0.1:11434/v1`."""
    model: str | None = Field(default=None, min_length=1, max_length=100)
    """The model's name there."""
    key_variable: Annotated[str, AfterValidator(_variable)] | None = None
    """The environment variable that holds the key; the key itself never stands in this file."""
    timeout: Seconds = 10.0
    """Longest silence of the server in one attempt."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts, with growing pauses, where the server is out, slow or busy."""
    budget: Seconds = 30.0
    """Longest time for one explanation in all: no run of the monitor takes longer because of it."""
    parameters: dict[str, bool | int | Number | str] = {"temperature": 0.0, "max_tokens": 800}
    """Further fields of the request, sent as they are; hosted models differ in what they take."""

    @model_validator(mode="after")
    def _known(self) -> "Observer":
        for name in ("base_url", "model"):
            if self.use == "llm" and getattr(self, name) is None:
                raise _misplaced(f"`{name}` is required where `use` is llm", name, others=[("use",)])
        return self

    @property
    def key(self) -> str | None:
        """The key, from the environment."""
        return os.environ.get(self.key_variable) or None if self.key_variable else None


class FallbackRule(_Section):
    """One rule: a CEL condition and an answer, fixed or computed by a CEL expression."""

    when: str
    """The condition, in CEL over the features."""
    answer: GivenAnswer = None
    """The answer where it holds."""
    compute: str | None = None
    """Or an expression that computes the answer."""

    @model_validator(mode="after")
    def _one_answer(self) -> "FallbackRule":
        if (self.answer is None) == (self.compute is None):
            raise ValueError("a rule needs either `answer` (a fixed value) or `compute` (an expression)")
        return self


class FallbackSettings(_Section):
    """The conservative answer."""

    default: GivenAnswer = None
    """The answer where no rule applies."""
    minimum: Number | None = None
    """Cap: no numeric answer below it."""
    maximum: Number | None = None
    """Cap: no numeric answer above it."""
    rules: Annotated[tuple[FallbackRule, ...], Field(strict=False)] = ()
    """Conditions tried in order; the first that holds answers."""
    function: str | None = None
    """A Python function instead, as `module:function`: given the row, giving the answer or None."""

    @model_validator(mode="after")
    def _answerable(self) -> "FallbackSettings":
        if self.default is None:
            raise ValueError("`default` is required: the answer when no rule applies")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise _misplaced("`minimum` must not exceed `maximum`", "minimum")
        return self


class Feature(_Section):
    """One feature of the schema; see `stillsafe.core.schema.FeatureSpec`."""

    name: str = Field(min_length=1)
    """The key in a request."""
    type: Annotated[FeatureType, Field(strict=False)]
    """`numeric`, `integer`, `boolean` or `category`."""
    required: bool = True
    """Whether a request without it, or with null, is refused."""
    minimum: Number | None = None
    """Hard limit: a smaller number is refused."""
    maximum: Number | None = None
    """Hard limit: a larger number is refused."""
    categories: Words | None = None
    """The only categories accepted; without it any is served, and unseen ones are measured."""
    max_length: int = Field(default=200, ge=1)
    """Longest category accepted, in characters."""
    log: Annotated[Logged, Field(strict=False)] = Logged.KEEP
    """`keep`, `hash` or `drop`: how the value appears in the audit log."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Feature":
        number = self.type in (FeatureType.NUMERIC, FeatureType.INTEGER)
        if not number and (self.minimum is not None or self.maximum is not None):
            limit = "minimum" if self.minimum is not None else "maximum"
            raise _misplaced(f"`{limit}` is for numbers, and {self.name!r} is a {self.type.value}", limit)
        if self.type is not FeatureType.CATEGORY and self.categories is not None:
            raise _misplaced(f"`categories` is for a category, and {self.name!r} is a {self.type.value}", "categories")
        if self.categories is not None and not self.categories:
            raise _misplaced(
                f"`categories` of {self.name!r} is empty, which would refuse every value; leave it out to accept any",
                "categories",
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise _misplaced(f"`minimum` of {self.name!r} must not exceed `maximum`", "minimum")
        return self

    def spec(self) -> FeatureSpec:
        """The same in the core's words."""
        return FeatureSpec(**{name: getattr(self, name) for name in type(self).model_fields})


class Settings(_Section):
    """The whole file. `folder` is where it lies, and what paths in it are relative to; `file` is its name, if any."""

    folder: Path
    file: Path | None = None
    service: Service
    model: ModelFile
    monitor: Monitor = Monitor()
    serving: Serving = Serving()
    observer: Observer = Observer()
    policy: Policy = Policy()
    fallback: FallbackSettings
    features: Annotated[tuple[Feature, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _sound(self) -> "Settings":
        names = [feature.name for feature in self.features]
        if not names:
            raise _misplaced("there is no feature; describe each one in a `[[features]]` table", "features")
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _misplaced(f"the feature {short(name)} is described twice", "features", index, "name")
        if problems := self.policy.problems():
            blamed, *others = _blamed(problems[0])
            raise _misplaced(f"the policy is unsound: {problems[0]}".removesuffix("."), *blamed, others=others)
        return self

    @property
    def schema_of_features(self) -> Schema:
        """The hard limits of every feature, in order."""
        return Schema(tuple(feature.spec() for feature in self.features))

    @property
    def database_url(self) -> str:
        """The database's URL, a relative SQLite path made absolute from the settings' folder."""
        url = self.service.database
        relative = _RELATIVE_SQLITE.match(url)
        if relative is None or len(url) == relative.end():
            return url
        return relative[0] + str((self.folder / url[relative.end() :]).resolve())

    def path(self, name: str) -> Path:
        """A file named in the settings, relative to their folder."""
        return (self.folder / name).resolve()


def load(file: Path | str) -> Settings:
    """Read and check a `stillsafe.toml`.

    Raises:
        ConfigurationError: with the line and the remedy.
    """
    path = Path(file)
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        said = re.sub(r"\s*\(at (line \d+, column \d+|end of document)\)", "", str(error)).rstrip(".")
        raise ConfigurationError(
            f"Not valid TOML: {said}.", "Mend that line.", file=str(path), line=_line_told(str(error), text)
        ) from None
    except RecursionError:
        raise ConfigurationError("Not valid TOML: nested too deeply.", "Flatten it.", file=str(path)) from None
    return parse(document, folder=path.resolve().parent, file=str(path), text=text)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        remedy = "Name the file with --config or STILLSAFE_CONFIG, or make one with `stillsafe init`."
        raise ConfigurationError("There is no such file.", remedy, file=str(path)) from None
    except IsADirectoryError:
        remedy = f"Name the file in it, for example {path / DEFAULT_FILE}."
        raise ConfigurationError("It is a directory.", remedy, file=str(path)) from None
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"It cannot be read: {told}.", "Check its name and rights.", file=str(path)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError("It is not UTF-8 text.", "Save it as UTF-8.", file=str(path), line=line) from None


def _line_told(message: str, text: str) -> int | None:
    if found := re.search(r"at line (\d+)", message):
        return int(found[1])
    return max(1, len(text.splitlines())) if "end of document" in message else None


def parse(document: Mapping[str, Any], *, folder: Path, file: str | None = None, text: str = "") -> Settings:
    """Settings from an already parsed document; the environment's overrides are applied here.

    Raises:
        ConfigurationError: with the line, where `text` is given, and the remedy.
    """
    merged = _overridden(document)
    try:
        if own := [name for name in NOT_WRITTEN if name in merged]:
            raise ValidationError.from_exception_data("", [{"type": "extra_forbidden", "loc": (own[0],), "input": 0}])
        policy = _policy(merged.pop("policy", {}), merged.get("monitor", {}))
        place = {"folder": folder, "file": None if file is None else Path(file)}
        return Settings.model_validate({**merged, **place, "policy": policy})
    except ValidationError as error:
        raise explained(error, _SECTIONS, file, text) from None


def _overridden(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the environment's database, checked here since no line of the file is to blame for it."""
    merged = dict(document)
    url, service = os.environ.get(DATABASE_VARIABLE), merged.get("service")
    if url and isinstance(service, dict):
        try:
            merged["service"] = {**service, "database": _address(url)}
        except ValueError as error:
            raise ConfigurationError(f"The environment's {DATABASE_VARIABLE} {error}.", "Mend or unset it.") from None
    return merged


class _PolicySection(_Section):
    """The numbers of the policy that a person may set; those of the schedule are in `[monitor]`."""

    min_predictions: int | None = None
    min_fresh_predictions: int | None = None
    warning_runs: int | None = None
    critical_runs: int | None = None
    warning_recovery_runs: int | None = None
    recovery_runs: int | None = None
    relapse_runs: int | None = None
    max_recovery_runs: int | None = None
    false_alarm_rate: Rate | None = None
    avg_confidence_moderate: Rate | None = None
    avg_confidence_severe: Rate | None = None
    low_confidence_threshold: Annotated[Rate | None, BeforeValidator(_automatic)] = None
    low_confidence_rate_moderate: Rate | None = None
    low_confidence_rate_severe: Rate | None = None
    missing_rate_moderate: Rate | None = None
    missing_rate_severe: Rate | None = None
    unseen_category_rate_moderate: Rate | None = None
    unseen_category_rate_severe: Rate | None = None
    out_of_range_rate_moderate: Rate | None = None
    out_of_range_rate_severe: Rate | None = None
    repeated_value_rate_moderate: Rate | None = None
    repeated_value_rate_severe: Rate | None = None
    broken_relation_rate_moderate: Rate | None = None
    broken_relation_rate_severe: Rate | None = None
    distribution_change_moderate: Rate | None = None
    confidence_change_moderate: Rate | None = None
    prediction_change_moderate: Rate | None = None
    estimated_accuracy_loss_moderate: Rate | None = None
    estimated_accuracy_loss_severe: Rate | None = None
    estimated_error_growth_moderate: Growth | None = None
    estimated_error_growth_severe: Growth | None = None
    refusal_rate_moderate: Rate | None = None
    refusal_rate_severe: Rate | None = None
    model_error_rate_moderate: Rate | None = None
    model_error_rate_severe: Rate | None = None
    silence: Annotated[Span | None, BeforeValidator(_automatic)] = None


class _PolicyDocument(BaseModel):
    policy: _PolicySection
    monitor: Monitor


def _policy(section: object, monitor: object) -> Policy:
    """The core's policy from `[policy]` and the schedule in `[monitor]`."""
    read = _PolicyDocument.model_validate({"policy": section, "monitor": monitor})
    chosen = {k: v for k, v in read.policy.model_dump().items() if v is not None}
    if "silence" in chosen:
        chosen["silence_seconds"] = chosen.pop("silence")
    every = read.monitor.every
    if "min_predictions" in chosen and "min_fresh_predictions" not in chosen:
        chosen["min_fresh_predictions"] = max(1, chosen["min_predictions"] // 2)
    return Policy(
        window_seconds=read.monitor.window,
        every_seconds=every,
        max_gap_seconds=read.monitor.max_gap or 3 * every,
        **chosen,
    )


_SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    ("service",): Service,
    ("model",): ModelFile,
    ("monitor",): Monitor,
    ("serving",): Serving,
    ("observer",): Observer,
    ("policy",): _PolicySection,
    ("fallback",): FallbackSettings,
    ("fallback", "rules"): FallbackRule,
    ("features",): Feature,
    (): Settings,
}


def _blamed(problem: str) -> list[tuple[str, str]]:
    """The keys of the file that a problem of the policy names, in its order."""
    elsewhere = {
        "window_seconds": ("monitor", "window"),
        "every_seconds": ("monitor", "every"),
        "max_gap_seconds": ("monitor", "max_gap"),
        "max_gap": ("monitor", "max_gap"),
        "interval": ("monitor", "every"),
        "silence_seconds": ("policy", "silence"),
    }
    words = re.findall(r"\w+", problem)
    return [
        elsewhere.get(word, ("policy", word))
        for word in words
        if word in elsewhere or word in _PolicySection.model_fields
    ]
