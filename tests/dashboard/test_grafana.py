"""The dashboard for Grafana reads metrics that exist, in panels that do not overlap."""

import json
import re

from stillsafe.dashboard.grafana import COLUMNS, PANELS, dashboard
from tests.dashboard.exposition import metric_names, query_names


def test_every_panel_reads_metrics_that_exist() -> None:
    """Of the job that is chosen."""
    document = dashboard("stay")
    assert json.loads(json.dumps(document)) == document
    assert [panel["title"] for panel in document["panels"]] == [panel[0] for panel in PANELS]
    for panel in document["panels"]:
        assert panel["targets"]
        for target in panel["targets"]:
            names = query_names(target["expr"])
            assert names
            assert names <= metric_names(), target
            assert target["expr"].count("{") == target["expr"].count('job="$job"')


def test_panels_have_ids_and_places_of_their_own() -> None:
    """Within the columns of the grid."""
    panels = dashboard("stay")["panels"]
    places = [panel["gridPos"] for panel in panels]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(place["x"], place["y"]) for place in places}) == len(panels)
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)


def test_every_variable_is_used() -> None:
    """And every variable of a query exists."""
    document = dashboard("stay")
    names = {variable["name"] for variable in document["templating"]["list"]}
    text = json.dumps(document["panels"])
    assert {*re.findall(r"\$\{?([a-z]\w*)", text)} == names
