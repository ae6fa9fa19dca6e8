"""Write the settings file of a new service, with an explanation of every line, for a person to review."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from stillsafe.core.policy import Policy, reasons
from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType, Schema
from stillsafe.init.default_answer import DefaultAnswer, evaluation_phrases
from stillsafe.init.rule_proposal import NO_PROPOSAL, Proposal, ProposedList, ProposedModel
from stillsafe.rules import variable
from stillsafe.settings import SPANS
from stillsafe.settings_exposure import Exposure
from stillsafe.settings_fallback import FallbackRule, FallbackSettings
from stillsafe.settings_harm import Harm
from stillsafe.settings_retention import Retention
from stillsafe.settings_sections import (
    Feature,
    Ids,
    ModelFile,
    Monitor,
    Observer,
    Privacy,
    Service,
    Serving,
    format_duration,
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
_EXPOSURE = (("allowed_hosts", ["models.example.com"]), ("keys", True), ("trusted_proxies", ["10.0.0.7"]))


def settings_text(
    *,
    service: Mapping[str, Any],
    model: Mapping[str, Any],
    schema: Schema,
    remarks: Mapping[str, str],
    fallback: DefaultAnswer,
    proposal: Proposal = NO_PROPOSAL,
    owners: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """`stillsafe.toml` as text.

    Args:
        service: the keys of `[service]`.
        model: the keys of `[model]`.
        schema: the features.
        remarks: feature -> comment above it.
        fallback: the default answer.
        proposal: the rule lists and their prices.
        owners: the owner's choices: `harm`, the keys of `[harm]`, and `min_count` of `[privacy]`.
    """
    lines = [
        "# The settings of one service, written by `stillsafe init` for you to review.",
        '# Durations are seconds or texts like "30s", "15m", "2h". Paths are relative to this file.',
        "",
        *_section("service", Service, [*service.items()]),
        *_model_comment(is_external=bool(model.get("external"))),
        *_section("model", ModelFile, [*model.items()]),
        *_section("privacy", Privacy, [("min_count", owners.get("min_count", Privacy().min_count))]),
        *_harm(owners.get("harm", {}), is_external=bool(model.get("external"))),
        *_section("monitor", Monitor, [("every", "10m"), ("window", "15m")], [("max_gap", "30m"), ("max_carry", "1d")]),
        *_section("serving", Serving, [("host", "127.0.0.1"), ("port", 8000)], _serving_defaults()),
        *_section("exposure", Exposure, [], _EXPOSURE),
        *_section("ids", Ids, [], [("keep", "30d")]),
        *_section("retention", Retention, [], [("predictions", "90d"), ("refusals", "90d")]),
        *_section("observer", Observer, [("use", "offline")], _OTHER_OBSERVER),
        *_policy(),
        *_fallback(fallback, schema, proposal),
        *_features(schema, remarks),
    ]
    return "\n".join(lines) + "\n"


def _model_comment(*, is_external: bool) -> Iterator[str]:
    if is_external:
        yield "# The model runs elsewhere. Its callers follow /v1/state (`Guard.state`), send its answers to /v1/record"
        yield "# (`Guard.record`), and ask /v1/fallback (`Guard.fallback`) while the state is DEGRADED."
        return
    yield "# If the model was trained on the sample, its healthy confidence is too high, and later windows look worse."
    yield "# Then make the folder again with data that the model was not trained on."


def toml(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(key))} = {toml(item)}' for key, item in value.items())}}}"
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


def _harm(section: Mapping[str, Any], *, is_external: bool) -> Iterator[str]:
    yield "# How performance is measured: by default accuracy, or a regressor's mean absolute error. The keys `metric`,"
    yield "# `also`, `positive`, `threshold`, `costs`, `moderate` and `severe` choose otherwise: see docs/signals.md."
    if is_external:
        yield "# It is that of labels: what a failure costs is not estimated. After a change, make the folder again."
    else:
        yield "# After a change, `stillsafe init --refresh --sample DATA` measures what a failure costs in that metric."
    yield from _section("harm", Harm, [(key, value) for key, value in section.items() if value not in (None, [])])


def _serving_defaults() -> list[Line]:
    names = ("max_body_bytes", "max_batch", "on_stale_monitor")
    return [(name, Serving.model_fields[name].get_default()) for name in names]


def _policy() -> Iterator[str]:
    yield "# Every threshold and count that decisions depend on. Uncomment a line to change it."
    yield "[policy]"
    yield _line(
        f"# recovery = {toml(Policy().recovery.value)}", 'What ends DEGRADED: "not_severe" or "calm" runs only.'
    )
    other_sections = {"window_seconds", "every_seconds", "max_gap_seconds", "max_carry_seconds"}
    other_sections |= {"harm_moderate", "harm_severe"}
    for name, (default, reason) in reasons().items():
        if name not in other_sections:
            value = format_duration(default) if name in SPANS and default is not None else default
            yield _line(f"# {SPANS.get(name, name)} = {toml('auto' if value is None else value)}", reason)
    yield ""


def _fallback(fallback: DefaultAnswer, schema: Schema, proposal: Proposal) -> Iterator[str]:
    yield "# The answers while the model is bypassed."
    yield "[fallback]"
    yield _line(f"default = {toml(fallback.answer)}", fallback.about)
    if fallback.span is not None:
        smallest, largest = fallback.span
        yield _line(
            f"# minimum = {toml(smallest)}", f"{_meaning(FallbackSettings, 'minimum')} About the smallest prediction."
        )
        yield _line(
            f"# maximum = {toml(largest)}", f"{_meaning(FallbackSettings, 'maximum')} About the largest prediction."
        )
    yield from _prices(proposal)
    yield ""
    yield "# Your own rules, if any, come first, in order: the first match answers. A rule that reads a feature which"
    yield "# the open incident marks as damaged is skipped. Conditions are CEL (https://cel.dev): a numeric feature is"
    yield "# compared with a decimal, and a condition that needs a missing value does not match."
    if variables := shared_variables(schema):
        yield f"# There are no rules, because several features have the same name in rules: {', '.join(variables)}."
        yield ""
        return
    for condition in _examples(schema):
        yield "# [[fallback.rules]]"
        yield _line(f"# when = {toml(condition)}", _meaning(FallbackRule, "when"))
        yield _line(f"# answer = {toml(fallback.answer)}", _meaning(FallbackRule, "answer"))
    yield ""


def _prices(proposal: Proposal) -> Iterator[str]:
    """What the fallback is worth, and where its rule lists are."""
    evaluation = proposal.evaluation
    if evaluation is None:
        yield _line('# bypass = "always"', _meaning(FallbackSettings, "bypass"))
    else:
        basis = "labelled rows" if evaluation.labelled else "rows, by the model's own answers, as there are no labels"
        yield f"# Scores on the {evaluation.row_count} held-out {basis}:"
        yield from (f"#   {phrase}" for phrase in evaluation_phrases(evaluation))
        for key, value in (
            ("bypass", "always" if proposal.model_score is None else "when_it_pays"),
            ("model_score", proposal.model_score),
            ("default_score", proposal.default_score),
            ("default_error", proposal.default_error),
        ):
            if value is not None:
                yield _line(f"{key} = {toml(value)}", _meaning(FallbackSettings, key))
        if proposal.lists or proposal.models:
            yield _line(f"lists_file = {toml(proposal.lists_file)}", _meaning(FallbackSettings, "lists_file"))
        else:
            yield "# There are no rule lists: no short list scores clearly better than the default answer."
    yield _line('# answer = "rules"', _meaning(FallbackSettings, "answer"))
    yield _line("# abstention_cost = 0.1", _meaning(FallbackSettings, "abstention_cost"))


def lists_text(proposal: Proposal) -> str:
    """The file of `lists_file` as text: the rule lists, each with its score."""
    evaluation = proposal.evaluation
    metric = "accuracy" if evaluation is None else evaluation.metric
    unit = "" if "error" not in metric else ", as a multiple of the model's and with a minus: higher is better"
    lines = [
        "# The rule lists of the fallback, which `stillsafe init` learnt from part of the sample: review, edit or",
        "# delete them. While the model is bypassed, the list with the best score answers, of those that read no",
        "# damaged feature. A row without a value that the list needs goes to the next one, at last to the default.",
        f"# `score` is the {metric} on held-out rows{unit}. If you edit a list, its score no longer holds:",
        "# delete it, or change it to what `stillsafe backtest` measures.",
        "# Conditions are CEL (https://cel.dev); a list reads the features of its `reads` only.",
    ]
    for number, rule_list in enumerate(proposal.lists, start=1):
        lines += ["", f"# List {number}: {_list_heading(rule_list)}", "[[lists]]"]
        lines += [f"reads = {toml(rule_list.reads)}", f"score = {rule_list.score!r}"]
        lines += [*_error_line(rule_list), "rules = ["]
        lines += [
            f"    {{when = {_literal(rule.when)}, answer = {toml(rule.answer)}}},  # {rule.about}"
            for rule in rule_list.rules
        ]
        lines.append("]")
    for number, model in enumerate(proposal.models):
        lines += ["", f"# Model {number + 1}: {_list_heading(model)}", "[[models]]"]
        lines += [f"file = {toml(proposal.models_file)}", f"sha256 = {toml(proposal.models_digest)}"]
        lines += [f"member = {number}", f"reads = {toml(model.reads)}"]
        lines += [] if model.score is None else [f"score = {model.score!r}", *_error_line(model)]
    return "\n".join(lines) + "\n"


def _error_line(fallback: ProposedList | ProposedModel) -> list[str]:
    return [] if fallback.error is None else [f"error = {fallback.error!r}"]


def _list_heading(rule_list: ProposedList | ProposedModel) -> str:
    names = ", ".join(rule_list.without)
    about = f"without {names}" if names else "while every feature is intact"
    if rule_list.score is None:
        return about
    if rule_list.score < 0:
        return f"{about}; {-rule_list.score:.3g} times the model's error"
    return f"{about}; score {rule_list.score:.3g}"


def _literal(text: str) -> str:
    """A text as TOML writes it, without escapes where that is possible."""
    return f"'{text}'" if "'" not in text and text.isprintable() else toml(text)


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
    if not spec.omittable:
        yield "omittable", spec.omittable
    for key, limit in (("minimum", spec.minimum), ("maximum", spec.maximum)):
        if limit is not None:
            yield key, int(limit) if spec.type is FeatureType.INTEGER else limit
    if spec.categories is not None:
        yield "categories", spec.categories
    if spec.type in TEXT_TYPES:
        yield "max_length", spec.max_length
    if spec.date_format is not None:
        yield "date_format", spec.date_format
    yield "log", spec.log.value


def _meaning(about: type[BaseModel], key: str) -> str:
    return about.model_fields[key].description or ""


def _line(setting: str, comment: str) -> str:
    """A setting with its explanation on the same line, or above it if the line would be too long."""
    line = f"{setting:<{COMMENT_COLUMN}}  # {comment}"
    return line if len(line) <= LONGEST_COMMENT else f"# {comment}\n{setting}"
