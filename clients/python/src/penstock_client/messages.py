"""Iterating over messages, one by one or in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock_client.received import Batch, Delivery, ReceivedMessage

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.consumer import Consumer


class Messages:
    """``async with jobs.consume() as messages: async for message in messages: ...``.

    Leaving the block gives back what was not handed out. The iteration ends when the client drains, and raises when it
    cannot go on: the queue was deleted, the connection was not won back.
    """

    def __init__(self, client: Client, queue: str, prefetch: int, prefetch_bytes: int, name: str) -> None:
        self._client = client
        self._options = (queue, prefetch, prefetch_bytes, name)
        self._consumer: Consumer | None = None
        self._delivery: Delivery | None = None
        self._bodies: list[bytes] = []
        self._index = 0

    async def __aenter__(self) -> Self:
        self._consumer = await self._client.subscribe(*self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            if self._delivery is not None:
                consumer.release_rest(self._delivery, self._index)
            self._delivery, self._bodies = None, []
            await consumer.close()

    def __aiter__(self) -> AsyncIterator[ReceivedMessage]:
        return self

    async def __anext__(self) -> ReceivedMessage:
        index = self._index
        if index >= len(self._bodies) and not await self._next_run(None):
            raise StopAsyncIteration
        index = self._index
        self._index = index + 1
        delivery = self._delivery
        assert delivery is not None, "a run of messages is at hand"
        consumer = self._consumer
        assert consumer is not None, "iterate inside the block"
        consumer.handed_up_to = delivery.first_tag + index + 1
        if consumer.flush_timer is None:
            consumer.plan_flush()
        return ReceivedMessage(delivery, index, self._bodies[index])

    async def batches(self, max: int = 500, wait: float = 0.05) -> AsyncIterator[Batch]:  # noqa: A002  the API's word
        """Yield lists of up to ``max`` messages; a list is not held back longer than ``wait`` seconds for more."""
        loop = asyncio.get_running_loop()
        batch = Batch()
        until_s = 0.0
        while True:
            while self._index < len(self._bodies) and len(batch) < max:
                self._take_into(batch, max)
            if len(batch) >= max:
                yield batch
                batch = Batch()
            elif not batch:
                if not await self._next_run(None):
                    return
                until_s = loop.time() + wait
            elif not await self._next_run(until_s - loop.time()):
                yield batch
                batch = Batch()

    async def next_run(self) -> Delivery | None:
        """Return the next run of messages, all at hand for ``mark_handed``; None when the iteration is over."""
        if not await self._next_run(None):
            return None
        self._index = 0
        return self._delivery

    def mark_handed(self, index: int) -> None:
        """The application has the message at ``index`` of the run now. May be called from another thread."""
        delivery, consumer = self._delivery, self._consumer
        if delivery is not None and consumer is not None:
            self._index = index + 1
            consumer.handed_up_to = delivery.first_tag + index + 1

    def _take_into(self, batch: Batch, most: int) -> None:
        delivery, consumer = self._delivery, self._consumer
        assert delivery is not None, "a run of messages is at hand"
        assert consumer is not None, "iterate inside the block"
        first = self._index
        end = min(len(self._bodies), first + most - len(batch))
        batch += [ReceivedMessage(delivery, i, body) for i, body in enumerate(self._bodies[first:end], first)]
        self._index = end
        consumer.handed_up_to = delivery.first_tag + end
        if consumer.flush_timer is None:
            consumer.plan_flush()

    async def _next_run(self, timeout_s: float | None) -> bool:
        """Have the next run of messages at hand; False when there is none in time or the iteration is over."""
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError("messages are iterated inside `async with queue.consume() as messages`")
        self._delivery, self._bodies, self._index = None, [], 0
        while (delivery := consumer.take_arrived()) is None:
            if timeout_s is not None and timeout_s <= 0:
                return False
            if consumer.closed or self._client.draining:
                consumer.flush()
                return False
            await consumer.wait(timeout_s)
            if timeout_s is not None and not consumer.has_arrived:
                return False
        self._delivery, self._bodies = delivery, delivery.bodies
        return True
