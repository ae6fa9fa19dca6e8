"""Draw docs/signals.svg: a real backtest in which a column's values are joined to the wrong rows. Takes some seconds.

Flights that left New York's airports in 2013, as in the demo: will this one arrive more than 15 minutes late? From the
middle of the history on `dep_delay` is permuted: each value is a real one of another flight.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
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
from stillsafe.core.evidence.metric import Metric
from stillsafe.dashboard.shapes import Chart
from stillsafe.dashboard.templating import FOLDER
from stillsafe.demo import shipped_flights
from stillsafe.init.create import ServiceRequest, create_service
from stillsafe.settings import Settings

FILE = Path(__file__).parents[1] / "docs" / "signals.svg"
LABEL, CORRUPTED_FEATURE = "label", "dep_delay"
TRAINING_ROWS, SAMPLE_ROWS, HISTORY_ROWS = 16_000, 6_000, 20_000
SEED = 2013
MADE_AT = datetime(2026, 1, 12, 8, 0, tzinfo=UTC)
BLIND_SIGNALS = (
    (f"distribution_change:{CORRUPTED_FEATURE}", f"Does not show it: the distribution of {CORRUPTED_FEATURE}"),
    ("avg_confidence", "Does not show it: the mean confidence"),
)
SENSITIVE_SIGNALS = (
    (
        f"broken_relation_rate:{CORRUPTED_FEATURE}",
        f"Shows it: rows in which {CORRUPTED_FEATURE} does not fit the others",
    ),
    ("estimated_accuracy_loss", "Shows its cost: the estimated loss of accuracy"),
)
SCORES = "Real cost: accuracy of the model alone (line), of the fallback alone (dashes), as served (broad)"
WIDTH, EDGE, CAPTION, GAP = 960.0, 14.0, 26.0, 12.0
LEFT, RIGHT = 46.0, 14.0  # of a chart, for its labels
OWN_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg text.caption { fill: var(--ink); font-size: 14px; font-weight: 600; }
.ground { fill: var(--card); }
"""


def main() -> None:
    """Make the service, backtest the history, write the picture."""
    flights = _flights()
    with tempfile.TemporaryDirectory() as folder:
        config = _make_service(flights, Path(folder))
        history = flights.iloc[TRAINING_ROWS + SAMPLE_ROWS :][:HISTORY_ROWS]
        result = service.backtest(
            config, history, label=LABEL, rows_per_run=500, inject=[f"permuted:{CORRUPTED_FEATURE}"]
        )
        text = picture(result, service.settings_of(config))
    FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")


def picture(result: Backtest, settings: Settings) -> str:
    """The backtest as one self-contained SVG with its own ground, light or dark."""
    rows = list(_rows(result, settings))
    height = rows[-1][1] + EDGE
    width = WIDTH + 2 * EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}">',
            f"<title>A backtest in which {CORRUPTED_FEATURE} is joined to the wrong rows</title>",
            f"<style>{style()}</style>",
            f'<rect class="ground" width="{width:g}" height="{height:g}" rx="10"/>',
            *(text for text, _ in rows),
            "</svg>\n",
        ]
    )


def _rows(result: Backtest, settings: Settings) -> Iterator[tuple[str, float]]:
    """Each chart with its caption, and where the next row begins."""
    snapshot = report.snapshot(result, settings, MADE_AT)
    y = EDGE
    states = charts.state_chart(result, snapshot)
    y_next = y + CAPTION + states.height
    yield captioned_chart(states, "State after each run of 500 flights, and its severity", EDGE, y, WIDTH), y_next
    for pair in (BLIND_SIGNALS, SENSITIVE_SIGNALS):
        y = y_next + GAP
        half = (WIDTH - 2 * GAP) / 2
        for place, (key, caption) in enumerate(pair):
            chart = charts.signal_chart(result, snapshot, key)
            y_next = y + CAPTION + chart.height
            yield captioned_chart(chart, caption, EDGE + place * (half + 2 * GAP), y, half), y_next
    y = y_next + GAP
    scores = charts.score_chart(result, snapshot, Metric.ACCURACY)
    yield captioned_chart(scores, SCORES, EDGE, y, WIDTH), y + CAPTION + scores.height


def captioned_chart(chart: Chart, caption: str, x: float, y: float, width: float) -> str:
    """A chart as the report's template draws it, with its caption, at its place."""
    shapes = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True).get_template("shapes.html")
    figure = str(shapes.make_module().chart(chart))  # type: ignore[attr-defined]
    svg = figure[figure.index("<svg") : figure.rindex("</svg>") + len("</svg>")]
    place = f'<svg x="{x + LEFT:g}" y="{y + CAPTION:g}" width="{width - LEFT - RIGHT:g}" overflow="visible"'
    svg = re.sub(r"\s*\n\s*", "\n", svg.replace("<svg", place, 1))
    return f'<text class="caption" x="{x:g}" y="{y + 17:g}">{caption}</text>\n{svg}'


def style() -> str:
    """The dashboard's colours and shapes; the rules for its page are left out."""
    sheets = [(FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("stillsafe.css", "report.css")]
    colours = sheets[0][: sheets[0].index("* {")]
    rules = [
        line for sheet in sheets for line in sheet.splitlines() if line.startswith("svg") and "display" not in line
    ]
    return "\n".join([colours, *rules, OWN_STYLE])


def _flights() -> pd.DataFrame:
    # A sample of the whole year: otherwise the season would be a shift of its own.
    return shipped_flights().drop(columns="timestamp").sample(frac=1, random_state=SEED).reset_index(drop=True)


def _make_service(flights: pd.DataFrame, folder: Path) -> Path:
    """Train on the first flights, `init` on a sample of the next; returns the settings' file."""
    training, sample = flights.iloc[:TRAINING_ROWS], flights.iloc[TRAINING_ROWS : TRAINING_ROWS + SAMPLE_ROWS]
    features = training.drop(columns=LABEL)
    words = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False)
    columns = make_column_transformer((encoder, words), remainder="passthrough")
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=80, random_state=SEED))
    io.dump(model.fit(features.astype(dict.fromkeys(words, object)), training[LABEL]), folder / "model.skops")
    sample.to_parquet(folder / "sample.parquet")
    create_service(
        ServiceRequest(
            folder / "model.skops",
            folder / "sample.parquet",
            label=LABEL,
            out=folder / "service",
            name="late-flights",
            now=MADE_AT,
            salt="signals",
        )
    )
    return folder / "service" / "stillsafe.toml"


if __name__ == "__main__":
    main()
