"""Whatever bytes arrive on a socket: no answer says that the service failed, and no answer is without its row."""

import random
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from tests.attack.conftest import size
from tests.attack.rows import answered_ids, is_served, stored_ids
from tests.attack.shapes import SHAPES, raw_request
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess

QUIET_SECONDS = 0.5
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"\xff",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
]


def send(target: ServerProcess, content: bytes, quiet_seconds: float = QUIET_SECONDS) -> bytes:
    """What the service answers to bytes until it closes the connection or is quiet."""
    answer = b""
    with target.connect() as connection, suppress(ConnectionError, TimeoutError):
        connection.sendall(content)
        connection.settimeout(quiet_seconds)
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers on one connection."""
    return [int(value) for value in _STATUS.findall(answer)]


def test_no_shape_of_a_request_breaks_the_service(target: ServerProcess, figure: Figure) -> None:
    """Start lines, headers, lengths, codings and rubbish; afterwards the next client is served."""
    with ThreadPoolExecutor(8) as clients:
        answers = dict(zip(SHAPES, clients.map(partial(send, target), SHAPES.values()), strict=True))
    assert {name: statuses(each) for name, each in answers.items() if max(statuses(each), default=0) >= 500} == {}
    assert is_served(target)
    assert statuses(answers["body: chunks"]) == [200]
    assert statuses(answers["body: 100 requests at once"]) == [200] * 100
    assert set().union(*map(answered_ids, answers.values())) <= stored_ids(target)
    figure("raw HTTP: shapes, answers, server errors", f"{len(SHAPES)}, {sum(map(_count, answers.values()))}, 0")


def test_no_request_hides_in_another(target: ServerProcess) -> None:
    """A proxy and the service never disagree where a request ends: at most one prediction for each."""
    for name, content in SHAPES.items():
        if name.startswith("smuggling"):
            answer = send(target, content)
            assert len(answered_ids(answer)) <= 1, (name, answer)
            assert statuses(answer)[-1:] in ([], [200], [400], [422]), (name, answer)


def test_no_change_of_a_request_breaks_the_service(target: ServerProcess, figure: Figure) -> None:
    """A good request with bytes changed, removed, repeated or put between."""
    source, good = random.Random(1), raw_request()
    counts: dict[int, int] = {}
    ids = set()
    for _ in range(size(150, 20_000)):
        answer = send(target, _change(good, source), quiet_seconds=0.02)
        ids |= answered_ids(answer)
        for each in statuses(answer):
            counts[each] = counts.get(each, 0) + 1
    assert not any(each >= 500 for each in counts), counts
    assert is_served(target)
    assert ids <= stored_ids(target)
    figure("raw HTTP: changed requests by status", dict(sorted(counts.items())))


def test_a_client_that_goes_away_leaves_nothing_behind(target: ServerProcess) -> None:
    """Resets in the middle of a head, of a body and of an answer."""
    content = raw_request()
    for cut in [*range(0, len(content), size(20, 1)), len(content)]:
        with target.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by a reset
            connection.sendall(content[:cut])
    assert is_served(target)


def _count(answer: bytes) -> int:
    return len(statuses(answer))


def _change(content: bytes, source: random.Random) -> bytes:
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(content) + 1)
        end = min(len(content), place + source.randint(1, 12))
        piece = source.choice([b"", content[place:end] * 2, source.choice(_PIECES), source.randbytes(2)])
        content = content[:place] + piece + content[end if source.random() < 0.5 else place :]
    return content
