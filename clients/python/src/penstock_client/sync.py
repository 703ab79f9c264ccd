"""The same API, blocking, for scripts, Django and notebooks.

    from penstock_client.sync import connect

    with connect("penstock://127.0.0.1:7419") as client:
        jobs = client.queue("jobs")
        jobs.publish(b"one")
        with jobs.consume() as messages:
            for message in messages:
                with message:
                    work(message.body)

All I/O happens in a thread of the client's own, so leases are extended and heartbeats answered while a handler blocks.
A client may be used from several threads; an iteration belongs to one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

from penstock_client import client as asynchronous
from penstock_client.alarms import Alarm
from penstock_client.delivery import HANDED, Delivery, MessageView
from penstock_client.errors import ClientClosed, PenstockError
from penstock_client.exchange import ExchangeInfo
from penstock_client.finding import FoundMessage
from penstock_client.gathering import FLUSH_S
from penstock_client.group import Group as AsyncGroup
from penstock_client.group import GroupInfo
from penstock_client.groupstate import State
from penstock_client.history import History
from penstock_client.holders import ConnectionInfo, ConsumerInfo
from penstock_client.holdings import Settling
from penstock_client.loop import new_event_loop
from penstock_client.message import Confirm, Message, Publishable
from penstock_client.messages import Messages as AsyncMessages
from penstock_client.namespaces import NamespaceInfo
from penstock_client.outgoing import Outgoing
from penstock_client.publisher import Publisher as AsyncPublisher
from penstock_client.queue import Queue as AsyncQueue
from penstock_client.queue_info import QueueInfo
from penstock_client.queue_settings import AlterableSettings, QueueSettings
from penstock_client.received import (
    ReceivedMessage,
    acknowledge,
    delay_ms,
    extend,
    reason_of,
    reply,
    settle,
    settle_confirmed,
)
from penstock_client.reply import REPLY_TIMEOUT_S, Reply, ReplyError, ReplyOutcome
from penstock_client.scheduled import ScheduledMessage
from penstock_client.schedules import Schedule as AsyncSchedule
from penstock_client.schedules import ScheduleInfo
from penstock_client.sync_exchange import Exchange, ExchangePublisher
from penstock_client.sync_namespaces import Namespace
from penstock_client.sync_publisher import BlockingPublisher
from penstock_client.sync_replies import iterate
from penstock_client.transaction import Transaction as AsyncTransaction
from penstock_client.transferring import Transferred
from penstock_client.wire.entries import Outcome

_Result = TypeVar("_Result")
_JOIN_S: Final = 10.0


class _LoopThread:
    """An event loop in a thread. Other threads may stop it while some wait for it: their waits end."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self.stopped = False
        """True once nothing new is taken."""
        self._lock = threading.RLock()  # the collector may come while it is held, and end an iteration (sync_replies)
        self._thread = threading.Thread(target=self._work, name="penstock-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine there and wait for its outcome; interrupting the wait cancels it."""
        with self._lock:
            if self.stopped:
                work.close()
                raise ClientClosed("the client was closed")
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException as error:
            future.cancel()
            if isinstance(error, CancelledError) and self.stopped:
                raise ClientClosed("the client was closed") from error
            raise

    def soon(self, call: Callable[[], object]) -> None:
        """Call something there."""
        with self._lock:
            if not self.stopped:
                self.loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)  # somebody waits for each of them
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()


