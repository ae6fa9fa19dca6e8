"""Reads `stillsafe.toml` and the environment once, into frozen settings.

A mistake in the file becomes one sentence with the file, the line and the remedy. `STILLSAFE_DATABASE_URL` overrides
`service.database`; secrets come from the environment only.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model, model_validator

from stillsafe.core.policy import COUNTS, Bypass, FallbackPrice, Policy, Recovery, reasons
from stillsafe.core.schema import Schema
from stillsafe.errors import ConfigurationError
from stillsafe.own_modules import OwnModules
from stillsafe.settings_alerts import Alert
from stillsafe.settings_errors import NOT_WRITTEN, configuration_error, quote
from stillsafe.settings_exposure import Exposure
from stillsafe.settings_fallback import FallbackLists, FallbackModel, FallbackRule, FallbackRuleList, FallbackSettings
from stillsafe.settings_harm import Harm
from stillsafe.settings_retention import Retention
from stillsafe.settings_sections import (
    Feature,
    Ids,
    ModelFile,
    Monitor,
    Observer,
    Privacy,
    Section,
    Service,
    Serving,
    Span,
    database_address,
    error_at,
)

DEFAULT_FILE = "stillsafe.toml"
DATABASE_VARIABLE = "STILLSAFE_DATABASE_URL"
_RELATIVE_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!/|:memory:)")


class Settings(Section):
    """The whole file. Paths in it are relative to `folder`, where the file is; `file` is None without a file.

    The `ignored_keys` stand in the file and have no effect any more: sentence by key.
    """

    folder: Path
    file: Path | None = None
    ignored_keys: Mapping[str, str] = {}
    service: Service
    model: ModelFile
    privacy: Privacy = Privacy()
    harm: Harm = Harm()
    monitor: Monitor = Monitor()
    serving: Serving = Serving()
    exposure: Exposure = Exposure()
    ids: Ids = Ids()
    retention: Retention = Retention()
    observer: Observer = Observer()
    policy: Policy = Policy()
    alerts: Annotated[tuple[Alert, ...], Field(strict=False)] = ()
    fallback: FallbackSettings
    features: Annotated[tuple[Feature, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _check_consistency(self) -> "Settings":
        names = [feature.name for feature in self.features]
        if not names:
            raise error_at("there is no feature; describe each one in a `[[features]]` table", "features")
        for index, name in enumerate(names):
            if name in names[:index]:
                raise error_at(f"the feature {quote(name)} is described twice", "features", index, "name")
        receivers = [receiver.name for receiver in self.alerts]
        for index, name in enumerate(receivers):
            if name in receivers[:index]:
                raise error_at(f"two receivers are called {quote(name)}", "alerts", index, "name")
        if problems := self.policy.problems():
            path, *alternatives = _policy_paths(problems[0])
            problem = f"the policy is unsound: {problems[0]}".removesuffix(".")
            raise error_at(problem, *path, alternatives=alternatives)
        return self

    @property
    def schema_of_features(self) -> Schema:
        """The hard limits of every feature, in order."""
        return Schema(tuple(feature.spec() for feature in self.features))

    @property
    def has_shadow_scores(self) -> bool:
        """Whether rows that bypass the model can be scored afterwards: it is here, and the log has all its inputs."""
        return self.schema_of_features.scorable_from_log and not self.model.external

    @property
    def own_modules(self) -> OwnModules:
        """The owner's modules that the model or the fallback function needs."""
        folders = tuple(self.path(folder) for folder in self.model.python_path)
        return OwnModules(folders, self.model.modules, self.file)

    @property
    def watch_sentence(self) -> str:
        """The features that are not watched, or have limits of their own, in one sentence; empty if there are none."""
        limits = self.policy.feature_limits
        unwatched_names = f"not watched: {', '.join(self.policy.unwatched_features)} (`watch = false`)"
        own = f"limits of their own: {', '.join(f'{key} {limit:g}' for key, limit in limits.items())}"
        parts = [part for part, names in ((unwatched_names, self.policy.unwatched_features), (own, limits)) if names]
        return f"Features {'; '.join(parts)}." if parts else ""

    @property
    def database_url(self) -> str:
        """The database's URL; a relative SQLite path is made absolute from the settings' folder."""
        url = self.service.database
        relative = _RELATIVE_SQLITE.match(url)
        if relative is None or len(url) == relative.end():
            return url
        return relative[0] + str((self.folder / url[relative.end() :]).resolve())

    @property
    def spool_file(self) -> Path:
        """The file in which rows wait while a database server is out, on each host."""
        return self.path(self.serving.spool or f"{self.file.stem if self.file else 'stillsafe'}.spool.db")

    def path(self, name: str) -> Path:
        """The absolute path of a file that the settings name."""
        return (self.folder / name).resolve()


