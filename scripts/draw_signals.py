"""Draw docs/signals.svg: a real backtest in which a column's values go to the wrong rows. Takes some seconds.

Flights that left New York's airports in 2013, as in the demo: will this one arrive more than 15 minutes late? From the
middle of the history on `dep_delay` is permuted: each value is a real one, of another flight.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skops import io

from stillsafe import service
from stillsafe.backtest import charts, report
from stillsafe.backtest.result import Backtest
from stillsafe.core.evidence.impact import Metric
from stillsafe.dashboard import views
from stillsafe.dashboard.charts import WIDTH, Chart
from stillsafe.init.create import create_service
from stillsafe.settings import Settings

FILE = Path(__file__).parents[1] / "docs" / "signals.svg"
LABEL, BROKEN = "label", "dep_delay"
TRAINED_ON, SAMPLED, PLAYED = 16_000, 6_000, 20_000
SEED = 2013
MADE_AT = datetime(2026, 1, 12, 8, 0, tzinfo=UTC)
CALM = (
    (f"distribution_change:{BROKEN}", f"Blind to it: how {BROKEN} is distributed"),
    ("avg_confidence", "Blind to it: the mean confidence"),
)
TELLING = (
    (f"broken_relation_rate:{BROKEN}", f"Sees it: rows on which {BROKEN} contradicts the others"),
    ("estimated_accuracy_loss", "Says what it costs: accuracy lost, an estimate"),
)
SCORES = (
    "What it really cost: right answers by the model alone (line), by the fallback alone (dashes), as served (broad)"
)
EDGE, CAPTION, GAP = 14.0, 26.0, 12.0
OWN_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg text.caption { fill: var(--ink); font-size: 14px; font-weight: 600; }
svg .half text { font-size: 8.5px; }
.ground { fill: var(--card); }
"""


def main() -> None:
    """Make the service, play the history, write the picture."""
    flights = _flights()
    with tempfile.TemporaryDirectory() as folder:
        config = _make_service(flights, Path(folder))
        played = flights.iloc[TRAINED_ON + SAMPLED :][:PLAYED]
        found = service.backtest(config, played, label=LABEL, rows_per_run=500, inject=[f"permuted:{BROKEN}"])
        text = picture(found, service.settings_of(config))
    FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")


def picture(found: Backtest, settings: Settings) -> str:
    """The backtest as one SVG that needs nothing else and brings its own ground, light or dark."""
    drawn = list(_rows(found, settings))
    height = drawn[-1][1] + EDGE
    width = WIDTH + 2 * EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}">',
            f"<title>A backtest in which {BROKEN} goes to the wrong rows</title>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{width:g}" height="{height:g}" rx="10"/>',
            *(text for text, _ in drawn),
            "</svg>\n",
        ]
    )


def _rows(found: Backtest, settings: Settings) -> Iterator[tuple[str, float]]:
    """Each chart with its caption, and where the next row begins."""
    seen = report.snapshot(found, settings, MADE_AT)
    y = EDGE
    strip = charts.strips(found, seen)
    y_next = y + CAPTION + strip.height
    yield _placed(strip, "State after each run of 500 flights, and its severity", EDGE, y, WIDTH), y_next
    for pair in (CALM, TELLING):
        y = y_next + GAP
        half = (WIDTH - 2 * GAP) / 2
        for place, (key, caption) in enumerate(pair):
            chart = charts.multiple(found, seen, key)
            y_next = y + CAPTION + chart.height * half / chart.width
            yield _placed(chart, caption, EDGE + place * (half + 2 * GAP), y, half), y_next
    y = y_next + GAP
    scores = charts.scores(found, seen, Metric.ACCURACY)
    yield _placed(scores, SCORES, EDGE, y, WIDTH), y + CAPTION + scores.height


def _placed(chart: Chart, caption: str, x: float, y: float, width: float) -> str:
    """A chart as the report's template draws it, with its caption, at its place."""
    shapes = Environment(loader=FileSystemLoader(views.FOLDER / "templates"), autoescape=True).get_template(
        "shapes.html"
    )
    figure = str(shapes.make_module().chart(chart))  # type: ignore[attr-defined]
    svg = figure[figure.index("<svg") : figure.index("</svg>") + len("</svg>")]
    height = chart.height * width / chart.width
    kind = "whole" if width == WIDTH else "half"
    place = f'<svg class="{kind}" x="{x:g}" y="{y + CAPTION:g}" width="{width:g}" height="{height:g}"'
    svg = re.sub(r"\s*\n\s*", "\n", svg.replace("<svg", place, 1))
    return f'<text class="caption" x="{x:g}" y="{y + 17:g}">{caption}</text>\n{svg}'


def _style() -> str:
    """The dashboard's colours and shapes; the rules of its page are of no use here."""
    sheets = [(views.FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("stillsafe.css", "report.css")]
    colours = sheets[0][: sheets[0].index("* {")]
    rules = [
        line for sheet in sheets for line in sheet.splitlines() if line.startswith("svg") and "display" not in line
    ]
    return "\n".join([colours, *rules, OWN_STYLE])


def _flights() -> pd.DataFrame:
    with resources.as_file(resources.files("stillsafe") / "data" / "nyc_flights.parquet") as path:
        flights = pd.read_parquet(path)
    # Drawn over the whole year, or the season would tell a story of its own.
    return flights.drop(columns="timestamp").sample(frac=1, random_state=SEED).reset_index(drop=True)


def _make_service(flights: pd.DataFrame, folder: Path) -> Path:
    """Train on the first flights, `init` on a sample of the next; returns the settings' file."""
    training, sample = flights.iloc[:TRAINED_ON], flights.iloc[TRAINED_ON : TRAINED_ON + SAMPLED]
    features = training.drop(columns=LABEL)
    words = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False)
    columns = make_column_transformer((encoder, words), remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=80, random_state=SEED))
    io.dump(model.fit(features.astype(dict.fromkeys(words, object)), training[LABEL]), folder / "model.skops")
    sample.to_parquet(folder / "sample.parquet")
    create_service(
        folder / "model.skops",
        folder / "sample.parquet",
        label=LABEL,
        out=folder / "service",
        name="late-flights",
        version=None,
        trust_joblib=False,
        force=False,
        now=MADE_AT,
        salt="signals",
        progress=lambda _message: None,
    )
    return folder / "service" / "stillsafe.toml"


if __name__ == "__main__":
    main()
