"""The sections of `stillsafe.toml`: their settings, types, defaults and meanings.

The reference page on the settings and the comments of a new settings file are generated from this file.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode
from stillsafe.core.signals import SIGNALS, Subject
from stillsafe.settings_errors import quote
from stillsafe.settings_texts import digest, http_address, time_zone, variable_name

LONGEST_SECONDS = 366 * 86400.0
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DATABASE_ADDRESS = re.compile(r"(sqlite|postgresql)(\+\w+)?://")


def parse_duration(value: object) -> object:
    """A duration in seconds, from `"3s"`, `"15m"`, `"1h"`, `"7d"` or a number of seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value, flags=re.ASCII)
    if match is None:
        raise ValueError(f'{quote(value)} is not a duration; write for example "30s", "15m", "2h" or "7d"')
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back exactly: 900.0 is `"15m"`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]:.0f}{unit}"
    return f"{Decimal(repr(seconds)).normalize():f}s"


def error_at(problem: str, *path: int | str, alternatives: Sequence[tuple[int | str, ...]] = ()) -> PydanticCustomError:
    """An error of a whole section that points at a key in it, or at the first written one of the alternatives."""
    return PydanticCustomError("misplaced", "{problem}", {"problem": problem, "paths": [path, *alternatives]})


def _scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("must be a finite number, a string, true or false")


def database_address(value: str) -> str:
    """The address of a database that Stillsafe supports.

    Raises:
        ValueError: it is not one. The message never quotes the address, which may contain a password.
    """
    value = re.sub(r"^postgres://", "postgresql://", value)  # libpq's other name, which hosting providers hand out
    if not _DATABASE_ADDRESS.match(value):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if value.startswith("sqlite") and (":memory:" in value or value.partition("://")[2] in ("", "/")):
        raise ValueError("must name a file: a log in memory is lost with the process")
    return value


def _zero_or_more(value: float) -> float:
    if not 0 <= value <= LONGEST_SECONDS:
        raise ValueError("must be from 0 seconds to 366 days")
    return value


def _above_zero(value: float) -> float:
    if not 0 < value <= LONGEST_SECONDS:
        raise ValueError("must be longer than 0 seconds and at most 366 days")
    return value


Seconds = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_above_zero)]
Span = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_zero_or_more)]
Number = Annotated[float, Field(allow_inf_nan=False)]
FixedAnswer = Annotated[bool | int | float | str | None, PlainValidator(_scalar)]
# A list or an enum's value comes as a TOML type, which pydantic converts only where it is not strict.
Words = Annotated[tuple[str, ...], Field(strict=False)]
ClassNames = Annotated[tuple[Annotated[bool | int | float | str, PlainValidator(_scalar)], ...], Field(strict=False)]


class Section(BaseModel):
    """Base of every section: frozen, strict in its types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )


class Service(Section):
    """The service's name, mode and database."""

    name: str = Field(min_length=1, max_length=100)
    """The service's name on the dashboard and in explanations."""
    mode: Literal["enforce", "observe"] = "enforce"
    """`enforce` bypasses the model in DEGRADED; `observe` only records what would happen."""
    database: Annotated[str, AfterValidator(database_address)] = "sqlite:///stillsafe.db"
    """The database: `sqlite:///FILE` or `postgresql://...`. `STILLSAFE_DATABASE_URL` overrides it."""
    hash_salt: str = ""
    """Mixed into features logged as `hash`, so that their values cannot be recovered by trying."""
    timezone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    """The time zone of the service's hours and days, such as `Europe/Berlin`. A baseline keeps its own."""


class Privacy(Section):
    """What baselines and windows may show of single values; see `docs/operations.md`."""

    min_count: int = Field(default=5, ge=1)
    """Baselines and windows show a category, a number or the end of a range only if so many values share it."""


