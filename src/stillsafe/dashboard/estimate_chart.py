"""The chart of estimated and realised loss: one pair of points per labelled window. Pure."""

from datetime import datetime

from stillsafe.core.evidence.estimate_account import WindowAccount, account_of
from stillsafe.dashboard import shapes
from stillsafe.dashboard.formatting import moment
from stillsafe.dashboard.shapes import Axis, Chart, Dot, Scale
from stillsafe.dashboard.snapshot import Snapshot

HEIGHT, TOP, FOOT = 130.0, 14.0, 22.0
MOST_TICKS = 6
TITLE = "Estimated and realised loss"


def estimate_chart(snapshot: Snapshot) -> Chart | None:
    """Estimated and realised loss of the labelled windows, on a time axis of its own; None without any.

    The truth comes late, so the windows are older than those of the other charts.
    """
    windows = snapshot.estimates
    account = account_of(windows, snapshot.estimate_unit)
    if account is None:
        return None
    chart = Chart("estimated-and-realised", TITLE, account.sentence, HEIGHT, "line: by the labels; green: the estimate")
    bottom, times = HEIGHT - FOOT, [window.end for window in windows]
    axis = Axis(min(window.start for window in windows), max(times))
    losses = [loss for window in windows for loss in (window.estimated_loss, window.realised_loss, 0.0)]
    padding = 0.08 * (max(losses) - min(losses)) or 0.05
    scale = Scale(min(losses) - padding, max(losses) + padding, TOP, bottom)
    shapes.add_grid(chart, scale, lambda value: _text(value, snapshot.estimate_unit))
    estimate_points = [(axis.x(each.end), scale.y(each.estimated_loss)) for each in windows]
    truth_points = [(axis.x(each.end), scale.y(each.realised_loss)) for each in windows]
    chart.paths.extend([shapes.line(estimate_points, "reference"), shapes.line(truth_points, "value")])
    for window, (x, y) in zip(windows, truth_points, strict=True):
        kind = "level-NONE" if window.is_within else "level-MODERATE"
        chart.dots.append(Dot(x, y, kind, _title(window, snapshot.estimate_unit)))
    for at in _ticks(times):
        shapes.add_time_tick(chart, axis.x(at), bottom, f"{at:%d %b %H:%M}")
    return chart


def _ticks(times: list[datetime]) -> list[datetime]:
    return times[:: max(1, -(-len(times) // MOST_TICKS))]


def _title(window: WindowAccount, unit: str) -> str:
    words = "within its interval" if window.is_within else "outside its interval"
    losses = f"estimated {_text(window.estimated_loss, unit)}, realised {_text(window.realised_loss, unit)}"
    return f"{moment(window.end)}: {losses} by {window.label_count} labels, {words}"


def _text(value: float, unit: str) -> str:
    return f"{value:.3g}" if unit == "loss" else f"{100 * value:.3g}%"
