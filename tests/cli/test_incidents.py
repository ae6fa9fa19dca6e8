"""`incidents` and `explain` show degradations and their explanations."""

import re
from pathlib import Path

from .commands import Command, degrade, document


def test_an_incident_is_listed_shown_and_explained(run: Command, made_service: Path) -> None:
    """An incident has its reason and one explanation per step, as text and as JSON."""
    degrade(run, made_service)
    (incident,) = document(run("incidents", "list", "--json")[1])
    shown_incident = document(run("incidents", "show", incident["incident_id"], "--json")[1])
    assert [step["incident_status"] for step in shown_incident["explanations"]] == ["opened", "escalated"]
    for words in (["incidents", "list"], ["incidents", "show", incident["incident_id"]], ["explain"]):
        code, out, errors = run(*words)
        assert code == 0, errors
        assert incident["incident_id"] in out
        assert incident["decision_reason"] in out
        sentences = re.split(r"(?<=[.!?])\s+", out)
        assert [each for each in sentences if len(each) > 40 and sentences.count(each) > 1] == [], words
    explanation = run("explain")[1]
    assert explanation.index("escalated (explained by offline)") < explanation.index("opened (explained by offline)")
    code, out, errors = run("incidents", "export", incident["incident_id"], "--out", "incident.html")
    assert (code, out) == (0, "Wrote incident.html\n"), errors
    assert incident["incident_id"] in (made_service / "incident.html").read_text(encoding="utf-8")
    assert run("incidents", "export", "inc-other", "--out", "other.html")[0] != 0
    assert run("incidents", "export", incident["incident_id"], "--out", "no/such/folder.html")[0] == 2


def test_resolved_incidents_can_be_left_out(run: Command, made_service: Path) -> None:
    """`--unresolved` lists open incidents only, and says so where there is none."""
    assert "There has been no incident." in run("incidents", "list")[1]
    degrade(run, made_service)
    assert len(document(run("incidents", "list", "--unresolved", "--json")[1])) == 1


def test_the_request_to_a_language_model_can_be_seen(run: Command, made_service: Path) -> None:
    """`--show-request` prints the messages of a request and sends nothing."""
    degrade(run, made_service)
    request = document(run("explain", "--show-request", "--json")[1])
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["payload"]
    assert "worst area" in run("explain", "--show-request")[1]


def test_nothing_is_pending_without_a_language_model(run: Command, made_service: Path) -> None:
    """Where the observer is offline, `--pending` has nothing to do and exits with 0."""
    degrade(run, made_service)
    code, out, _ = run("explain", "--pending", "--json")
    assert (code, document(out)) == (0, {"steps": [], "pending": 0})
    assert "0 still to be explained" in run("explain", "--pending")[1]
