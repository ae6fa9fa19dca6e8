"""Write the settings file of a new service, with an explanation of every line, for a person to review."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from stillsafe.core.policy import reasons
from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType, Schema
from stillsafe.init.default_answer import DefaultAnswer, evaluation_phrases
from stillsafe.init.rule_search import NO_PROPOSAL, Proposal, ProposedRule
from stillsafe.rules import variable
from stillsafe.settings_sections import (
    FallbackRule,
    FallbackSettings,
    Feature,
    ModelFile,
    Monitor,
    Observer,
    Service,
    Serving,
)

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
    fallback: DefaultAnswer,
    proposal: Proposal = NO_PROPOSAL,
) -> str:
    """`stillsafe.toml` as text."""
    lines = [
        "# The settings of one service, written by `stillsafe init` for you to review.",
        '# Durations are seconds or texts like "30s", "15m", "2h". Paths are relative to this file.',
        "",
        *_section("service", Service, [*service.items()]),
        "# If the model was trained on the sample, its healthy confidence is too high, and later windows look worse.",
        "# Then make the folder again with data that the model was not trained on.",
        *_section("model", ModelFile, [*model.items()]),
        *_section("monitor", Monitor, [("every", "10m"), ("window", "15m")], [("max_gap", "30m"), ("max_carry", "1d")]),
        *_section("serving", Serving, [("host", "127.0.0.1"), ("port", 8000)], _serving_defaults()),
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
    # A JSON string is a valid TOML string, except for one character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _section(
    name: str, about: type[BaseModel], lines: Sequence[Line], commented_lines: Sequence[Line] = ()
) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in lines:
        yield _line(f"{key} = {toml(value)}", _meaning(about, key))
    for key, value in commented_lines:
        yield _line(f"# {key} = {toml(value)}", _meaning(about, key))
    yield ""


def _serving_defaults() -> list[Line]:
    names = ("max_body_bytes", "max_batch", "on_stale_monitor")
    return [(name, Serving.model_fields[name].get_default()) for name in names]


def _policy() -> Iterator[str]:
    yield "# Every threshold and count that decisions depend on. Uncomment a line to change it."
    yield "[policy]"
    monitor_settings = {"window_seconds", "every_seconds", "max_gap_seconds", "max_carry_seconds"}
    for name, (default, reason) in reasons().items():
        if name not in monitor_settings:
            key = "silence" if name == "silence_seconds" else name
            yield _line(f"# {key} = {toml('auto' if default is None else default)}", reason)
    yield ""


def _fallback(fallback: DefaultAnswer, schema: Schema, proposal: Proposal) -> Iterator[str]:
    yield "# The answers while the model is bypassed."
    yield "[fallback]"
    yield _line(f"default = {toml(fallback.answer)}", fallback.about)
    if fallback.span is not None:
        smallest, largest = fallback.span
        yield _line(
            f"# minimum = {toml(smallest)}", f"{_meaning(FallbackSettings, 'minimum')} The smallest healthy prediction."
        )
        yield _line(
            f"# maximum = {toml(largest)}", f"{_meaning(FallbackSettings, 'maximum')} The largest healthy prediction."
        )
    yield ""
    yield "# Rules are evaluated in order, and the first match answers. A rule that reads a feature which the open"
    yield "# incident marks as damaged is skipped. Conditions are CEL (https://cel.dev): a numeric feature is compared"
    yield "# with a decimal, and a condition that needs a missing value does not match."
    if variables := shared_variables(schema):
        yield f"# There are no rules, because several features have the same name in rules: {', '.join(variables)}."
        yield ""
        return
    yield from _rule_comments(proposal)
    for rule in proposal.rules:
        yield from _rule(rule)
    for condition in () if proposal.rules else _examples(schema):
        yield "# [[fallback.rules]]"
        yield _line(f"# when = {toml(condition)}", _meaning(FallbackRule, "when"))
        yield _line(f"# answer = {toml(fallback.answer)}", _meaning(FallbackRule, "answer"))
    yield ""


def _rule_comments(proposal: Proposal) -> Iterator[str]:
    """Comments on the rule search: the scores on the held-out rows."""
    evaluation = proposal.evaluation
    if evaluation is None:
        return
    if not proposal.rules:
        yield "# `init` proposes no rules: no simple rule scores clearly better than the default answer, whose"
        yield f"# {evaluation.metric} is {evaluation.default:.3g} on the {evaluation.row_count} held-out labelled rows."
        return
    yield "# `init` learnt these rules from part of the labelled sample. They are a start: edit or delete them."
    yield f"# Scores on the {evaluation.row_count} held-out labelled rows:"
    yield from (f"#   {phrase}" for phrase in evaluation_phrases(evaluation))


def _rule(rule: ProposedRule) -> Iterator[str]:
    if rule.heading:
        yield ""
        yield f"# {rule.heading}"
    yield "[[fallback.rules]]"
    yield _line(f"when = {toml(rule.when)}", rule.about)
    yield _line(f"answer = {toml(rule.answer)}", _meaning(FallbackRule, "answer"))


def shared_variables(schema: Schema) -> tuple[str, ...]:
    """The variable names in fallback rules that more than one feature has; with any, there can be no rules."""
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
            case FeatureType.DATE:
                yield f'{name} >= "2026-01-01"'
            case FeatureType.TEXT | FeatureType.IDENTIFIER:
                yield f'{name} == ""'
            case FeatureType.CATEGORY:
                # A JSON string is a valid CEL string.
                yield f"{name} == {json.dumps(spec.categories[0] if spec.categories else 'A', ensure_ascii=False)}"


def _features(schema: Schema, remarks: Mapping[str, str]) -> Iterator[str]:
    yield "# One table per feature, in the model's order. A request outside a hard limit is refused with 422. The"
    yield "# monitor evaluates unusual values within the limits, so keep the limits wide."
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
    if spec.type in TEXT_TYPES:
        yield "max_length", spec.max_length
    yield "log", spec.log.value


def _meaning(about: type[BaseModel], key: str) -> str:
    return about.model_fields[key].description or ""


def _line(setting: str, comment: str) -> str:
    """A setting with its explanation on the same line, or above it if the line would be too long."""
    line = f"{setting:<{COMMENT_COLUMN}}  # {comment}"
    return line if len(line) <= LONGEST_COMMENT else f"# {comment}\n{setting}"