class ModelFile(Section):
    """The served model and the hash of its file, or `external` for a model that runs elsewhere."""

    file: str = ""
    """The model file; none of an external model."""
    sha256: Annotated[str, AfterValidator(digest)] = ""
    """The file's SHA-256: no other file is served."""
    external: bool = False
    """Whether the model runs elsewhere: its answers are recorded (`/v1/record`, `Guard.record`), and none is given."""
    version: str = Field(min_length=1, max_length=100)
    """The model's version in predictions and baselines. A new model needs a new one."""
    format: Literal["skops", "lightgbm", "xgboost", "catboost", "joblib"] = "skops"
    """`skops`, or a booster's own format, which run no code when loaded; `joblib` can run any code."""
    trusted: bool = False
    """Must be true for joblib: it confirms that the file comes from a source you trust."""
    trusted_types: Words = ()
    """Further exact type names that a skops file may contain."""
    classes: ClassNames = ()
    """Classes of an external classifier, or of a LightGBM or XGBoost file, which has only 0, 1, ..., in that order."""
    python_path: Words = ()
    """Folders of your own modules that the model or the fallback function needs; searched first, as PYTHONPATH is."""
    modules: Words = ()
    """Modules to import before the model is loaded."""
    reference: str = "reference.json"
    """The reference baseline and confidence scale from `init`."""
    timeout: Seconds = 2.0
    """After this time the fallback answers the request in place of the model."""
    compiled: bool = False
    """Serve a faster, compiled form, if the check at every start finds that it predicts as scikit-learn does."""

    @model_validator(mode="after")
    def _require_file(self) -> "ModelFile":
        for name in ("file", "sha256"):
            if bool(getattr(self, name)) is self.external:
                problem = (
                    "belongs to no external model" if self.external else "is missing: only an external model has none"
                )
                raise error_at(f"`model.{name}` {problem}", name, alternatives=[("external",)])
        return self


class Monitor(Section):
    """When the monitor runs, and over which window."""

    every: Seconds = 600.0
    """How often cron starts the monitor."""
    window: Seconds = 900.0
    """How much recent traffic a run analyses."""
    max_gap: Seconds | None = None
    """Runs further apart are not consecutive; by default three times `every`."""
    heartbeat_url: Annotated[str, AfterValidator(http_address)] | None = None
    """An address that is requested after each good run: a service behind it says when the monitor is dead."""
    max_carry: Seconds | None = None
    """How long a request that no run has judged is carried to the next run; by default a day, or `window` if longer."""


class Serving(Section):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port to listen on."""
    root_path: Annotated[str, Field(pattern=r"^(/[^/?#]+)*$")] = ""
    """The path under which a proxy serves this, such as `/models/stay`, whether or not it removes it."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Larger requests are refused (413)."""
    max_batch: int = Field(default=1_000, ge=1)
    """Largest number of instances in one batch request."""
    idle_seconds: Seconds = 75.0
    """A connection without a request stays open so long: longer than nginx and load balancers keep theirs (60 s)."""
    max_head_bytes: int = Field(default=65_536, ge=1_000)
    """A request with a longer head (its first line and its headers) is refused (431)."""
    head_seconds: Seconds = 10.0
    """A head that takes longer to arrive is refused (408); a connection that sends nothing for so long is closed."""
    max_connections: int | None = Field(default=None, ge=1)
    """Most connections of a process; by default, and at most, 100 fewer than the files that it may open."""
    max_connections_per_address: int | None = Field(default=None, ge=1)
    """Most connections of one address; by default half of all. Behind a proxy, all are the proxy's."""
    on_stale_monitor: Literal["serve", "fallback"] = "serve"
    """If the monitor has stopped: `serve` the model with a flag in each answer, or use the `fallback`."""
    on_not_judged: Literal["serve", "fallback"] = "serve"
    """If no run has judged the requests for some intervals: `serve` the model and flag it, or use the `fallback`."""
    max_state_age_seconds: Seconds = 300.0
    """While PostgreSQL is out: how long the last known state applies. Then the fallback answers."""
    store_timeout_seconds: Seconds = 3.0
    """PostgreSQL counts as out if it is slower: rows then wait in the spool and clients do not."""
    spool: str | None = None
    """The spool file, on a disk that outlives the process; by default `<settings>.spool.db`."""


class Ids(Section):
    """The ids that clients give their requests; see `docs/how-to.md`."""

    keep: Seconds = 30 * 86400.0
    """So long a request with an id that is known gets the stored answer; later the id is free for a new request."""


class Observer(Section):
    """What explains incidents to people. No decision reads an explanation."""

    use: Literal["offline", "llm"] = "offline"
    """`offline` explains from templates, and nothing leaves the machine; `llm` calls a language model as well."""
    base_url: Annotated[str, AfterValidator(http_address)] | None = None
    """The server's address for OpenAI's protocol, for example `http://127.0.0.1:11434/v1`."""
    model: str | None = Field(default=None, min_length=1, max_length=100)
    """The language model's name on that server."""
    key_variable: Annotated[str, AfterValidator(variable_name)] | None = None
    """The environment variable with the key. Never write the key itself into this file."""
    timeout: Seconds = 10.0
    """Longest silence of the server in one attempt."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts, with growing pauses, if the server is unreachable, slow or busy."""
    budget: Seconds = 30.0
    """Longest time for one explanation, all attempts together. It limits the delay of a monitoring run."""
    parameters: dict[str, bool | int | Number | str] = {"temperature": 0.0, "max_tokens": 800}
    """Further fields of the request, sent unchanged; hosted models accept different ones."""

    @model_validator(mode="after")
    def _require_endpoint(self) -> "Observer":
        for name in ("base_url", "model"):
            if self.use == "llm" and getattr(self, name) is None:
                raise error_at(f"`{name}` is required if `use` is llm", name, alternatives=[("use",)])
        return self

    @property
    def key(self) -> str | None:
        """The key, from the environment."""
        return os.environ.get(self.key_variable) or None if self.key_variable else None


