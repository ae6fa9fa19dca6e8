"""Draw docs/incident.svg: the incident of the demo on real flights, from its store. Takes a minute.

    python -m scripts.draw_incident

A test plays the demo and fails where its incident is no longer the one in the picture.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.draw_signals import CAPTION, EDGE, GAP, WIDTH, captioned_chart, style
from stillsafe import demo, service
from stillsafe.dashboard import charts, shapes
from stillsafe.dashboard.incident_page import read_incident
from stillsafe.dashboard.shapes import Axis, Chart, Scale
from stillsafe.dashboard.snapshot import Snapshot
from stillsafe.settings import DEFAULT_FILE

FILE = Path(__file__).parents[1] / "docs" / "incident.svg"
SIGNALS = (
    (
        f"out_of_range_rate:{demo.BROKEN_FEATURE}",
        f"What broke: values of {demo.BROKEN_FEATURE} outside their healthy range",
    ),
    ("avg_confidence", "What hides it: the model is surer than ever"),
)
LOSS = "estimated_accuracy_loss"
LOSS_CAPTION = "What it costs, as estimated without labels"
ACCURACY_CAPTION = "Accuracy by labels: served (broad), model alone (line)"


def main() -> None:
    """Play the demo, and draw its incident."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        command = [sys.executable, "-m", "stillsafe", "demo", "--json", "--out", str(folder)]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - the line above
        text = picture(json.loads(process.stdout), folder)
    FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")


def picture(result: Mapping[str, Any], folder: Path) -> str:
    """The incident as one self-contained SVG with its own ground, light or dark.

    Args:
        result: what `demo --json` prints.
        folder: the service folder of the demo.
    """
    rows = list(_rows(result["runs"], _snapshot(result, folder)))
    height, width = rows[-1][1] + EDGE, WIDTH + 2 * EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}">',
            f"<title>A feed fills in {demo.SENTINEL:g}: from the first wrong value to the recovery</title>",
            f"<style>{style()}</style>",
            f'<rect class="ground" width="{width:g}" height="{height:g}" rx="10"/>',
            *(text for text, _ in rows),
            "</svg>\n",
        ]
    )


def steps(text: str) -> list[tuple[str, str]]:
    """The times and states of a picture, in order: what is the same on every machine."""
    return [(begin, state) for state, begin in re.findall(r"(\w+) from (\S+Z)", _description(text, "states"))]


def _description(text: str, identifier: str) -> str:
    """What a chart of a picture says to people who do not see it."""
    start = text.index(f'<desc id="{identifier}-description">')
    return text[text.index(">", start) + 1 : text.index("</desc>", start)]


def _snapshot(result: Mapping[str, Any], folder: Path) -> Snapshot:
    """The runs of the incident, and some before and after it, as the page of the incident has them."""
    settings = service.settings_of(folder / DEFAULT_FILE)
    engine = service.open_store(settings)
    now = datetime.fromisoformat(result["runs"][-1]["until"])
    detail = read_incident(engine, settings, now, result["incident"]["incident_id"])
    engine.dispose()
    if detail is None:
        raise RuntimeError("the demo has no incident")
    return replace(detail.snapshot, start=detail.snapshot.runs[0].at - demo.STEP)


def _rows(runs: Sequence[Mapping[str, Any]], snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    """Each chart with its caption, and where the next row begins."""
    broken_times = [datetime.fromisoformat(run["until"]) for run in runs if run["chapter"] == "broken"]
    broken_time = broken_times[0] - demo.STEP, broken_times[-1]
    half = (WIDTH - 2 * GAP) / 2
    y = EDGE
    for caption, chart in (
        (f"The state. The feed fills in {demo.SENTINEL:g} where the ground is tinted", charts.state_chart(snapshot)),
        ("Who answered", charts.traffic_chart(snapshot)),
    ):
        y_next = y + CAPTION + chart.height
        yield _drawing(chart, snapshot, broken_time, caption, (EDGE, y, WIDTH)), y_next
        y = y_next + GAP
    for place, (key, caption) in enumerate(SIGNALS):
        chart = charts.signal_chart(snapshot, key)
        y_next = y + CAPTION + chart.height
        yield _drawing(chart, snapshot, broken_time, caption, (EDGE + place * (half + 2 * GAP), y, half)), y_next
    y = y_next + GAP
    for place, (chart, caption) in enumerate(
        ((charts.signal_chart(snapshot, LOSS), LOSS_CAPTION), (_accuracy_chart(runs, snapshot), ACCURACY_CAPTION))
    ):
        y_next = y + CAPTION + chart.height
        yield _drawing(chart, snapshot, broken_time, caption, (EDGE + place * (half + 2 * GAP), y, half)), y_next


def _drawing(
    chart: Chart,
    snapshot: Snapshot,
    broken_time: tuple[datetime, datetime],
    caption: str,
    place: tuple[float, float, float],
) -> str:
    """A chart on a ground that is tinted while the feed is broken."""
    axis = charts.time_axis(snapshot)
    left, right = (axis.x(at) for at in broken_time)
    chart.boxes.insert(0, shapes.box(left, right, 0.0, chart.height - charts.FOOT, "injected", "the feed is broken"))
    return captioned_chart(chart, caption, *place)


def _accuracy_chart(runs: Sequence[Mapping[str, Any]], snapshot: Snapshot) -> Chart:
    """The accuracy of each run's answers by the labels, which the demo has and the monitor has not."""
    curves = {"served": "accuracy", "model": "model_accuracy"}
    first, last = ([run[name] for run in runs] for name in curves.values())
    description = f"As served from {min(first):.0%} to {max(first):.0%}, by the model alone from {min(last):.0%}."
    height = charts.HEIGHT
    chart = Chart("accuracy", "Accuracy by the labels", description, height)
    axis: Axis = charts.time_axis(snapshot)
    bottom = height - charts.FOOT
    scale = Scale(0.0, 1.0, charts.TOP, bottom)
    shapes.add_grid(chart, scale, lambda value: f"{value:.0%}")
    for kind, name in curves.items():
        points = [(axis.x(datetime.fromisoformat(run["until"])), scale.y(run[name])) for run in runs]
        chart.paths.append(shapes.line(points, f"score-{kind}"))
    for run in runs:
        at = datetime.fromisoformat(run["until"])
        if at.minute % 30 == 0:
            shapes.add_time_tick(chart, axis.x(at), bottom, f"{at:%H:%M}")
    return chart


if __name__ == "__main__":
    main()
