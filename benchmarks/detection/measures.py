"""From verdicts to the figures of the table: what a monitor got right, and what its alarms cost."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.detection.data import Task
from benchmarks.detection.streams import BROKEN_RUNS, Stream, StreamFamily
from benchmarks.detection.verdicts import Verdict
from stillsafe.core.state import Severity

_HARMFUL = (StreamFamily.INJECTED, StreamFamily.SHIFT)
MOSTLY = 0.5  # share of the requests of a failure


@dataclass(frozen=True, slots=True)
class ScoredStream:
    """One monitor's verdict on one stream.

    Attributes:
        stream: what happened; `runs` may have been dropped.
        task: what the model answers.
        verdict: severities and gains of its runs.
    """

    stream: Stream
    task: Task
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Figures:
    """One monitor's line of the table. Shares in [0, 1]; None where nothing could be measured.

    Attributes:
        refused_count: harmful failures that count nowhere else but in `caught_of_all`, because the schema refused most
            of their requests: the model never saw them.
        caught_count, harmful_count: harmful failures CRITICAL within five runs, and harmful failures.
        caught_of_all: the share of all, where those that the schema refused are missed.
        caught_rate: harmful failures CRITICAL within five runs, mean over the kinds of failure.
        caught_pooled: the same over all streams alike.
        caught_relational: of which permuted, stale, carried or wrongly joined columns.
        caught_shift: of which genuine shifts.
        warned_rate: harmful failures at WARNING or above within five runs, mean over kinds.
        false_critical, false_warning: runs at CRITICAL, and at WARNING, per 1000 healthy runs.
        healthy_runs: how many those are.
        critical_harmless, critical_benign, critical_burst: streams that were CRITICAL at any time.
        warned_harmless, warned_benign: streams at WARNING or above at any time.
        precision, recall: of runs at CRITICAL against harmful ones, over natural streams.
        natural_runs, natural_harmful: how many there are, and how many of them are harmful.
        tail_critical, tail_warning: runs at CRITICAL, and at WARNING or above, on natural streams without harm.
        gain_injected, gain_natural: accuracy that answers win in a run that is CRITICAL or bypassed, against letting a
            classifier go on; 0 in runs in which the model answers.
        bypassed_injected, bypassed_natural: the same over the runs in which the fallback answers.
        bypassed_count: runs of natural streams of classifiers in which it does.
        gain_injected_error, gain_natural_error: of regressors, as a share of the reference error.
        by_kind: kind of failure -> share caught.
    """

    refused_count: int
    caught_count: int
    harmful_count: int
    caught_of_all: float | None
    caught_rate: float | None
    caught_pooled: float | None
    caught_relational: float | None
    caught_shift: float | None
    warned_rate: float | None
    false_critical: float | None
    false_warning: float | None
    healthy_runs: int
    critical_harmless: float | None
    critical_benign: float | None
    critical_burst: float | None
    warned_harmless: float | None
    warned_benign: float | None
    precision: float | None
    recall: float | None
    natural_runs: int
    natural_harmful: int
    tail_critical: float | None
    tail_warning: float | None
    gain_injected: float | None
    gain_natural: float | None
    bypassed_injected: float | None
    bypassed_natural: float | None
    bypassed_count: int
    gain_injected_error: float | None
    gain_natural_error: float | None
    by_kind: Mapping[str, float]


def figures(scored_streams: Iterable[ScoredStream]) -> Figures:
    """The line of one monitor."""
    of: dict[StreamFamily, list[ScoredStream]] = defaultdict(list)
    for one in scored_streams:
        of[one.stream.family].append(one)
    failures = [one for family in _HARMFUL for one in of[family] if one.stream.harmful]
    harmful = [one for one in failures if not _is_refused(one)]
    harmless = [one for one in of[StreamFamily.INJECTED] if one.stream.harmless]
    natural = of[StreamFamily.NATURAL]
    tails = [one for one in natural if not any(one.stream.harmful_runs)]
    healthy = [
        severity for family in StreamFamily if family is not StreamFamily.NATURAL for severity in _calm(of[family])
    ]
    natural_runs = [(severity is Severity.CRITICAL, bad) for one in natural for severity, bad in _runs(one)]
    by_kind = _by_kind(harmful, _is_caught)
    return Figures(
        refused_count=len(failures) - len(harmful),
        caught_count=sum(map(_is_caught, harmful)),
        harmful_count=len(harmful),
        caught_of_all=_mean(_is_caught(one) and not _is_refused(one) for one in failures),
        caught_rate=_mean(by_kind.values()),
        caught_pooled=_mean(_is_caught(one) for one in harmful),
        caught_relational=_mean(_by_kind([one for one in harmful if one.stream.relational], _is_caught).values()),
        caught_shift=_mean(_is_caught(one) for one in harmful if one.stream.family is StreamFamily.SHIFT),
        warned_rate=_mean(_by_kind(harmful, _is_warned).values()),
        false_critical=_per_mille(healthy, Severity.CRITICAL),
        false_warning=_per_mille(healthy, Severity.WARNING),
        healthy_runs=len(healthy),
        critical_harmless=_mean(_ever(one, Severity.CRITICAL) for one in harmless),
        critical_benign=_mean(_ever(one, Severity.CRITICAL) for one in of[StreamFamily.BENIGN]),
        critical_burst=_mean(_ever(one, Severity.CRITICAL) for one in of[StreamFamily.BURST]),
        warned_harmless=_mean(_ever(one, Severity.WARNING) for one in harmless),
        warned_benign=_mean(_ever(one, Severity.WARNING) for one in of[StreamFamily.BENIGN]),
        precision=_mean(bad for critical, bad in natural_runs if critical),
        recall=_mean(critical for critical, bad in natural_runs if bad),
        natural_runs=len(natural_runs),
        natural_harmful=sum(bad for _, bad in natural_runs),
        tail_critical=_mean(severity is Severity.CRITICAL for one in tails for severity in one.verdict.severities),
        tail_warning=_mean(severity is not Severity.NORMAL for one in tails for severity in one.verdict.severities),
        gain_injected=_mean(_gains(_classifiers(of[StreamFamily.INJECTED]))),
        gain_natural=_mean(_gains(_classifiers(natural))),
        bypassed_injected=_mean(_bypassed_gains(_classifiers(of[StreamFamily.INJECTED]))),
        bypassed_natural=_mean(_bypassed_gains(_classifiers(natural))),
        bypassed_count=len(_bypassed_gains(_classifiers(natural))),
        gain_injected_error=_mean(_gains(_regressors(of[StreamFamily.INJECTED]))),
        gain_natural_error=_mean(_gains(_regressors(natural))),
        by_kind=by_kind,
    )


def _mean(values: Iterable[float]) -> float | None:
    numbers = [float(value) for value in values]
    return fmean(numbers) if numbers else None


def _is_refused(one: ScoredStream) -> bool:
    rates = one.verdict.refusal_rates[one.stream.first_bad :]
    return bool(rates) and fmean(rates) > MOSTLY


def _is_caught(one: ScoredStream) -> bool:
    return one.verdict.has_reached(Severity.CRITICAL, one.stream.first_bad, BROKEN_RUNS)


def _is_warned(one: ScoredStream) -> bool:
    return one.verdict.has_reached(Severity.WARNING, one.stream.first_bad, BROKEN_RUNS)


def _ever(one: ScoredStream, severity: Severity) -> bool:
    return one.verdict.has_reached(severity, one.stream.first_bad)


def _by_kind(scored_streams: Iterable[ScoredStream], share: Callable[[ScoredStream], bool]) -> dict[str, float]:
    """Kind of failure -> share; genuine shifts are one kind, however they were drawn."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for one in scored_streams:
        kinds["shift" if one.stream.family is StreamFamily.SHIFT else one.stream.kind].append(share(one))
    return {kind: fmean(flags) for kind, flags in kinds.items()}


