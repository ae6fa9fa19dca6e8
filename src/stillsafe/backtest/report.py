"""The backtest report: one self-contained HTML file without scripts, external style sheets or network access."""

from datetime import datetime
from typing import Any

from markupsafe import Markup

from stillsafe.backtest import charts
from stillsafe.backtest.result import FALLBACK, Backtest, BacktestRun, Basis, SignalSummary
from stillsafe.backtest.summary import is_fallback_worse
from stillsafe.backtest.text import difference_words, fallback_sentences, headline, injection_sentence, score_words
from stillsafe.core.signals import SIGNALS, Signal
from stillsafe.core.window import Tally
from stillsafe.dashboard import formatting
from stillsafe.dashboard.snapshot import Run, Snapshot
from stillsafe.dashboard.status_banner import Tone
from stillsafe.dashboard.templating import FOLDER, build_templates
from stillsafe.judging import conditions_without_traffic
from stillsafe.settings import Settings
from stillsafe.store.read.runs import RunRecord

MOST_DEVIATING_CHARTS, NEAREST_CHARTS = 9, 3
MOST_SIGNALS_LISTED = 15
MOST_RUNS_LISTED = 2_000
_BANNER_WORDS = {Tone.CALM: "NO ALARM", Tone.WATCH: "WARNINGS", Tone.DANGER: "BYPASSED", Tone.UNKNOWN: "UNKNOWN"}


def render(result: Backtest, settings: Settings, *, made_at: datetime, command: str) -> str:
    """Render the report.

    Args:
        result: the backtest, with at least one run.
        settings: of the service.
        made_at: current time, aware UTC.
        command: the command line that reproduces the report, without folders of this machine.
    """
    runs_snapshot = snapshot(result, settings, made_at)
    tone = banner_tone(result)
    context: dict[str, Any] = {
        "result": result,
        "settings": settings,
        "made_at": made_at,
        "command": command,
        "style": _style(),
        "tone": tone.value,
        "word": _BANNER_WORDS[tone],
        "headline": headline(result),
        "sentences": _banner_sentences(result),
        "fallback_sentences": list(fallback_sentences(result)),
        "score_rows": _score_rows(result),
        "by_time": result.basis is Basis.TIME,
        "state_chart": charts.state_chart(result, runs_snapshot),
        "score_chart": None if result.metric is None else charts.score_chart(result, runs_snapshot, result.metric),
        "score_kinds": charts.SCORES,
        "metric": None if result.metric is None else result.metric.value.replace("_", " "),
        "signal_charts": [charts.signal_chart(result, runs_snapshot, signal.key) for signal in charted_signals(result)],
        "has_deviations": any(signal.bad_rate for signal in result.signals),
        "signals": [_signal_row(signal) for signal in result.signals[:MOST_SIGNALS_LISTED]],
        "runs": [_run_row(result, run) for run in result.runs[:MOST_RUNS_LISTED]],
    }
    return build_templates().get_template("report.html").render(context)


def banner_tone(result: Backtest) -> Tone:
    """The tone of the banner: UNKNOWN without a conclusive run, even if there was no alarm."""
    if not result.conclusive_rate:
        return Tone.UNKNOWN
    if result.degraded_count:
        return Tone.DANGER
    return Tone.WATCH if result.incidents else Tone.CALM


def charted_signals(result: Backtest) -> tuple[SignalSummary, ...]:
    """The signals that deviated most; if none did, the signals closest to their limits."""
    deviating = tuple(signal for signal in result.signals if signal.bad_rate)
    return deviating[:MOST_DEVIATING_CHARTS] or result.signals[:NEAREST_CHARTS]


def _banner_sentences(result: Backtest) -> list[str]:
    injection = [] if result.injection is None else [injection_sentence(result.injection)]
    return [*injection, next(fallback_sentences(result))]


def _score_rows(result: Backtest) -> list[tuple[str, str, str, str]]:
    """Table rows: scope, score of the model alone, score as served, difference."""
    comparison, metric = result.price, result.metric
    if comparison is None or metric is None:
        return []
    bypass_scope = (
        f"while bypassed ({comparison.run_count} runs, {formatting.count(comparison.row_count)} labelled rows)"
    )
    rows = []
    for scope, model, as_served in (
        (bypass_scope, comparison.model_score, comparison.fallback_score),
        ("over the whole history", comparison.total_model_score, comparison.total_served_score),
    ):
        if model is not None and as_served is not None:
            difference = difference_words(metric, as_served - model)
            worse = is_fallback_worse(metric, model, as_served)
            direction = "worse" if worse else "better" if as_served != model else "the same"
            rows.append(
                (scope, score_words(metric, model), score_words(metric, as_served), f"{difference}, {direction}")
            )
    return rows


def _signal_row(signal: SignalSummary) -> tuple[str, str, str, str]:
    name, _, feature = signal.key.partition(":")
    largest_ratio = formatting.NO_VALUE if signal.largest_ratio is None else f"{signal.largest_ratio:.2f}"
    return SIGNALS[Signal(name)].label, feature, formatting.percent(signal.bad_rate), largest_ratio


def _run_row(result: Backtest, run: BacktestRun) -> dict[str, Any]:
    until = run.window_end if result.basis is Basis.TIME else run.data_until
    scores = [score_words(result.metric, getattr(run, name)) for _, _, name in charts.SCORES] if result.metric else []
    return {"run": run, "until": formatting.moment(until), "scores": scores, "bypassed": run.decided_by == FALLBACK}


def snapshot(result: Backtest, settings: Settings, now: datetime) -> Snapshot:
    """Convert the runs to the input of the dashboard's charts; the time axis ends at the last run."""
    runs = tuple(_dashboard_run(result, run) for run in result.runs)
    return Snapshot(
        now=result.runs[-1].window_end if result.runs else now,
        settings=settings,
        state=None,
        conditions=conditions_without_traffic(settings.model.version),
        runs=runs,
        baseline=None,
        incidents=(),
        actions=(),
        last_request_at=None,
    )


def _dashboard_run(result: Backtest, run: BacktestRun) -> Run:
    record = RunRecord(
        id=run.number,
        window_start=run.window_start,
        window_end=run.window_end,
        prediction_count=run.prediction_count,
        avg_confidence=run.avg_confidence,
        low_confidence_rate=run.low_confidence_rate,
        feature_anomalies={},
        unseen_categories=False,
        model_version=result.model_version,
        baseline_id=result.baseline_id,
        policy=None,
        window=None,
        readings=None,
        memory=None,
        evidence=run.evidence.value,
        severity=run.severity.value,
        state_before=run.state_before.value,
        state_after=run.state.value,
        shadow=run.shadow,
        reason=run.reason,
        incident_id=None,
        last_prediction_row=None,
        last_refusal_row=None,
        fresh_since=None,
    )
    return Run(record, run.readings, Tally(prediction_count=run.prediction_count))


def _style() -> Markup:
    """The style sheets of the dashboard and of the report."""
    texts = [(FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("stillsafe.css", "report.css")]
    return Markup("\n".join(texts))  # noqa: S704 - files of this package, no user data
