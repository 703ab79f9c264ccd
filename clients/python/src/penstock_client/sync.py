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
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from penstock_client import client as asynchronous
from penstock_client.errors import ClientClosed, PenstockError
from penstock_client.message import Confirm, Message, Publishable
from penstock_client.messages import Messages as AsyncMessages
from penstock_client.publisher import BLOCK_MESSAGES, FLUSH_S
from penstock_client.publisher import Publisher as AsyncPublisher
from penstock_client.queue import PREFETCH, PREFETCH_BYTES, QueueInfo
from penstock_client.queue import Queue as AsyncQueue
from penstock_client.received import Batch as AsyncBatch
from penstock_client.received import Delivery, MessageView, ReceivedMessage, reason_of

_Result = TypeVar("_Result")
_JOIN_S: Final = 10.0


class _LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="penstock-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine there and wait for its outcome; interrupting the wait cancels it."""
        if self.loop.is_closed():
            work.close()
            raise ClientClosed("the client was closed")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, call: Callable[[], object]) -> None:
        """Call something there."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        """End the thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_JOIN_S)
            self.loop.close()


class ReceivedSyncMessage(MessageView):
    """A message handed to this consumer; a context manager, as its asyncio twin."""

    __slots__ = ("_messages",)

    def __init__(self, delivery: Delivery, index: int, body: bytes, messages: Messages | None) -> None:
        super().__init__(delivery, index, body)
        self._messages = messages

    def ack(self, *, confirm: bool = False) -> None:
        """It is done; with ``confirm`` this returns when that is on disk."""
        if self._settled:
            return
        if confirm or self._messages is None:
            self._do(lambda twin: twin.ack(confirm=confirm))
        else:
            self._settled = True
            self._messages.gather_ack(self._delivery, self._index)

    def nack(self, *, delay: float | None = None, reason: str = "") -> None:
        """It failed: it comes again after ``delay`` seconds (None: the queue's backoff), or dies at the limit."""
        self._do(lambda twin: twin.nack(delay=delay, reason=reason))

    def release(self) -> None:
        """Give it back untried: no failure is counted."""
        self._do(ReceivedMessage.release)

    def reject(self, *, reason: str = "") -> None:
        """It will never succeed: straight to the dead letters."""
        self._do(lambda twin: twin.reject(reason=reason))

    def extend(self, seconds: float) -> None:
        """Hold it for ``seconds`` from now."""
        self._do(lambda twin: twin.extend(seconds), settles=False)

    def _do(self, outcome: Callable[[ReceivedMessage], Coroutine[Any, Any, None]], *, settles: bool = True) -> None:
        if self._settled and settles:
            return
        self._settled = self._settled or settles
        if self._messages is None:
            raise TypeError(f"{self!r} was peeked at, not leased: there is nothing to settle")
        self._messages.run(outcome(ReceivedMessage(self._delivery, self._index, self.body)))

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

    def __init__(self, messages: Iterable[ReceivedSyncMessage], thread: _LoopThread) -> None:
        super().__init__(messages)
        self._thread = thread

    def ack(self, *, confirm: bool = False) -> None:
        """All of them are done, except those that were settled one by one."""
        self._thread.run(self._twins(self).ack(confirm=confirm))

    def nack(
        self, messages: Iterable[ReceivedSyncMessage] | None = None, *, delay: float | None = None, reason: str = ""
    ) -> None:
        """These (None: all that are not settled) failed."""
        self._thread.run(self._twins(self if messages is None else messages).nack(delay=delay, reason=reason))

    @staticmethod
    def _twins(messages: Iterable[ReceivedSyncMessage]) -> AsyncBatch:
        twins = AsyncBatch()
        for message in messages:
            if not message._settled:
                message._settled = True
                twins.append(ReceivedMessage(message._delivery, message._index, message.body))
        return twins