class ReceivedSyncMessage(MessageView):
    """A message handed to this consumer; a context manager, as its asyncio twin."""

    __slots__ = ("_messages",)

    def __init__(self, delivery: Delivery, index: int, body: bytes, messages: Messages | None) -> None:
        super().__init__(delivery, index, body)
        self._messages = messages

    def ack(self, *, confirm: bool = False) -> None:
        """It is done; with ``confirm`` this returns when that is on disk."""
        if confirm:
            self._leased_by().run(settle_confirmed, [self])
        else:
            self._leased_by().gather_ack(self._delivery, self._index)

    def nack(self, *, delay: float | None = None, reason: str = "") -> None:
        """It failed: it comes again after ``delay`` seconds (None: the queue's backoff), or dies at the limit."""
        self._settle(Settling(Outcome.NACK, delay_ms(delay), reason))

    def release(self, *, delay: float = 0) -> None:
        """Give it back untried, to its own place, at once or after ``delay`` seconds: no failure is counted."""
        self._settle(Settling(Outcome.RELEASE, delay_ms(delay)))

    def requeue(self) -> None:
        """Give it back untried, behind everything that is in the queue now."""
        self._settle(Settling(Outcome.REQUEUE))

    def reject(self, *, reason: str = "") -> None:
        """It will never succeed: straight to the dead letters."""
        self._settle(Settling(Outcome.REJECT, 0, reason))

    def extend(self, seconds: float) -> None:
        """Hold it for ``seconds`` from now, also while this process cannot say that it lives."""
        self._leased_by().run(extend, self, seconds)

    def reply(self, body: Publishable = b"", *, error: ReplyError | BaseException | None = None) -> ReplyOutcome:
        """Answer whoever asked; return what became of the answer. It settles nothing: ack as well."""
        return self._leased_by().run(reply, self, body, error)

    def _settle(self, settling: Settling) -> None:
        self._leased_by().run(_settled, [self], settling)

    def _leased_by(self) -> Messages:
        if self._messages is None:
            raise TypeError(f"{self!r} was peeked at, not leased: there is nothing to settle")
        return self._messages

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.ack()
        elif isinstance(error, Exception):
            self.nack(reason=reason_of(error))
        else:
            self.release()


class Batch(list[ReceivedSyncMessage]):
    """Messages handed over together."""

    def __init__(self, messages: Iterable[ReceivedSyncMessage], source: Messages) -> None:
        super().__init__(messages)
        self._source = source

    def ack(self, *, confirm: bool = False) -> None:
        """All of them are done, except those that were settled one by one."""
        self._source.run(settle_confirmed if confirm else _acknowledged, list(self))

    def nack(
        self, messages: Iterable[ReceivedSyncMessage] | None = None, *, delay: float | None = None, reason: str = ""
    ) -> None:
        """These (None: all that are not settled) failed."""
        failed = list(self if messages is None else messages)
        self._source.run(_settled, failed, Settling(Outcome.NACK, delay_ms(delay), reason))


async def _settled(messages: Iterable[MessageView], settling: Settling) -> None:
    settle(messages, settling)


async def _acknowledged(messages: Iterable[MessageView]) -> None:
    acknowledge((message._delivery, message._index) for message in messages)


