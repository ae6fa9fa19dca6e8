"""What a job that was cut off finds of its last block: the answers as they were given."""

import pytest

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.serving.predict import answer_requests
from stillsafe.serving.stored_replies import stored_replies
from tests.serving.services import Service
from tests.serving.test_column_records import ROWS, SAME, facts_of, requests_of


@pytest.mark.parametrize("state", [State.NORMAL, State.DEGRADED])
def test_stored_answers(service: Service, state: State) -> None:
    """With the model's probabilities where it answered; the state of now changes nothing."""
    service.decide(state)
    requests = requests_of(service, ROWS, ids=[*"abcdef"])
    assert stored_replies(service.context, requests.rows, requests.ids) is None
    first = answer_requests(service.context, requests)
    service.decide(State.WARNING)
    again = stored_replies(service.context, requests.rows, requests.ids) or []
    place = SAME.index("prediction")
    texts = [[*facts[:place], str(facts[place]), *facts[place + 1 :]] for facts in facts_of(first)]
    assert facts_of(again) == texts
    assert len(service.log()) == len(ROWS)


def test_a_part_of_a_block(service: Service) -> None:
    """The others wait in the spool of an outage: no second answer is given."""
    service.decide(State.NORMAL)
    answer_requests(service.context, requests_of(service, ROWS[:2], ids=["a", "b"]))
    with pytest.raises(StoreError, match="2 of 6"):
        stored_replies(service.context, requests_of(service, ROWS).rows, [*"abcdef"])
