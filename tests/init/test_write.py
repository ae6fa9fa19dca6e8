"""The settings file explains every line, and parses as written and with each default uncommented."""

import re
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from stillsafe import settings
from stillsafe.core.policy import Bypass, FallbackPrice, Policy, reasons
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.init import write
from stillsafe.init.default_answer import DefaultAnswer
from stillsafe.init.rule_proposal import NO_PROPOSAL, DamageScore, Proposal, ProposedList, ProposedRule, RuleEvaluation
from stillsafe.rules import compile_fallback
from stillsafe.settings_sections import Privacy
from tests.init.services import init_service, people

TABLE = people()[["age", "visits"]]
MIN_COUNT = Privacy().min_count
DIGEST = "0" * 64
KINDS = tuple(FeatureSpec(kind.value, kind, required=False) for kind in FeatureType)
NUMBER = DefaultAnswer(5.5, "The median.", (1.25, 1e20))


def text_of(
    schema: Schema = Schema(KINDS),  # noqa: B008 - frozen
    default: DefaultAnswer = NUMBER,
    proposal: Proposal = NO_PROPOSAL,
    **remarks: str,
) -> str:
    return write.settings_text(
        service={"name": "s", "mode": "enforce", "database": "sqlite:///stillsafe.db", "hash_salt": "x"},
        model={"file": "model.skops", "sha256": DIGEST, "version": "1", "reference": "reference.json"},
        schema=schema,
        remarks=remarks,
        fallback=default,
        proposal=proposal,
    )


def parse(text: str) -> settings.Settings:
    return settings.parse(tomllib.loads(text), folder=Path("/"), text=text)


def test_every_line_is_explained() -> None:
    """Each setting, in force or commented out, has a comment beside it or above it."""
    lines = text_of().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"(# )?[a-z_]+ = ", line) and "  # " not in line:
            assert re.match(r"# [A-Z`].*\S", above), line
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize(
    "default", [NUMBER, DefaultAnswer("yes", "It.", None), DefaultAnswer(True, "It.", None)], ids=str
)
def test_each_default_parses_when_uncommented(default: DefaultAnswer) -> None:
    """Any one line, and all of them at once, can be put in force, and the policy stays what it was."""
    text = text_of(default=default)
    commented_lines = [line for line in text.splitlines() if re.match(r"# [a-z_]+ = |# \[\[", line)]
    assert len(commented_lines) > 25
    for line in commented_lines:
        if not line.startswith(("# when", "# answer", "# [[")):
            policy = parse(text.replace(f"\n{line}\n", f"\n{line[2:]}\n")).policy
            assert replace(policy, written_limits=()) == Policy()
    whole = parse(re.sub(r"(?m)^# (?=[a-z_]+ = |\[\[)", "", text))
    assert replace(whole.policy, written_limits=()) == Policy()
    assert len(whole.fallback.rules) == 2
    assert len(compile_fallback(whole.fallback, whole.schema_of_features).rules) == 2


def test_every_number_of_the_policy_is_there() -> None:
    """The file names all numbers that a decision rests on, with their reasons."""
    text = text_of()
    schedule = {f"{key}_seconds": key for key in ("window", "every", "max_gap", "max_carry")}
    for name, (_, reason) in reasons().items():
        if name.startswith("harm_"):
            assert f"`{name.removeprefix('harm_')}`" in text
            continue
        assert re.search(rf"(?m)^(# )?{schedule.get(name, name.removesuffix('_seconds'))} = ", text), name
        assert name in schedule or reason in text


# Neither half a surrogate nor the zero character is text that a request may hold.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@effort(max_examples=40, deadline=None)
@given(names, st.lists(names, min_size=1, max_size=3, unique=True), names)
def test_any_text_survives(name: str, categories: list[str], answer: str) -> None:
    """Names, categories and answers of any characters read back as they were, and the example rule compiles."""
    spec = FeatureSpec(name, FeatureType.CATEGORY, categories=tuple(categories))
    text = text_of(Schema((spec,)), DefaultAnswer(answer, "It.", None))
    read = parse(re.sub(r"(?m)^# (?=when|answer|\[\[)", "", text))
    assert read.schema_of_features == Schema((spec,))
    assert read.fallback.default == answer
    rule = compile_fallback(read.fallback, read.schema_of_features).rules[0]
    assert rule.matches({name: categories[0]})


