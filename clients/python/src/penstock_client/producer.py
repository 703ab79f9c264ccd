"""Publishing, below the API: sequences, the window, and what is not confirmed yet.

One producer per client. Every queue published to is a *route* with sequences of its own. A block gets its sequence when
it is made and keeps it: it is sent when the window has room, kept until its confirm comes, and sent again unchanged
after a reconnect, so that the broker recognises it (SEMANTICS 6 and 7).

    send --> parked --window has room--> unconfirmed --confirm--> its sink
               ^                              |
               +-------- connection lost -----+   in the same order, ahead of what was parked
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from penstock_client.errors import BodyTooLarge, PenstockError, PublishUnconfirmed, again, publish_error
from penstock_client.link import reply_error
from penstock_client.ways import Sequences, Target, Way, column_of, label_of, route_arguments
from penstock_client.wire import control
from penstock_client.wire.entries import (
    OFFSET_UNKNOWN,
    Confirmation,
    ConfirmStatus,
    decode_confirm,
    encode_publish_entry,
)
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import Frame, FrameType
from penstock_client.wire.limits import BODY_BYTES_MAX_LIMIT, FRAME_BYTES_MAX_LIMIT, PUBLISH_ENTRIES_MAX

if TYPE_CHECKING:
    from penstock_client.link import Link

WINDOW_MESSAGES: Final = 20_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Unconfirmed at most, or less where the broker says so: what a producer loses sight of when a connection drops, and
far more than the disk's latency needs."""

_DUPLICATES: Final = frozenset({int(ConfirmStatus.DUPLICATE), int(ConfirmStatus.DUPLICATE_SCHEDULED)})

FRAME_BYTES_TARGET: Final = 256 * 1024
"""Entries for several queues are joined into frames of about this size."""


ROUTES_KEPT_MAX: Final = 10_000
"""Routes kept open; past it, those through exchanges that nothing is under way for are closed."""

_GONE: Final = (ErrorCode.UNKNOWN_ROUTE, ErrorCode.UNKNOWN_QUEUE, ErrorCode.UNKNOWN_EXCHANGE)


class ConfirmSink(Protocol):
    """Who wants to know what became of a block. Called on the loop; must not raise.

    Every message of a block is told of once: nearly always all of them together, else in parts, in order.
    """

    def confirmed(self, part: Part, offset: int | None, level: int, duplicate: bool) -> None:
        """These messages are stored, from ``offset`` on, or scheduled: then ``part`` says their ids."""

    def refused(self, part: Part, error: PenstockError) -> None:
        """These messages are not stored, or nobody knows."""


class Route:
    """Where blocks go: to one queue, or through an exchange under one routing key."""

    __slots__ = ("column", "error", "number", "opened", "sequences", "target", "unconfirmed")

    def __init__(self, number: int, target: Target, sequences: Sequences) -> None:
        self.number = number
        self.target = target
        self.sequences = sequences
        self.column = column_of(target)
        self.opened = False
        self.error: PenstockError | None = None
        self.unconfirmed: deque[Outbound] = deque()


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

    __slots__ = ("count", "entry", "first_sequence", "matched", "order", "route", "sink", "told")

    def __init__(self, route: Route, count: int, entry: bytes, sink: ConfirmSink, order: int) -> None:
        self.route = route
        self.first_sequence = route.sequences.next
        self.count = count
        self.matched = 0
        self.told = 0
        self.entry = entry
        self.sink = sink
        self.order = order

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


class Block(NamedTuple):
    """A block to send, and who wants its outcome."""

    route: Route
    level: int
    data: bytes
    message_count: int
    sink: ConfirmSink


