"""The whole flow on both databases: API, monitor, a language model that answers, and its explanations."""

import json
from pathlib import Path

from stillsafe import incident_explanation, service
from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.read.incidents import incident_explanations, recent_incidents
from tests.observer.server import GOOD, MODEL, answering, listening
from tests.test_promises import MISSING_FEATURE, Whole, whole

__all__ = ["whole"]


def test_every_step_has_both_explanations(whole: Whole, made_service: Path) -> None:
    """Opened, escalated and resolved have an offline explanation and the model's, and nothing is pending."""
    with listening(answering(GOOD)) as server:
        section = f'use = "llm"\nbase_url = "{server.url}"\nmodel = "{MODEL}"'
        file = made_service / "stillsafe.toml"
        file.write_text(file.read_text().replace('use = "offline"', section, 1))
        whole.settings = service.settings_of(file)
        assert [whole.step(**MISSING_FEATURE) for _ in range(3)][-1] is State.DEGRADED
        assert [whole.step() for _ in range(3)][-1] is State.NORMAL
        assert len(server.requests) == 3
        assert incident_explanation.explain_pending(whole.store(), whole.settings, now=whole.clock.now) == {}
        assert len(server.requests) == 3
    with database.reading(whole.store()) as connection:
        (incident,) = recent_incidents(connection, 5)
        explanations = incident_explanations(connection, incident.incident_id)
    assert [(each.incident_status, each.source) for each in explanations] == [
        (status, source) for status in ("opened", "escalated", "resolved") for source in ("offline", "llm")
    ]
    messages = json.dumps([request["messages"] for request in server.requests])
    assert "worst area is missing in 100.0%" in messages
