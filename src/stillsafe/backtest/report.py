"""A backtest as one HTML file that needs nothing else: no script, no style sheet, no network."""

from datetime import datetime
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillsafe.backtest import charts
from stillsafe.backtest.result import FALLBACK, Backtest, BacktestRun, Basis, SignalSummary, fallback_worse
from stillsafe.backtest.text import difference_words, headline, injection_sentence, price_sentences, score_words
from stillsafe.core.signals import Signal
from stillsafe.core.window import Tally
from stillsafe.dashboard import deviations, formatting
from stillsafe.dashboard.snapshot import Run, Snapshot
from stillsafe.dashboard.status_banner import Tone
from stillsafe.dashboard.views import FOLDER, with_code
from stillsafe.settings import Settings
from stillsafe.store.read.runs import RunRecord

MOST_MULTIPLES, NEAREST_SHOWN = 9, 3
MOST_SIGNALS = 15
MOST_RUNS_LISTED = 2_000
_WORDS = {Tone.CALM: "ALL CALM", Tone.WATCH: "WARNINGS", Tone.DANGER: "BYPASSED", Tone.UNKNOWN: "UNKNOWN"}


def render(found: Backtest, settings: Settings, *, made_at: datetime, command: str) -> str:
    """The report.

    Args:
        found: the backtest, with one run at least.
        settings: the service.
        made_at: the time of making, aware UTC.
        command: how to get the same again; no folder of this machine in it.
    """
    seen = snapshot(found, settings, made_at)
    tone = tone_of(found)
    context: dict[str, Any] = {
        "found": found,
        "settings": settings,
        "made_at": made_at,
        "command": command,
        "style": _style(),
        "tone": tone.value,
        "word": _WORDS[tone],
        "headline": headline(found),
        "sentences": _sentences(found),
        "prices": list(price_sentences(found)),
        "price_rows": _price_rows(found),
        "by_time": found.basis is Basis.TIME,
        "strip": charts.strips(found, seen),
        "scores": None if found.metric is None else charts.scores(found, seen, found.metric),
        "score_kinds": charts.SCORES,
        "metric": None if found.metric is None else found.metric.value.replace("_", " "),
        "multiples": [charts.multiple(found, seen, signal.key) for signal in shown_signals(found)],
        "deviated": any(signal.bad_rate for signal in found.signals),
        "signals": [_signal_row(signal) for signal in found.signals[:MOST_SIGNALS]],
        "runs": [_run_row(found, run) for run in found.runs[:MOST_RUNS_LISTED]],
    }
    return _templates().get_template("report.html").render(context)


def tone_of(found: Backtest) -> Tone:
    """How the banner looks: unknown is never calm."""
    if not found.conclusive_rate:
        return Tone.UNKNOWN
    if found.degraded_count:
        return Tone.DANGER
    return Tone.WATCH if found.incidents else Tone.CALM


def shown_signals(found: Backtest) -> tuple[SignalSummary, ...]:
    """The signals that deviated most; where none did, those that came nearest."""
    deviating = tuple(signal for signal in found.signals if signal.bad_rate)
    return deviating[:MOST_MULTIPLES] or found.signals[:NEAREST_SHOWN]


def _sentences(found: Backtest) -> list[str]:
    told = [] if found.injection is None else [injection_sentence(found.injection)]
    return [*told, next(price_sentences(found))]


def _price_rows(found: Backtest) -> list[tuple[str, str, str, str]]:
    """What was answered, by the model alone, as served, and the difference."""
    price, metric = found.price, found.metric
    if price is None or metric is None:
        return []
    bypassed = f"while bypassed ({price.run_count} runs, {formatting.count(price.row_count)} labelled answers)"
    rows = []
    for what, model, served in (
        (bypassed, price.model_score, price.fallback_score),
        ("over the whole history", price.total_model_score, price.total_served_score),
    ):
        if model is not None and served is not None:
            apart = difference_words(metric, served - model)
            verdict = "worse" if fallback_worse(metric, model, served) else "better" if served != model else "the same"
            rows.append((what, score_words(metric, model), score_words(metric, served), f"{apart}, {verdict}"))
    return rows


def _signal_row(signal: SignalSummary) -> tuple[str, str, str, str]:
    name, _, feature = signal.key.partition(":")
    furthest = formatting.NOTHING if signal.largest_ratio is None else f"{signal.largest_ratio:.2f}"
    return deviations.name(Signal(name)), feature, formatting.percent(signal.bad_rate), furthest


def _run_row(found: Backtest, run: BacktestRun) -> dict[str, Any]:
    until = run.window_end if found.basis is Basis.TIME else run.data_until
    scores = [score_words(found.metric, getattr(run, name)) for _, _, name in charts.SCORES] if found.metric else []
    return {"run": run, "until": formatting.moment(until), "scores": scores, "bypassed": run.decided_by == FALLBACK}


def snapshot(found: Backtest, settings: Settings, now: datetime) -> Snapshot:
    """The runs as the dashboard's charts take them. Nothing comes after the last run, so now is then."""
    runs = tuple(_seen(found, run) for run in found.runs)
    return Snapshot(
        now=found.runs[-1].window_end if found.runs else now,
        settings=settings,
        state=None,
        runs=runs,
        baseline=None,
        incidents=(),
        actions=(),
        last_request_at=None,
    )


def _seen(found: Backtest, run: BacktestRun) -> Run:
    record = RunRecord(
        id=run.number,
        window_start=run.window_start,
        window_end=run.window_end,
        prediction_count=run.prediction_count,
        avg_confidence=run.avg_confidence,
        low_confidence_rate=run.low_confidence_rate,
        feature_anomalies={},
        unseen_categories=False,
        model_version=found.model_version,
        baseline_id=found.baseline_id,
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
    """The dashboard's style and the report's own: files of ours, with nothing of a client's in them."""
    texts = [(FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("stillsafe.css", "report.css")]
    return Markup("\n".join(texts))  # noqa: S704 - our own files


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for words in (formatting.percent, formatting.count, formatting.moment, formatting.span, formatting.decimal):
        environment.filters[words.__name__] = words
    environment.filters["with_code"] = with_code
    return environment
