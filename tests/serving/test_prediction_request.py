"""What a retry gets."""

import pytest

from stillsafe.errors import StoreError
from stillsafe.serving.prediction_request import IdConflict, reply_of
from stillsafe.store.read.request_id import IdOwner
from tests.store.conftest import START, identified_prediction

OWNER = IdOwner("p1", "hash", START)


def test_the_owner_of_an_id_and_a_request_without_one_get_their_own_answer() -> None:
    """Nobody was first."""
    record = identified_prediction(2)
    assert reply_of(record, None, {}) is record


def test_a_retry_gets_the_first_answer_and_another_content_a_conflict() -> None:
    """The keyed hash tells them apart."""
    first = identified_prediction(1)
    assert reply_of(identified_prediction(2), OWNER, {"a": first}) is first
    assert reply_of(identified_prediction(2, body_hash="other"), OWNER, {"a": first}) == IdConflict("a")


def test_a_stored_answer_that_is_lost_is_an_error_of_the_store() -> None:
    """A second answer to one id is never given."""
    with pytest.raises(StoreError):
        reply_of(identified_prediction(2), OWNER, {})
