"""Iterating over messages, one by one or in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock_client.consumer import Consumer, Subscription
from penstock_client.delivery import HANDED, Delivery
from penstock_client.received import Batch, ReceivedMessage

if TYPE_CHECKING:
    from penstock_client.client import Client


class Messages:
    """``async with jobs.consume() as messages: async for message in messages: ...``.

    Leaving the block gives back what was not handed out. The iteration ends when the client drains, and raises when it
    cannot go on: the queue was deleted, the connection was not won back. A wait that is cancelled or times out loses
    nothing: the next one goes on. Several tasks may iterate at once; each message goes to one of them.
    """

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription
        self._consumer: Consumer | None = None
        self.delivery: Delivery
        self.index = 0
        self.end = 0
        """The run at hand: its messages from ``index`` up to ``end`` are the next to be handed out."""
        self._gathered: deque[tuple[Delivery, int, int]] = deque()
        """Parts of runs, from one index up to another, taken for a list that is not complete."""
        self._gathered_count = 0
        """Messages in them."""

    async def __aenter__(self) -> Self:
        self._consumer = await self._client.subscribe(self._subscription)
        self._consumer.when_interrupted = self._drop
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.close()

    async def stop(self) -> None:
        """Have the iteration end, in every task: what was not handed out goes back, what was may still be settled."""
        if self._consumer is not None:
            await self._consumer.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedMessage:
        index = self.index
        if index >= self.end:
            if not await self.next_run():
                raise StopAsyncIteration
            index = self.index
        self.index = index + 1
        delivery = self.delivery
        delivery.marks[index] = HANDED
        if delivery.clean:
            delivery.holdings.touched(delivery)
        return ReceivedMessage(delivery, index, delivery.bodies[index])

    def batches(self, max: int = 500, wait: float = 0.05) -> Batches:  # noqa: A002  the API's word
        """Iterate over lists of up to ``max`` messages; none is held back longer than ``wait`` seconds for more.

        A list is never longer than the prefetch: more than that is not held at once.
        """
        return Batches(self, min(max, self._subscription.prefetch), wait)

    async def next_run(self) -> Delivery | None:
        """Have the next run of messages at hand, and return it; None when the iteration is over."""
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError("messages are iterated inside `async with queue.consume() as messages`")
        if self._gathered:
            self.delivery, self.index, self.end = self._gathered.popleft()
            self._gathered_count -= self.end - self.index
            return self.delivery
        while (delivery := consumer.take_arrived()) is None:
            if consumer.ended:
                consumer.flush()
                return None
            await consumer.wait()
            if self.index < self.end:  # several tasks iterate, and another one was first
                return self.delivery
        self.delivery, self.index, self.end = delivery, 0, len(delivery.marks)
        return delivery

    async def next_batch(self, count_max: int, wait_s: float) -> Batch | None:
        """Return up to so many messages, the first as soon as there is one; None when the iteration is over."""
        while True:
            if not self._gathered and self.index >= self.end and not await self.next_run():
                return None
            try:
                async with asyncio.timeout(wait_s):
                    await self._gather(count_max)
            except TimeoutError:
                pass
            batch = self._hand_out(count_max)
            if batch:
                return batch

    async def _gather(self, count_max: int) -> None:
        """Return when so many messages are gathered. Until they are handed out they are held and nothing more."""
        if self.index < self.end:
            self._keep(self.delivery, self.index, self.end)
            self.index = self.end
        while self._gathered_count < count_max and (consumer := self._consumer) is not None:
            delivery = consumer.take_arrived()
            if delivery is not None:
                self._keep(delivery, 0, len(delivery.marks))
            elif consumer.ended:
                return
            else:
                await consumer.wait()

    def _keep(self, delivery: Delivery, first: int, end: int) -> None:
        self._gathered.append((delivery, first, end))
        self._gathered_count += end - first

    def _hand_out(self, count_max: int) -> Batch:
        batch, gathered = Batch(), self._gathered
        while gathered and len(batch) < count_max:
            delivery, first, end = gathered.popleft()
            most = first + count_max - len(batch)
            if end > most:
                gathered.appendleft((delivery, most, end))
                end = most
            self._gathered_count -= end - first
            delivery.marks[first:end] = bytes((HANDED,)) * (end - first)
            if delivery.clean:
                delivery.holdings.touched(delivery)
            batch += [ReceivedMessage(delivery, i, body) for i, body in enumerate(delivery.bodies[first:end], first)]
        return batch

    def _drop(self) -> None:
        """What is at hand is not to be handed out any more."""
        self.index = self.end = 0
        self._gathered.clear()
        self._gathered_count = 0


class Batches:
    """Iterates over lists of messages. What was gathered when a wait is cancelled is in the next list."""

    def __init__(self, messages: Messages, count_max: int, wait_s: float) -> None:
        self._messages = messages
        self._count_max = count_max
        self._wait_s = wait_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch = await self._messages.next_batch(self._count_max, self._wait_s)
        if batch is None:
            raise StopAsyncIteration
        return batch
