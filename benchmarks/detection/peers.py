"""Other ways of watching, each behind the same streak rule: does this run of 500 rows deviate from the sample?

They see what Stillsafe sees: the labelled sample, the served features, the model's answers. What is not deterministic
mathematics of a few lines (ADWIN, NannyML) runs in its own environment, see `outside.py`.
"""

import itertools
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from benchmarks import environments
from benchmarks.detection import data, models
from benchmarks.detection.data import CACHE, LABEL, Task
from benchmarks.detection.streams import HARMFUL, Case, Stream
from benchmarks.detection.verdicts import Verdict, streaks

BINS, COMMONEST, LEAST_SHARE, PSI_LIMIT = 10, 10, 1e-4, 0.2
KS_LIMIT = 0.001
CONFIDENCE_LOST, UNSURE_MORE, RATE_MORE, UNSURE_SHARE = 0.1, 0.15, 0.1, 0.1
_OUTSIDE = Path(__file__).with_name("outside.py")
_ENVIRONMENT = "detection"

Numbers = NDArray[np.float64]


class Peer(StrEnum):
    """Ways of watching."""

    LITERAL = "literal"
    PSI = "PSI"
    KS = "K-S"
    ADWIN = "ADWIN"
    CBPE = "estimated"
    PCA = "PCA"
    LABELS = "labels"


LEGEND = {
    Peer.LITERAL: "fixed thresholds on confidence, unsure answers, missing, unseen and outlying values",
    Peer.PSI: f"population stability index above {PSI_LIMIT} on any column",
    Peer.KS: f"Kolmogorov-Smirnov on the model's confidence (of a regressor: its answers), p < {KS_LIMIT}",
    Peer.ADWIN: "river's ADWIN on the same; what it found is not taken back",
    Peer.CBPE: "NannyML's estimated accuracy or error, its own thresholds",
    Peer.PCA: "NannyML's reconstruction error, its own thresholds",
    Peer.LABELS: "true labels at once: the bound",
}


@dataclass(frozen=True, slots=True)
class Predictions:
    """Rows and what the model made of them: its answers and how sure it was (of a number: the number itself)."""

    rows: pd.DataFrame
    answers: NDArray[Any]
    confidence: Numbers
    chances: Numbers | None

    def part(self, start: int, stop: int) -> "Predictions":
        """Some of the rows."""
        chances = None if self.chances is None else self.chances[start:stop]
        return Predictions(self.rows.iloc[start:stop], self.answers[start:stop], self.confidence[start:stop], chances)


def predict(model: Any, rows: pd.DataFrame, task: Task) -> Predictions:
    """Predict some rows with the model."""
    features = rows.drop(columns=LABEL)
    if task is Task.REGRESSION:
        answers = model.predict(features)
        return Predictions(features, answers, answers.astype(np.float64), None)
    chances = model.predict_proba(features)
    return Predictions(features, model.classes_[chances.argmax(axis=1)], chances.max(axis=1), chances)


def verdicts(case: Case, *, outside: bool) -> dict[Peer, dict[str, Verdict]]:
    """Peer -> stream -> verdict; kept in the cache, for peers do not change while the product does.

    Args:
        case: with the streams wanted.
        outside: whether to include the peers in their own environment.
    """
    place = case.model_file.with_name(f"peers-{'all' if outside else 'inside'}.json")
    deviations: dict[str, dict[str, list[bool]]] = json.loads(place.read_text("utf-8")) if place.exists() else {}
    lacking = [stream for stream in case.streams if stream.key not in deviations]
    if lacking:
        deviations |= _deviations(case, lacking, outside=outside)
        place.write_text(json.dumps(deviations), encoding="utf-8")
    gains = {stream.key: _gains(case, stream) for stream in case.streams}
    peers = sorted({peer for stream in case.streams for peer in deviations[stream.key]}, key=[*Peer].index)
    return {
        Peer(peer): {
            stream.key: Verdict(streaks(deviations[stream.key][peer]), gains[stream.key])
            for stream in case.streams
            if peer in deviations[stream.key]
        }
        for peer in peers
    }


