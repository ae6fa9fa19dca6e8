"""The query of a reading route: a name that it does not know, or one that comes twice, is an error and no default."""

from collections import Counter
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from stillsafe.core.text import display_name, join_names

MOST_NAMES = 10
READING_METHODS = ("GET", "HEAD")


def require_known_parameters(request: Request) -> None:
    """Check the query of a reading route.

    Raises:
        RequestValidationError: each parameter that the route does not take, or takes once.
    """
    route = request.scope.get("route")
    if request.method not in READING_METHODS or not isinstance(route, APIRoute):
        return
    counts = Counter(name for name, _ in request.query_params.multi_items())
    names = sorted({field.alias for field in route.dependant.query_params})
    errors: list[dict[str, Any]] = []
    for name, count in counts.items():
        if name not in names:
            message = f"No parameter of this path; it takes {join_names(names, MOST_NAMES) if names else 'none'}"
            errors.append({"loc": ("query", display_name(name)), "type": "extra_forbidden", "msg": message})
        elif count > 1:
            errors.append({"loc": ("query", name), "type": "repeated", "msg": f"Given {count} times, and taken once"})
    if errors:
        raise RequestValidationError(errors)