class Messages:
    """``with jobs.consume() as messages: for message in messages: ...``."""

    def __init__(self, thread: _LoopThread, messages: AsyncMessages) -> None:
        self._thread = thread
        self._messages = messages
        self._acks: deque[tuple[Delivery, int]] = deque()
        self._armed = False

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine in the client's thread, gathered acks first."""
        return self._thread.run(self._after_acks(work))

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
        self.run(self._messages.__aexit__(None, None, None))

    def __iter__(self) -> Iterator[ReceivedSyncMessage]:
        while (delivery := self.run(self._messages.next_run())) is not None:
            bodies = delivery.bodies
            for index, body in enumerate(list(bodies)):
                if not bodies:
                    break  # the connection was lost: these are delivered again
                self._messages.mark_handed(index)
                yield ReceivedSyncMessage(delivery, index, body, self)

    def batches(self, max: int = 500, wait: float = 0.05) -> Iterator[Batch]:  # noqa: A002  the API's word
        """Yield lists of up to ``max`` messages; a list is not held back longer than ``wait`` seconds for more."""
        batches = self._messages.batches(max, wait)
        while True:
            try:
                batch = self.run(_next(batches))
            except StopAsyncIteration:
                return
            yield Batch((ReceivedSyncMessage(m._delivery, m._index, m.body, self) for m in batch), self._thread)

    async def _after_acks(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        self._send_acks()
        return await work

    def _send_acks(self) -> None:
        self._armed = False
        acks = self._acks
        while acks:
            delivery, index = acks.popleft()
            assert delivery.consumer is not None, "only leased messages are acknowledged"
            delivery.consumer.ack(delivery, delivery.first_tag + index)


async def _next(batches: AsyncIterator[AsyncBatch]) -> AsyncBatch:
    return await anext(batches)


class Publisher:
    """``with jobs.publisher() as publisher: publisher.send(body)``."""

    def __init__(self, thread: _LoopThread, publisher: AsyncPublisher) -> None:
        self._thread = thread
        self._publisher = publisher
        self._lock = threading.Lock()
        self._gathered: list[Publishable] = []

    def __enter__(self) -> Self:
        self._thread.run(self._publisher.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hand_over()
        self._thread.run(self._publisher.__aexit__(kind, error, traceback))

    def send(self, message: Publishable) -> None:
        """Publish soon; blocks while the window is full. What fails is raised at the end of the publisher."""
        with self._lock:
            self._gathered.append(message)
            count = len(self._gathered)
        if count == 1:
            self._thread.soon(lambda: self._thread.loop.call_later(FLUSH_S, self._hand_over_late))
        if count >= BLOCK_MESSAGES:
            self._hand_over()

    def flush(self) -> None:
        """Wait until everything sent so far has its outcome."""
        self._hand_over()
        self._thread.run(self._publisher.flush())

    def _take(self) -> list[Publishable]:
        with self._lock:
            gathered, self._gathered = self._gathered, []
        return gathered

    def _hand_over(self) -> None:
        gathered = self._take()
        if gathered:
            self._thread.run(self._send_all(gathered))

    def _hand_over_late(self) -> None:
        gathered = self._take()
        if gathered:
            task = self._thread.loop.create_task(self._send_all(gathered))
            self._late = task  # kept, or it might be collected while it runs

    async def _send_all(self, messages: list[Publishable]) -> None:
        for message in messages:
            await self._publisher.send(message)


class Queue:
    """A named queue of one client; a handle, no I/O."""

    def __init__(self, thread: _LoopThread, queue: AsyncQueue) -> None:
        self._thread = thread
        self._queue = queue
        self.name = queue.name

    def declare(self, **settings: Any) -> bool:
        """Have the queue exist; True when it is new. Settings as in the asyncio API."""
        return self._thread.run(self._queue.declare(**settings))

    def info(self) -> QueueInfo:
        """Describe the queue."""
        return self._thread.run(self._queue.info())

    def purge(self) -> int:
        """Drop what is not leased; return how many messages."""
        return self._thread.run(self._queue.purge())

    def delete(self, *, if_empty: bool = False, if_unused: bool = False) -> int:
        """Remove the queue with everything in it; return how many messages that were."""
        return self._thread.run(self._queue.delete(if_empty=if_empty, if_unused=if_unused))

    def redrive(self, limit: int = 0) -> int:
        """Have its dead letters tried again; return how many went back."""
        return self._thread.run(self._queue.redrive(limit))

    def publish(self, message: Publishable, *, durability: str = "synced") -> Confirm:
        """Publish one message; it is on disk when this returns."""
        return self._thread.run(self._queue.publish(message, durability=durability))

    def publish_many(self, messages: Iterable[Publishable], *, durability: str = "synced") -> list[Confirm]:
        """Publish messages together; return one confirm each, in order."""
        return self._thread.run(self._queue.publish_many(messages, durability=durability))

    def publisher(self, *, durability: str = "synced") -> Publisher:
        """Publish a stream of messages."""
        return Publisher(self._thread, self._queue.publisher(durability=durability))

    def consume(self, *, prefetch: int = PREFETCH, prefetch_bytes: int = PREFETCH_BYTES, name: str = "") -> Messages:
        """Consume: ``with queue.consume() as messages: for message in messages: ...``."""
        return Messages(self._thread, self._queue.consume(prefetch=prefetch, prefetch_bytes=prefetch_bytes, name=name))

    def peek(self, start: int = 0, count: int = 10) -> Iterator[ReceivedSyncMessage]:
        """Look at up to ``count`` messages from offset ``start`` on. Changes nothing."""

        async def all_of_them() -> list[ReceivedMessage]:
            return [message async for message in self._queue.peek(start, count)]

        for message in self._thread.run(all_of_them()):
            yield ReceivedSyncMessage(message._delivery, message._index, message.body, None)


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

    def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Describe every queue whose name starts with ``prefix``, in name order."""
        return self._thread.run(self._client.queues(prefix))

    def status(self) -> dict[str, Any]:
        """Return what the broker says of itself."""
        return self._thread.run(self._client.status())

    def drain(self) -> None:
        """Stop gracefully: iterations (in other threads) end after what runs, the rest goes back, then close."""
        self._thread.run(self._client.drain())
        self._thread.stop()

    def close(self) -> None:
        """Send what is gathered and close."""
        if not self._thread.loop.is_closed():
            self._thread.run(self._client.close())
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def _open(url: str, options: dict[str, Any]) -> asynchronous.Client:
    return await asynchronous.Client(url, **options).open()


def connect(url: str = "penstock://127.0.0.1:7419", **options: Any) -> Client:
    """Connect to a broker; options as in ``penstock_client.connect``."""
    return Client(url, **options)


__all__ = ["Batch", "Client", "Message", "Messages", "PenstockError", "Publisher", "Queue", "connect"]
