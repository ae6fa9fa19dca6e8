"""What one client's connections may take from the others: bytes and time of a head, and a number of connections.

The limits hold in the server's own protocol, because a request reaches the application only after its head. The parser
copies a head anew with each piece that arrives, so a head without a limit costs time that grows with its square.
"""

import asyncio
import json
import logging
import math
import os
import resource
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from time import thread_time
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stillsafe.logs import LogEvent, log_event
from stillsafe.serving.body.json_body import WHOLE
from stillsafe.serving.client import Proxies, client_network
from stillsafe.serving.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, problem
from stillsafe.settings_exposure import Exposure
from stillsafe.settings_sections import Serving

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 10_000
"""Most connections of a process, where the settings set no number and the limit of open files is higher."""
MOST_PENDING = 256
"""Most connections that wait to be accepted. The event loop accepts all that wait before it does anything else."""
RESERVED_DESCRIPTORS = 100
"""Open files that are left to the database, the spool, the model and the log."""
PIECE_BYTES = 2_048
"""Most bytes that are parsed at a time: as many requests as fit into them may delay all other connections."""
SLICE_SECONDS = 0.0005
"""Longest time for which one connection's bytes are parsed before all others have their turn, a piece more at most."""
PAUSES = 3.0
"""Pause after such a slice, as a multiple of its time: one client's parsing takes a quarter of a core at most."""
MOST_HEADERS = 100
"""Most headers of a request, as web servers have it: each costs the framework's time many times over."""
SWEEP_SECONDS = 1.0
"""How often all connections are searched for stalled ones."""
SPELL_SECONDS = 60.0
"""A limit that was not reached for so long is logged again when it is reached."""
MOST_SEARCHED = 256
"""Most connections among which the one that was idle or stalled longest is searched."""
MOST_JOINED_BYTES = 65_536
"""Longest body that is copied behind its head: to copy a longer one costs more than a second system call."""
STATUS_LINE, CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100 "
"""How the head of an answer begins, and how that begins which asks the client for its body."""
STALL_SECONDS = 1.0
"""A client that owes the rest of a request, or reads nothing of an answer, for so long is not at work."""


class Limit(StrEnum):
    """A limit, by the setting in `[serving]` that sets it."""

    HEAD_BYTES = "max_head_bytes"  #: A head has more bytes.
    HEAD_SECONDS = "head_seconds"  #: A head, or the first byte of a connection, took longer.
    CONNECTIONS = "max_connections"  #: More connections in all.
    CONNECTIONS_PER_ADDRESS = "max_connections_per_address"  #: More connections of one address.
    IDLE_SECONDS = "idle_seconds"  #: A client read nothing of its answers for longer.


@dataclass(slots=True)
class _Group:
    """Connections in the order in which they were made: all of them, and those that have not sent a head yet."""

    open: dict["LimitedProtocol", None] = field(default_factory=dict)
    silent: dict["LimitedProtocol", None] = field(default_factory=dict)

    def expendable(self) -> "LimitedProtocol | None":
        """The connection that does without a request for longest, or None if all are at work."""
        silent = next(iter(self.silent), None)
        if silent is not None:
            return silent
        some = list(islice(self.open, MOST_SEARCHED))
        idle = [each for each in some if each.idle_until is not None]
        if idle:
            return min(idle, key=lambda each: each.idle_until or 0.0)
        stalled_connections = [each for each in some if each.stall_seconds >= STALL_SECONDS]
        return max(stalled_connections, key=lambda each: each.stall_seconds, default=None)


