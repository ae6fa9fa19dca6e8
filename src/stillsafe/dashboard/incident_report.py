"""An incident as one HTML file to send to others: the same page, without scripts, addresses and links."""

from markupsafe import Markup

from stillsafe.dashboard.incident_page import IncidentDetail, incident_context
from stillsafe.dashboard.templating import build_templates, static_file


def render_incident(detail: IncidentDetail) -> str:
    """The file's text. It shows stored aggregates only, as the page does.

    Args:
        detail: the incident, read just now.
    """
    style = Markup(static_file("stillsafe.css").decode())  # noqa: S704 - a file of this package, no user data
    context = {
        **incident_context(detail),
        "now": detail.snapshot.now,
        "settings": detail.snapshot.settings,
        "standalone": True,
        "style": style,
        "root": "",
    }
    return build_templates().get_template("incident.html").render(context)
