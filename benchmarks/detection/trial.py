"""One case, Stillsafe and its peers on it: what a process of the pool does."""

from dataclasses import dataclass, replace

from benchmarks.detection import contender, peers, streams
from benchmarks.detection.data import Half
from benchmarks.detection.measures import ScoredStream
from benchmarks.detection.streams import Case
from benchmarks.detection.verdicts import Verdict
from stillsafe.core.state import Severity
from stillsafe.errors import StillsafeError

STILLSAFE = "Stillsafe"
WITHOUT_LABELS = "without labels"
QUICK_EVERY = 4  # of the streams


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one process: a case by its position in the plans, and the monitors to evaluate."""

    place: int
    half: Half
    labels: bool
    peers: bool
    outside: bool
    quick: bool


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of it.

    Attributes:
        case: its name.
        scored_streams: monitor -> one for each stream, without the rows.
        by_size: rows of a run -> healthy runs with a bad reading, and healthy runs.
        failure: why Stillsafe could not be tried, or None.
    """

    case: str
    scored_streams: dict[str, list[ScoredStream]]
    by_size: dict[int, tuple[int, int]]
    failure: str | None


def run(job: Job) -> CaseResult:
    """One case, in a process of its own."""
    case = streams.read(*streams.plans()[job.place], job.half)
    if job.quick:
        case = replace(case, streams=case.streams[::QUICK_EVERY])
    if not case.streams:
        return CaseResult(case.name, {}, {}, None)
    name = STILLSAFE if job.labels else WITHOUT_LABELS
    failure = None
    by_size: dict[int, tuple[int, int]] = {}
    try:
        verdicts, by_size = contender.all_of(case, labels=job.labels)
    except StillsafeError as error:
        failure, verdicts = f"{case.name}: {error}", _silence(case)
    scored_streams = {name: _without_rows(case, verdicts)}
    if job.peers:
        scored_streams |= {
            peer.value: _without_rows(case, peer_verdicts)
            for peer, peer_verdicts in peers.verdicts(case, outside=job.outside).items()
        }
    return CaseResult(case.name, scored_streams, by_size, failure)


def ask_peers(place: int, half: Half, *, outside: bool) -> None:
    """Compute the peers' verdicts on a case, so that they are in the cache."""
    case = streams.read(*streams.plans()[place], half)
    if case.streams:
        peers.verdicts(case, outside=outside)


def _silence(case: Case) -> dict[str, Verdict]:
    """If Stillsafe cannot be set up, every run counts as NORMAL."""
    return {
        stream.key: Verdict((Severity.NORMAL,) * len(stream.runs), (None,) * len(stream.runs))
        for stream in case.streams
    }


def _without_rows(case: Case, verdicts: dict[str, Verdict]) -> list[ScoredStream]:
    return [
        ScoredStream(replace(stream, runs=()), case.kind, verdicts[stream.key])
        for stream in case.streams
        if stream.key in verdicts
    ]