def load(file: Path | str, *, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check a `stillsafe.toml`.

    Args:
        file: its path.
        environment: variables that override settings; by default those of this process.

    Raises:
        ConfigurationError: the file is missing or wrong; the error has the line and the remedy.
    """
    path = Path(file)
    text = _read(path)
    document = _toml(path, text)
    return parse(document, folder=path.resolve().parent, file=str(path), text=text, environment=environment)


def _toml(path: Path, text: str) -> dict[str, Any]:
    """The document of a TOML file.

    Raises:
        ConfigurationError: it is no TOML; the error has the line.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:
        problem = re.sub(r"\s*\(at (line \d+, column \d+|end of document)\)", "", str(error)).rstrip(".")
        line = _error_line(str(error), text)
        raise ConfigurationError(
            f"Not valid TOML: {problem}.", "Correct that line.", file=str(path), line=line
        ) from None
    except RecursionError:
        raise ConfigurationError("Not valid TOML: nested too deeply.", "Flatten it.", file=str(path)) from None


def _read(
    path: Path, remedy: str = "Name the file with --config or STILLSAFE_CONFIG, or create one with `stillsafe init`."
) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError("There is no such file.", remedy, file=str(path)) from None
    except IsADirectoryError:
        remedy = f"Name the file in it, for example {path / DEFAULT_FILE}."
        raise ConfigurationError("It is a directory.", remedy, file=str(path)) from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        remedy = "Check its name and permissions."
        raise ConfigurationError(f"It cannot be read: {cause}.", remedy, file=str(path)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError("It is not UTF-8 text.", "Save it as UTF-8.", file=str(path), line=line) from None


def _error_line(message: str, text: str) -> int | None:
    """The line that an error message of the TOML parser names."""
    if match := re.search(r"at line (\d+)", message):
        return int(match[1])
    return max(1, len(text.splitlines())) if "end of document" in message else None


def parse(
    document: Mapping[str, Any],
    *,
    folder: Path,
    file: str | None = None,
    text: str = "",
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings of a TOML document, with the environment's overrides.

    Args:
        document: the parsed TOML.
        folder: what relative paths start from.
        file: the file's name, for errors.
        text: the file's text, to find the line of a mistake.
        environment: variables that override settings; by default those of this process.

    Raises:
        ConfigurationError: the document is wrong; the error has the line, if `text` is given, and the remedy.
    """
    sections = _with_environment(document, environment)
    try:
        if keys := [name for name in NOT_WRITTEN if name in sections]:
            raise ValidationError.from_exception_data("", [{"type": "extra_forbidden", "loc": (keys[0],), "input": 0}])
        policy = _policy(sections.pop("policy", {}), sections.get("monitor", {}))
        origin = {
            "folder": folder,
            "file": None if file is None else Path(file),
            "ignored_keys": _ignored_keys(document),
        }
        settings = Settings.model_validate({**sections, **origin, "policy": policy})
        fallback = _with_lists_file(settings)
        policy = _with_prices(_with_feature_limits(policy, settings.features), fallback, settings.harm)
        policy = _with_harm(policy, settings.harm)
        policy = replace(policy, observe=settings.service.mode == "observe")
        return settings.model_copy(update={"policy": policy, "fallback": fallback})
    except ValidationError as error:
        raise configuration_error(error, _SECTIONS, file, text) from None


def _with_environment(document: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The document with the environment's database, which is checked here because no line of the file is at fault."""
    sections = dict(document)
    url, service = environment.get(DATABASE_VARIABLE), sections.get("service")
    if url and isinstance(service, dict):
        try:
            sections["service"] = {**service, "database": database_address(url)}
        except ValueError as error:
            problem = f"The environment variable {DATABASE_VARIABLE} {error}."
            raise ConfigurationError(problem, "Correct or unset it.") from None
    return sections


_SCHEDULE = {
    "window_seconds": "window",
    "every_seconds": "every",
    "max_gap_seconds": "max_gap",
    "max_carry_seconds": "max_carry",
}
"""Fields of the policy that `[monitor]` sets, each with its key there."""
SPANS = {"silence_seconds": "silence", "label_max_age_seconds": "label_max_age"}
"""Durations of the policy, each with its key in `[policy]`."""
_HARM = {"harm_moderate": "moderate", "harm_severe": "severe"}
"""Fields of the policy that `[harm]` sets, each with its key there."""
_Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Growth = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _none_if_auto(value: object) -> object:
    return None if value == "auto" else value


_POLICY_TYPES: dict[str, Any] = {
    **dict.fromkeys(COUNTS, int),
    "low_confidence_threshold": Annotated[_Rate | None, BeforeValidator(_none_if_auto)],
    "silence": Annotated[Span | None, BeforeValidator(_none_if_auto)],
    "label_max_age": Span,
    "not_judged_intervals": Annotated[float, Field(gt=0, allow_inf_nan=False)],
    "estimated_error_growth_moderate": _Growth,
    "estimated_error_growth_severe": _Growth,
    "recovery": Annotated[Recovery, Field(strict=False)],
}
"""The type of each key of `[policy]` that is not a rate."""
_IGNORED_KEYS = {
    "refusal_rate_severe": "refusals are never severe, because the model is not at fault; remove the key.",
}
"""Keys of `[policy]` that had an effect in earlier releases: a file that sets one is no mistake."""
_POLICY_KEYS = [SPANS.get(name, name) for name in reasons() if name not in (*_SCHEDULE, *_HARM)]
_POLICY_FIELDS: dict[str, Any] = {key: (_POLICY_TYPES.get(key, _Rate) | None, None) for key in _POLICY_KEYS}
_POLICY_FIELDS |= dict.fromkeys(_IGNORED_KEYS, (object, None))
_POLICY_FIELDS["recovery"] = (_POLICY_TYPES["recovery"] | None, None)
_PolicySection: type[Section] = create_model("_PolicySection", __base__=Section, **_POLICY_FIELDS)
_PolicyDocument = create_model("_PolicyDocument", policy=(_PolicySection, ...), monitor=(Monitor, ...))


def _policy(section: object, monitor: object) -> Policy:
    """The policy of `[policy]` and of the schedule in `[monitor]`."""
    document: Any = _PolicyDocument.model_validate({"policy": section, "monitor": monitor})
    fields = document.policy.model_dump(exclude=set(_IGNORED_KEYS))
    values = {key: value for key, value in fields.items() if value is not None}
    written_limits = tuple(sorted(key for key in values if key.endswith(("_moderate", "_severe"))))
    values |= {name: values.pop(key) for name, key in SPANS.items() if key in values}
    if "min_predictions" in values and "min_fresh_predictions" not in values:
        values["min_fresh_predictions"] = max(1, values["min_predictions"] // 2)
    every = document.monitor.every
    return Policy(
        window_seconds=document.monitor.window,
        every_seconds=every,
        max_gap_seconds=document.monitor.max_gap or 3 * every,
        max_carry_seconds=document.monitor.max_carry or max(Policy().max_carry_seconds, document.monitor.window),
        written_limits=written_limits,
        **values,
    )


def _ignored_keys(document: Mapping[str, Any]) -> dict[str, str]:
    """The keys of the file that have no effect any more, each with the reason."""
    section = document.get("policy", {})
    return {f"policy.{key}": reason for key, reason in _IGNORED_KEYS.items() if key in section}


def _with_feature_limits(policy: Policy, features: tuple[Feature, ...]) -> Policy:
    """The policy with the limits of single features, and with the features that are not watched."""
    limits = {f"{signal}:{each.name}": limit for each in features for signal, limit in each.limits.items()}
    return replace(
        policy, unwatched_features=tuple(each.name for each in features if not each.watch), feature_limits=limits
    )


def _with_lists_file(settings: Settings) -> FallbackSettings:
    """The section `[fallback]` with the lists and models of its `lists_file`.

    Raises:
        ConfigurationError: the file is missing or wrong; the error has its line and the remedy.
    """
    fallback = settings.fallback
    if fallback.lists_file is None:
        return fallback
    path = settings.path(fallback.lists_file)
    text = _read(path, "Correct `lists_file` in [fallback], or remove it.")
    try:
        lists = FallbackLists.model_validate(_toml(path, text))
    except ValidationError as error:
        raise configuration_error(error, _LISTS_SECTIONS, str(path), text) from None
    return fallback.model_copy(
        update={"lists": (*lists.lists, *fallback.lists), "models": (*lists.models, *fallback.models)}
    )


def _with_harm(policy: Policy, harm: Harm) -> Policy:
    """The policy with the owner's metric and its limits."""
    return replace(policy, metric=harm.metric, harm_moderate=harm.moderate, harm_severe=harm.severe)


def _with_prices(policy: Policy, fallback: FallbackSettings, harm: Harm) -> Policy:
    """The policy with what the fallback is expected to be worth."""
    prices = tuple(FallbackPrice(*price) for price in fallback.prices)
    if harm.metric == "expected_cost":
        prices = tuple(replace(price, score=price.score - harm.fallback_cost) for price in prices)
        if fallback.answer == "abstain":
            prices = (FallbackPrice((), 1 - harm.no_answer_cost),)
    return replace(policy, bypass=Bypass(fallback.bypass), fallback_prices=prices, model_score=fallback.model_score)


_LISTS_SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    ("lists",): FallbackRuleList,
    ("lists", "rules"): FallbackRule,
    ("models",): FallbackModel,
    (): FallbackLists,
}
_SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    ("service",): Service,
    ("model",): ModelFile,
    ("privacy",): Privacy,
    ("harm",): Harm,
    ("monitor",): Monitor,
    ("serving",): Serving,
    ("exposure",): Exposure,
    ("ids",): Ids,
    ("retention",): Retention,
    ("observer",): Observer,
    ("policy",): _PolicySection,
    ("fallback",): FallbackSettings,
    ("fallback", "rules"): FallbackRule,
    ("fallback", "lists"): FallbackRuleList,
    ("fallback", "lists", "rules"): FallbackRule,
    ("fallback", "models"): FallbackModel,
    ("alerts",): Alert,
    ("features",): Feature,
    (): Settings,
}


def _policy_paths(problem: str) -> list[tuple[str, str]]:
    """The keys of the file that a problem of the policy names, in the problem's order."""
    paths = {
        **{key: ("policy", key) for key in _POLICY_KEYS},
        **{name: ("monitor", key) for name, key in _SCHEDULE.items()},
        "max_gap": ("monitor", "max_gap"),
        "max_carry": ("monitor", "max_carry"),
        "interval": ("monitor", "every"),
        **{name: ("policy", key) for name, key in SPANS.items()},
    }
    return [paths[word] for word in re.findall(r"\w+", problem) if word in paths]
