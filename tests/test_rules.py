"""Fallback rules: what compiles, which answer a row gets, and what an error message contains."""

from pathlib import Path

import pytest
from cel_expr_python import cel
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.fallback import Answer, FallbackAnswer
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.errors import RuleError
from stillsafe.rules import compile_fallback, variable
from stillsafe.settings_fallback import FallbackRule, FallbackRuleList, FallbackSettings

SCHEMA = Schema(
    (
        FeatureSpec("delay", FeatureType.NUMERIC),
        FeatureSpec("stops", FeatureType.INTEGER),
        FeatureSpec("night", FeatureType.BOOLEAN),
        FeatureSpec("carrier", FeatureType.CATEGORY),
    )
)
ROW: Row = {"delay": 10.0, "stops": 2, "night": True, "carrier": "AA"}


def settings(*rules: tuple[str, Answer] | FallbackRule, default: Answer = 0.5, **more: object) -> FallbackSettings:
    rule_list = tuple(
        rule if isinstance(rule, FallbackRule) else FallbackRule(when=rule[0], answer=rule[1]) for rule in rules
    )
    return FallbackSettings.model_validate({"default": default, "rules": rule_list, **more})


def answer(section: FallbackSettings, row: Row | None = None, damaged_features: tuple[str, ...] = ()) -> FallbackAnswer:
    return compile_fallback(section, SCHEMA).answer(ROW if row is None else row, damaged_features)


def error_of(section: FallbackSettings, schema: Schema = SCHEMA, file: Path | None = None) -> RuleError:
    with pytest.raises(RuleError) as failure:
        compile_fallback(section, schema, file=file)
    assert "\n" not in str(failure.value)
    return failure.value


def test_the_first_rule_that_matches_answers() -> None:
    """Rules apply in order, and the answer names its rule."""
    section = settings(("delay > 30.0", "late"), ('carrier == "AA" && night', "AA by night"), ("true", "last"))
    assert answer(section) == FallbackAnswer("AA by night", 'rule 2: carrier == "AA" && night')
    assert answer(section, {**ROW, "delay": 31.0}).answer == "late"
    assert answer(settings(("stops > 5", 1))) == FallbackAnswer(0.5, "the default")


@pytest.mark.parametrize("when", ["delay > 5.0", "!(delay > 50.0)", "delay == delay"])
def test_a_missing_value_does_not_match(when: str) -> None:
    """A condition that needs a missing value cannot be evaluated, so it does not match."""
    assert answer(settings((when, 1.0))).answer == 1.0
    assert answer(settings((when, 1.0)), {**ROW, "delay": None}).why == "the default"


def test_a_rule_can_use_what_is_missing() -> None:
    """`missing` lists the missing features by their own names, and using it reads no feature."""
    section = settings(('"delay" in missing', "no delay"))
    assert answer(section, {**ROW, "delay": None}).answer == "no delay"
    assert answer(section).why == "the default"
    assert answer(section, {**ROW, "delay": None}, damaged_features=("delay",)).answer == "no delay"


def test_a_condition_that_needs_no_missing_value_matches() -> None:
    """A missing value does not affect a condition that is true without it."""
    assert answer(settings(("delay > 5.0 || night", 1.0)), {**ROW, "delay": None}).answer == 1.0


def test_a_rule_that_reads_a_damaged_feature_is_skipped() -> None:
    """The fallback reads no feature that an incident names, neither in a condition nor in a computed answer."""
    section = settings(
        ("delay > 5.0", "by delay"), FallbackRule(when="night", compute="delay * 2.0"), ("stops > 1", "by stops")
    )
    assert answer(section).answer == "by delay"
    assert answer(section, damaged_features=("delay",)).answer == "by stops"
    assert answer(section, damaged_features=("delay", "stops")).why == "the default"


def test_a_name_inside_a_text_or_a_macro_is_not_read() -> None:
    """A rule reads the features without which it does not compile, not those that it mentions."""
    rules = compile_fallback(
        settings(
            ('carrier == "delay"', 1), ('missing.exists(delay, delay == "x")', 1), ("night ? stops > 1 : false", 1)
        ),
        SCHEMA,
    ).rules
    assert [rule.reads for rule in rules] == [{"carrier"}, frozenset(), {"night", "stops"}]


