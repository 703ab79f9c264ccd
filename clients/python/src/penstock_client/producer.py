"""Publishing, below the API: sequences, the window, and what is not confirmed yet.

One producer per client. Every queue published to is a *route* with sequences of its own; every block sent is kept until
its confirm comes, in order, and sent again unchanged after a reconnect, so that the broker recognises it (SEMANTICS 6).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from penstock_client.errors import PenstockError, PublishUnconfirmed, publish_error
from penstock_client.message import Message, Publishable
from penstock_client.wire import control
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import ConfirmStatus, decode_confirm, encode_publish_entry
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX, PUBLISH_ENTRIES_MAX

if TYPE_CHECKING:
    from penstock_client.link import Link

WINDOW_MESSAGES: Final = 20_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Unconfirmed at most, or less where the broker says so: what a producer loses sight of when a connection drops, and
far more than the disk's latency needs."""
FRAME_BYTES_TARGET: Final = 256 * 1024
"""Entries for several queues are joined into frames of about this size."""


class ConfirmSink(Protocol):
    """Who wants to know what became of a block."""

    def confirmed(self, block: Outbound, offset: int | None, level: int, duplicate: bool) -> None:
        """It is stored."""

    def refused(self, block: Outbound, error: PenstockError) -> None:
        """It is not stored, or nobody knows."""


class Outbound:
    """One published block that is not confirmed yet."""

    __slots__ = ("count", "entry", "first_sequence", "route", "sink")

    def __init__(self, route: Route, first_sequence: int, count: int, entry: bytes, sink: ConfirmSink) -> None:
        self.route = route
        self.first_sequence = first_sequence
        self.count = count
        self.entry = entry
        self.sink = sink


class Route:
    """Where blocks of one queue go."""

    __slots__ = ("next_sequence", "number", "opened", "queue", "unconfirmed")

    def __init__(self, number: int, queue: str) -> None:
        self.number = number
        self.queue = queue
        self.next_sequence = 1
        self.opened = False
        self.unconfirmed: deque[Outbound] = deque()


def encode_messages(messages: Sequence[bytes | Message], plain: bool) -> bytes:
    """Return the block of these messages; ``plain`` says that all are bytes."""
    if plain:
        return encode_block(messages)  # type: ignore[arg-type]
    whole = [message if isinstance(message, Message) else Message(message) for message in messages]
    keys = [message.key for message in whole]
    headers = [message.headers for message in whole]
    properties = [message.properties() for message in whole]
    return encode_block(
        [message.body for message in whole],
        keys if any(key is not None for key in keys) else None,
        headers if any(headers) else None,
        properties if any(properties) else None,
    )


def encode_parts(messages: Sequence[bytes | Message], plain: bool) -> list[tuple[bytes, int]]:
    """Return (block, message count) of these messages, cut until every block of several is within the limit."""
    block = encode_messages(messages, plain)
    if len(messages) == 1 or len(block) <= BLOCK_BYTES_MULTI_MAX:
        return [(block, len(messages))]
    half = len(messages) // 2
    return encode_parts(messages[:half], plain) + encode_parts(messages[half:], plain)


def plain_body(message: Publishable) -> bytes | Message:
    """Return what ``encode_messages`` takes; raises TypeError for what is neither bytes nor a Message."""
    if isinstance(message, (bytes, Message)):
        return message
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    raise TypeError(f"a body is bytes, not {type(message).__name__}; encode it first")


