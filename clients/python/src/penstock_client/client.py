"""The client: one connection at a time, won back by itself, and everything that lives on it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Any, Final, Self

from penstock_client.backoff import Backoff
from penstock_client.consumer import Consumer
from penstock_client.errors import (
    ClientClosed,
    ConnectionLost,
    ConnectionRefused,
    PenstockError,
    RequestTimeout,
    UnknownQueue,
)
from penstock_client.link import Handlers, Link, open_link, read_reply
from penstock_client.message import Confirm
from penstock_client.producer import Producer
from penstock_client.publisher import ClientPublisher, SinglePublishes
from penstock_client.queue import Queue, QueueInfo
from penstock_client.url import parse_url
from penstock_client.wire import control
from penstock_client.wire.entries import Outcome, decode_deliver, decode_stale
from penstock_client.wire.frames import Frame, FrameType

CONNECT_TIMEOUT_S: Final = 5.0
RECONNECT_TIMEOUT_S: Final = 60.0
REQUEST_TIMEOUT_S: Final = 30.0
log: Final = logging.getLogger("penstock_client")


class Client:
    """Made by ``connect``. All of it belongs to the event loop it was made on."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        connect_timeout: float = CONNECT_TIMEOUT_S,
        reconnect_timeout: float = RECONNECT_TIMEOUT_S,
        request_timeout: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.url = url
        self.producer = Producer()
        self.draining = False
        self.stale_count = 0
        """Outcomes of messages whose lease had ended: those messages come again."""
        self._address = parse_url(url)
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._connect_timeout_s = connect_timeout
        self._reconnect_timeout_s = reconnect_timeout
        self._request_timeout_s = request_timeout
        self._handlers = Handlers(
            self.producer.take_confirms, self._deliver, self._stale, self._consumer_cancelled, self._lost
        )
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._error: PenstockError | None = None
        self._consumers: dict[int, Consumer] = {}
        self._next_consumer = 1
        self._singles: dict[int, SinglePublishes] = {}
        self._producing: asyncio.Lock = asyncio.Lock()
        self._producing_link: Link | None = None
        self._supervisor: asyncio.Task[None] | None = None

    # -- beginning and end ---------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect for the first time. Raises ConnectionLost or ConnectionRefused."""
        self._link = await open_link(self._address, self._handlers, self._name, self._connect_timeout_s)
        self._linked.set()
        return self

    async def close(self) -> None:
        """Send what is gathered and close. What is leased goes back to the broker; unconfirmed publishes are waited
        for as long as a request would be.
        """
        if self._error is None:
            await self._settle_publishes()
            for consumer in list(self._consumers.values()):
                await consumer.close()
        self._fail(ClientClosed("the client was closed"))
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def drain(self) -> None:
        """Stop gracefully: no new deliveries, iterations end after what runs, the rest goes back, then close."""
        self.draining = True
        for consumer in list(self._consumers.values()):
            try:
                await consumer.stop_credit()
            except PenstockError as error:
                log.debug("draining: %s", error)
            consumer.release_arrived()
            consumer.end()
        while self._consumers and self._error is None:
            await self._one_consumer_less()
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # -- what users call -----------------------------------------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """Return a handle on a queue; no I/O."""
        return Queue(self, name)

    def publisher(self, *, durability: str = "synced") -> ClientPublisher:
        """Publish a stream of messages to many queues: ``await publisher.send(queue, body)``."""
        return ClientPublisher(self, durability)

    async def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Describe every queue whose name starts with ``prefix``, in name order."""
        found: list[QueueInfo] = []
        more = True
        while more:
            arguments = {"prefix": prefix, "after": found[-1].name if found else "", "limit": 500}
            page = await self.request(FrameType.QUEUE_LIST, arguments)
            found += [QueueInfo.of(raw) for raw in page["queues"]]
            more = bool(page["more"])
        return found

    async def status(self) -> dict[str, Any]:
        """Return what the broker says of itself."""
        return await self.request(FrameType.STATUS, {})

    # -- what the parts of this package call ---------------------------------------------------------------------------

    async def request(self, frame_type: int, arguments: dict[str, Any], *, once: bool = False) -> dict[str, Any]:
        """Send a named command; return its result. ``once``: do not repeat it over a new connection."""
        return read_reply(await self.ask(frame_type, control.pack(arguments), once=once))

    async def ask(self, frame_type: int, payload: bytes, *, once: bool = False) -> Frame:
        """Send a request and return its reply frame; repeated when the connection was lost, unless ``once``."""
        try:
            async with asyncio.timeout(self._request_timeout_s):
                while True:
                    link = await self.link()
                    try:
                        return await link.ask(frame_type, payload)
                    except ConnectionLost as error:
                        if once:
                            raise ConnectionLost(
                                f"{error}; whether the request was carried out is not known"
                            ) from error
        except TimeoutError as error:
            raise RequestTimeout(f"no answer within {self._request_timeout_s:g} s") from error

    async def link(self) -> Link:
        """Return the connection, waiting for it to be won back. Raises what ended the client."""
        while True:
            if self._error is not None:
                raise self._error
            if self._link is not None and self._linked.is_set():
                return self._link
            await self._linked.wait()

    async def start_producing(self) -> None:
        """Have a producer on this connection."""
        link = await self.link()
        async with self._producing:
            if self._producing_link is not link and link.error is None:
                await self.producer.attach(link)
                self._producing_link = link

    async def singles(self, level: int) -> SinglePublishes:
        """Return who sends single messages at this level, when the window has room."""
        if self._producing_link is None or self._producing_link.error is not None:
            await self.start_producing()
        if self._error is not None:
            raise self._error
        if not self.producer.has_room:
            await self.producer.room()
        singles = self._singles.get(level)
        if singles is None:
            singles = self._singles[level] = SinglePublishes(self, level)
        return singles

    async def breathe(self) -> None:
        """Let the loop read what has arrived."""
        await asyncio.sleep(0)

    async def all_confirms(self, futures: Iterable[asyncio.Future[Confirm]]) -> list[Confirm]:
        """Return every confirm; raises the first error when all are known."""
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Confirm)]

    async def subscribe(self, queue: str, prefetch: int, prefetch_bytes: int, name: str) -> Consumer:
        """Add a consumer. Raises UnknownQueue and what else the broker refuses."""
        while True:
            link = await self.link()
            consumer = Consumer(self, queue, self._next_consumer, prefetch, prefetch_bytes, name or self._name)
            self._next_consumer += 1
            self._consumers[consumer.number] = consumer
            try:
                await consumer.attach(link)
                return consumer
            except ConnectionLost:
                self._consumers.pop(consumer.number, None)
            except BaseException:
                self._consumers.pop(consumer.number, None)
                raise

    def forget_consumer(self, consumer: Consumer) -> None:
        """A consumer ended."""
        self._consumers.pop(consumer.number, None)
        if self._fewer_consumers is not None and not self._fewer_consumers.done():
            self._fewer_consumers.set_result(None)

    def count_stale(self, count: int) -> None:
        """Outcomes came too late."""
        self.stale_count += count
        log.info("%d message(s) were settled after their lease had ended; they are delivered again", count)

    @property
    def is_congested(self) -> bool:
        """True while the socket takes nothing."""
        return self._link is not None and not self._link.is_writable

    async def uncongested(self) -> None:
        """Return when the socket takes more, or is gone."""
        if self._link is not None:
            await self._link.writable()

    # -- what the link calls -------------------------------------------------------------------------------------------

    def _deliver(self, payload: bytes) -> None:
        for entry in decode_deliver(payload):
            consumer = self._consumers.get(entry.consumer)
            if consumer is not None:
                consumer.deliver(entry)

    def _stale(self, payload: bytes) -> None:
        outcome, ranges = decode_stale(payload)
        if outcome not in (Outcome.EXTEND, Outcome.STARTED):
            self.count_stale(sum(last - first + 1 for first, last in ranges))

    def _consumer_cancelled(self, notice: dict[str, Any]) -> None:
        consumer = self._consumers.get(notice.get("consumer", -1))
        if consumer is not None:
            consumer.cancelled(notice)

    def _lost(self, error: PenstockError) -> None:
        self._linked.clear()
        self.producer.detach()
        for consumer in list(self._consumers.values()):
            consumer.detach()
        if self._error is None:
            if isinstance(error, ConnectionRefused):
                self._fail(error)
            else:
                log.info("%s; reconnecting", error)
                self._supervisor = asyncio.get_running_loop().create_task(self._reconnect(error))

    async def _reconnect(self, cause: PenstockError) -> None:
        """Win the connection back, and everything that lived on it, or fail everything that waits."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._reconnect_timeout_s
        backoff = Backoff()
        while True:
            link: Link | None = None
            try:
                link = await open_link(self._address, self._handlers, self._name, self._connect_timeout_s)
                await self._restore(link)
                self._link = link
                self._linked.set()
                log.info("reconnected to %s", self.url)
                return
            except ConnectionLost as error:
                if loop.time() >= until_s:
                    text = f"{cause}; not won back within {self._reconnect_timeout_s:g} s, the last attempt: {error}"
                    self._fail(ConnectionLost(text))
                    return
            except PenstockError as error:
                self._fail(error)
                if link is not None:
                    link.abort(ConnectionLost("the connection was given up"))
                return
            await asyncio.sleep(backoff.next_s())

    async def _restore(self, link: Link) -> None:
        if self.producer.is_used:
            async with self._producing:
                await self.producer.attach(link)
                self._producing_link = link
        for consumer in list(self._consumers.values()):
            if consumer.error is None and not consumer.closed:
                try:
                    await consumer.attach(link)
                except UnknownQueue as error:
                    consumer.fail(error)

    def _fail(self, error: PenstockError) -> None:
        """There will be no connection any more: every wait gets its outcome."""
        if self._error is not None:
            return
        self._error = error
        self._linked.set()
        self.producer.fail(error)
        for consumer in list(self._consumers.values()):
            consumer.fail(error)
        if self._fewer_consumers is not None and not self._fewer_consumers.done():
            self._fewer_consumers.set_result(None)

    async def _settle_publishes(self) -> None:
        if not self.producer.unconfirmed_messages:
            await asyncio.sleep(0)  # what was published in this turn is sent now
        try:
            async with asyncio.timeout(self._request_timeout_s):
                await self.producer.all_settled()
        except TimeoutError:
            log.warning("closing with %d messages unconfirmed", self.producer.unconfirmed_messages)

    _fewer_consumers: asyncio.Future[None] | None = None

    async def _one_consumer_less(self) -> None:
        self._fewer_consumers = asyncio.get_running_loop().create_future()
        await self._fewer_consumers


class Connecting:
    """What ``connect`` returns: await it for a client, or use it as ``async with connect(url) as client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._client.open().__await__()

    async def __aenter__(self) -> Client:
        return await self._client.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()


def connect(
    url: str = "penstock://127.0.0.1:7419",
    *,
    name: str = "",
    connect_timeout: float = CONNECT_TIMEOUT_S,
    reconnect_timeout: float = RECONNECT_TIMEOUT_S,
    request_timeout: float = REQUEST_TIMEOUT_S,
) -> Connecting:
    """Connect to a broker.

    ``name`` is how the broker's failure histories call this client. Times are in seconds: ``connect_timeout`` for one
    attempt, ``reconnect_timeout`` for winning a lost connection back (then everything that waits raises
    ConnectionLost), ``request_timeout`` for the answer to one request.
    """
    return Connecting(
        Client(
            url,
            name=name,
            connect_timeout=connect_timeout,
            reconnect_timeout=reconnect_timeout,
            request_timeout=request_timeout,
        )
    )
