"""The first difference: a path to one number, so that a person need not compare two pages."""

from stillsafe.core.state import Memory
from stillsafe.monitoring.difference import Difference, complete, present_difference
from stillsafe.store.codec import to_document


def test_the_path_leads_to_the_first_value_that_differs() -> None:
    """Through objects by key and lists by index, to the smallest part that differs."""
    stored = {"a": 1, "b": [{"c": 2, "d": 3}, 4]}
    difference = present_difference("x", stored, {"a": 1, "b": [{"c": 2, "d": 5}, 6]})
    assert difference == Difference(0, "now", "x.b[0].d", "3", "5")
    assert str(difference) == "Run 0 (now): x.b[0].d differs.\n  stored:     3\n  recomputed: 5"


def test_equal_documents_have_no_difference() -> None:
    """The order of keys is no difference; an absent key and a list of another length are."""
    assert present_difference("x", {"a": 1, "b": 2}, {"b": 2, "a": 1}) is None
    absent = present_difference("x", {"a": 1}, {})
    assert absent is not None
    assert (absent.what, absent.recomputed) == ("x.a", "null")
    longer = present_difference("x", {"a": [1]}, {"a": [1, 2]})
    assert longer is not None
    assert (longer.what, longer.stored) == ("x.a", "[1]")


def test_fields_of_later_releases_are_added_before_the_comparison() -> None:
    """A stored memory that lacks a new field equals the memory with the field's default; other columns stay."""
    document = to_document(Memory(calm_runs=2))
    del document["unjudged_since"]
    assert complete("memory", document) == to_document(Memory(calm_runs=2))
    assert complete("memory", None) is None
    assert complete("severity", "NORMAL") == "NORMAL"