@effort(max_examples=40, deadline=None)
@given(st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_survives(limit: float | None) -> None:
    """Limits and answers read back as they were."""
    spec = FeatureSpec("x", FeatureType.NUMERIC, minimum=limit)
    read = parse(text_of(Schema((spec,)), DefaultAnswer(0.0 if limit is None else limit, "It.", None)))
    assert read.schema_of_features == Schema((spec,))
    assert read.fallback.default == (limit or 0)


def test_remarks_are_written_beside_their_feature() -> None:
    """What is odd about a feature stands above it."""
    assert '[[features]]\n# It had one value only.\nname = "category"' in text_of(category="It had one value only.")


def test_caps_of_a_regressor_are_its_own(tmp_path: Path) -> None:
    """The caps that are offered are the ends that enough healthy answers share, and a classifier is offered none."""
    ascending = TABLE["age"].sort_values().to_list()
    smallest, largest = ascending[MIN_COUNT - 1], ascending[-MIN_COUNT]
    answers = TABLE["age"].clip(smallest, largest)
    created_service = init_service(LinearRegression().fit(TABLE, answers), TABLE.assign(y=answers), tmp_path, label="y")
    text = (created_service.folder / "stillsafe.toml").read_text()
    assert f"# minimum = {smallest} " in text
    assert f"# maximum = {largest} " in text
    assert "# minimum" not in text_of(default=DefaultAnswer(1, "It.", None))


def test_caps_of_a_regressor_show_no_single_answer(tmp_path: Path) -> None:
    """Where every healthy answer is another one, each cap has enough of them at or beyond it and is none of them."""
    ages = TABLE["age"]
    created_service = init_service(LinearRegression().fit(TABLE, ages), TABLE.assign(y=ages), tmp_path, label="y")
    text = (created_service.folder / "stillsafe.toml").read_text()
    smallest, largest = (float(re.findall(rf"(?m)^# {key} = (\S+)", text)[0]) for key in ("minimum", "maximum"))
    assert MIN_COUNT <= (ages <= smallest).sum() < 2 * MIN_COUNT
    assert MIN_COUNT <= (ages >= largest).sum() < 2 * MIN_COUNT
    assert not ages.isin([smallest, largest]).any()


def test_toml_refuses_no_plain_value() -> None:
    """Each plain value is written as TOML reads it."""
    values: list[Any] = [True, False, 0, -3, 1.5, 2.0, 1e300, 5e-324, 'a"b\\c\n\t\x00\x7f\u2028ü🙂', ["x", "y"], []]
    for value in values:
        assert tomllib.loads(f"x = {write.toml(value)}")["x"] == value


EVALUATION = RuleEvaluation("accuracy", 500, 0.6, 0.8, (DamageScore(("numeric",), 0.7),), 0.85)
LISTS = (
    ProposedList((ProposedRule("numeric > 3.5", "yes", "10% of rows, 90% right"),), ("numeric",), (), 0.8),
    ProposedList(
        (ProposedRule('category == "a\\"ü\'"', "no", "5% of rows, 70% right"),), ("category",), ("numeric",), 0.7
    ),
)
PROPOSAL = Proposal(LISTS, EVALUATION, 0.85, 0.6, 0.02)


def read_folder(proposal: Proposal, folder: Path) -> settings.Settings:
    (folder / "stillsafe.toml").write_text(text_of(default=DefaultAnswer("no", "It.", None), proposal=proposal))
    (folder / proposal.lists_file).write_text(write.lists_text(proposal))
    return settings.load(folder / "stillsafe.toml")


def test_proposed_lists_are_in_force(tmp_path: Path) -> None:
    """They read back as they are, compile, and have their purpose, their score and their price beside them."""
    read = read_folder(PROPOSAL, tmp_path)
    assert [each.reads for each in read.fallback.lists] == [each.reads for each in LISTS]
    assert [each.rules[0].when for each in read.fallback.lists] == [each.rules[0].when for each in LISTS]
    compiled = compile_fallback(read.fallback, read.schema_of_features, file=read.file)
    assert compiled.answer({"numeric": 4.0, "category": None}).answer == "yes"
    assert compiled.answer({"numeric": None, "category": "a\"ü'"}).why.startswith("list 2, rule 1")
    text = write.lists_text(PROPOSAL)
    assert "# List 1: while every feature is intact; score 0.8\n[[lists]]" in text
    assert "# List 2: without numeric; score 0.7\n[[lists]]" in text
    assert "# 10% of rows, 90% right" in text
    for phrase in ("500 held-out labelled rows", "rules 0.8", "alone 0.6", "model 0.85", "numeric damaged 0.7"):
        assert phrase in text_of(proposal=PROPOSAL)


def test_priced_lists_bypass_where_it_pays(tmp_path: Path) -> None:
    """The policy holds the prices of lists, default and model; without a price each CRITICAL bypasses."""
    policy = read_folder(PROPOSAL, tmp_path).policy
    assert (policy.bypass, policy.model_score) == (Bypass.WHEN_IT_PAYS, 0.85)
    assert policy.fallback_prices == PROPOSAL.prices
    assert PROPOSAL.prices[-1] == FallbackPrice((), 0.6, 0.02)
    without_price = read_folder(replace(PROPOSAL, model_score=None, default_score=None), tmp_path)
    assert without_price.policy.bypass is Bypass.ALWAYS
    assert parse(text_of()).policy.bypass is Bypass.ALWAYS


def test_a_search_without_result_is_explained() -> None:
    """A search without result leaves a comment and the default's price; without a search there is neither."""
    text = text_of(proposal=Proposal((), EVALUATION, 0.85, 0.6))
    assert "# There are no rule lists: no short list scores clearly better than the default answer." in text
    assert "accuracy of the rules 0.8" in text
    assert "# [[fallback.rules]]" in text
    assert parse(text).policy.fallback_prices == (FallbackPrice((), 0.6),)
    assert "no rule lists" not in text_of()


def test_every_line_of_the_fallback_is_explained() -> None:
    """The settings of a priced fallback have comments too, and no line grows long."""
    lines = text_of(proposal=PROPOSAL).splitlines()
    for above, line in pairwise(lines):
        if re.match(r"[a-z_]+ = ", line) and "  # " not in line:
            assert re.match(r"# [A-Z`].*\S", above), line
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("answers", [("no", "yes"), (False, True), (0, 1)], ids=str)
def test_a_service_has_the_rules_that_its_sample_gave(answers: tuple[Any, Any], tmp_path: Path) -> None:
    """From a labelled sample to settings with rules that load, with answers of the model's own kind."""
    table = people(600)
    truth = [answers[old] for old in (table["age"] > 50).tolist()]
    model = LogisticRegression().fit(table[["age", "visits"]], truth)
    created_service = init_service(model, table[["age", "visits"]].assign(truth=truth), tmp_path, label="truth")
    read = settings.load(created_service.folder / "stillsafe.toml")
    rules = {rule.when: rule.answer for rule in read.fallback.lists[0].rules}
    assert rules == {"age > 50.0": answers[1], "age <= 50.0": answers[0]}
    assert type(rules["age > 50.0"]) is type(answers[0])
    assert created_service.fallback_score is not None
    assert created_service.fallback_score > 0.95
    assert any(warning.startswith("The fallback has ") for warning in created_service.warnings)
    assert (
        compile_fallback(read.fallback, read.schema_of_features).answer({"age": 80.0, "visits": 1}).answer == answers[1]
    )
