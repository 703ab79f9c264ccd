"""What is on its way to one queue or exchange, and how much of the connection's window it may have.

A *stream* is what has sequences of its own: a queue, or an exchange under whatever routing keys; each routing key is a
*route* of its own in it. A stream's blocks wait in ``parked`` until the window has room for them, in the order of their
sequences, then in their route's ``unconfirmed`` for their confirms.

The window is shared so that a queue whose confirms stay away (it is at its bound) does not keep the others from being
published to: a stream may have a quarter of the window, and never more than is still free ("dynamic threshold",
Choudhury and Hahne 1998). So two that are stuck take nothing from a third, and n leave 1/(n+1) of it for the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from penstock_client.ways import Target, column_of

if TYPE_CHECKING:
    import asyncio

    from penstock_client.errors import PenstockError

WINDOW_MESSAGES: Final = 80_000
WINDOW_BYTES: Final = 32 * 1024 * 1024
"""Unconfirmed at most, or less where the broker says so: what a client loses sight of when a connection drops."""
STREAM_MESSAGES: Final = 20_000
STREAM_BYTES: Final = 8 * 1024 * 1024
"""Of them in one stream: far more than the disk's latency needs."""


class ConfirmSink(Protocol):
    """Who wants to know what became of a block. Called on the loop; must not raise.

    Every message of a block is told of once: nearly always all of them together, else in parts, in order.
    """

    def confirmed(self, part: Part, status: int, offset: int | None, level: int) -> None:
        """These messages are stored from ``offset`` on, or scheduled: then ``part`` says their ids; or dropped
        (DROPPED) as their queue was told to.
        """

    def refused(self, part: Part, error: PenstockError) -> None:
        """These messages are not stored, or nobody knows."""


class Part(NamedTuple):
    """Messages ``first`` to ``end`` (exclusive) of a block for ``queue``; empty: through an exchange. When they are
    confirmed as scheduled it has the schedule id of the first.
    """

    queue: str
    first: int
    end: int
    scheduled_id: int | None = None


class Outbound:
    """One block that is not confirmed yet, or not to its end: ``matched`` messages of it are, over this connection,
    and of ``told`` ones the sink knows.
    """

    __slots__ = ("count", "entry", "first_sequence", "matched", "route", "sink", "told")

    def __init__(self, route: Route, count: int, entry: bytes, sink: ConfirmSink) -> None:
        self.route = route
        self.first_sequence = route.stream.next_sequence
        self.count = count
        self.matched = 0
        self.told = 0
        self.entry = entry
        self.sink = sink

    def untold(self, end: int) -> Part:
        """Return the messages before ``end`` of which the sink does not know, and count them as told."""
        first, self.told = self.told, max(self.told, end)
        target = self.route.target
        return Part(target if isinstance(target, str) else "", first, self.told)

    def refuse(self, error: PenstockError) -> None:
        """Tell the sink of all that it does not know yet: it is refused."""
        part = self.untold(self.count)
        if part.first < part.end:
            self.sink.refused(part, error)


class Stream:
    """The sequences of a queue, or of an exchange, and what has them."""

    __slots__ = ("next_sequence", "parked", "unconfirmed_bytes", "unconfirmed_messages", "waiters")

    def __init__(self) -> None:
        self.next_sequence = 1
        self.parked: deque[Outbound] = deque()
        self.unconfirmed_messages = 0
        self.unconfirmed_bytes = 0
        self.waiters: deque[asyncio.Future[None]] = deque()


class Route:
    """Where blocks go: to one queue, or through an exchange under one routing key."""

    __slots__ = ("column", "error", "number", "opened", "stream", "target", "unconfirmed")

    def __init__(self, number: int, target: Target, stream: Stream) -> None:
        self.number = number
        self.target = target
        self.stream = stream
        self.column = column_of(target)
        self.opened = False
        self.error: PenstockError | None = None
        self.unconfirmed: deque[Outbound] = deque()

    @property
    def has_room(self) -> bool:
        """True while the window takes more of its stream."""
        return not self.stream.parked

    @property
    def is_idle(self) -> bool:
        """True when everything sent in its stream has its outcome."""
        return not self.stream.unconfirmed_messages and not self.stream.parked


class Window:
    """What one connection has unconfirmed, and may have."""

    __slots__ = ("bytes", "bytes_max", "messages", "messages_max")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.messages_max = WINDOW_MESSAGES
        self.bytes_max = WINDOW_BYTES

    def fits(self, outbound: Outbound) -> bool:
        """True when a block may be sent; one always may while nothing is unconfirmed."""
        if not self.messages:
            return True
        stream = outbound.route.stream
        messages_max = min(STREAM_MESSAGES, self.messages_max - self.messages)
        bytes_max = min(STREAM_BYTES, self.bytes_max - self.bytes)
        return (
            stream.unconfirmed_messages + outbound.count <= messages_max
            and stream.unconfirmed_bytes + len(outbound.entry) <= bytes_max
        )

    def add(self, outbound: Outbound) -> None:
        """A block is on its way."""
        stream, size_bytes = outbound.route.stream, len(outbound.entry)
        outbound.route.unconfirmed.append(outbound)
        stream.unconfirmed_messages += outbound.count
        stream.unconfirmed_bytes += size_bytes
        self.messages += outbound.count
        self.bytes += size_bytes

    def match(self, outbound: Outbound, count: int) -> None:
        """The next ``count`` messages of a route's first block are confirmed."""
        stream = outbound.route.stream
        outbound.matched += count
        stream.unconfirmed_messages -= count
        self.messages -= count
        if outbound.matched == outbound.count:
            outbound.route.unconfirmed.popleft()
            stream.unconfirmed_bytes -= len(outbound.entry)
            self.bytes -= len(outbound.entry)

    def lose(self, routes: Iterable[Route]) -> list[Stream]:
        """The connection is gone: what is unconfirmed is parked again, ahead of what was; return where that is."""
        lost: dict[Stream, list[Outbound]] = {}
        for route in routes:
            lost.setdefault(route.stream, []).extend(route.unconfirmed)
            route.unconfirmed.clear()
        for stream, outbounds in lost.items():
            outbounds.sort(key=lambda outbound: outbound.first_sequence)
            stream.parked.extendleft(reversed(outbounds))
            stream.unconfirmed_messages = stream.unconfirmed_bytes = 0
            for outbound in outbounds:
                outbound.matched = 0
        self.messages = self.bytes = 0
        return [stream for stream in lost if stream.parked]
