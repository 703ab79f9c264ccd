"""The client: one connection at a time, won back by itself, and everything that lives on it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from penstock_client import holders
from penstock_client.alarms import Alarm
from penstock_client.answering import Replier
from penstock_client.asking import Asker
from penstock_client.backoff import Backoff
from penstock_client.consumer import Consumer, Subscription
from penstock_client.errors import (
    ClientClosed,
    ConnectionLost,
    ConnectionRefused,
    PenstockError,
    RequestTimeout,
    again,
)
from penstock_client.exchange import Exchange, ExchangeInfo
from penstock_client.gathering import BLOCK_MESSAGES, Gathering, Singles, level_of
from penstock_client.group import Group
from penstock_client.holders import ConnectionInfo, ConsumerInfo
from penstock_client.link import Handlers, Link, open_link, pack_arguments, read_reply
from penstock_client.message import Confirm, Publishable
from penstock_client.namespaces import Namespace, NamespaceInfo, list_namespaces
from penstock_client.outgoing import Outgoing, body_bytes
from penstock_client.producer import ROUTES_KEPT_MAX, Producer, too_large
from penstock_client.publisher import ClientPublisher
from penstock_client.queue import Queue
from penstock_client.queue_info import QueueInfo
from penstock_client.reply import REPLY_TIMEOUT_S, Reply
from penstock_client.schedules import Schedule, ScheduleInfo, list_schedules
from penstock_client.transaction import Transaction
from penstock_client.url import parse_url
from penstock_client.ways import Target
from penstock_client.wire import control
from penstock_client.wire.entries import Outcome, decode_deliver, decode_stale
from penstock_client.wire.frames import Frame, FrameType

CONNECT_TIMEOUT_S: Final = 5.0
DRAIN_TIMEOUT_S: Final = 30.0
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
        self.gathering = Gathering(self.producer)
        self.replier = Replier(self)
        self.asker = Asker(self)
        self.stale_count = 0
        """Outcomes of messages whose lease had ended: those messages come again."""
        self._stale_unsaid_count = 0
        self._address = parse_url(url)
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._connect_timeout_s = connect_timeout
        self._reconnect_timeout_s = reconnect_timeout
        self.request_timeout_s = request_timeout
        self._handlers = Handlers(
            self.producer.take_confirms,
            self._deliver,
            self._stale,
            self._consumer_cancelled,
            self.asker.take,
            self._lost,
        )
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._error: PenstockError | None = None
        self._consumers: dict[int, Consumer] = {}
        self._next_consumer = 1
        self._singles: dict[tuple[Target, int], Singles] = {}
        self._starting: asyncio.Task[None] | None = None
        self._produces = False
        self._supervisor: asyncio.Task[None] | None = None

    # -- beginning and end ---------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect for the first time. Raises ConnectionLost or ConnectionRefused."""
        link = await open_link(self._address, self._handlers, self._name, self._connect_timeout_s)
        if link.error is not None:
            raise again(link.error)
        self._link = link
        self._linked.set()
        return self

    async def close(self) -> None:
        """Send what is gathered and close. What is leased goes back to the broker; unconfirmed publishes are waited
        for as long as a request would be, but not for a connection that is not there. Cancelled, it waits for nothing
        more; the client is closed all the same.
        """
        try:
            if self._error is None:
                await self._settle_publishes()
                await asyncio.gather(*(consumer.close() for consumer in list(self._consumers.values())))
        except BaseException:
            link, self._link = self._link, None
            if link is not None:
                link.abort(ConnectionLost("the connection was given up"))
            raise
        finally:
            await self._end()

    async def _end(self) -> None:
        link, self._link = self._link, None
        self._fail(ClientClosed("the client was closed"))
        for task in (self._supervisor, self._starting):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if link is not None:
            await link.close()

    async def drain(self, timeout: float | None = DRAIN_TIMEOUT_S) -> None:  # noqa: ASYNC109  a caller's own would leave it open
        """Stop gracefully: no new deliveries, iterations end, what was handed out may be settled for up to ``timeout``
        seconds (None: as long as it takes), the rest goes back, then close.
        """
        consumers = list(self._consumers.values())
        for consumer in consumers:
            consumer.end()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(self._drained(consumer) for consumer in consumers))
        except TimeoutError:
            log.warning("draining took longer than %g s: what is still open is delivered again", timeout)
        await self.close()

    async def _drained(self, consumer: Consumer) -> None:
        await consumer.stop()
        await consumer.finished()

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

    def exchange(self, name: str, type: str = "direct") -> Exchange:  # noqa: A002  the API's word
        """Return a handle on an exchange; no I/O. ``type``: direct, fanout, topic, headers or consistent-hash."""
        return Exchange(self, name, type)

    async def exchanges(self, prefix: str = "") -> list[ExchangeInfo]:
        """Describe every exchange whose name starts with ``prefix``, in name order."""
        found: list[ExchangeInfo] = []
        more = True
        while more:
            arguments = {"prefix": prefix, "after": found[-1].name if found else "", "limit": 500}
            page = await self.call(FrameType.EXCHANGE_LIST, arguments)
            found += [ExchangeInfo.of(raw) for raw in page["exchanges"]]
            more = bool(page["more"])
        return found

    def publisher(self, *, durability: str = "synced") -> ClientPublisher:
        """Publish a stream of messages to many queues: ``await publisher.send(queue, body)``."""
        return ClientPublisher(self, durability)

    async def request(
        self,
        queue: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,  # noqa: ASYNC109  it is part of the question, and told in the answer
        durability: str = "synced",
    ) -> Reply:
        """Publish a request and return the reply, which comes straight to this connection and is stored nowhere.

        Raises NoReply after ``timeout`` seconds, ReplyFailed when that is the answer, UnknownQueue at once when there
        is no such queue, and ConnectionLost when the connection went in between: the request may or may not have been
        carried out, then, and it is for the caller to ask again. The timeout is the request's time to live too: nobody
        is handed it after that. Later replies are counted in ``late_reply_count``.
        """
        return await self.asker.request(queue, message, timeout, level_of(durability))

    def requests(
        self,
        queue: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        count: int | None = None,
        durability: str = "synced",
    ) -> AsyncGenerator[Reply, None]:
        """Publish a request and yield every reply that comes within ``timeout`` seconds, or the first ``count``.

        For a queue whose groups all get the message, each answering for itself (scatter-gather). That the request
        failed is one of the answers: look at its ``error``. Raises as ``request`` does, but just ends at the deadline.
        """
        return self.asker.requests(queue, message, timeout, count, level_of(durability))

    @property
    def late_reply_count(self) -> int:
        """Replies to requests that nobody waits for any more."""
        return self.asker.late_count

    def transaction(self, *, group: Group | None = None) -> Transaction:
        """Have publishes, acknowledgements and group state happen together: ``async with client.transaction() as tx``.

        Leaving the block commits, an exception rolls back. With ``group`` its state is read first, as ``tx.state``.
        Raises TransactionStale, TransactionConflict, TransactionTooLarge, UnknownQueue, DiskFull: then nothing of it
        happened; TransactionUnknown: it did or it did not.
        """
        return Transaction(self, group)

    async def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Describe every queue whose name starts with ``prefix``, in name order."""
        found: list[QueueInfo] = []
        more = True
        while more:
            arguments = {"prefix": prefix, "after": found[-1].name if found else "", "limit": 500}
            page = await self.call(FrameType.QUEUE_LIST, arguments)
            found += [QueueInfo.of(raw) for raw in page["queues"]]
            more = bool(page["more"])
        return found

    async def connections(self) -> list[ConnectionInfo]:
        """Describe every connection of the broker, by number."""
        return await holders.connections(self)

    async def close_connection(self, session: int) -> None:
        """Have the broker end a connection. Its leases go back; what it had started counts as failed. A client of this
        kind connects again.
        """
        await holders.close_connection(self, session)

    async def consumers(self) -> list[ConsumerInfo]:
        """Describe every consumer of the broker; ``queue.consumers()`` are those of one queue."""
        return await holders.consumers(self, None, None)

    async def close_consumer(self, session: int, consumer: int) -> int:
        """Have the broker end a consumer: its iteration raises ConsumerClosed. Returns how many messages went back."""
        return await holders.close_consumer(self, session, consumer)

    def schedule(self, name: str) -> Schedule:
        """Return a handle on a recurring schedule; no I/O."""
        return Schedule(self, name)

    async def schedules(self, prefix: str = "") -> list[ScheduleInfo]:
        """Describe every recurring schedule whose name starts with ``prefix``, in name order."""
        return await list_schedules(self, prefix)

    def namespace(self, name: str) -> Namespace:
        """Return a handle on a namespace, for a client that is connected to the root; no I/O."""
        return Namespace(self, name)

    async def namespaces(self, prefix: str = "") -> list[NamespaceInfo]:
        """Describe every namespace whose name starts with ``prefix``, in name order."""
        return await list_namespaces(self, prefix)

    @property
    def namespace_name(self) -> str:
        """The namespace that this client is in, by its URL; "" is the root."""
        return self._address.namespace

    async def status(self) -> dict[str, Any]:
        """Return what the broker says of itself."""
        return await self.call(FrameType.STATUS, {})

    async def alarms(self) -> list[Alarm]:
        """Return the alarms that are raised now, the longest first."""
        return [Alarm.of(raw) for raw in (await self.status())["alarms"]]

    # -- what the parts of this package call ---------------------------------------------------------------------------

    async def call(self, frame_type: int, arguments: dict[str, Any], *, once: bool = False) -> dict[str, Any]:
        """Send a named command; return its result. ``once``: do not repeat it over a new connection."""
        return read_reply(await self.ask(frame_type, pack_arguments(arguments), once=once))

    async def ask(self, frame_type: int, payload: bytes, *, once: bool = False) -> Frame:
        """Send a request and return its reply frame; repeated when the connection was lost, unless ``once``."""
        try:
            async with asyncio.timeout(self.request_timeout_s):
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
            raise RequestTimeout(f"no answer within {self.request_timeout_s:g} s") from error

    async def link(self) -> Link:
        """Return the connection, waiting for it to be won back. Raises what ended the client."""
        while True:
            if self._error is not None:
                raise again(self._error)
            if self._link is not None:
                return self._link
            await self._linked.wait()

    async def start_producing(self) -> None:
        """Have a producer; from then on reconnecting has it too."""
        while not self._produces:
            link = await self.link()
            if self._starting is None or self._starting.done():
                self._starting = asyncio.get_running_loop().create_task(self._start_producing(link))
            await asyncio.shield(self._starting)
        if self._error is not None:
            raise again(self._error)

    async def _start_producing(self, link: Link) -> None:
        try:
            async with asyncio.timeout(self.request_timeout_s):
                await self.producer.attach(link)
            self._produces = True
        except ConnectionLost:
            pass  # won back, or the next look at the connection raises why not
        except TimeoutError as error:
            raise RequestTimeout(f"no answer within {self.request_timeout_s:g} s") from error

    async def publish(self, target: Target, message: Outgoing, level: int) -> Confirm:
        """Publish one message, with what else is published meanwhile; return its confirm."""
        await self.room_for(target, [message])
        return await self.enqueue(target, message, level)

    def enqueue(self, target: Target, message: Outgoing, level: int) -> asyncio.Future[Confirm]:
        """Publish one message soon; there must be room for it. The future gets its confirm."""
        singles = self._singles.get((target, level))
        if singles is None:
            if len(self._singles) >= ROUTES_KEPT_MAX:
                self._singles = {key: kept for key, kept in self._singles.items() if kept.messages}
            singles = self._singles[target, level] = Singles(self.producer.route(target), level)
        confirm = singles.add(message)
        if len(singles.messages) == 1:
            self.gathering.begin(singles)
        elif len(singles.messages) >= BLOCK_MESSAGES:
            self.gathering.flush()
        return confirm

    async def publish_many(self, target: Target, messages: Sequence[Outgoing], level: int) -> list[Confirm]:
        """Publish messages in blocks; return their confirms, in order. Raises the first error, when all are known."""
        await self.room_for(target, messages)
        route = self.producer.route(target)
        futures: list[asyncio.Future[Confirm]] = []
        for start in range(0, len(messages), BLOCK_MESSAGES):
            if not route.has_room:
                await self.producer.room(route)
            singles = Singles(route, level)
            futures += [singles.add(message) for message in messages[start : start + BLOCK_MESSAGES]]
            self.producer.send(singles.seal())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Confirm)]

    async def room_for(self, target: Target, messages: Sequence[Outgoing]) -> None:
        """Return when messages may be sent; raises when the broker would not take one of them."""
        if not self._produces or self._error is not None:
            await self.start_producing()
        for message in messages:
            if body_bytes(message) > self.producer.body_bytes_max:
                raise too_large(body_bytes(message), self.producer.body_bytes_max)
        route = self.producer.route(target)
        if not route.has_room:
            await self.producer.room(route)

    async def subscribe(self, subscription: Subscription) -> Consumer:
        """Add a consumer. Raises UnknownQueue and what else the broker refuses."""
        if not subscription.name:
            subscription = subscription._replace(name=self._name)
        while True:
            link = await self.link()
            consumer = Consumer(self, self._next_consumer, subscription)
            self._next_consumer += 1
            try:
                async with asyncio.timeout(self.request_timeout_s):
                    self._consumers[consumer.number] = consumer
                    await consumer.attach(link)
                return consumer
            except ConnectionLost:
                self._consumers.pop(consumer.number, None)
            except BaseException as error:
                self._consumers.pop(consumer.number, None)
                if not isinstance(error, PenstockError):  # given up here, while the broker may be granting it
                    link.send(FrameType.CANCEL, control.pack({"consumer": consumer.number, "release": True}))
                if isinstance(error, TimeoutError):
                    raise RequestTimeout(f"no answer within {self.request_timeout_s:g} s") from error
                raise

    def forget_consumer(self, consumer: Consumer) -> None:
        """A consumer ended."""
        self._consumers.pop(consumer.number, None)

    def count_stale(self, count: int) -> None:
        """Outcomes came too late."""
        if not self._stale_unsaid_count:
            asyncio.get_running_loop().call_soon(self._say_stale)
        self._stale_unsaid_count += count
        self.stale_count += count

    def _say_stale(self) -> None:
        count, self._stale_unsaid_count = self._stale_unsaid_count, 0
        log.warning("%d message(s) were settled after their lease had ended; they are delivered again", count)

    # -- what the link calls -------------------------------------------------------------------------------------------

    def _deliver(self, payload: bytes) -> None:
        for entry in decode_deliver(payload):
            consumer = self._consumers.get(entry.consumer)
            if consumer is not None:
                consumer.deliver(entry)

    def _stale(self, payload: bytes) -> None:
        outcome, ranges = decode_stale(payload)
        if outcome in (Outcome.ACK, Outcome.NACK, Outcome.REJECT):
            self.count_stale(sum(last - first + 1 for first, last in ranges))

    def _consumer_cancelled(self, notice: dict[str, Any]) -> None:
        consumer = self._consumers.get(notice.get("consumer", -1))
        if consumer is not None:
            consumer.cancelled(notice)

    def _lost(self, link: Link, error: PenstockError) -> None:
        if link is not self._link:
            return  # lost while it was being restored: the one supervisor tries again, a second would subscribe twice
        self._link = None
        self._linked.clear()
        self.asker.detach(error)
        self._detach()
        if isinstance(error, ConnectionRefused):
            self._fail(error)
            return
        log.info("%s; reconnecting", error)
        self._supervisor = asyncio.get_running_loop().create_task(self._reconnect(error))
        self._supervisor.add_done_callback(self._supervisor_ended)

    def _supervisor_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(ConnectionLost(f"reconnecting failed: {error!r}"))

    def _detach(self) -> None:
        self.producer.detach()
        for consumer in list(self._consumers.values()):
            consumer.detach()

    async def _reconnect(self, cause: PenstockError) -> None:
        """Win the connection back, and everything that lived on it, or fail everything that waits."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._reconnect_timeout_s
        backoff = Backoff()
        while True:
            try:
                self._link = await self._restored_link()
                self._linked.set()
                log.info("reconnected to %s", self.url)
                return
            except ConnectionLost as error:
                left_s = until_s - loop.time()
                if left_s <= 0:
                    text = f"{cause}; not won back within {self._reconnect_timeout_s:g} s, the last attempt: {error}"
                    self._fail(ConnectionLost(text))
                    return
                await asyncio.sleep(min(backoff.next_s(), left_s))
            except PenstockError as error:
                self._fail(error)
                return

    async def _restored_link(self) -> Link:
        """Return a new connection with everything that lived on the last one."""
        link = await open_link(self._address, self._handlers, self._name, self._connect_timeout_s)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._restore(link)
            if link.error is not None:
                raise ConnectionLost(f"lost again while it was restored: {link.error}")
        except BaseException as error:
            self._detach()
            link.abort(ConnectionLost("the connection was given up"))
            if isinstance(error, TimeoutError):
                raise ConnectionLost(f"no answer within {self._connect_timeout_s:g} s") from error
            raise
        return link

    async def _restore(self, link: Link) -> None:
        if self._produces:
            await self.producer.attach(link)
        for consumer in list(self._consumers.values()):
            if consumer.error is None and not consumer.ended:
                try:
                    await consumer.attach(link)
                except ConnectionLost:
                    raise
                except PenstockError as error:
                    consumer.fail(error)

    def _fail(self, error: PenstockError) -> None:
        """There will be no connection any more: every wait gets its outcome."""
        if self._error is not None:
            return
        self._error = error
        self._linked.set()
        self.gathering.flush()
        self.producer.fail(error)
        self.asker.detach(error)
        for consumer in list(self._consumers.values()):
            consumer.detach()
            consumer.fail(error)

    async def _settle_publishes(self) -> None:
        self.gathering.flush()
        if self._link is None:
            return
        try:
            async with asyncio.timeout(self.request_timeout_s):
                await self.producer.settled()
        except TimeoutError:
            log.warning("closing with %d messages unconfirmed", self.producer.window.messages)


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
    """Connect to a broker: ``penstock://host:port``, or with ``/namespace`` to one of its namespaces; all names are in
    that, then.

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
