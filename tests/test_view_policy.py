"""The pages of the service are closed to other sites."""

from stillsafe.view_policy import PAGE_HEADERS


def test_nothing_comes_from_elsewhere_and_nothing_is_kept() -> None:
    """No script, no frame, no form to another site, no copy in a cache."""
    policy = dict(part.strip().split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert (policy["form-action"], "script-src" in policy) == ("'self'", False)
    assert PAGE_HEADERS["Cache-Control"] == "no-store"