def _deviations(case: Case, streams: Sequence[Stream], *, outside: bool) -> dict[str, dict[str, list[bool]]]:
    """Stream -> peer -> whether each run deviates."""
    model = joblib.load(case.model_file)
    sample = data.with_objects(pd.read_parquet(case.sample_file).drop(columns="timestamp", errors="ignore"))
    healthy = predict(model, sample, case.kind)
    tests = {
        Peer.LITERAL: literal_test(healthy, classifier=case.kind is not Task.REGRESSION),
        Peer.PSI: psi_test(healthy),
        Peer.KS: kolmogorov_smirnov_test(healthy),
    }
    deviations: dict[str, dict[str, list[bool]]] = {}
    stream_predictions: dict[str, Predictions] = {}
    for stream in streams:
        whole = predict(model, pd.concat(stream.runs, ignore_index=True), case.kind)
        lengths = np.cumsum([0, *(len(run) for run in stream.runs)])
        runs = [whole.part(start, stop) for start, stop in itertools.pairwise(lengths)]
        deviations[stream.key] = {peer: [test(run) for run in runs] for peer, test in tests.items()}
        deviations[stream.key][Peer.LABELS] = _by_labels(case, stream)
        stream_predictions[stream.key] = whole
    if outside:
        classes = [] if case.kind is Task.REGRESSION else model.classes_.tolist()
        for key, stream_deviations in _run_outside(case, sample, healthy, streams, stream_predictions, classes).items():
            deviations[key] |= stream_deviations
    return deviations


def _by_labels(case: Case, stream: Stream) -> list[bool]:
    def loss(score: float) -> float:
        return score if case.kind is Task.REGRESSION else 1 - score

    reference = loss(stream.reference_score)
    return [models.harm(loss(score), reference, case.kind) >= HARMFUL for score in stream.scores]


def kolmogorov_smirnov_test(healthy: Predictions) -> Callable[[Predictions], bool]:
    """Whether the distribution of the confidence differs from the sample's."""
    test: Any = ks_2samp

    def deviates(run: Predictions) -> bool:
        return bool(test(healthy.confidence, run.confidence).pvalue < KS_LIMIT)

    return deviates


def literal_test(healthy: Predictions, *, classifier: bool) -> Callable[[Predictions], bool]:
    """Confidence lower by 0.1, unsure answers up by 0.15, or a rate of missing, unseen or outlying values by 0.1."""
    unsure = float(np.quantile(healthy.confidence, UNSURE_SHARE))
    mean = float(healthy.confidence.mean())
    usual = {name: _Usual.of(healthy.rows[name]) for name in healthy.rows}

    def deviates(run: Predictions) -> bool:
        less_sure = run.confidence.mean() < mean - CONFIDENCE_LOST
        more_unsure = (run.confidence < unsure).mean() > UNSURE_SHARE + UNSURE_MORE
        odd = any(usual[name].odd(run.rows[name]) for name in run.rows)
        return bool((classifier and (less_sure or more_unsure)) or odd)

    return deviates


@dataclass(frozen=True, slots=True)
class _Usual:
    """What a healthy column holds: its share of missing values, and its range or its categories."""

    missing: float
    low: float
    high: float
    categories: frozenset[str] | None

    @classmethod
    def of(cls, column: "pd.Series[Any]") -> "_Usual":
        missing = float(column.isna().mean())
        if pd.api.types.is_numeric_dtype(column):
            return cls(missing, float(column.min()), float(column.max()), None)
        return cls(missing, 0.0, 0.0, frozenset(column.dropna()))

    def odd(self, column: "pd.Series[Any]") -> bool:
        """Whether more than a tenth is missing beyond the usual, unseen, or out of range."""
        missing = column.isna()
        if missing.mean() > self.missing + RATE_MORE:
            return True
        if self.categories is not None:
            return bool((~missing & ~column.isin(list(self.categories))).mean() > RATE_MORE)
        return bool(((column < self.low) | (column > self.high)).mean() > RATE_MORE)


def psi_test(healthy: Predictions) -> Callable[[Predictions], bool]:
    """The population stability index of every column, the missing values in a bin of their own."""
    bins = {name: _bins(healthy.rows[name]) for name in healthy.rows}
    shares = {name: _shares(count(healthy.rows[name])) for name, count in bins.items()}

    def deviates(run: Predictions) -> bool:
        for name, count in bins.items():
            now, expected = _shares(count(run.rows[name])), shares[name]
            if float(((now - expected) * np.log(now / expected)).sum()) > PSI_LIMIT:
                return True
        return False

    return deviates


