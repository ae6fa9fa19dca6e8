"""`export`: what other programs need to watch a service: rules for Prometheus, a dashboard for Grafana."""

import sys
from typing import Annotated

import typer

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import json_text
from stillsafe.dashboard.grafana import dashboard
from stillsafe.dashboard.prometheus import rules_text

Job = Annotated[
    str | None, typer.Option("--job", help="The job under which Prometheus scrapes the service; its name by default.")
]
export_app = command_group("Files for Prometheus and Grafana.")
app.add_typer(export_app, name="export")


@export_app.command("prometheus-rules")
def export_rules(config: Config = DEFAULT_CONFIG, job: Job = None) -> None:
    """Print alert rules for Prometheus, as YAML."""
    sys.stdout.write(rules_text(job or service.settings_of(config).service.name))


@export_app.command("grafana-dashboard")
def export_dashboard(config: Config = DEFAULT_CONFIG, job: Job = None) -> None:
    """Print a dashboard for Grafana, as JSON for its import."""
    sys.stdout.write(json_text(dashboard(job or service.settings_of(config).service.name)))
