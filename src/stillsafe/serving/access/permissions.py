"""Which scope each request needs. A path that is not named needs the most careful one of its method."""

from stillsafe.serving.access.keys import KeyScope

HEALTH = ("/health/", "/v2/health/")
INFERENCE = ("/v2", "/v2/")
"""The Open Inference Protocol: its metadata is for who may predict or read, as the schema is."""
LOGIN, LOGOUT = "/login", "/logout"
PAGES = ("/", "/docs")
INCIDENT_PAGES = "/dashboard/incidents/"
"""Pages that a person opens, from an alert too: without a key they lead to the login."""
OPEN_PATHS = frozenset({LOGIN, LOGOUT, "/static/stillsafe.css"})
"""Paths besides `/health/*` that need no key: the login, and its style sheet."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PREDICT_PATHS = frozenset({"/v1/predict", "/v1/predict/batch", "/v1/record", "/v1/fallback"})
LABELS_PATH = "/v1/labels"
"""Labels are evidence, so a client that only predicts has none to send."""
SCHEMA_PATH = "/v1/schema"
_PREDICT = frozenset({KeyScope.PREDICT})
_LABEL = frozenset({KeyScope.LABEL})
_READ = frozenset({KeyScope.READ})
_OPERATE = frozenset({KeyScope.OPERATE})
_SCHEMA = frozenset({KeyScope.PREDICT, KeyScope.READ})


def required_scopes(method: str, path: str) -> frozenset[KeyScope]:
    """The scopes of which a key needs one; empty if the request needs no key.

    Args:
        method: of the request, in capitals.
        path: below the path under which the app is mounted.
    """
    if path in PREDICT_PATHS:
        return _PREDICT
    if path == LABELS_PATH:
        return _LABEL
    if path.startswith(HEALTH) or path in OPEN_PATHS:
        return frozenset()
    if path == INFERENCE[0] or path.startswith(INFERENCE[1]):
        return _SCHEMA if method in SAFE_METHODS else _PREDICT
    if method not in SAFE_METHODS:
        return _OPERATE
    return _SCHEMA if path == SCHEMA_PATH else _READ