def test_an_answer_may_be_computed() -> None:
    """A computed answer is an expression of the row; one that cannot be computed is skipped."""
    section = settings(FallbackRule(when="night", compute="delay / 100.0 + double(stops)"))
    assert answer(section).answer == pytest.approx(2.1)
    assert answer(section, {**ROW, "delay": None}).why == "the default"
    assert answer(settings(FallbackRule(when="night", compute="stops / (stops - 2)"))).why == "the default"
    assert answer(settings(FallbackRule(when="night", compute="delay / 0.0"))).why == "the default"
    assert answer(settings(FallbackRule(when="night", compute='carrier + "!"'))).answer == "AA!"


def test_caps_hold_for_every_number() -> None:
    """A numeric answer never leaves the caps, whether a rule or the default gave it; text and booleans have none."""
    section = settings(FallbackRule(when="night", compute="delay"), default=-3, minimum=0.0, maximum=1.0)
    assert answer(section) == FallbackAnswer(1.0, "rule 1: night, lowered to the cap")
    assert answer(section, {**ROW, "night": False}) == FallbackAnswer(0.0, "the default, raised to the cap")
    assert answer(settings(("night", True), minimum=5.0)).answer is True
    assert answer(settings(("night", "x"), minimum=5.0)).answer == "x"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("delay > 30", ["as decimals (30.0)", "double"]),
        ("stops > 3.0", ["whole (30)"]),
        ("dely > 3.0", ["undeclared reference to 'dely'", "Did you mean `delay`?"]),
        ("zzz > 3.0", ["undeclared reference", "A rule may use: delay (double), stops (int)"]),
        ("carrier > 3.0", ["no matching overload"]),
        ("delay >", ["Syntax error", "for example"]),
        ("", ["Syntax error"]),
        ("delay", ["it is no condition", "true or false"]),
        ("missing", ["it is no condition"]),
    ],
)
def test_a_condition_that_does_not_compile_is_an_error(when: str, words: list[str]) -> None:
    """The message names the rule, CEL's complaint and the remedy, in one line."""
    message = str(error_of(settings(("night", 1), (when, 1))))
    assert message.startswith("Fallback rule 2, `when`")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(("compute", "words"), [("[delay]", ["LIST", "a number, a string"]), ("delay +", ["Syntax"])])
def test_an_answer_that_does_not_compile_is_an_error(compute: str, words: list[str]) -> None:
    """The message names `compute`."""
    message = str(error_of(settings(FallbackRule(when="night", compute=compute))))
    assert message.startswith("Fallback rule 1, `compute`")
    assert all(word in message for word in words), message


def test_an_error_names_its_line(tmp_path: Path) -> None:
    """If the file is known, the error has the line of the rule's own key; else the message stands alone."""
    file = tmp_path / "stillsafe.toml"
    file.write_text('[fallback]\ndefault = 1\n[[fallback.rules]]\nwhen = "night"\nanswer = 1\n[[fallback.rules]]\n')
    with file.open("a") as more:
        more.write('answer = 1\n  when = "dely > 1.0"\n')
    wrong = settings(("night", 1), ("dely > 1.0", 1))
    error = error_of(wrong, file=file)
    assert (error.file, error.line) == (str(file), 8)
    assert str(error).startswith(f"{file}, line 8: ")
    assert error_of(wrong).line is None
    assert error_of(wrong, file=tmp_path / "gone.toml").line is None


@given(st.text(max_size=12))
def test_every_name_of_a_feature_is_one_that_cel_takes(name: str) -> None:
    """A rule can read a feature of any name."""
    alias = variable(name or "x")
    cel.NewEnv(variables={alias: cel.Type.DOUBLE}).compile(f"{alias} > 1.0")


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("dep delay", "dep_delay"),
        ("2nd", "_2nd"),
        ("in", "in_"),
        ("missing", "missing_"),
        ("wåt", "w_t"),
        ("int", "int_"),
    ],
)
def test_names_that_are_no_identifiers_get_one(name: str, alias: str) -> None:
    """A name with spaces, a leading digit or a reserved word gets a similar one; `missing` lists the feature's own."""
    schema = Schema((FeatureSpec(name, FeatureType.NUMERIC, required=False),))
    fallback = compile_fallback(settings((f"{alias} > 1.0", "yes"), (f'"{name}" in missing', "gone")), schema)
    assert fallback.answer({name: 2.0}).answer == "yes"
    assert fallback.answer({name: None}).answer == "gone"
    assert fallback.rules[0].reads == {name}


