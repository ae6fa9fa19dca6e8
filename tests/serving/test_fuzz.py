"""Whatever a client sends, the service answers it or names what is wrong; it never fails."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from stillsafe.serving.app import build
from stillsafe.serving.problems import ProblemDocument
from stillsafe.serving.schemas import PredictionDocument
from tests.serving.services import FEATURES, GOOD, Service

SLOWLY = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
texts = st.text(st.characters(codec=None), max_size=60)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
names = st.sampled_from([feature["name"] for feature in FEATURES])
likely = {
    "age": st.floats(-10, 130) | values,
    "visits": st.integers(-5, 10_005) | values,
    "member": st.booleans() | values,
    "town": st.none() | texts | values,
}
instances = st.fixed_dictionaries({}, optional=likely) | st.dictionaries(names | texts, values, max_size=6) | values
bodies = st.fixed_dictionaries({"features": instances}) | values


@pytest.fixture
def calm(service: Service) -> Iterator[TestClient]:
    """A client that raises what the app raises. The model has time enough for any machine."""
    with TestClient(build(service.with_settings(model={"timeout": 60}).context)) as client:
        yield client


def _check_response(response: Any) -> None:
    if response.status_code == 200:
        PredictionDocument.model_validate_json(response.content)
    else:
        assert response.status_code in (413, 415, 422)
        problem = ProblemDocument.model_validate_json(response.content)
        assert problem.violations


@SLOWLY
@given(body=bodies)
def test_no_json_body_breaks_a_prediction(calm: TestClient, body: Any) -> None:
    """An answer of the documented shape, or a refusal that names what is wrong."""
    _check_response(calm.post("/v1/predict", content=json.dumps(body)))


@SLOWLY
@given(content=st.binary(max_size=300) | st.text(alphabet='{}[]",:0123456789.eE+-tfn \\u', max_size=80).map(str.encode))
def test_no_bytes_break_a_prediction(calm: TestClient, content: bytes) -> None:
    """Nor do bytes that are hardly JSON."""
    _check_response(calm.post("/v1/predict", content=content))


@SLOWLY
@given(instance_list=st.lists(instances, min_size=1, max_size=4), place=st.integers(0, 4))
def test_no_instance_breaks_its_batch(calm: TestClient, instance_list: list[Any], place: int) -> None:
    """A good instance is answered whatever stands beside it, and every instance has its place."""
    instance_list.insert(place, GOOD)
    results = calm.post("/v1/predict/batch", content=json.dumps({"instances": instance_list})).json()["results"]
    assert len(results) == len(instance_list)
    assert results[min(place, len(instance_list) - 1)]["decided_by"] == "model"


@SLOWLY
@given(
    headers=st.dictionaries(
        st.sampled_from(["content-type", "content-encoding", "accept"]), st.text("aj/;=+ -*", max_size=20)
    )
)
def test_no_header_breaks_a_prediction(calm: TestClient, headers: dict[str, str]) -> None:
    """A body of another content type is refused."""
    _check_response(calm.post("/v1/predict", content=json.dumps({"features": GOOD}), headers=headers))
