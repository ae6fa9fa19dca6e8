"""The settings file of a new service, every line explained, for a person to review."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from stillsafe.core.policy import reasons
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.init.default_answer import Default, prices_told
from stillsafe.init.rule_search import NO_PROPOSAL, Proposal, Proposed
from stillsafe.rules import variable
from stillsafe.settings import FallbackRule, FallbackSettings, Feature, ModelFile, Monitor, Observer, Service, Serving

COMMENT_COLUMN = 44
LONGEST_COMMENT = 120

Line = tuple[str, Any]
_OTHER_OBSERVER: tuple[Line, ...] = (
    ("base_url", "http://127.0.0.1:11434/v1"),
    ("model", "llama3.2"),
    ("key_variable", "STILLSAFE_LLM_KEY"),
    ("timeout", "10s"),
    ("retries", 2),
    ("budget", "30s"),
)


def settings_text(
    *,
    service: Mapping[str, Any],
    model: Mapping[str, Any],
    schema: Schema,
    remarks: Mapping[str, str],
    fallback: Default,
    proposal: Proposal = NO_PROPOSAL,
) -> str:
    """`stillsafe.toml` as text."""
    lines = [
        "# The settings of one service, written by `stillsafe init` for you to review.",
        '# Durations are seconds or texts like "30s", "15m", "2h". Paths are relative to this file.',
        "",
        *_section("service", Service, [*service.items()]),
        "# If the model was trained on the sample, the reference says that it is surer than it will ever be again, and",
        "# every day will look worse: make the folder anew with data that the model has not seen.",
        *_section("model", ModelFile, [*model.items()]),
        *_section("monitor", Monitor, [("every", "10m"), ("window", "15m")], [("max_gap", "30m")]),
        *_section("serving", Serving, [("host", "127.0.0.1"), ("port", 8000)], _other_serving()),
        *_section("observer", Observer, [("use", "offline")], _OTHER_OBSERVER),
        *_policy(),
        *_fallback(fallback, schema, proposal),
        *_features(schema, remarks),
    ]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    # JSON's strings are TOML's, but for the one character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _section(
    name: str, about: type[BaseModel], written: Sequence[Line], left_out: Sequence[Line] = ()
) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in written:
        yield _line(f"{key} = {toml(value)}", _meaning(about, key))
    for key, value in left_out:
        yield _line(f"# {key} = {toml(value)}", _meaning(about, key))
    yield ""


def _other_serving() -> list[Line]:
    names = ("max_body_bytes", "max_batch", "on_stale_monitor")
    return [(name, Serving.model_fields[name].get_default()) for name in names]


def _policy() -> Iterator[str]:
    yield "# Every threshold and count that a decision rests on. Uncomment a line to change it."
    yield "[policy]"
    own_page = {"window_seconds", "every_seconds", "max_gap_seconds"}
    for name, (default, reason) in reasons().items():
        if name not in own_page:
            key = name.removesuffix("_seconds")
            yield _line(f"# {key} = {toml('auto' if default is None else default)}", reason)
    yield ""


def _fallback(fallback: Default, schema: Schema, proposal: Proposal) -> Iterator[str]:
    yield "# What is answered while the model is bypassed."
    yield "[fallback]"
    yield _line(f"default = {toml(fallback.answer)}", fallback.about)
    if fallback.span is not None:
        least, greatest = fallback.span
        yield _line(f"# minimum = {toml(least)}", f"{_meaning(FallbackSettings, 'minimum')} Here the least in health.")
        yield _line(
            f"# maximum = {toml(greatest)}", f"{_meaning(FallbackSettings, 'maximum')} Here the greatest in health."
        )
    yield ""
    yield "# Rules are tried in order, and the first that matches answers. A rule that reads a feature which the open"
    yield "# incident names as damaged is skipped. Conditions are CEL (https://cel.dev): a numeric feature is compared"
    yield "# with a decimal, and a condition that needs a missing value does not match."
    if shared := shared_variables(schema):
        yield f"# There can be none here as long as several features would be called the same: {', '.join(shared)}."
        yield ""
        return
    yield from _verdict(proposal)
    for rule in proposal.rules:
        yield from _rule(rule)
    for condition in () if proposal.rules else _examples(schema):
        yield "# [[fallback.rules]]"
        yield _line(f"# when = {toml(condition)}", _meaning(FallbackRule, "when"))
        yield _line(f"# answer = {toml(fallback.answer)}", _meaning(FallbackRule, "answer"))
    yield ""


def _verdict(proposal: Proposal) -> Iterator[str]:
    """What was tried on the labelled sample, and what it is worth."""
    prices = proposal.prices
    if prices is None:
        return
    if not proposal.rules:
        yield "# `init` proposes none: of the simple ones that it tried none beats the default by a real margin. Alone"
        yield f"# it has the {prices.metric} {prices.default:.3g} on the {prices.row_count} labelled rows held out."
        return
    yield "# `init` learnt these from a part of the labelled sample. They are a start: edit them, or take them out."
    yield f"# What they are worth on the {prices.row_count} labelled rows that they were not learnt from:"
    yield from (f"#   {told}" for told in prices_told(prices))


def _rule(rule: Proposed) -> Iterator[str]:
    if rule.heading:
        yield ""
        yield f"# {rule.heading}"
    yield "[[fallback.rules]]"
    yield _line(f"when = {toml(rule.when)}", rule.about)
    yield _line(f"answer = {toml(rule.answer)}", _meaning(FallbackRule, "answer"))


def shared_variables(schema: Schema) -> tuple[str, ...]:
    """The names that fallback rules would have for more than one feature, which rules out rules."""
    counts = Counter(variable(spec.name) for spec in schema.features)
    return tuple(name for name, count in counts.items() if count > 1)


def _examples(schema: Schema) -> Iterator[str]:
    """Up to two conditions on this service's own features."""
    for spec in schema.features[:2]:
        name = variable(spec.name)
        match spec.type:
            case FeatureType.NUMERIC:
                yield f"{name} > 30.0"
            case FeatureType.INTEGER:
                yield f"{name} > 30"
            case FeatureType.BOOLEAN:
                yield name
            case FeatureType.CATEGORY:
                # JSON's strings are CEL's too.
                yield f"{name} == {json.dumps(spec.categories[0] if spec.categories else 'A', ensure_ascii=False)}"


