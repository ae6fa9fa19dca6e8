"""What is not named needs the most careful scope of its method."""

import pytest

from stillsafe.serving.access.keys import KeyScope
from stillsafe.serving.access.permissions import required_scopes


@pytest.mark.parametrize("path", ["/v1/later", "/", "/metrics", "/health", "/healthy/x", "/docs/x", ""])
def test_an_unknown_path_is_closed(path: str) -> None:
    """To read it takes `read`, to do anything else `operate`."""
    assert all(required_scopes(method, path) == {KeyScope.READ} for method in ("GET", "HEAD", "OPTIONS"))
    assert all(required_scopes(m, path) == {KeyScope.OPERATE} for m in ("POST", "PUT", "DELETE", "PATCH", "X", "get"))


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/login", "/logout", "/static/stillsafe.css"])
def test_some_paths_are_open(path: str) -> None:
    """Probes and the login."""
    assert required_scopes("GET", path) == frozenset()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_prediction_needs_predict_whatever_the_method(method: str) -> None:
    """So a wrong method is answered as such to who may predict."""
    assert required_scopes(method, "/v1/predict") == {KeyScope.PREDICT}


def test_who_only_predicts_sends_no_labels() -> None:
    """Labels are evidence that can degrade a service, so they have a scope of their own."""
    assert required_scopes("POST", "/v1/labels") == {KeyScope.LABEL}