class Messages:
    """``with jobs.consume() as messages: for message in messages: ...``.

    Messages cross from the client's thread in runs, as they arrived, and acks cross back together.
    """

    def __init__(self, thread: _LoopThread, messages: AsyncMessages) -> None:
        self._thread = thread
        self._messages = messages
        self._acks: deque[tuple[Delivery, int]] = deque()
        self._armed = False

    def run(self, work: Callable[..., Coroutine[Any, Any, _Result]], *arguments: Any) -> _Result:
        """Run a coroutine in the client's thread, gathered acks first."""
        return self._thread.run(self._after_acks(work, *arguments))

    def gather_ack(self, delivery: Delivery, index: int) -> None:
        """Acknowledge soon, with others."""
        self._acks.append((delivery, index))
        if not self._armed:
            self._armed = True
            self._thread.soon(lambda: self._thread.loop.call_later(FLUSH_S, self._send_acks))

    def __enter__(self) -> Self:
        self._thread.run(self._messages.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.run(self._messages.__aexit__, None, None, None)

    def stop(self) -> None:
        """Have the iteration end, from another thread: what was not handed out goes back, what was may be settled."""
        self._thread.run(self._messages.stop())

    def __iter__(self) -> Iterator[ReceivedSyncMessage]:
        inner = self._messages
        while inner.index < inner.end or self.run(inner.next_run) is not None:
            delivery = inner.delivery
            marks, bodies = delivery.marks, delivery.bodies
            while (index := inner.index) < inner.end:  # the end moves to the start when the connection is lost
                inner.index = index + 1
                marks[index] = HANDED
                if delivery.clean:
                    delivery.clean = False
                    self._thread.soon(partial(delivery.holdings.touched, delivery))
                yield ReceivedSyncMessage(delivery, index, bodies[index], self)

    def batches(self, max: int = 500, wait: float = 0.05) -> Iterator[Batch]:  # noqa: A002  the API's word
        """Yield lists of up to ``max`` messages; a list is not held back longer than ``wait`` seconds for more."""
        batches = self._messages.batches(max, wait)
        while True:
            try:
                batch = self.run(batches.__anext__)
            except StopAsyncIteration:
                return
            yield Batch((ReceivedSyncMessage(m._delivery, m._index, m.body, self) for m in batch), self)

    async def _after_acks(self, work: Callable[..., Coroutine[Any, Any, _Result]], *arguments: Any) -> _Result:
        self._send_acks()
        return await work(*arguments)

    def _send_acks(self) -> None:
        self._armed = False
        acknowledge(_popped(self._acks))


def _popped(acks: deque[tuple[Delivery, int]]) -> Iterator[tuple[Delivery, int]]:
    while acks:
        yield acks.popleft()


class Publisher(BlockingPublisher[Outgoing]):
    """``with jobs.publisher() as publisher: publisher.send(body)``."""

    def __init__(self, thread: _LoopThread, publisher: AsyncPublisher) -> None:
        super().__init__(thread, publisher, publisher.send_prepared)

    def send(self, message: Publishable) -> None:
        """Publish soon; blocks while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        self._put(self._publisher.prepare(message))


class Queue:
    """A named queue of one client; a handle, no I/O."""

    def __init__(self, thread: _LoopThread, queue: AsyncQueue) -> None:
        self._thread = thread
        self._queue = queue
        self.name = queue.name

    def declare(self, *, passive: bool = False, **settings: Unpack[QueueSettings]) -> bool:
        """Have the queue exist; True when it is new. Settings as in the asyncio API."""
        return self._thread.run(self._queue.declare(passive=passive, **settings))

    def alter(self, **settings: Unpack[AlterableSettings]) -> dict[str, tuple[Any, Any]]:
        """Give the living queue other settings; return what changed. Settings as in the asyncio API."""
        return self._thread.run(self._queue.alter(**settings))

    def info(self) -> QueueInfo:
        """Describe the queue."""
        return self._thread.run(self._queue.info())

    def purge(self, *, scheduled: bool = False) -> int:
        """Drop what is not leased, what is scheduled only with ``scheduled``; return how many messages."""
        return self._thread.run(self._queue.purge(scheduled=scheduled))

    def delete(self, *, if_empty: bool = False, if_unused: bool = False) -> int:
        """Remove the queue with everything in it; return how many messages that were."""
        return self._thread.run(self._queue.delete(if_empty=if_empty, if_unused=if_unused))

    def redrive(self, limit: int = 0, **options: Any) -> int:
        """Have its dead letters tried again; return how many went back. Options as in the asyncio API."""
        return self._thread.run(self._queue.redrive(limit, **options))

    def redrive_one(self, offset: int) -> None:
        """Have one dead letter of this dead-letter queue tried again where it died."""
        self._thread.run(self._queue.redrive_one(offset))

    def cancel(self, offset: int, *, group: str = "") -> None:
        """Have the group be done with a message that nobody holds."""
        self._thread.run(self._queue.cancel(offset, group=group))

    def replace(self, offset: int, message: Publishable, *, group: str = "") -> None:
        """Put an edited message in the place of one that nobody holds."""
        self._thread.run(self._queue.replace(offset, message, group=group))

    def move(self, target: str, **options: Any) -> Transferred:
        """Move what is ready to another queue. Options as in the asyncio API."""
        return self._thread.run(self._queue.move(target, **options))

    def copy(self, target: str, **options: Any) -> Transferred:
        """Publish what is ready to another queue as well. Options as in the asyncio API."""
        return self._thread.run(self._queue.copy(target, **options))

    def history(self, offset: int, *, group: str = "") -> History:
        """Tell what became of one message so far. Raises UnknownMessage."""
        return self._thread.run(self._queue.history(offset, group=group))

    def publish(
        self,
        message: Publishable,
        *,
        durability: str = "synced",
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> Confirm:
        """Publish one message; it is on disk when this returns. ``delay`` and ``at`` as in Message."""
        return self._thread.run(self._queue.publish(message, durability=durability, delay=delay, at=at))

    def scheduled(self, first: int = 0) -> Iterator[ScheduledMessage]:
        """Iterate over what is scheduled and not due yet, by schedule id, from ``first`` on. Changes nothing."""
        messages = self._queue.scheduled(first)
        while (message := self._thread.run(_next_or_none(messages))) is not None:
            yield message

    def cancel_scheduled(self, scheduled_id: int) -> None:
        """Take a scheduled message back, for good. Raises NotScheduled when it does not wait (any more)."""
        self._thread.run(self._queue.cancel_scheduled(scheduled_id))

    def publish_many(self, messages: Iterable[Publishable], *, durability: str = "synced") -> list[Confirm]:
        """Publish messages together; return one confirm each, in order."""
        return self._thread.run(self._queue.publish_many(messages, durability=durability))

    def publisher(self, *, durability: str = "synced") -> Publisher:
        """Publish a stream of messages."""
        return Publisher(self._thread, self._queue.publisher(durability=durability))

    def consume(self, **options: Any) -> Messages:
        """Consume: ``with queue.consume() as messages: for message in messages: ...``.

        Options as in the asyncio API.
        """
        return Messages(self._thread, self._queue.consume(**options))

    def group(self, name: str = "", **settings: Any) -> Group:
        """Return a handle on a group; no I/O. Settings as in the asyncio API."""
        return Group(self._thread, self._queue.group(name, **settings))

    def groups(self) -> list[GroupInfo]:
        """Describe the queue's groups, by name."""
        return self._thread.run(self._queue.groups())

    def consumers(self, group: str | None = None) -> list[ConsumerInfo]:
        """Describe the consumers of the queue, or of one of its groups."""
        return self._thread.run(self._queue.consumers(group))

    def revoke(self, offset: int, *, group: str = "", failed: bool = False) -> str:
        """Take a leased message away from its holder; return the holder's name."""
        return self._thread.run(self._queue.revoke(offset, group=group, failed=failed))

    def pause(self) -> None:
        """Stop the hand-outs of all its groups."""
        self._thread.run(self._queue.pause())

    def resume(self) -> None:
        """Let the hand-outs go on."""
        self._thread.run(self._queue.resume())

    def peek(
        self, start: int = 0, count: int = 10, *, group: str = "", where: str | None = None
    ) -> Iterator[ReceivedSyncMessage]:
        """Look at up to ``count`` messages from offset ``start`` on, that ``where`` selects. Changes nothing."""

        async def all_of_them() -> list[ReceivedMessage]:
            return [message async for message in self._queue.peek(start, count, group=group, where=where)]

        for message in self._thread.run(all_of_them()):
            yield ReceivedSyncMessage(message._delivery, message._index, message.body, None)

    def find(self, **conditions: Any) -> Iterator[FoundMessage]:
        """Look for messages, as the asyncio ``find`` does: ``state``, ``where``, ``text``, ``key``, ``since``, ..."""
        finding = self._queue.find(**conditions)
        while not finding.done:
            yield from self._thread.run(finding.page())


class Group:
    """A group of one queue; a handle, no I/O."""

    def __init__(self, thread: _LoopThread, group: AsyncGroup) -> None:
        self._thread = thread
        self._group = group
        self.queue = group.queue
        self.name = group.name

    def declare(self) -> bool:
        """Have the group exist; True when it is new."""
        return self._thread.run(self._group.declare())

    def consume(self, **options: Any) -> Messages:
        """Consume from it. Options as in the asyncio API."""
        return Messages(self._thread, self._group.consume(**options))

    def alter(self, **settings: Any) -> dict[str, tuple[Any, Any]]:
        """Give the living group other settings; return what changed. Settings as in the asyncio API."""
        return self._thread.run(self._group.alter(**settings))

    def info(self) -> GroupInfo:
        """Describe the group."""
        return self._thread.run(self._group.info())

    def state(self) -> dict[str, Any]:
        """Return what its consumers keep in its state."""
        return self._thread.run(self._group.state())

    def purge(self) -> int:
        """Have the group be done with what nobody holds; return how many messages."""
        return self._thread.run(self._group.purge())

    def redrive(self, limit: int = 0) -> int:
        """Have its dead letters tried again, by this group alone; return how many."""
        return self._thread.run(self._group.redrive(limit))

    def pause(self) -> None:
        """Stop its hand-outs."""
        self._thread.run(self._group.pause())

    def resume(self) -> None:
        """Let its hand-outs go on."""
        self._thread.run(self._group.resume())

    def delete(self, *, if_unused: bool = False) -> int:
        """Remove the group; return how many messages it was not done with."""
        return self._thread.run(self._group.delete(if_unused=if_unused))


class Schedule:
    """A recurring schedule of one client; a handle, no I/O."""

    def __init__(self, thread: _LoopThread, schedule: AsyncSchedule) -> None:
        self._thread = thread
        self._schedule = schedule
        self.name = schedule.name

    def add(self, cron: str, queue: str, message: Publishable, *, time_zone: str = "UTC", missed: str = "once") -> bool:
        """Have a message published whenever ``cron`` fires; True when that is new. As in the asyncio API."""
        return self._thread.run(self._schedule.add(cron, queue, message, time_zone=time_zone, missed=missed))

    def info(self) -> ScheduleInfo:
        """Describe the schedule."""
        return self._thread.run(self._schedule.info())

    def remove(self) -> None:
        """Have it fire no more, for good."""
        self._thread.run(self._schedule.remove())

    def pause(self) -> None:
        """Have it not fire until it is resumed."""
        self._thread.run(self._schedule.pause())

    def resume(self) -> None:
        """Have it fire again, from its next time on."""
        self._thread.run(self._schedule.resume())


class Transaction:
    """``with client.transaction() as tx: tx.publish("invoices", b"..."); tx.ack(message)``: as its asyncio twin."""

    def __init__(self, thread: _LoopThread, transaction: AsyncTransaction) -> None:
        self._thread = thread
        self._transaction = transaction

    def __enter__(self) -> Self:
        self._thread.run(self._transaction.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.run(self._transaction.__aexit__(kind, error, traceback))

    @property
    def confirms(self) -> list[Confirm]:
        """After the commit: where each published message is, in the order of publishing."""
        return self._transaction.confirms

    @property
    def state(self) -> State:
        """The state of the transaction's group, or of that of the messages acknowledged in it."""
        return self._transaction.state

    def publish(self, queue: str | Queue, message: Publishable) -> None:
        """Publish with the commit."""
        self._transaction.publish(queue.name if isinstance(queue, Queue) else queue, message)

    def ack(self, *messages: ReceivedSyncMessage) -> None:
        """Acknowledge with the commit; until its outcome is known, the transaction holds them."""

        async def acknowledged() -> None:
            self._transaction.ack(*messages)

        self._thread.run(acknowledged())

    def state_of(self, group: Group) -> State:
        """Read the state of any group; what is changed in it belongs to the transaction."""
        return self._thread.run(self._transaction.state_of(group._group))

    def rollback(self) -> None:
        """Have nothing of it happen."""

        async def rolled_back() -> None:
            self._transaction.rollback()

        self._thread.run(rolled_back())


class Client:
    """Made by ``connect``; closes with its ``with`` block or ``close``."""

    def __init__(self, url: str, **options: Any) -> None:
        self._thread = _LoopThread()
        try:
            self._client = self._thread.run(_open(url, options))
        except BaseException:
            self._thread.stop()
            raise

    def queue(self, name: str) -> Queue:
        """Return a handle on a queue; no I/O."""
        return Queue(self._thread, self._client.queue(name))

    def request(
        self,
        queue: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        durability: str = "synced",
    ) -> Reply:
        """Publish a request and return the reply. Raises as the asyncio API does."""
        return self._thread.run(self._client.request(queue, message, timeout=timeout, durability=durability))

    def requests(
        self,
        queue: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        count: int | None = None,
        durability: str = "synced",
    ) -> Iterator[Reply]:
        """Publish a request and yield every reply that comes within ``timeout`` seconds, or the first ``count``."""
        return iterate(
            self._thread, self._client.requests(queue, message, timeout=timeout, count=count, durability=durability)
        )

    @property
    def late_reply_count(self) -> int:
        """Replies to requests that nobody waits for any more."""
        return self._client.late_reply_count

    def exchange(self, name: str, type: str = "direct") -> Exchange:  # noqa: A002  the API's word
        """Return a handle on an exchange; no I/O."""
        return Exchange(self._thread, self._client.exchange(name, type))

    def exchanges(self, prefix: str = "") -> list[ExchangeInfo]:
        """Describe every exchange whose name starts with ``prefix``, in name order."""
        return self._thread.run(self._client.exchanges(prefix))

    def transaction(self, *, group: Group | None = None) -> Transaction:
        """Have publishes, acknowledgements and group state happen together: ``with client.transaction() as tx``."""
        return Transaction(self._thread, self._client.transaction(group=group._group if group else None))

    def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Describe every queue whose name starts with ``prefix``, in name order."""
        return self._thread.run(self._client.queues(prefix))

    def connections(self) -> list[ConnectionInfo]:
        """Describe every connection of the broker, by number."""
        return self._thread.run(self._client.connections())

    def close_connection(self, session: int) -> None:
        """Have the broker end a connection."""
        self._thread.run(self._client.close_connection(session))

    def consumers(self) -> list[ConsumerInfo]:
        """Describe every consumer of the broker."""
        return self._thread.run(self._client.consumers())

    def close_consumer(self, session: int, consumer: int) -> int:
        """Have the broker end a consumer; return how many messages went back."""
        return self._thread.run(self._client.close_consumer(session, consumer))

    def schedule(self, name: str) -> Schedule:
        """Return a handle on a recurring schedule; no I/O."""
        return Schedule(self._thread, self._client.schedule(name))

    def schedules(self, prefix: str = "") -> list[ScheduleInfo]:
        """Describe every recurring schedule whose name starts with ``prefix``, in name order."""
        return self._thread.run(self._client.schedules(prefix))

    def namespace(self, name: str) -> Namespace:
        """Return a handle on a namespace; no I/O."""
        return Namespace(self._thread, self._client.namespace(name))

    def namespaces(self, prefix: str = "") -> list[NamespaceInfo]:
        """Describe every namespace whose name starts with ``prefix``, in name order."""
        return self._thread.run(self._client.namespaces(prefix))

    def status(self) -> dict[str, Any]:
        """Return what the broker says of itself."""
        return self._thread.run(self._client.status())

    def alarms(self) -> list[Alarm]:
        """Return the alarms that are raised now, the longest first."""
        return self._thread.run(self._client.alarms())

    def drain(self) -> None:
        """Stop gracefully: iterations (in other threads) end after what runs, the rest goes back, then close."""
        try:
            self._thread.run(self._client.drain())
        finally:
            self._thread.stop()

    def close(self) -> None:
        """Send what is gathered and close."""
        if not self._thread.stopped:
            try:
                self._thread.run(self._client.close())
            finally:
                self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def _next_or_none(messages: AsyncIterator[_Result]) -> _Result | None:
    return await anext(messages, None)


async def _open(url: str, options: dict[str, Any]) -> asynchronous.Client:
    return await asynchronous.Client(url, **options).open()


def connect(url: str = "penstock://127.0.0.1:7419", **options: Any) -> Client:
    """Connect to a broker; options as in ``penstock_client.connect``."""
    return Client(url, **options)


__all__ = [
    "Batch",
    "Client",
    "Exchange",
    "ExchangePublisher",
    "Group",
    "Message",
    "Messages",
    "Namespace",
    "PenstockError",
    "Publisher",
    "Queue",
    "Transaction",
    "connect",
]