def _features(schema: Schema, remarks: Mapping[str, str]) -> Iterator[str]:
    yield "# One table per feature, in the model's order. A request that breaks a hard limit is refused with 422; what"
    yield "# the limits allow but the healthy period never showed is served, recorded and judged by the monitor: keep"
    yield "# them generous."
    for spec in schema.features:
        yield ""
        yield "[[features]]"
        if spec.name in remarks:
            yield f"# {remarks[spec.name]}"
        for key, value in _feature(spec):
            yield _line(f"{key} = {toml(value)}", _meaning(Feature, key))


def _feature(spec: FeatureSpec) -> Iterator[Line]:
    yield "name", spec.name
    yield "type", spec.type.value
    yield "required", spec.required
    for key, limit in (("minimum", spec.minimum), ("maximum", spec.maximum)):
        if limit is not None:
            yield key, int(limit) if spec.type is FeatureType.INTEGER else limit
    if spec.categories is not None:
        yield "categories", spec.categories
    if spec.type is FeatureType.CATEGORY:
        yield "max_length", spec.max_length
    yield "log", spec.log.value


def _meaning(about: type[BaseModel], key: str) -> str:
    return about.model_fields[key].description or ""


def _line(setting: str, comment: str) -> str:
    """A setting with its meaning beside it, or above it where the line would get too long."""
    beside = f"{setting:<{COMMENT_COLUMN}}  # {comment}"
    return beside if len(beside) <= LONGEST_COMMENT else f"# {comment}\n{setting}"