def _date_format_problem(kind: FeatureType, date_format: str | None) -> str:
    """What is wrong with the format of a feature's dates; empty if nothing is."""
    if date_format is None:
        return ""
    if kind in (FeatureType.NUMERIC, FeatureType.INTEGER):
        units = ("seconds", "milliseconds")
        if "%" in date_format:
            return _format_problem(date_format)
        return (
            "" if date_format in units else f"must be {units[0]}, {units[1]} or a format as %Y%m%d, as it is a number"
        )
    if kind is not FeatureType.DATE:
        return f"applies to dates and numbers, and this is a {kind.value}"
    return _format_problem(date_format) if "%" in date_format else "must be a format as %d.%m.%Y"


def _format_problem(date_format: str) -> str:
    """What is wrong with a format of dates: its own texts must be readable by it."""
    try:
        text = datetime(2026, 11, 30, 22, 40, 50, tzinfo=UTC).strftime(date_format)
        datetime.strptime(text, date_format)
    except (ValueError, re.error):
        return "repeats a part, or has one that cannot be read back: write a format as %d.%m.%Y"
    return ""


class Feature(Section):
    """One feature of the schema; see `stillsafe.core.schema.FeatureSpec`."""

    name: str = Field(min_length=1)
    """The key in a request."""
    type: Annotated[FeatureType, Field(strict=False)]
    """`numeric`, `integer`, `boolean`, `category`, `text`, `identifier` or `date`."""
    required: bool = True
    """Whether a request without the feature, or with null, is refused."""
    minimum: Number | None = None
    """Hard limit: a request with a smaller number is refused."""
    maximum: Number | None = None
    """Hard limit: a request with a larger number is refused."""
    categories: Words | None = None
    """The only accepted categories. If left out, every category is served, and unseen ones are measured."""
    max_length: int = Field(default=200, ge=1)
    """Longest accepted string, in characters."""
    log: Annotated[LogMode, Field(strict=False)] = LogMode.KEEP
    """`keep`, `hash` or `drop`: how the log stores the value."""
    omittable: bool = True
    """Whether a request may leave out a feature that may be null."""
    date_format: str | None = None
    """A date's format of `strptime` if it is not ISO 8601; `seconds` or `milliseconds` of a number that is a time."""
    watch: bool = True
    """Whether the monitor watches the feature. It is served and logged in any case."""
    limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Moderate limits of this feature alone, by signal, in place of those in `[policy]`: `{missing_rate = 0.1}`."""

    @model_validator(mode="after")
    def _check_signals(self) -> "Feature":
        signals = [signal.value for signal, row in SIGNALS.items() if row.subject is Subject.FEATURE]
        if unknown := [name for name in self.limits if name not in signals]:
            problem = f"{quote(unknown[0])} is no signal of a feature; there are: {', '.join(signals)}"
            raise error_at(problem, "limits", unknown[0], alternatives=[("limits",)])
        if self.limits and not self.watch:
            raise error_at("`limits` have no effect with `watch = false`", "limits")
        return self

    @model_validator(mode="after")
    def _check_type(self) -> "Feature":
        is_number = self.type in (FeatureType.NUMERIC, FeatureType.INTEGER)
        if not is_number and (self.minimum is not None or self.maximum is not None):
            limit = "minimum" if self.minimum is not None else "maximum"
            raise error_at(f"`{limit}` applies to numbers, and {self.name!r} is a {self.type.value}", limit)
        if self.type is not FeatureType.CATEGORY and self.categories is not None:
            raise error_at(
                f"`categories` applies to a category, and {self.name!r} is a {self.type.value}", "categories"
            )
        if self.categories is not None and not self.categories:
            raise error_at(
                f"`categories` of {self.name!r} is empty, which would refuse every value; leave it out to accept any",
                "categories",
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise error_at(f"`minimum` of {self.name!r} must not exceed `maximum`", "minimum")
        if problem := _date_format_problem(self.type, self.date_format):
            raise error_at(f"`date_format` of {self.name!r} {problem}", "date_format")
        return self

    def spec(self) -> FeatureSpec:
        """The feature's part of the core's schema."""
        names = (field.name for field in fields(FeatureSpec))
        return FeatureSpec(**{name: getattr(self, name) for name in names})
