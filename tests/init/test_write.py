"""The settings file explains itself and parses as it stands and with each default uncommented; folders stay whole."""

import re
import sqlite3
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from stillsafe import service, settings
from stillsafe.core.policy import Policy, reasons
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import write
from stillsafe.init.default_answer import Default
from stillsafe.init.rule_search import NO_PROPOSAL, Price, Prices, Proposal, Proposed
from stillsafe.rules import compile_fallback
from tests.init.making import folder_of, made, make, people, saved, served, written

PERSON: Row = {"age": 30.0, "visits": 3}
TABLE = people()[["age", "visits"]]
DIGEST = "0" * 64
KINDS = tuple(FeatureSpec(kind.value, kind, required=False) for kind in FeatureType)
NUMBER = Default(5.5, "The median.", (1.25, 1e20))


def text_of(
    schema: Schema = Schema(KINDS),  # noqa: B008 - frozen
    default: Default = NUMBER,
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


def parsed(text: str) -> settings.Settings:
    return settings.parse(tomllib.loads(text), folder=Path("/"), text=text)


def test_every_line_is_explained() -> None:
    """Each setting, in force or commented out, has a comment beside it or above it."""
    lines = text_of().splitlines()
    for above, line in pairwise(lines):
        if re.match(r"(# )?[a-z_]+ = ", line) and "  # " not in line:
            assert re.match(r"# [A-Z`].*\S", above), line
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("default", [NUMBER, Default("yes", "It.", None), Default(True, "It.", None)], ids=str)
def test_each_default_parses_when_uncommented(default: Default) -> None:
    """Any one line, and all of them at once, can be put in force, and the policy stays what it was."""
    text = text_of(default=default)
    commented = [line for line in text.splitlines() if re.match(r"# [a-z_]+ = |# \[\[", line)]
    assert len(commented) > 25
    for line in commented:
        if not line.startswith(("# when", "# answer", "# [[")):
            assert parsed(text.replace(f"\n{line}\n", f"\n{line[2:]}\n")).policy == Policy()
    whole = parsed(re.sub(r"(?m)^# (?=[a-z_]+ = |\[\[)", "", text))
    assert whole.policy == Policy()
    assert len(whole.fallback.rules) == 2
    assert len(compile_fallback(whole.fallback, whole.schema_of_features).rules) == 2


def test_every_number_of_the_policy_is_there() -> None:
    """The file names all numbers that a decision rests on, with their reasons."""
    text = text_of()
    schedule = {"window_seconds": "window", "every_seconds": "every", "max_gap_seconds": "max_gap"}
    for name, (_, reason) in reasons().items():
        assert re.search(rf"(?m)^(# )?{schedule.get(name, name.removesuffix('_seconds'))} = ", text), name
        assert name in schedule or reason in text


# Neither half a surrogate nor the zero character is text that a request may hold.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@effort(max_examples=40, deadline=None)
@given(names, st.lists(names, min_size=1, max_size=3, unique=True), names)
def test_any_text_survives(name: str, categories: list[str], answer: str) -> None:
    """Names, categories and answers of any characters read back as they were, and the example rule compiles."""
    spec = FeatureSpec(name, FeatureType.CATEGORY, categories=tuple(categories))
    text = text_of(Schema((spec,)), Default(answer, "It.", None))
    read = parsed(re.sub(r"(?m)^# (?=when|answer|\[\[)", "", text))
    assert read.schema_of_features == Schema((spec,))
    assert read.fallback.default == answer
    rule = compile_fallback(read.fallback, read.schema_of_features).rules[0]
    assert rule.matches({name: categories[0]})


@effort(max_examples=40, deadline=None)
@given(st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_survives(limit: float | None) -> None:
    """Limits and answers read back as they were."""
    spec = FeatureSpec("x", FeatureType.NUMERIC, minimum=limit)
    read = parsed(text_of(Schema((spec,)), Default(0.0 if limit is None else limit, "It.", None)))
    assert read.schema_of_features == Schema((spec,))
    assert read.fallback.default == (limit or 0)


def test_remarks_are_written_beside_their_feature() -> None:
    """What is odd about a feature stands above it."""
    assert '[[features]]\n# It had one value only.\nname = "category"' in text_of(category="It had one value only.")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return saved(LogisticRegression().fit(TABLE, TABLE["age"] > 50), folder), written(TABLE, folder)


def test_a_new_folder_appears_with_its_parents(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """It holds three files and nothing else, and nothing lies beside it."""
    make(*inputs, tmp_path / "a" / "b" / "out")
    assert folder_of(tmp_path / "a" / "b" / "out") == {"stillsafe.toml", "model.skops", "reference.json"}
    assert folder_of(tmp_path / "a" / "b") == {"out"}


def test_an_empty_folder_is_filled_in_place(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stays the same one, so that `--out .` works where one stands, and a mounted volume does."""
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    make(*inputs, Path("."))
    assert folder_of(tmp_path) == {"stillsafe.toml", "model.skops", "reference.json"}
    assert tmp_path.stat().st_ino == inode
    assert settings.load("stillsafe.toml").service.name == tmp_path.name


@pytest.mark.parametrize("force", [False, True])
def test_strangers_are_left_alone(inputs: tuple[Path, Path], force: bool, tmp_path: Path) -> None:
    """Neither a folder of somebody else's nor a file is ever written over."""
    (tmp_path / "photo").write_bytes(b"me")
    for out in (tmp_path, tmp_path / "photo", tmp_path / "photo" / "out"):
        with pytest.raises(ConfigurationError, match=r"with --out"):
            make(*inputs, out, force=force)
    assert folder_of(tmp_path) == {"photo"}


def test_a_service_is_replaced_only_by_force(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Without --force an existing service is refused and stays as it is."""
    make(*inputs, tmp_path / "out")
    before = (tmp_path / "out" / "stillsafe.toml").read_text()
    with pytest.raises(ConfigurationError, match=r"a service folder already\. .*--force"):
        make(*inputs, tmp_path / "out", name="other")
    assert (tmp_path / "out" / "stillsafe.toml").read_text() == before


def count(folder: Path) -> int:
    connection = sqlite3.connect(folder / "stillsafe.db")
    (found,) = connection.execute("SELECT count(*) FROM prediction_logs").fetchone()
    connection.close()
    return int(found)


def test_force_never_loses_the_log(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Answers that were recorded stay recorded, by the very same file, and the new version is watched at once."""
    out = tmp_path / "out"
    made_first = make(*inputs, out, salt="first")
    served(out, *[PERSON] * 5)
    (out / "rules.py").write_text("mine")
    old, inode = (out / "stillsafe.toml").read_text(), (out / "stillsafe.db").stat().st_ino
    again = make(*inputs, out, salt="second", force=True)
    assert count(out) == 5
    assert (out / "stillsafe.db").stat().st_ino == inode
    assert (out / "stillsafe-1.toml").read_text() == old
    assert (out / "rules.py").read_text() == "mine"
    assert again.version == f"{made_first.version}-2"
    assert settings.load(out / "stillsafe.toml").service.hash_salt == "first"
    assert any("stillsafe-1.toml" in told for told in again.warnings)
    assert served(out, PERSON)[0]["watched"]
    assert count(out) == 6
    assert settings.load(out / "stillsafe-1.toml").model.file == "model.skops"
    service.create_app(out / "stillsafe-1.toml")
    third = make(*inputs, out, force=True)
    assert third.version == f"{made_first.version}-3"
    assert {"stillsafe-2.toml", "model-3.skops", "reference-3.json"} < folder_of(out)


def test_force_keeps_the_address_of_the_log(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A log that lies elsewhere goes on there."""
    out = tmp_path / "out"
    make(*inputs, out)
    file = out / "stillsafe.toml"
    file.write_text(file.read_text().replace("sqlite:///stillsafe.db", "sqlite:///elsewhere.db"))
    make(*inputs, out, force=True)
    assert settings.load(file).service.database == "sqlite:///elsewhere.db"


def test_a_used_version_is_refused(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A version's baseline is frozen, so a new sample takes a new version."""
    make(*inputs, tmp_path / "out", version="v1")
    make(*inputs, tmp_path / "out", version="v2", force=True)
    for version in ("v1", "v2"):
        with pytest.raises(ConfigurationError, match=r"has been used .* Name a new one with --version"):
            make(*inputs, tmp_path / "out", version=version, force=True)


def test_force_mends_broken_settings(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Settings that do not parse are kept too, and replaced."""
    out = tmp_path / "out"
    make(*inputs, out)
    (out / "stillsafe.toml").write_text("not = = toml")
    make(*inputs, out, force=True)
    assert (out / "stillsafe-1.toml").read_text() == "not = = toml"
    assert served(out, PERSON)[0]["decided_by"] == "model"


def test_nothing_is_half_written(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """A failure at any stage leaves neither folder, parents nor scraps, and an existing service as it was."""
    out = tmp_path / "deep" / "out"

    def fail(message: str) -> None:
        if message == "Making the reference baseline":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(*inputs, out, progress=fail)
    assert folder_of(tmp_path) == set()
    make(*inputs, out)
    before = folder_of(out)
    with pytest.raises(KeyboardInterrupt):
        make(*inputs, out, force=True, progress=fail)
    assert folder_of(out) == before


def test_a_folder_that_does_not_load_is_never_put_in_place(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is tried as the service would, and taken back where that fails."""
    strange = text_of()
    monkeypatch.setattr(write, "settings_text", lambda **_parts: strange)
    with pytest.raises(ModelError):
        make(*inputs, tmp_path / "deep" / "out")
    assert folder_of(tmp_path) == set()


@pytest.mark.parametrize("place", ["/proc/out", "/proc/1/fd/deep/out", "n" * 300, "x\0y"])
def test_places_that_cannot_be_written(place: str, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """They are refused in plain words."""
    with pytest.raises(ConfigurationError, match=r"cannot be written: .*\. Name another place with --out\."):
        make(*inputs, tmp_path / place)
    assert folder_of(tmp_path) == set()


def test_caps_of_a_regressor_are_its_own(tmp_path: Path) -> None:
    """The caps that are offered are the healthy answers' span, and a classifier is offered none."""
    created = made(LinearRegression().fit(TABLE, TABLE["age"]), TABLE.assign(y=TABLE["age"]), tmp_path, label="y")
    text = (created.folder / "stillsafe.toml").read_text()
    assert f"# minimum = {TABLE['age'].min()}" in text
    assert "# minimum" not in text_of(default=Default(1, "It.", None))


def test_toml_refuses_no_plain_value() -> None:
    """Each plain value is written as TOML reads it."""
    values: list[Any] = [True, False, 0, -3, 1.5, 2.0, 1e300, 5e-324, 'a"b\\c\n\t\x00\x7f\u2028ü🙂', ["x", "y"], []]
    for value in values:
        assert tomllib.loads(f"x = {write.toml(value)}")["x"] == value


PRICES = Prices("accuracy", 500, 0.6, 0.8, (Price(("numeric",), 0.7),), 0.85)
RULES = (
    Proposed("numeric > 3.5", "yes", "Answers 10% of the held-out rows, 90% of them rightly.", "While all is sound:"),
    Proposed('category == "a\\"ü"', "no", "Answers 5% of the held-out rows, 70% of them rightly.", "Without numeric:"),
)


def test_proposed_rules_are_in_force() -> None:
    """They read back as they are, compile, and stand beside their purpose and their price; no examples then."""
    text = text_of(default=Default("no", "It.", None), proposal=Proposal(RULES, PRICES))
    read = parsed(text)
    assert [(rule.when, rule.answer) for rule in read.fallback.rules] == [(rule.when, rule.answer) for rule in RULES]
    compiled = compile_fallback(read.fallback, read.schema_of_features)
    assert compiled.answer({"numeric": 4.0, "category": None}).answer == "yes"
    assert compiled.rules[1].matches({"numeric": 4.0, "category": 'a"ü'})
    assert "# While all is sound:\n[[fallback.rules]]\nwhen" in text
    assert "# Without numeric:\n[[fallback.rules]]\nwhen" in text
    for told in ("500 labelled rows", "rules 0.8", "alone 0.6", "model 0.85", "numeric damaged 0.7"):
        assert told in text
    assert "# [[fallback.rules]]" not in text


def test_that_nothing_was_found_is_said() -> None:
    """A search without result says so beside the examples, and no search at all says nothing."""
    text = text_of(proposal=Proposal((), PRICES))
    assert "# `init` proposes none" in text
    assert "accuracy 0.6 on the 500 labelled rows" in text
    assert "# [[fallback.rules]]" in text
    assert parsed(text).fallback.rules == ()
    assert "proposes" not in text_of()


def test_every_line_of_the_rules_is_explained() -> None:
    """The settings of a proposed rule have comments too, and no line grows long."""
    lines = text_of(proposal=Proposal(RULES, PRICES)).splitlines()
    for above, line in pairwise(lines):
        if re.match(r"(when|answer) = ", line) and "  # " not in line:
            assert re.match(r"# [A-Z`].*\S", above), line
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("answers", [("no", "yes"), (False, True), (0, 1)], ids=str)
def test_a_service_has_the_rules_that_its_sample_gave(answers: tuple[Any, Any], tmp_path: Path) -> None:
    """From a labelled sample to settings with rules that load, with answers of the model's own kind."""
    table = people(600)
    truth = [answers[old] for old in (table["age"] > 50).tolist()]
    model = LogisticRegression().fit(table[["age", "visits"]], truth)
    created = made(model, table[["age", "visits"]].assign(truth=truth), tmp_path, label="truth")
    read = settings.load(created.folder / "stillsafe.toml")
    assert (read.fallback.rules[0].when, read.fallback.rules[0].answer) in (
        ("age > 50.0", answers[1]),
        ("age <= 50.0", answers[0]),
    )
    assert type(read.fallback.rules[0].answer) is type(answers[0])
    assert created.fallback_score is not None
    assert created.fallback_score > 0.95
    assert any(told.startswith("The fallback got ") for told in created.warnings)
    assert (
        compile_fallback(read.fallback, read.schema_of_features).answer({"age": 80.0, "visits": 1}).answer == answers[1]
    )
