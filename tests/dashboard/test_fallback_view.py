"""The fallback's rules on a page: in the order in which they answer, with the reason why some do not."""

from pathlib import Path
from typing import Any

from stillsafe.dashboard.fallback_view import answer_sentence, fallback_parts
from stillsafe.settings import Settings

from .story import settings_of

LISTS: list[dict[str, Any]] = [
    {"reads": ["dep_delay"], "score": 0.9, "rules": [{"when": "dep_delay > 20.0", "answer": "late"}]},
    {"reads": ["distance"], "score": 0.7, "rules": [{"when": "distance > 500.0", "compute": "'late'"}]},
]


def service(**fallback: Any) -> Settings:
    return settings_of(Path("/nowhere"), fallback=fallback)


def test_the_best_list_without_damage_answers_first() -> None:
    """Its rules are shown with their answers; a list that reads a damaged feature comes last, with that feature."""
    first, last = fallback_parts(service(lists=LISTS), ("dep_delay",))
    assert (first.name, first.is_first, first.rules) == ("rule list 2", True, (("distance > 500.0", "'late'"),))
    assert (last.name, last.is_first, last.damaged_features) == ("rule list 1", False, ("dep_delay",))
    assert answer_sentence(service(lists=LISTS), ("dep_delay",)) == (
        "The fallback answers by rule list 2 (score 0.7 on held-out rows); where no rule applies: on time."
    )
    assert fallback_parts(service(lists=LISTS), ())[0].name == "rule list 1"


def test_the_owners_rules_come_before_lists() -> None:
    """As long as the features that they read are intact."""
    rules = [{"when": "wind_speed > 60.0", "answer": "late"}]
    settings = service(lists=LISTS, rules=rules)
    assert [part.name for part in fallback_parts(settings, ())] == ["rule 1", "rule list 1", "rule list 2"]
    assert [part.name for part in fallback_parts(settings, ("wind_speed",))] == ["rule list 1", "rule list 2", "rule 1"]
    assert fallback_parts(settings, ())[0].reads == ("wind_speed",)


def test_without_a_usable_rule_the_default_answers() -> None:
    """And where the settings demand it nobody does."""
    assert answer_sentence(service(), ()) == "The fallback answers: on time."
    assert answer_sentence(service(lists=LISTS), ("dep_delay", "distance")) == "The fallback answers: on time."
    assert answer_sentence(service(answer="abstain"), ()).startswith("The fallback gives no answer")
    assert fallback_parts(service(answer="abstain", lists=LISTS), ()) == ()


def test_a_rule_that_does_not_compile_is_shown() -> None:
    """The page of an incident is no place to refuse it."""
    (part,) = fallback_parts(service(rules=[{"when": "no_such > 1.0", "answer": "late"}]), ("dep_delay",))
    assert (part.rules, part.damaged_features) == ((("no_such > 1.0", "late"),), ())
