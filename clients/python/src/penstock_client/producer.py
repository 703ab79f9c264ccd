"""Publishing, below the API: sequences, the window, and what is not confirmed yet.

One producer per client. Every queue published to is a *route* with sequences of its own. A block gets its sequence when
it is made and keeps it: it is sent when the window has room, kept until its confirm comes, and sent again unchanged
after a reconnect, so that the broker recognises it (SEMANTICS 6 and 7).

    send --> parked --window has room--> unconfirmed --confirm--> its sink
               ^                              |
               +-------- connection lost -----+   in the same order, ahead of what was parked

How the window is shared between queues is in ``route``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock_client.errors import BodyTooLarge, PenstockError, PublishUnconfirmed, again, publish_error
from penstock_client.link import pack_arguments, reply_error
from penstock_client.route import WINDOW_BYTES, WINDOW_MESSAGES, ConfirmSink, Outbound, Route, Stream, Window
from penstock_client.ways import Target, Way, label_of, route_arguments
from penstock_client.wire import control
from penstock_client.wire.entries import (
    OFFSET_UNKNOWN,
    TO_COME,
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

FRAME_BYTES_TARGET: Final = 256 * 1024
"""Entries for several queues are joined into frames of about this size."""


ROUTES_KEPT_MAX: Final = 10_000
"""Routes kept open; past it, those through exchanges that nothing is under way for are closed."""

_GONE: Final = (ErrorCode.UNKNOWN_ROUTE, ErrorCode.UNKNOWN_QUEUE, ErrorCode.UNKNOWN_EXCHANGE)


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
        self.window = Window()
        self.body_bytes_max = BODY_BYTES_MAX_LIMIT
        self.when_confirmed: Callable[[], None] = lambda: None
        self._frame_bytes_max = FRAME_BYTES_MAX_LIMIT
        self._routes: dict[Target, Route] = {}
        self._by_number: dict[int, Route] = {}
        self._exchanges: dict[str, Stream] = {}
        self._route_count = 0
        self._routes_kept_max = ROUTES_KEPT_MAX
        self._producer: int | None = None
        self._link: Link | None = None
        self._error: PenstockError | None = None
        self._parked: dict[Stream, None] = {}
        """Streams that have more than the window has room for."""
        self._idle_waiters: deque[asyncio.Future[None]] = deque()

    @property
    def is_used(self) -> bool:
        """True once anything was published."""
        return bool(self._route_count)

    @property
    def is_idle(self) -> bool:
        """True when everything sent has its outcome."""
        return not self.window.messages and not self._parked

    async def room(self, route: Route) -> None:
        """Return when the window takes more of a route, or there will be no connection: a producer's backpressure."""
        while route.stream.parked and self._error is None:
            await self._wait(route.stream.waiters)

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
        """Return the route to a queue, or through an exchange. Raises BadSetting for what no route can be named."""
        route = self._routes.get(target)
        if route is None:
            pack_arguments(route_arguments(target))
            if isinstance(target, Way) and len(self._by_number) >= self._routes_kept_max:
                self._forget_idle_routes()
                self._routes_kept_max = max(ROUTES_KEPT_MAX, 2 * len(self._by_number))
            self._route_count += 1
            exchanges = self._exchanges
            own = exchanges.setdefault(target.exchange, Stream()) if isinstance(target, Way) else Stream()
            route = self._routes[target] = self._by_number[self._route_count] = Route(self._route_count, target, own)
        return route

    def _forget_idle_routes(self) -> None:
        """Routing keys may be without number: close the routes of those that nothing is under way for.

        Who still has such a route and sends over it has it opened again.
        """
        parked = {outbound.route for stream in self._parked for outbound in stream.parked}
        for number, route in list(self._by_number.items()):
            if isinstance(route.target, Way) and not route.unconfirmed and route not in parked:
                if self._routes.get(route.target) is route:
                    del self._routes[route.target]
                del self._by_number[number]
                if route.opened and self._link is not None:
                    self._link.send(FrameType.ROUTE_CLOSE, control.pack({"route": route.number}))
                route.opened = False

    def send(self, blocks: Iterable[Block]) -> None:
        """Send blocks in as few frames as makes sense; those the window has no room for when it has."""
        for route, level, data, count, sink in blocks:
            entry = encode_publish_entry(route.number, level, route.stream.next_sequence) + data
            outbound = Outbound(route, count, entry, sink)
            route.stream.next_sequence += count
            if self._error is not None:
                outbound.refuse(again(self._error))
            else:
                route.stream.parked.append(outbound)
                self._parked[route.stream] = None
        if self._link is not None:
            self._pump(self._link)

    def _pump(self, link: Link) -> None:
        """Send what is parked as far as the window has room."""
        entries: list[bytes] = []
        for stream in list(self._parked):
            self._unpark(link, stream, entries)
            if not stream.parked:
                del self._parked[stream]
                _wake(stream.waiters)
        _send_entries(link, entries)

    def _unpark(self, link: Link, stream: Stream, entries: list[bytes]) -> None:
        parked, window = stream.parked, self.window
        while parked and window.fits(parked[0]):
            outbound = parked.popleft()
            if len(outbound.entry) > self._frame_bytes_max:
                outbound.refuse(too_large(len(outbound.entry), self._frame_bytes_max))
                continue
            if not outbound.route.opened:
                self._open_route(link, outbound.route)
            window.add(outbound)
            entries.append(outbound.entry)

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
        if link.error is not None:  # with the answer: what is sent now would be sent over no connection
            raise again(link.error)
        limits = link.limits
        self.window.messages_max = min(WINDOW_MESSAGES, limits.window_messages)
        self.window.bytes_max = min(WINDOW_BYTES, limits.window_bytes)
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
        for route in self._by_number.values():
            route.opened = False
        self._parked |= dict.fromkeys(self.window.lose(self._by_number.values()))

    def fail(self, error: PenstockError) -> None:
        """There will be no connection any more: everything unconfirmed has that outcome."""
        self.detach()
        self._error = error
        self._give_up(error)

    def _give_up(self, error: PenstockError) -> None:
        parked, self._parked = self._parked, {}
        for stream in parked:
            outbounds, stream.parked = stream.parked, deque()
            for outbound in outbounds:
                text = f"{label_of(outbound.route.target)}: not confirmed, it may or may not be stored: {error}"
                outbound.refuse(PublishUnconfirmed(text))
            _wake(stream.waiters)
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
            self.window.match(outbound, count)
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
            if status in TO_COME:
                part, known = part._replace(scheduled_id=known), None
            outbound.sink.confirmed(part, status, known, level)

    def _refusal(self, route: Route, code: int) -> PenstockError:
        if code == ErrorCode.UNKNOWN_ROUTE and isinstance(route.target, Way):
            code = ErrorCode.UNKNOWN_EXCHANGE
        error = publish_error(code, label_of(route.target))
        if code in _GONE:
            route.opened = False  # the queue may exist by the time of the next publish
            return again(route.error) if route.error else error
        return error

    def _notify(self) -> None:
        if self.is_idle:
            _wake(self._idle_waiters)
        self.when_confirmed()


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