class ConnectionRegistry:
    """The connections of one process, by address, and the limits on them.

    Args:
        serving: the settings with the limits.
        exposure: the settings with the trusted proxies, which may have any share of the connections.
    """

    def __init__(self, serving: Serving, exposure: Exposure | None = None) -> None:
        self.proxies = Proxies(exposure.trusted_proxies if exposure else ())
        most = min(serving.max_connections or MOST_CONNECTIONS, _descriptor_limit())
        self.limits: dict[Limit, float] = {
            Limit.HEAD_BYTES: serving.max_head_bytes,
            Limit.HEAD_SECONDS: serving.head_seconds,
            Limit.CONNECTIONS: most,
            Limit.CONNECTIONS_PER_ADDRESS: min(serving.max_connections_per_address or math.ceil(most / 2), most),
            Limit.IDLE_SECONDS: serving.idle_seconds,
        }
        self._all = _Group()
        self._groups: defaultdict[str, _Group] = defaultdict(_Group)
        self._noted_at: dict[str, float] = {}
        self._is_sweeping = False

    def admit(self, connection: "LimitedProtocol") -> bool:
        """Whether a new connection may stay.

        One that has no request is closed in its favour, or else one whose client keeps the service waiting.
        """
        group = self._groups[connection.address]
        own_limit = () if connection.is_trusted else ((group, Limit.CONNECTIONS_PER_ADDRESS),)
        for each, limit in (*own_limit, (self._all, Limit.CONNECTIONS)):
            if len(each.open) >= self.limits[limit]:
                self.note(limit, connection.loop.time())
                other = each.expendable()
                if other is None:
                    return False
                self.remove(other)
                other.transport.abort()
        for each in (self._all, self._groups[connection.address]):
            each.open[connection] = each.silent[connection] = None
        self._begin_sweeps(connection.loop)
        return True

    def note_head(self, connection: "LimitedProtocol") -> None:
        """A connection has sent its first head."""
        for each in (self._all, self._groups[connection.address]):
            each.silent.pop(connection, None)

    def remove(self, connection: "LimitedProtocol") -> None:
        """A connection has ended. No effect if it is not registered."""
        group = self._groups[connection.address]
        for each in (self._all, group):
            each.open.pop(connection, None)
            each.silent.pop(connection, None)
        if not group.open:
            del self._groups[connection.address]

    def note(self, limit: Limit, now: float) -> None:
        """A limit is reached: log it, once until it was not reached for a while.

        Args:
            limit: the limit.
            now: seconds of the event loop's clock.
        """
        self._log(limit, now, LogEvent.CONNECTION_LIMIT, limit=limit.value, value=self.limits[limit])

    def note_unreadable(self, reason: str, now: float) -> None:
        """A request cannot be read; arguments and log as of `note`."""
        self._log(reason, now, LogEvent.REQUEST_UNREADABLE, reason=reason)

    def _log(self, spell: str, now: float, event: LogEvent, **fields: object) -> None:
        if now - self._noted_at.get(spell, -math.inf) > SPELL_SECONDS:
            log_event(logger, event, {**fields, "process": os.getpid()})
        self._noted_at[spell] = now

    def _begin_sweeps(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_sweeping = False
        for connection in list(self._all.open):
            connection.cut_if_stalled(loop.time())
        if self._all.open:
            self._begin_sweeps(loop)


class _HeldFlow(FlowControl):
    """Flow control that reads nothing more while bytes of the client wait to be parsed."""

    is_held = False

    def resume_reading(self) -> None:
        """Read on, unless it is held."""
        if not self.is_held:
            super().resume_reading()


class _ServerLogger(logging.LoggerAdapter[logging.Logger]):
    """uvicorn's logger without its warnings, each of which any client can cause any number of times."""

    @property
    def level(self) -> int:
        """That of the logger."""
        return self.logger.level

    def warning(self, msg: object, *_args: object, **_options: Any) -> None:
        """Nothing: the registry notes what they say."""


class AnswerWriter:
    """A transport that keeps the head of an answer until its body comes, so that one system call sends both."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = transport.is_closing
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send bytes, after the head that waits for them; or keep them if they are the head of an answer."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) > MOST_JOINED_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        elif data.startswith(STATUS_LINE) and not data.startswith(CONTINUE):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self.flush()
        self._transport.close()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits of a registry.

    Args:
        registry: of this process.
        options: of uvicorn's protocol.
    """

    def __init__(self, registry: ConnectionRegistry, **options: Any) -> None:
        super().__init__(**options)
        self.logger = _ServerLogger(self.logger)  # type: ignore[assignment] # of which only this is called
        self.registry = registry
        self.address = ""
        self.is_trusted = False
        self._most_head_bytes = int(registry.limits[Limit.HEAD_BYTES])
        self._bytes_at_a_stall = 0  # without an end of a head and without a byte of a body
        self._has_sent_head = False
        self._backlog = bytearray()
        self._is_slice_due = False
        self._held_flow: _HeldFlow
        self._waiting_since: float | None = None
        self._waiting_after: object = None
        self._unread_bytes, self._unread_since = 0, 0.0
        self._body_since: float | None = None

    @property
    def idle_until(self) -> float | None:
        """When the connection will have been idle for too long, or None while it has a request."""
        return None if self.timeout_keep_alive_task is None else self.timeout_keep_alive_task.when()

    @property
    def stall_seconds(self) -> float:
        """For how long the client owes the rest of a body, or reads nothing; 0 if it does neither."""
        begins = [] if self._body_since is None else [self._body_since]
        if self._unread_bytes:
            begins.append(self._unread_since)
        return self.loop.time() - min(begins) if begins else 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower, as the base class has it
        """Accept the connection, or refuse it with 503."""
        super().connection_made(transport)
        self.flow = self._held_flow = _HeldFlow(transport)
        self._writer = AnswerWriter(transport)
        peer = self.client[0] if self.client else ""
        self.is_trusted = self.registry.proxies.trusts(peer)
        self.address = client_network(peer)
        self._waiting_since = self.loop.time()
        if not self.registry.admit(self):
            self._refuse(503, "The service has too many connections. Try again.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.registry.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, in small pieces."""
        size = len(data)
        if size <= PIECE_BYTES and self._bytes_at_a_stall + size <= self._most_head_bytes and not self._backlog:
            self._bytes_at_a_stall += size
            super().data_received(data)
        else:
            self._unset_keepalive_if_required()
            self._backlog += data
            if not self._is_slice_due:
                self._parse()

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._bytes_at_a_stall = 0
        if self.transport.is_closing():
            return
        if len(self.headers) > MOST_HEADERS:
            self.registry.note_unreadable("headers", self.loop.time())
            self._refuse(431, f"A request must not have more than {MOST_HEADERS} headers.")
            return
        if not self._has_sent_head:
            self._has_sent_head = True
            self.registry.note_head(self)
        self._body_since = self.loop.time()
        self.begin_cycle()
        self.headers = []  # trailers are no headers: a proxy has not seen them, which says who a client is

    def begin_cycle(self) -> None:
        """Begin uvicorn's cycle of a request and its answer."""
        super().on_headers_complete()
        self.cycle.transport = self._writer  # type: ignore[assignment] # which has what an answer needs

    def on_message_complete(self) -> None:
        """A request has ended."""
        self._body_since = None
        self.scope[WHOLE] = True  # type: ignore[literal-required] # an extension of ours
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        self._bytes_at_a_stall = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_response_complete(self) -> None:
        """An answer is sent: parse the requests that wait for it."""
        self._writer.flush()
        super().on_response_complete()
        if self._backlog and not self._is_slice_due:
            self._unset_keepalive_if_required()
            self._parse_later(0.0)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self.registry.note_unreadable("rubbish", self.loop.time())
        super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        self.registry.note_unreadable("upgrade", self.loop.time())

    def cut_if_stalled(self, now: float) -> None:
        """End the connection if its client owes a head, or reads none of its answers, for too long.

        Args:
            now: seconds of the event loop's clock.
        """
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes != self._unread_bytes:
            self._unread_bytes, self._unread_since = unread_bytes, now
        if unread_bytes:
            if now - self._unread_since >= self.registry.limits[Limit.IDLE_SECONDS]:
                self.registry.note(Limit.IDLE_SECONDS, now)
                self.transport.abort()
        elif self._is_at_work() or self.timeout_keep_alive_task is not None:
            self._waiting_since = None
        elif self._waiting_since is None or self._waiting_after is not self.cycle:
            # The cycle is the last request's, so another one tells that a whole head has arrived in between.
            self._waiting_since, self._waiting_after = now, self.cycle
        elif now - self._waiting_since >= self.registry.limits[Limit.HEAD_SECONDS]:
            self.registry.note(Limit.HEAD_SECONDS, now)
            self._end_late_head()

    def _parse(self) -> None:
        """Parse what has arrived, until a request has to wait for the answer to an earlier one, or for a slice."""
        position, begin, seconds = 0, thread_time(), 0.0
        self._is_slice_due = False
        while self._may_parse(position) and seconds < SLICE_SECONDS:
            room = self._most_head_bytes - self._bytes_at_a_stall
            if room <= 0:
                self.registry.note(Limit.HEAD_BYTES, self.loop.time())
                self._refuse(431, f"The head of a request must not exceed {self._most_head_bytes} bytes.")
                break
            piece = bytes(self._backlog[position : position + min(PIECE_BYTES, room)])
            position += len(piece)
            self._bytes_at_a_stall += len(piece)
            super().data_received(piece)
            seconds = thread_time() - begin
        if self._may_parse(position):
            self._parse_later(PAUSES * seconds)
        del self._backlog[:position]
        if self.transport.is_closing():
            self._backlog.clear()
        self._held_flow.is_held = bool(self._backlog)
        if self._backlog:
            self.flow.pause_reading()
        elif not self.pipeline and not self._has_unread_body():
            self.flow.resume_reading()

    def _has_unread_body(self) -> bool:
        """Whether a route has not read yet what uvicorn holds of a long body."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and len(cycle.body) > HIGH_WATER_LIMIT

    def _may_parse(self, position: int) -> bool:
        return position < len(self._backlog) and not self.pipeline and not self.transport.is_closing()

    def _parse_later(self, seconds: float) -> None:
        self._is_slice_due = True
        self.loop.call_later(seconds, self._parse)

    def _is_at_work(self) -> bool:
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _end_late_head(self) -> None:
        if self._bytes_at_a_stall:
            seconds = self.registry.limits[Limit.HEAD_SECONDS]
            self._refuse(408, f"The head of a request must arrive within {seconds:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer with a problem and close. In the middle of an earlier answer, close only."""
        if not self._is_at_work():
            refusal = problem(status, detail)
            body = json.dumps(refusal.document()).encode()
            lines = [
                f"HTTP/1.1 {status} {refusal.title}",
                f"content-type: {MEDIA_TYPE}",
                f"content-length: {len(body)}",
                *([f"retry-after: {RETRY_AFTER_SECONDS}"] if status == 503 else []),
                "connection: close",
            ]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def _descriptor_limit() -> int:
    """How many connections the process's limit of open files allows."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(open_files - RESERVED_DESCRIPTORS, open_files // 2)
