"""What one client's connections may take from the others."""

import math
from typing import Any

from stillsafe.settings_sections import Serving


def server_options(serving: Serving) -> dict[str, Any]:
    """The options of `uvicorn.Config` that keep the limits of the settings."""
    return {"timeout_keep_alive": math.ceil(serving.idle_seconds)}
