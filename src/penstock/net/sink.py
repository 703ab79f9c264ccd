"""The engine's effects on one connection: encoded, gathered, and matched with the requests they answer.

``Connection`` is the other half of this class: it has the socket and takes frames; this half never reads anything.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from penstock.net import encode
from penstock_client.wire.entries import Publication
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock.core.values import Refusal
    from penstock.engine.interface import ConfirmEntry, DeliveryOut, TagRange
    from penstock.net.hub import Hub

PRESSURE: Final = 1
WRITING: Final = 2
ANSWERING: Final = 4
STOPPING: Final = 8
CLOSING: Final = 16
"""Why a connection takes no frames; several may hold at once. ``connection`` explains each."""

REQUESTS_OPEN_MAX: Final = 4096
"""Requests of one connection that wait for their answers; later ones are not read until some are answered."""

LARGE_ANSWERS: Final = frozenset(
    {
        *map(int, (FrameType.QUEUE_LIST, FrameType.GROUP_LIST, FrameType.PEEK, FrameType.FIND)),
        *map(int, (FrameType.CONNECTION_LIST, FrameType.CONSUMER_LIST, FrameType.NAMESPACE_LIST)),
        *map(int, (FrameType.EXCHANGE_LIST, FrameType.EXCHANGE_BINDINGS)),
        *map(int, (FrameType.SCHEDULED_PEEK, FrameType.SCHEDULE_LIST)),
    }
)
"""Answers of up to megabytes: a connection gets one at a time."""


class FrameSink:
    """Implements ``penstock.engine.interface.Sink``, all but ``abort``. What it gathers is written once a loop turn."""

    __slots__ = (
        "_budget",
        "_halted",
        "_hub",
        "_large_request",
        "_open_requests",
        "_out",
        "_refused_blocks",
        "_sees_all",
        "_status_requests",
    )

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._budget = hub.write_budget()
        self._halted = 0
        self._out: list[bytes] = []
        self._open_requests = 0
        self._large_request = 0
        self._status_requests: set[int] = set()
        self._refused_blocks: dict[int, deque[str]] = {}
        self._sees_all = True
        """False for who is in a namespace."""

    # What the other half does

    def flush(self) -> None:
        """Write what has gathered."""
        raise NotImplementedError

    def _halt(self, reason: int) -> None:
        raise NotImplementedError

    def _go_on(self, reason: int) -> None:
        raise NotImplementedError

    def _raise_write_limit(self) -> None:
        raise NotImplementedError

    # What it tells

    def _opened(self, request: int, frame_type: int, command: str, arguments: dict[str, Any]) -> None:
        """A request is about to be given to the engine."""
        if self._budget.asked(request, command, arguments):
            self._raise_write_limit()
        if not request:
            return
        if frame_type in LARGE_ANSWERS:
            self._large_request = request
        elif frame_type == FrameType.STATUS:
            self._status_requests.add(request)
        self._count_request()

    def _count_request(self) -> None:
        self._open_requests += 1
        if self._large_request or self._open_requests >= REQUESTS_OPEN_MAX:
            self._halt(ANSWERING)

    def _without_block(self, publication: Publication, label: str) -> Publication:
        """Return what passes the engine in place of a block that is refused for ``label``: an empty one under the
        complement of its route, which no client can open, so that the refusal keeps its place in the stream (I9).
        """
        self._refused_blocks.setdefault(publication.route, deque()).append(label)
        return publication._replace(route=~publication.route, block=b"")

    # What the engine says

    def confirm(self, entries: "list[ConfirmEntry]") -> None:
        """Tell the outcomes of published blocks."""
        if self._refused_blocks:
            entries = [self._with_route(entry) if entry[0] < 0 else entry for entry in entries]
        for frame in encode.encode_confirms(entries):
            self._send(frame)

    def _with_route(self, entry: "ConfirmEntry") -> "ConfirmEntry":
        unrouted, status, level, _, *rest = entry
        labels = self._refused_blocks[~unrouted]
        label = labels.popleft()
        if not labels:
            del self._refused_blocks[~unrouted]
        return (~unrouted, status, level, label, *rest)

    def deliver(self, entries: "list[DeliveryOut]") -> None:
        """Hand messages out."""
        for buffer in encode.encode_deliveries(entries, self._hub.options.frame_bytes_max):
            self._send(buffer)

    def reply(self, request: int, result: dict[str, Any]) -> None:
        """Answer a request that succeeded."""
        if request in self._status_requests:
            self._status_requests.discard(request)
            result = result | self._hub.status(sees_all=self._sees_all)
        if self._answered(request, granted=True):
            self._send(encode.encode_reply(request, result))

    def refuse(self, request: int, refusal: "Refusal") -> None:
        """Answer a request that was refused."""
        self._status_requests.discard(request)
        if self._answered(request, granted=False):
            self._send(encode.encode_refusal(request, refusal))

    def peeked(self, request: int, entries: "list[DeliveryOut]") -> None:
        """Answer PEEK or SCHEDULED_PEEK."""
        if self._answered(request, granted=True):
            for buffer in encode.encode_peeked(request, entries):
                self._send(buffer)

    def stale(self, outcome: int, ranges: "list[TagRange]") -> None:
        """Tell of tags that this session did not hold."""
        self._send(encode.encode_stale_frame(outcome, ranges))

    def cancelled(self, consumer: int, refusal: "Refusal") -> None:
        """Tell that a consumer ended by the broker's doing."""
        self._budget.ended(consumer)
        self._send(encode.encode_cancelled(consumer, refusal))

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None:
        """Pass replies on to what this connection asked."""
        for buffer in encode.encode_replied(replied_at_ms, blocks, self._hub.options.frame_bytes_max):
            self._send(buffer)

    def _answered(self, request: int, granted: bool) -> bool:
        """Count an answer; return whether there is someone to tell."""
        if not request or self._halted & CLOSING:
            return False
        self._open_requests -= 1
        self._budget.answered(request, granted)
        if request == self._large_request:
            self._large_request = 0
        if self._halted & ANSWERING and not self._large_request:
            self._go_on(ANSWERING)
        return True

    def _send(self, data: bytes) -> None:
        if self._halted & CLOSING:
            return
        if not self._out:
            self._hub.mark_dirty(self)
        self._out.append(data)
