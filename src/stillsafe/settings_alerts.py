"""The section `[[alerts]]` of `stillsafe.toml`: who is told of what happens. Secrets are in the environment."""

import os
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stillsafe.settings_sections import Seconds, Section
from stillsafe.settings_texts import http_address, variable_name


class AlertEvent(StrEnum):
    """What an alert is about."""

    OPENED = "opened"  #: An incident was opened: the state left NORMAL.
    ESCALATED = "escalated"  #: Its severity became CRITICAL, or the state DEGRADED.
    FALLBACK_ENDED = "fallback_ended"  #: The model answers again, and the incident goes on.
    RECOVERY = "recovered"  #: The state is NORMAL again.
    HOLD = "hold"  #: An operator holds the state DEGRADED.
    RELEASE = "release"  #: The hold is over.
    NOT_JUDGED = "not_judged"  #: Runs reach no conclusions about the requests.
    JUDGED = "judged"  #: They do again.
    MONITOR_FAILED = "monitor_failed"  #: A monitoring run failed.
    MONITOR_MENDED = "monitor_mended"  #: A monitoring run succeeded again.
    MONITOR_STALE = "monitor_stale"  #: The monitor has stopped, by a serving process.
    MONITOR_BACK = "monitor_back"  #: It runs again.
    STORE_OUT = "store_out"  #: The database is out, seen by a serving process; once per host and outage.
    STORE_BACK = "store_back"  #: That host reaches it again.


class Alert(Section):
    """One receiver of alerts."""

    name: str = Field(min_length=1, max_length=100)
    """The receiver's name: `stillsafe alerts test` and the log call it so."""
    url_variable: Annotated[str, AfterValidator(variable_name)]
    """The environment variable with the address. Never write the address itself into this file: it is a secret."""
    kind: Literal["webhook", "apprise"] = "webhook"
    """`webhook` posts signed JSON; `apprise` takes any address of apprise: chat, mail, pager (`stillsafe[alerts]`)."""
    secret_variable: Annotated[str, AfterValidator(variable_name)] | None = None
    """The environment variable with the key that signs a webhook (HMAC-SHA256); without it nothing is signed."""
    events: Annotated[tuple[Annotated[AlertEvent, Field(strict=False)], ...], Field(strict=False)] = tuple(AlertEvent)
    """The events that are sent; by default all."""
    dashboard_url: Annotated[str, AfterValidator(http_address)] | None = None
    """The address at which people open the dashboard, which the alerts name."""
    timeout: Seconds = 5.0
    """Longest time of one attempt. The attempts of a run begin within 20 seconds, and later runs try again."""

    @property
    def url(self) -> str | None:
        """The address, from the environment."""
        return os.environ.get(self.url_variable) or None

    @property
    def secret(self) -> str | None:
        """The key that signs, from the environment."""
        return os.environ.get(self.secret_variable) or None if self.secret_variable else None