class Producer:
    """Sends blocks and matches confirms."""

    def __init__(self) -> None:
        self.unconfirmed_messages = 0
        self.unconfirmed_bytes = 0
        self.body_bytes_max = BODY_BYTES_MAX_LIMIT
        self.when_idle: Callable[[], None] = lambda: None
        self._window_messages = WINDOW_MESSAGES
        self._window_bytes = WINDOW_BYTES
        self._frame_bytes_max = FRAME_BYTES_MAX_LIMIT
        self._routes: dict[Target, Route] = {}
        self._by_number: dict[int, Route] = {}
        self._exchanges: dict[str, Sequences] = {}
        self._route_count = 0
        self._routes_kept_max = ROUTES_KEPT_MAX
        self._producer: int | None = None
        self._link: Link | None = None
        self._error: PenstockError | None = None
        self._parked: deque[Outbound] = deque()
        self._room_waiters: deque[asyncio.Future[None]] = deque()
        self._idle_waiters: deque[asyncio.Future[None]] = deque()
        self._sent = 0

    @property
    def is_used(self) -> bool:
        """True once anything was published."""
        return bool(self._route_count)

    @property
    def has_room(self) -> bool:
        """True while the window takes more."""
        return not self._parked

    @property
    def is_idle(self) -> bool:
        """True when everything sent has its outcome."""
        return not self.unconfirmed_messages and not self._parked

    async def room(self) -> None:
        """Return when the window has room again, or there will be no connection: this is a producer's backpressure."""
        while self._parked and self._error is None:
            await self._wait(self._room_waiters)

    async def settled(self) -> None:
        """Return when everything sent has its outcome."""
        while not self.is_idle:
            await self._wait(self._idle_waiters)

    async def _wait(self, waiters: deque[asyncio.Future[None]]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(future)
        try:
            await future
        finally:
            future.cancel()

    def route(self, target: Target) -> Route:
        """Return the route to a queue, or through an exchange."""
        route = self._routes.get(target)
        if route is None:
            if isinstance(target, Way) and len(self._routes) >= self._routes_kept_max:
                self._forget_idle_routes()
                self._routes_kept_max = max(ROUTES_KEPT_MAX, 2 * len(self._routes))
            self._route_count += 1
            exchanges = self._exchanges
            own = exchanges.setdefault(target.exchange, Sequences()) if isinstance(target, Way) else Sequences()
            route = self._routes[target] = self._by_number[self._route_count] = Route(self._route_count, target, own)
        return route

    def _forget_idle_routes(self) -> None:
        """Routing keys may be without number: close the routes of those that nothing is under way for.

        Who still has such a route and sends over it has it opened again.
        """
        for target, route in list(self._routes.items()):
            if isinstance(target, Way) and not route.unconfirmed:
                del self._routes[target]
                self._by_number.pop(route.number, None)
                if route.opened and self._link is not None:
                    self._link.send(FrameType.ROUTE_CLOSE, control.pack({"route": route.number}))
                route.opened = False

    def send(self, blocks: Iterable[Block]) -> None:
        """Send blocks in as few frames as makes sense; those the window has no room for when it has."""
        for route, level, data, count, sink in blocks:
            entry = encode_publish_entry(route.number, level, route.sequences.next) + data
            self._sent += 1
            outbound = Outbound(route, count, entry, sink, self._sent)
            route.sequences.next += count
            if self._error is not None:
                outbound.refuse(again(self._error))
            else:
                self._parked.append(outbound)
        if self._link is not None:
            self._pump(self._link)

    def _pump(self, link: Link) -> None:
        """Send what is parked as far as the window has room."""
        parked = self._parked
        entries: list[bytes] = []
        while parked and self._fits(parked[0]):
            outbound = parked.popleft()
            route = outbound.route
            if len(outbound.entry) > self._frame_bytes_max:
                outbound.refuse(too_large(len(outbound.entry), self._frame_bytes_max))
                continue
            if not route.opened:
                self._open_route(link, route)
            route.unconfirmed.append(outbound)
            self.unconfirmed_messages += outbound.count
            self.unconfirmed_bytes += len(outbound.entry)
            entries.append(outbound.entry)
        _send_entries(link, entries)

    def _fits(self, outbound: Outbound) -> bool:
        return not self.unconfirmed_messages or (
            self.unconfirmed_messages + outbound.count <= self._window_messages
            and self.unconfirmed_bytes + len(outbound.entry) <= self._window_bytes
        )

    def _open_route(self, link: Link, route: Route) -> None:
        """The publishes behind it need not wait: if it is refused, so are they, and that is where its error shows."""
        route.opened = True
        route.error = None
        self._by_number[route.number] = route

        def answered(future: asyncio.Future[Frame]) -> None:
            if not future.cancelled() and future.exception() is None:
                route.error = reply_error(future.result())

        arguments = {"route": route.number, **route_arguments(route.target)}
        link.ask(FrameType.ROUTE_OPEN, control.pack(arguments)).add_done_callback(answered)

    # -- connections come and go ---------------------------------------------------------------------------------------

    async def attach(self, link: Link) -> None:
        """Go on over a new connection: same producer, same routes, every unconfirmed block again."""
        if self._link is link:
            return
        await self._open_producer(link)
        limits = link.limits
        self._window_messages = min(WINDOW_MESSAGES, limits.window_messages)
        self._window_bytes = min(WINDOW_BYTES, limits.window_bytes)
        self._frame_bytes_max = limits.frame_bytes_max
        self.body_bytes_max = limits.body_bytes_max
        self._link = link
        self._pump(link)

    async def _open_producer(self, link: Link) -> None:
        try:
            result = await link.request(FrameType.PRODUCER_OPEN, {"producer": self._producer})
        except PenstockError as error:
            if error.code != ErrorCode.PRODUCER_EXPIRED.label:
                raise
            # Its sequences are forgotten, so a re-send could store a message twice: nobody knows what became of these.
            self._give_up(error)
            result = await link.request(FrameType.PRODUCER_OPEN, {"producer": None})
        self._producer = result["producer"]

    def detach(self) -> None:
        """The connection is gone; what is unconfirmed and what is sent now waits for the next."""
        self._link = None
        unconfirmed: list[Outbound] = []
        for route in self._by_number.values():
            route.opened = False
            for outbound in route.unconfirmed:
                outbound.matched = 0
            unconfirmed += route.unconfirmed
            route.unconfirmed.clear()
        unconfirmed.sort(key=lambda outbound: outbound.order)
        self._parked.extendleft(reversed(unconfirmed))
        self.unconfirmed_messages = self.unconfirmed_bytes = 0

    def fail(self, error: PenstockError) -> None:
        """There will be no connection any more: everything unconfirmed has that outcome."""
        self.detach()
        self._error = error
        self._give_up(error)

    def _give_up(self, error: PenstockError) -> None:
        parked, self._parked = self._parked, deque()
        for outbound in parked:
            text = f"{label_of(outbound.route.target)}: not confirmed, it may or may not be stored: {error}"
            outbound.refuse(PublishUnconfirmed(text))
        self._notify()

    # -- confirms ------------------------------------------------------------------------------------------------------

    def take_confirms(self, payload: bytes) -> None:
        """Match a CONFIRM frame: each entry is the next of its route's messages, a block or a part of one.

        Raises WireError when it confirms what was not sent.
        """
        for confirmation in decode_confirm(payload):
            number, _, _, _, first_sequence, count, _, _, _ = confirmation
            route = self._by_number.get(number)
            outbound = route.unconfirmed[0] if route is not None and route.unconfirmed else None
            if (
                route is None
                or outbound is None
                or outbound.first_sequence + outbound.matched != first_sequence
                or not 0 < count <= outbound.count - outbound.matched
            ):
                raise WireError(
                    ErrorCode.MALFORMED_FRAME, f"a confirm of sequence {first_sequence} on route {number}, out of order"
                )
            outbound.matched += count
            self.unconfirmed_messages -= count
            if outbound.matched == outbound.count:
                route.unconfirmed.popleft()
                self.unconfirmed_bytes -= len(outbound.entry)
            self._tell(route, outbound, confirmation)
        if self._parked and self._link is not None:
            self._pump(self._link)
        self._notify()

    def _tell(self, route: Route, outbound: Outbound, confirmation: Confirmation) -> None:
        _, status, level, code, first_sequence, _, _, _, offset = confirmation
        part = outbound.untold(outbound.matched)
        if part.first == part.end:  # told over an earlier connection, before the block was sent again
            return
        if status == ConfirmStatus.REFUSED:
            outbound.sink.refused(part, self._refusal(route, code))
        else:
            first = first_sequence - outbound.first_sequence
            known = None if offset == OFFSET_UNKNOWN else offset + part.first - first
            if status >= ConfirmStatus.SCHEDULED:
                part, known = part._replace(scheduled_id=known), None
            outbound.sink.confirmed(part, known, level, status in _DUPLICATES)

    def _refusal(self, route: Route, code: int) -> PenstockError:
        if code == ErrorCode.UNKNOWN_ROUTE and isinstance(route.target, Way):
            code = ErrorCode.UNKNOWN_EXCHANGE
        error = publish_error(code, label_of(route.target))
        if code in _GONE:
            route.opened = False  # the queue may exist by the time of the next publish
            return again(route.error) if route.error else error
        return error

    def _notify(self) -> None:
        if self._room_waiters and self.has_room:
            _wake(self._room_waiters)
        if self.is_idle:
            _wake(self._idle_waiters)
            self.when_idle()


def too_large(size: int, size_max: int) -> BodyTooLarge:
    """Return the error of a message the broker would not take."""
    text = f"{size} bytes; the broker takes {size_max} (limits.body_bytes_max in its settings)"
    return BodyTooLarge(text)


def _wake(waiters: deque[asyncio.Future[None]]) -> None:
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)


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