class Producer:
    """Sends blocks and matches confirms."""

    def __init__(self) -> None:
        self.unconfirmed_messages = 0
        self.unconfirmed_bytes = 0
        self.window_messages = WINDOW_MESSAGES
        self.window_bytes = WINDOW_BYTES
        self._routes: dict[str, Route] = {}
        self._by_number: dict[int, Route] = {}
        self._producer: int | None = None
        self._link: Link | None = None
        self._error: PenstockError | None = None
        self._room_waiters: deque[asyncio.Future[None]] = deque()
        self._idle_callbacks: list[IdleCallback] = []

    @property
    def has_room(self) -> bool:
        """True while the window takes more."""
        return self.unconfirmed_messages < self.window_messages and self.unconfirmed_bytes < self.window_bytes

    async def room(self) -> None:
        """Return when the window has room again; this is the producer's backpressure."""
        while not self.has_room and self._error is None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room_waiters.append(future)
            try:
                await future
            finally:
                if not future.done():
                    future.cancel()

    async def all_settled(self) -> None:
        """Return when nothing is unconfirmed."""
        while self.unconfirmed_messages:
            waiter = _IdleWaiter(self)
            await waiter.future

    def when_idle(self, callback: IdleCallback) -> None:
        """Call back whenever nothing is unconfirmed any more."""
        self._idle_callbacks.append(callback)

    def forget_idle(self, callback: IdleCallback) -> None:
        """Call back no more."""
        self._idle_callbacks.remove(callback)

    def route(self, queue: str) -> Route:
        """Return the route of a queue."""
        route = self._routes.get(queue)
        if route is None:
            number = len(self._routes) + 1
            route = self._routes[queue] = self._by_number[number] = Route(number, queue)
        return route

    def send(self, blocks: list[tuple[Route, bytes, int, ConfirmSink]], level: int) -> None:
        """Send blocks (route, block, message count, who wants the outcome) in as few frames as makes sense."""
        entries: list[bytes] = []
        for route, block, count, sink in blocks:
            first = route.next_sequence
            route.next_sequence = first + count
            entry = encode_publish_entry(route.number, level, first) + block
            outbound = Outbound(route, first, count, entry, sink)
            if self._error is not None:
                sink.refused(outbound, self._error)
                continue
            route.unconfirmed.append(outbound)
            self.unconfirmed_messages += count
            self.unconfirmed_bytes += len(entry)
            if self._link is not None and not route.opened:
                self._open_route(self._link, route)
            entries.append(entry)
        if self._link is not None:
            _send_entries(self._link, entries)

    # -- connections come and go ---------------------------------------------------------------------------------------

    async def attach(self, link: Link) -> None:
        """Go on over a new connection: same producer, same routes, every unconfirmed block again."""
        result = await link.request(FrameType.PRODUCER_OPEN, {"producer": self._producer})
        self._producer = result["producer"]
        self.window_messages = min(WINDOW_MESSAGES, link.limits.window_messages)
        self.window_bytes = min(WINDOW_BYTES, link.limits.window_bytes)
        self._link = link
        for route in self._routes.values():
            route.opened = False
            if route.unconfirmed:
                self._open_route(link, route)
                _send_entries(link, [outbound.entry for outbound in route.unconfirmed])

    def detach(self) -> None:
        """The connection is gone; what is sent now waits for the next."""
        self._link = None

    @property
    def is_used(self) -> bool:
        """True once anything was published."""
        return bool(self._routes)

    def fail(self, error: PenstockError) -> None:
        """There will be no connection any more: every unconfirmed message gets that outcome."""
        self._error = error
        self._link = None
        for route in self._routes.values():
            while route.unconfirmed:
                outbound = route.unconfirmed.popleft()
                text = f"queue {route.queue!r}: not confirmed, it may or may not be stored: {error}"
                outbound.sink.refused(outbound, PublishUnconfirmed(text))
        self.unconfirmed_messages = self.unconfirmed_bytes = 0
        self._notify()

    def take_confirms(self, payload: bytes) -> None:
        """Match a CONFIRM frame."""
        for number, status, level, code, first_sequence, count, _, _, offset in decode_confirm(payload):
            route = self._by_number.get(number)
            if route is None or not route.unconfirmed or route.unconfirmed[0].first_sequence != first_sequence:
                continue  # of a life before a reconnect
            outbound = route.unconfirmed.popleft()
            self.unconfirmed_messages -= count
            self.unconfirmed_bytes -= len(outbound.entry)
            if status == ConfirmStatus.REFUSED:
                route.opened = False  # the queue may exist by the time of the next publish
                outbound.sink.refused(outbound, publish_error(code, route.queue))
            else:
                known = None if offset == _OFFSET_UNKNOWN else offset
                outbound.sink.confirmed(outbound, known, level, status == ConfirmStatus.DUPLICATE)
        self._notify()

    def _notify(self) -> None:
        if self._room_waiters and (
            self._error is not None
            or (
                self.unconfirmed_messages <= self.window_messages // 2
                and self.unconfirmed_bytes <= self.window_bytes // 2
            )
        ):
            while self._room_waiters:
                waiter = self._room_waiters.popleft()
                if not waiter.done():
                    waiter.set_result(None)
        if not self.unconfirmed_messages:
            for callback in list(self._idle_callbacks):
                callback.producer_idle()

    def _open_route(self, link: Link, route: Route) -> None:
        route.opened = True
        # The publishes behind it need not wait: if it is refused, so are they, and that is where the error shows.
        opened = link.ask(
            FrameType.ROUTE_OPEN, control.pack({"route": route.number, "exchange": "", "routing_key": route.queue})
        )
        opened.add_done_callback(lambda future: future.exception())


class IdleCallback(Protocol):
    """Who buffers while something is unconfirmed."""

    def producer_idle(self) -> None:
        """Nothing is: send what is buffered."""


class _IdleWaiter:
    def __init__(self, producer: Producer) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        producer.when_idle(self)
        self.future.add_done_callback(lambda _: producer.forget_idle(self))

    def producer_idle(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


_OFFSET_UNKNOWN: Final = 0xFFFFFFFFFFFFFFFF


def _send_entries(link: Link, entries: list[bytes]) -> None:
    gathered: list[bytes] = []
    gathered_bytes = 0
    for entry in entries:
        full = gathered_bytes + len(entry) > FRAME_BYTES_TARGET or len(gathered) == PUBLISH_ENTRIES_MAX
        if gathered and full:
            link.send(FrameType.PUBLISH, b"".join(gathered))
            gathered, gathered_bytes = [], 0
        gathered.append(entry)
        gathered_bytes += len(entry)
    if gathered:
        link.send(FrameType.PUBLISH, gathered[0] if len(gathered) == 1 else b"".join(gathered))