def _bins(column: "pd.Series[Any]") -> Callable[["pd.Series[Any]"], Numbers]:
    if pd.api.types.is_numeric_dtype(column):
        present = column.dropna().to_numpy(np.float64)
        inner = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1])) if len(present) else present

        def count_numbers(values: "pd.Series[Any]") -> Numbers:
            place = np.searchsorted(inner, values.to_numpy(np.float64), side="right")
            return np.bincount(np.where(values.isna(), len(inner) + 1, place), minlength=len(inner) + 2).astype(float)

        return count_numbers
    places = {value: i for i, value in enumerate(column.value_counts().index[:COMMONEST])}

    def count_words(values: "pd.Series[Any]") -> Numbers:
        other, missing = len(places), len(places) + 1
        place = values.map(places).fillna(other).where(values.notna(), missing).astype(np.intp)
        return np.bincount(place, minlength=len(places) + 2).astype(float)

    return count_words


def _shares(counts: Numbers) -> Numbers:
    shares: Numbers = np.maximum(counts / counts.sum(), LEAST_SHARE)
    return shares


def _gains(case: Case, stream: Stream) -> tuple[float | None, ...]:
    """What always giving the sample's commonest class, or its median, is worth beside the model."""
    labels = pd.read_parquet(case.sample_file, columns=[LABEL])[LABEL]
    if case.kind is Task.REGRESSION:
        answer = float(labels.median())
        errors = [float((run[LABEL] - answer).abs().mean()) for run in stream.runs]
        return tuple(
            (score - error) / stream.reference_score for score, error in zip(stream.scores, errors, strict=True)
        )
    common = labels.mode()[0]
    return tuple(
        float((run[LABEL] == common).mean()) - score for run, score in zip(stream.runs, stream.scores, strict=True)
    )


def install() -> None:
    """Make the environment of the peers that are packages, once; nothing of it is imported here."""
    environments.python(_ENVIRONMENT)


def _run_outside(
    case: Case,
    sample: pd.DataFrame,
    healthy: Predictions,
    streams: Sequence[Stream],
    stream_predictions: Mapping[str, Predictions],
    classes: list[Any],
) -> dict[str, dict[str, list[bool]]]:
    """Stream -> peer -> whether each run deviates, from the peers in their own environment."""
    folder = CACHE / "exchange" / case.name
    folder.mkdir(parents=True, exist_ok=True)
    exchange_table(healthy, sample[LABEL]).to_parquet(folder / "sample.parquet")
    labels = [pd.concat([run[LABEL] for run in stream.runs], ignore_index=True) for stream in streams]
    parts = [
        exchange_table(stream_predictions[stream.key], label) for stream, label in zip(streams, labels, strict=True)
    ]
    pd.concat(parts, ignore_index=True).to_parquet(folder / "served.parquet")
    lengths = [[len(run) for run in stream.runs] for stream in streams]
    task = {"task": case.kind, "lengths": lengths, "features": list(healthy.rows.columns), "classes": classes}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    python = [str(environments.python(_ENVIRONMENT)), "-W", "ignore"]
    subprocess.run([*python, str(_OUTSIDE), str(folder)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    deviations = json.loads((folder / "deviations.json").read_text(encoding="utf-8"))
    names = {"adwin": Peer.ADWIN, "cbpe": Peer.CBPE, "pca": Peer.PCA}
    return {stream.key: {names[peer]: runs[i] for peer, runs in deviations.items()} for i, stream in enumerate(streams)}


def exchange_table(predictions: Predictions, labels: "pd.Series[Any]") -> pd.DataFrame:
    """The rows with label, answer, confidence and probabilities, as peers in their own environment read them."""
    columns: dict[str, Any] = {
        "__label": labels.to_numpy(),
        "__answer": predictions.answers,
        "__sure": predictions.confidence,
    }
    if predictions.chances is not None:
        columns |= {f"__chance {i}": predictions.chances[:, i] for i in range(predictions.chances.shape[1])}
    return predictions.rows.reset_index(drop=True).assign(**columns)