def test_two_features_of_one_name_in_rules_are_refused() -> None:
    """Features that rules could not distinguish are an error, unless there are no rules."""
    schema = Schema((FeatureSpec("a b", FeatureType.NUMERIC), FeatureSpec("a-b", FeatureType.NUMERIC)))
    message = str(error_of(settings(("a_b > 1.0", 1)), schema))
    assert "'a b', 'a-b'" in message
    assert "Rename" in message
    assert compile_fallback(settings(), schema).answer({}).answer == 0.5


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fallback_of_mine.py").write_text(
        "LIMIT = 3\n"
        "def late(row):\n    return 0.9 if row['delay'] > 5 else None\n"
        "def broken(row):\n    raise RuntimeError('mine')\n"
        "def odd(row):\n    return [1]\n"
        "def nan(row):\n    return float('nan')\n"
    )
    (tmp_path / "fallback_that_fails.py").write_text("raise RuntimeError('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own_code")
def test_a_python_function_may_answer() -> None:
    """A named function answers where no rule did; if it raises or gives no answer, the default answers."""
    assert answer(settings(function="fallback_of_mine:late")).answer == 0.9
    assert answer(settings(("night", 0.1), function="fallback_of_mine:late")).answer == 0.1
    assert answer(settings(function="fallback_of_mine:late"), {**ROW, "delay": 1.0}).why == "the default"
    for name in ("broken", "odd", "nan"):
        assert answer(settings(function=f"fallback_of_mine:{name}")).why == "the default"
    (error,) = answer(settings(function="fallback_of_mine:broken")).errors
    assert isinstance(error, RuntimeError)
    assert answer(settings(function="fallback_of_mine:late", maximum=0.7)).answer == 0.7


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("fallback_of_mine:nope", "no attribute"),
        ("no_such_module:x", "No module named"),
        ("fallback_that_fails:x", "at import"),
        ("fallback_of_mine:LIMIT", "is no function"),
        ("fallback_of_mine", "names no function"),
        (":late", "names no function"),
        ("..:late", "cannot be loaded"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_an_error(reference: str, words: str) -> None:
    """It is found when the rules compile, before a request is answered."""
    assert words in str(error_of(settings(function=reference)))


VALUES: st.SearchStrategy[Value] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.fixed_dictionaries(dict.fromkeys(SCHEMA.names, VALUES)))
def test_every_row_gets_an_answer(row: Row) -> None:
    """The fallback is total: values of any type, huge integers and NaN included, are answered."""
    assert COMPILED.answer(row).answer in {"a", "b", "c", "default"}


COMPILED = compile_fallback(
    settings(
        ('delay > 1.0 && carrier.matches("[")', "a"), ("stops * stops > 4", "b"), ("!night", "c"), default="default"
    ),
    SCHEMA,
)


def lists(*parts: tuple[tuple[str, ...], str], score: float = 0.7) -> FallbackSettings:
    return FallbackSettings(
        default=0.5,
        lists=tuple(
            FallbackRuleList(reads=reads, score=score, rules=(FallbackRule(when=when, answer=1.0),))
            for reads, when in parts
        ),
    )


def test_a_list_reads_what_it_names() -> None:
    """Its rules compile against the features of its `reads`, and it is skipped while one of those is damaged."""
    section = lists((("delay", "night"), "delay > 5.0 && night"), (("stops",), "stops > 1"))
    assert answer(section).why == "list 1, rule 1: delay > 5.0 && night"
    assert answer(section, damaged_features=("night",)).why == "list 2, rule 1: stops > 1"
    assert answer(section, {**ROW, "night": None}).why == "list 2, rule 1: stops > 1"
    assert answer(section, damaged_features=("night", "stops")).why == "the default"
    assert answer(lists((("delay",), '"delay" in missing')), {**ROW, "delay": None}).answer == 1.0


def test_a_list_that_reads_more_than_it_names_is_refused(tmp_path: Path) -> None:
    """Its price would be wrong for the damage of the feature that it does not name; the error has file and line."""
    assert "Rule list 1: Fallback rule 1, `when`: `delay > 5.0 && night`" in str(
        error_of(lists((("delay",), "delay > 5.0 && night")))
    )
    assert "names 'wind', which is no feature" in str(error_of(lists((("wind",), "true"))))
    (tmp_path / "lists.toml").write_text('[[lists]]\nreads = ["delay"]\nrules = [{when = "night", answer = 1.0}]\n')
    section = lists((("delay",), "night")).model_copy(update={"lists_file": "lists.toml"})
    error = error_of(section, file=tmp_path / "stillsafe.toml")
    assert (error.file, error.line) == (str(tmp_path / "lists.toml"), 3)
