"""One case, Stillsafe and its peers on it: what a process of the pool does."""

from dataclasses import dataclass, replace

from benchmarks.detection import contender, peers, streams
from benchmarks.detection.data import Half
from benchmarks.detection.measures import Judged
from benchmarks.detection.streams import Case
from benchmarks.detection.verdicts import Verdict
from stillsafe.core.state import Severity
from stillsafe.errors import StillsafeError

STILLSAFE = "Stillsafe"
WITHOUT_LABELS = "without labels"
QUICK_EVERY = 4  # of the streams


@dataclass(frozen=True, slots=True)
class Asked:
    """What one process is to do: a case by its place in the plans, and whom to ask."""

    place: int
    half: Half
    labels: bool
    peers: bool
    outside: bool
    quick: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it.

    Attributes:
        case: its name.
        judged: monitor -> one for each stream, without the rows.
        by_size: rows of a run -> healthy runs with a bad reading, and healthy runs.
        failure: why Stillsafe could not be tried, or None.
    """

    case: str
    judged: dict[str, list[Judged]]
    by_size: dict[int, tuple[int, int]]
    failure: str | None


def run(asked: Asked) -> Told:
    """One case, in a process of its own."""
    case = streams.read(*streams.plans()[asked.place], asked.half)
    if asked.quick:
        case = replace(case, streams=case.streams[::QUICK_EVERY])
    if not case.streams:
        return Told(case.name, {}, {}, None)
    name = STILLSAFE if asked.labels else WITHOUT_LABELS
    failure = None
    by_size: dict[int, tuple[int, int]] = {}
    try:
        said, by_size = contender.all_of(case, labels=asked.labels)
    except StillsafeError as error:
        failure, said = f"{case.name}: {error}", _silence(case)
    judged = {name: _without_rows(case, said)}
    if asked.peers:
        judged |= {
            peer.value: _without_rows(case, found)
            for peer, found in peers.verdicts(case, outside=asked.outside).items()
        }
    return Told(case.name, judged, by_size, failure)


def ask_peers(place: int, half: Half, *, outside: bool) -> None:
    """Have the peers judge a case, so that what they say is in the cache."""
    case = streams.read(*streams.plans()[place], half)
    if case.streams:
        peers.verdicts(case, outside=outside)


def _silence(case: Case) -> dict[str, Verdict]:
    """Where Stillsafe cannot be set up it says nothing, and that is what it is judged by."""
    return {
        stream.key: Verdict((Severity.NORMAL,) * len(stream.runs), (None,) * len(stream.runs))
        for stream in case.streams
    }


def _without_rows(case: Case, said: dict[str, Verdict]) -> list[Judged]:
    return [
        Judged(replace(stream, runs=()), case.kind, said[stream.key]) for stream in case.streams if stream.key in said
    ]