def _calm(scored_streams: Iterable[ScoredStream]) -> list[Severity]:
    """The severities of the runs before anything happens."""
    return [severity for one in scored_streams for severity in one.verdict.severities[: one.stream.first_bad]]


def _runs(one: ScoredStream) -> list[tuple[Severity, bool]]:
    return list(zip(one.verdict.severities, one.stream.harmful_runs, strict=True))


def _per_mille(severities: list[Severity], severity: Severity) -> float | None:
    return 1000 * severities.count(severity) / len(severities) if severities else None


def _classifiers(scored_streams: Iterable[ScoredStream]) -> list[ScoredStream]:
    return [one for one in scored_streams if one.task is not Task.REGRESSION]


def _regressors(scored_streams: Iterable[ScoredStream]) -> list[ScoredStream]:
    return [one for one in scored_streams if one.task is Task.REGRESSION]


def _gains(scored_streams: Iterable[ScoredStream]) -> list[float]:
    """What answers are worth more than the model's, in each run that is CRITICAL or bypassed."""
    return [
        gain * is_bypassed
        for one in scored_streams
        for severity, is_bypassed, gain in _known_gains(one)
        if severity is Severity.CRITICAL or is_bypassed
    ]


def _bypassed_gains(scored_streams: Iterable[ScoredStream]) -> list[float]:
    """What the fallback's answers are worth more than the model's, in each run in which it answers."""
    return [gain for one in scored_streams for _, is_bypassed, gain in _known_gains(one) if is_bypassed]


def _known_gains(one: ScoredStream) -> list[tuple[Severity, bool, float]]:
    verdict = one.verdict
    runs = zip(verdict.severities, verdict.bypassed_runs, verdict.gains, strict=True)
    return [(severity, is_bypassed, gain) for severity, is_bypassed, gain in runs if gain is not None]
