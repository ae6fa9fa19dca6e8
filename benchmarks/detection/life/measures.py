"""From verdicts to the rows of the target table, with the definitions that were fixed before tuning."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from benchmarks.detection.data import Task
from benchmarks.detection.life.cases import COUNTED_RUNS, HARMFUL, LifeStream, Sort
from benchmarks.detection.life.judge import LifeVerdict, rank_correlation
from benchmarks.detection.models import MATTERS
from stillsafe.core.state import Severity

STILLSAFE = "Stillsafe"
WITHIN = 5  # runs until a failure must be CRITICAL
WITHIN_POSITIVES = 20  # of a rare class, expected in a run
RELATIONAL = ("permuted", "stale", "carried", "wrong_join", "join of", "hours_late")
EXIT_RUNS = 10  # after an outage, until the model must answer again
MOSTLY = 0.5  # share of the requests of a failure
EARLY_RUNS = 5  # CRITICAL by more than so many runs before there is harm is early

DEFINITIONS = f"""\
harmful: the model truly lost 5 points (a regressor 20% of its error) over the last {COUNTED_RUNS} runs counted, against
the same rows undamaged or, of shifts and natural runs, against the sample; of a rare class: recall halves or the AUC
falls by 0.1. harmless: a fault that cost less. benign: the mix moved and less than 2 points (8%) were lost or won.
calm tail: real order, no run harmful by its mean with its neighbours. caught: CRITICAL within {WITHIN} runs (of a rare
class: of 20 expected positives each). early: CRITICAL more than {EARLY_RUNS} runs before there is harm."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A monitor's verdict on a stream, without its rows."""

    case: str
    family: str
    dataset: str
    task: Task
    labels: bool
    stream: LifeStream
    verdict: LifeVerdict
    monitor: str = STILLSAFE


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a figure with what it was counted over, the bar and the stretch."""

    title: str
    value: float | None
    count: int
    bar: str
    stretch: str
    unit: str = "%"

    @property
    def text(self) -> str:
        """The value as printed."""
        if self.value is None:
            return "–"
        return {"%": f"{self.value:.1%}", "±": f"{100 * self.value:+.1f}", "n": f"{self.value:.2g}"}[self.unit]


def _is_warned_in(outcome: Outcome, index: int) -> bool:
    return outcome.verdict.severities[index] is not Severity.NORMAL


def is_caught(outcome: Outcome) -> bool:
    """Whether a failure became CRITICAL in time."""
    stream = outcome.stream
    within = WITHIN
    if stream.positives:
        within = int(np.ceil(WITHIN * WITHIN_POSITIVES / stream.positives))
    return Severity.CRITICAL in outcome.verdict.severities[stream.first_bad : stream.first_bad + within]


def is_critical(outcome: Outcome) -> bool:
    """Whether it was CRITICAL at any time since it happened."""
    return Severity.CRITICAL in outcome.verdict.severities[outcome.stream.first_bad :]


def is_warned(outcome: Outcome) -> bool:
    """Whether it was at WARNING or above at any time since it happened."""
    return any(s is not Severity.NORMAL for s in outcome.verdict.severities[outcome.stream.first_bad :])


def smooth_harms(stream: LifeStream) -> list[float]:
    """Mean harm of each run with its neighbours."""
    return [fmean(stream.harms[max(i - 1, 0) : i + 2]) for i in range(len(stream.harms))]


def is_calm_tail(stream: LifeStream) -> bool:
    """Whether a natural stream never harms."""
    return max(smooth_harms(stream)) < HARMFUL


def misses(outcomes: Iterable[Outcome]) -> list[tuple[str, Outcome]]:
    """What went wrong or has to be looked at, stream by stream: the error in two words, and the outcome."""
    words = ((_ERRORS[outcome.stream.sort](outcome), outcome) for outcome in outcomes)
    return [(word, outcome) for word, outcome in words if word]


def _fault_error(outcome: Outcome) -> str:
    if is_refused(outcome):
        return ""
    if outcome.stream.harmful:
        return "" if is_caught(outcome) else "missed"
    return "harmless" if is_critical(outcome) else ""


def _natural_error(outcome: Outcome) -> str:
    if not is_calm_tail(outcome.stream):
        return "natural"
    return "calm tail" if _has_alarm(outcome) else ""


def _outage_error(outcome: Outcome) -> str:
    runs = runs_to_exit(outcome)
    return "no exit" if runs is None or runs > EXIT_RUNS else ""


def _has_alarm(outcome: Outcome) -> bool:
    return any(severity is not Severity.NORMAL for severity in outcome.verdict.severities)


def is_refused(outcome: Outcome) -> bool:
    """Whether the schema refused most requests of a failure, so that the model answered hardly any."""
    rates = outcome.verdict.refusal_rates[outcome.stream.first_bad : outcome.stream.last_bad]
    return outcome.stream.sort is Sort.FAULT and fmean(rates) > MOSTLY


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """All rows of the table for which there are outcomes; failures that the schema refused are left out."""
    refusals = [outcome for outcome in outcomes if is_refused(outcome)]
    outcomes = [outcome for outcome in outcomes if not is_refused(outcome)]
    parts = (_time, _failures, _natural, _bypass, _kinds_of_life, _estimates)
    table = [row for part in parts for row in part(outcomes) if row.count]
    left_out = Row("failures refused by the schema, left out", float(len(refusals)), len(refusals), "", "", "n")
    return [*table, *([left_out] if refusals else [])]


def _of(outcomes: Iterable[Outcome], sort: Sort, *families: str) -> list[Outcome]:
    return [o for o in outcomes if o.stream.sort is sort and (not families or o.family in families)]


def _share(title: str, flags: Sequence[bool], bar: str = "", stretch: str = "") -> Row:
    return Row(title, fmean(flags) if flags else None, len(flags), bar, stretch)


def _calm_runs(outcomes: Iterable[Outcome]) -> list[tuple[Severity, bool]]:
    return [
        pair for o in outcomes
        for pair in list(zip(o.verdict.severities, o.verdict.degraded, strict=True))[: o.stream.first_bad]
    ]  # fmt: skip


def _time(outcomes: Sequence[Outcome]) -> list[Row]:
    table = []
    for family, title, warning in (("clock", "hours of a week", ("2%", "0.5%")), ("days", "real days", ("10%", "3%"))):
        runs = _calm_runs(_of(outcomes, Sort.HEALTHY, family))
        harmful = [o for o in _of(outcomes, Sort.FAULT, family) if o.stream.harmful]
        harmless = [o for o in _of(outcomes, Sort.FAULT, family) if not o.stream.harmful]
        table += [
            _share(f"{title}, healthy: runs CRITICAL", [s is Severity.CRITICAL for s, _ in runs], "0", "0"),
            _share(f"{title}, healthy: runs at WARNING", [s is Severity.WARNING for s, _ in runs], *warning),
            _share(f"{title}, healthy: runs DEGRADED", [degraded for _, degraded in runs], "0", "0"),
            _share(f"{title}: harmful CRITICAL within 5", [is_caught(o) for o in harmful], "88%", "94%"),
            _share(f"{title}: harmless CRITICAL", [is_critical(o) for o in harmless], "8%", "4%"),
        ]
    return table


def _by_kind(outcomes: Sequence[Outcome], flag: Callable[[Outcome], bool]) -> dict[str, list[bool]]:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for one in outcomes:
        kinds[one.stream.kind].append(flag(one))
    return kinds


def _failures(outcomes: Sequence[Outcome]) -> list[Row]:
    table = []
    for family, note in (("injected", ""), ("without_labels", ", without labels")):
        faults = _of(outcomes, Sort.FAULT, family, *(("joins",) if not note else ()))
        harmful = [o for o in faults if o.stream.harmful]
        harmless = [o for o in faults if not o.stream.harmful]
        by_kind = _by_kind(harmful, is_caught)
        mean = fmean(fmean(v) for v in by_kind.values()) if by_kind else None
        relational = [o for o in harmful if any(part in o.stream.kind for part in RELATIONAL)]
        benign, bursts = (_of(outcomes, sort, family) for sort in (Sort.BENIGN, Sort.BURST))
        runs = _calm_runs([o for o in outcomes if o.family == family and o.stream.sort is not Sort.NATURAL])
        limits = ("15%", "10%") if note else ("8%", "4%")
        table += [
            Row(f"harmful CRITICAL within 5, mean over kinds{note}", mean, len(harmful), "93%", "96%"),
            _share(f"  all streams alike{note}", [is_caught(o) for o in harmful]),
            _share(f"  permuted, stale, joined{note}", [is_caught(o) for o in relational], "93%", "96%"),
            _share(f"harmful at WARNING or above{note}", [is_warned(o) for o in harmful]),
            _share(f"harmless CRITICAL{note}", [is_critical(o) for o in harmless], *limits),
            _share(f"harmless at WARNING or above{note}", [is_warned(o) for o in harmless]),
            _share(f"benign CRITICAL{note}", [is_critical(o) for o in benign], "0", "0"),
            _share(f"benign at WARNING or above{note}", [is_warned(o) for o in benign], "30%", "10%"),
            _share(f"bursts CRITICAL{note}", [is_critical(o) for o in bursts], "0", "0"),
            _share(f"healthy runs CRITICAL{note}", [s is Severity.CRITICAL for s, _ in runs], "0", "0"),
            _share(f"healthy runs at WARNING{note}", [s is Severity.WARNING for s, _ in runs]),
        ]
    return table


def _natural(outcomes: Sequence[Outcome]) -> list[Row]:
    natural = _of(outcomes, Sort.NATURAL)
    tails = [o for o in natural if is_calm_tail(o.stream)]
    pairs = [
        (severity is Severity.CRITICAL, harm >= HARMFUL)
        for o in natural if not is_calm_tail(o.stream)
        for severity, harm in zip(o.verdict.severities, smooth_harms(o.stream), strict=True)
    ]  # fmt: skip
    pairs += [(s is Severity.CRITICAL, False) for o in tails for s in o.verdict.severities]
    calm = [s for o in tails for s in o.verdict.severities]
    return [
        _share("calm tails: runs CRITICAL", [s is Severity.CRITICAL for s in calm], "1%", "0"),
        _share("calm tails: runs at WARNING", [s is Severity.WARNING for s in calm], "15%", "5%"),
        _share("natural drift: precision of CRITICAL runs", [bad for critical, bad in pairs if critical], "50%", "65%"),
        _share("natural drift: recall of harmful runs", [critical for critical, bad in pairs if bad], "40%", "50%"),
    ]


def _gains(outcomes: Iterable[Outcome]) -> list[float]:
    """What was won a run since it happened; 0 where the model answered."""
    return [g for o in outcomes for g in o.verdict.gains[o.stream.first_bad : o.stream.last_bad] if g is not None]


def _bypass(outcomes: Sequence[Outcome]) -> list[Row]:
    table = []
    for labels, bars in ((True, (("+8", "+10"), ("-0.3", "0"))), (False, (("+5", "+7"), ("0", "0")))):
        part = [o for o in outcomes if o.labels is labels]
        note = "" if labels else ", without labels"
        for task_note, tasks in (
            (", points a run", (Task.BINARY, Task.MULTICLASS)),
            (", % of the error", (Task.REGRESSION,)),
        ):
            fitting = [o for o in part if o.task in tasks]
            harmful = [o for o in _of(fitting, Sort.FAULT) if o.stream.harmful and o.stream.positives is None]
            natural = _of(fitting, Sort.NATURAL)
            for title, of, bar in (("injected", harmful, bars[0]), ("natural", natural, bars[1])):
                gains = _gains(of)
                table.append(_mean(f"won by the bypass{task_note}, {title}{note}", gains, *bar))
                table.append(_mean(f"  per bypassed run{task_note}, {title}{note}", [g for g in gains if g]))
            table.append(_worst_set(f"  worst data set, per bypassed run{task_note}{note}", harmful))
        many = [o for o in part if o.task is Task.MULTICLASS]
        table.append(
            _mean(
                f"  eight classes and more, injected{note}",
                _gains(o for o in _of(many, Sort.FAULT) if o.stream.harmful),
                "+2",
                "+4",
            )
        )
    return table


def _worst_set(title: str, outcomes: Sequence[Outcome]) -> Row:
    """The mean gain of a bypassed run on the data set where it is smallest."""
    by_set: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        by_set[outcome.dataset] += [gain for gain in _gains([outcome]) if gain]
    sets = [gains for gains in by_set.values() if gains]
    worst = min(sets, key=fmean, default=[])
    return _mean(title, worst, "0", "+5")


def _mean(title: str, values: Sequence[float], bar: str = "", stretch: str = "") -> Row:
    return Row(title, fmean(values) if values else None, len(values), bar, stretch, "±")


def _kinds_of_life(outcomes: Sequence[Outcome]) -> list[Row]:
    table = []
    rare = _of(outcomes, Sort.FAULT, "rare")
    rare_runs = _calm_runs([o for o in outcomes if o.family == "rare"])
    table += [
        _share(
            "1% positives: CRITICAL within 5 runs of 20 positives",
            [is_caught(o) for o in rare if o.stream.harmful],
            "85%",
            "95%",
        ),
        _share("1% positives: harmless CRITICAL", [is_critical(o) for o in rare if not o.stream.harmful]),
        _share("1% positives, healthy: runs CRITICAL", [s is Severity.CRITICAL for s, _ in rare_runs], "0", "0"),
        _share("1% positives, healthy: runs at WARNING", [s is Severity.WARNING for s, _ in rare_runs]),
    ]
    for family, title, bar in (
        ("wide", "many features", ("90%", "97%")),
        ("joins", "joins of every size", ("93%", "96%")),
        ("thin", "50 and 100 rows", ("", "")),
        ("small", "small baselines", ("", "")),
        ("categories", "ever new categories", ("", "")),
    ):
        faults = _of(outcomes, Sort.FAULT, family)
        runs = _calm_runs(_of(outcomes, Sort.HEALTHY, family))
        table += [
            _share(f"{title}: harmful CRITICAL within 5", [is_caught(o) for o in faults if o.stream.harmful], *bar),
            _share(f"{title}: harmless CRITICAL", [is_critical(o) for o in faults if not o.stream.harmful]),
            _share(f"{title}, healthy: runs CRITICAL", [s is Severity.CRITICAL for s, _ in runs], "0", "0"),
            _share(
                f"{title}, healthy: runs at WARNING",
                [s is Severity.WARNING for s, _ in runs],
                *(("2%", "0.5%") if family == "small" else ("", "")),
            ),
        ]
    table += _slow(_of(outcomes, Sort.SLOW))
    table += _states(outcomes)
    return table


def _delay(outcome: Outcome) -> int | None:
    """Runs from the first harmful run to CRITICAL, negative if before; None if never."""
    severities = outcome.verdict.severities
    first = next((i for i, s in enumerate(severities) if s is Severity.CRITICAL), None)
    return None if first is None else first - outcome.stream.first_bad


def _slow(outcomes: Sequence[Outcome]) -> list[Row]:
    delays = [_delay(o) for o in outcomes]
    late = [
        max(d, 0) if d is not None else o.stream.last_bad - o.stream.first_bad
        for d, o in zip(delays, outcomes, strict=True)
    ]
    early = [d is not None and d < -EARLY_RUNS for d in delays]
    return [
        Row(
            "slow damage: runs from harm to CRITICAL, median", median(late) if late else None, len(late), "5", "3", "n"
        ),
        Row("slow damage: the worst", max(late, default=None), len(late), "25", "12", "n"),
        _share("slow damage: early CRITICAL", early, "0", "0"),
    ]


def runs_to_exit(outcome: Outcome) -> int | None:
    """Runs from the end of an outage until the model answers for good; None if it does not."""
    degraded = outcome.verdict.degraded[outcome.stream.last_bad :]
    if not any(outcome.verdict.degraded):
        return 0
    last = max((i for i, d in enumerate(degraded) if d), default=-1)
    return None if last == len(degraded) - 1 else last + 1


def _warned_in_second(outcome: Outcome) -> bool:
    return _is_warned_in(outcome, outcome.stream.first_bad + 1)


def _states(outcomes: Sequence[Outcome]) -> list[Row]:
    outages = _of(outcomes, Sort.OUTAGE)
    exits = [runs_to_exit(o) for o in outages]
    until = [float(e) for e in exits if e is not None]
    limits = _of(outcomes, Sort.LIMITS)
    return [
        _share("outage and a shift that stays: CRITICAL in the outage", [is_caught(o) for o in outages]),
        _share(
            f"outage and a shift that stays: the model answers within {EXIT_RUNS} runs",
            [e is not None and e <= EXIT_RUNS for e in exits],
            "100%",
            "100%",
        ),
        Row("  runs until it does, median", median(until) if until else None, len(until), "", "", "n"),
        _share(
            "the mission's metrics alone: WARNING in the second run",
            [_warned_in_second(o) for o in limits],
            "100%",
            "100%",
        ),
    ]


def _estimates(outcomes: Sequence[Outcome]) -> list[Row]:
    """The estimate against the truth, over runs in which something happens."""
    changes = [
        outcome
        for outcome in outcomes
        if outcome.stream.sort not in (Sort.HEALTHY, Sort.BURST) and outcome.stream.positives is None
    ]
    pairs = [pair for outcome in changes for pair in _estimates_and_losses(outcome)]
    points = [(e, t) for o in changes if o.task is not Task.REGRESSION for e, t in _estimates_and_losses(o)]
    zero = [estimate < HARMFUL / 10 for estimate, loss in pairs if loss >= 2 * HARMFUL]
    times = [outcome.verdict.milliseconds for outcome in outcomes]
    return [
        Row("estimate and truth: rank correlation", rank_correlation(pairs), len(pairs), "", "", "n"),
        Row("  mean difference of classifiers, points", _mean_difference(points), len(points), "", "", "±"),
        _share("  estimate is about 0 where 10 points (40% of the error) are lost", zero),
        Row("milliseconds of CPU a run of the backtest", median(times) if times else None, len(times), "", "", "n"),
    ]


def _mean_difference(pairs: Sequence[tuple[float, float]]) -> float | None:
    return MATTERS["accuracy"] * fmean(estimate - loss for estimate, loss in pairs) if pairs else None


def _estimates_and_losses(outcome: Outcome) -> list[tuple[float, float]]:
    """Estimate and truth of each run, in units of what matters."""
    unit = MATTERS["error" if outcome.task is Task.REGRESSION else "accuracy"]
    bad = slice(outcome.stream.first_bad, outcome.stream.last_bad)
    both = zip(outcome.verdict.estimates[bad], outcome.verdict.losses[bad], strict=True)
    return [(estimate / unit, loss / unit) for estimate, loss in both if estimate is not None and loss is not None]


def kinds(outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int]]:
    """Kind of harmful failure -> caught, and how many."""
    harmful = [o for o in _of(outcomes, Sort.FAULT) if o.stream.harmful and not is_refused(o)]
    return {kind: (sum(flags), len(flags)) for kind, flags in sorted(_by_kind(harmful, is_caught).items())}


_ERRORS: dict[Sort, Callable[[Outcome], str]] = {
    Sort.HEALTHY: lambda outcome: "false alarm" if _has_alarm(outcome) else "",
    Sort.FAULT: _fault_error,
    Sort.BENIGN: lambda outcome: "benign" if is_critical(outcome) else "",
    Sort.BURST: lambda outcome: "burst" if is_critical(outcome) else "",
    Sort.LIMITS: lambda outcome: "" if _warned_in_second(outcome) else "not warned",
    Sort.NATURAL: _natural_error,
    Sort.OUTAGE: _outage_error,
    Sort.SLOW: lambda outcome: f"slow {_delay(outcome)}",
}
