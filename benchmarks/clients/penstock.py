"""The Penstock SDK's per-message interface: publisher.send, and ``async for`` with one ack per message."""

import asyncio
from contextlib import AsyncExitStack

from benchmarks.clients.base import OnBody
from benchmarks.clients.features import DECLARES, GROUPS, PUBLISHES
from benchmarks.clients.stuck import StuckProducers
from benchmarks.jobs import Job, Tally
from penstock_client import Client, connect

_PREFETCH = 5000


class PenstockClient:
    """One SDK connection."""

    def __init__(self, job: Job) -> None:
        self._url = f"penstock://127.0.0.1:{job.port}"
        self._durable = job.durable
        self._awaiting = job.awaiting
        self._separate = job.separate
        self._feature = job.feature
        self._stuck_beside = job.queue if job.stuck else ""
        self._stuck: StuckProducers | None = None
        self._client: Client

    async def open(self) -> None:
        """Connect."""
        self._client = await connect(self._url)
        if self._stuck_beside:
            self._stuck = StuckProducers(self._url, self._client, self._stuck_beside)
            await self._stuck.wait()

    async def close(self) -> None:
        """Disconnect."""
        if self._stuck:
            await self._stuck.end()
        await self._client.close()

    async def declare(self, queue: str) -> None:
        """Declare the queue with default settings, and what the feature needs."""
        await self._client.queue(queue).declare(durable=self._durable)
        if self._feature in DECLARES:
            await DECLARES[self._feature](self._client.queue(queue))

    async def publish_one(self, queue: str, body: bytes) -> None:
        """Publish one message and wait until it is durable."""
        await self._client.queue(queue).publish(body)

    async def publish_steadily(self, queue: str, body: bytes, tally: Tally) -> None:
        """One publisher.send a message."""
        if self._feature in PUBLISHES:
            await PUBLISHES[self._feature](self._client, queue, body, tally)
            return
        async with self._client.queue(queue).publisher() as publisher:
            while not tally.stopping and tally.count < tally.limit:
                await publisher.send(body)
                tally.count += 1

    async def publish_spread(self, queues: list[str], body: bytes, tally: Tally) -> None:
        """One publisher of the client for all queues; or, where the job says so, one for each queue."""
        if self._separate:
            await self._publish_separately(queues, body, tally)
            return
        async with self._client.publisher() as publisher:
            while not tally.stopping and tally.count < tally.limit:
                await publisher.send(queues[tally.count % len(queues)], body)
                tally.count += 1

    async def _publish_separately(self, queues: list[str], body: bytes, tally: Tally) -> None:
        async with AsyncExitStack() as stack:
            distinct = sorted(set(queues))
            publishers = {
                queue: await stack.enter_async_context(self._client.queue(queue).publisher()) for queue in distinct
            }
            order = [publishers[queue].send for queue in queues]
            while not tally.stopping and tally.count < tally.limit:
                await order[tally.count % len(order)](body)
                tally.count += 1

    async def consume(self, queue: str, tally: Tally, on_body: OnBody | None = None) -> None:
        """``async for`` over messages, ``await message.ack()`` for each; of all groups at once where there are many."""
        groups = GROUPS.get(self._feature, ("",))
        if len(groups) == 1:
            await self._consume(queue, groups[0], tally, on_body)
            return
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                tasks.create_task(self._consume(queue, group, tally, on_body))

    async def _consume(self, queue: str, group: str, tally: Tally, on_body: OnBody | None) -> None:
        awaiting = self._awaiting
        async with self._client.queue(queue).consume(group=group, prefetch=_PREFETCH) as messages:
            async for message in messages:
                if on_body:
                    on_body(message.body)
                if awaiting:
                    await asyncio.sleep(0)
                await message.ack()
                tally.count += 1
                if tally.count >= tally.limit:
                    break
