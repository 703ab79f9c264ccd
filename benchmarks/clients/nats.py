"""nats-py: JetStream publish_async; durable consumers with explicit acks, pulled by fetch or pushed to a callback."""

import asyncio

import nats
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, StorageType, StreamConfig

from benchmarks.clients.base import OnBody
from benchmarks.jobs import Job, Tally

_ACK_PENDING_MAX = 5000
_FETCH_SECONDS = 0.25


class NatsClient:
    """A JetStream stream of the same name as the queue, subjects ``<queue>.*``."""

    def __init__(self, job: Job) -> None:
        self._port = job.port
        self._batch = job.batch
        self._callback = job.callback
        self._connection: Connection

    async def open(self) -> None:
        """Connect."""
        self._connection = await nats.connect(f"nats://127.0.0.1:{self._port}")
        self._stream = self._connection.jetstream(timeout=60, publish_async_max_pending=_ACK_PENDING_MAX)

    async def close(self) -> None:
        """Flush and disconnect."""
        await self._connection.flush()
        await self._connection.close()

    async def declare(self, queue: str) -> None:
        """Create the stream. Many queues are many subjects of one stream, which is what NATS users are told to do."""
        stream = queue.partition(".")[0]
        configuration = StreamConfig(name=stream, subjects=[f"{stream}.>"], storage=StorageType.FILE)
        await self._stream.add_stream(configuration)

    async def publish_one(self, queue: str, body: bytes) -> None:
        """Publish and wait for its acknowledgement."""
        await self._stream.publish(f"{queue}.m", body)

    async def publish_steadily(self, queue: str, body: bytes, tally: Tally) -> None:
        """publish_async, which suspends when too many are unconfirmed."""
        await self.publish_spread([queue], body, tally)

    async def publish_spread(self, queues: list[str], body: bytes, tally: Tally) -> None:
        """publish_async over many subjects."""
        subjects = [f"{queue}.m" for queue in queues]
        failed: list[asyncio.Future[object]] = []
        while not tally.stopping and tally.count < tally.limit:
            future = await self._stream.publish_async(subjects[tally.count % len(subjects)], body)
            future.add_done_callback(lambda done: failed.append(done) if done.exception() else None)
            tally.count += 1
        await self._stream.publish_async_completed()
        if failed:
            raise RuntimeError(f"{len(failed)} publishes failed, the first with {failed[0].exception()!r}")

    async def consume(self, queue: str, tally: Tally, on_body: OnBody | None = None) -> None:
        """Pull and ack each message, as NATS recommends for work queues.

        Latency (``on_body``) and loads that ask for it use a push consumer with a callback: fetch waits for a whole
        batch, and callbacks are nats-py's fastest way.
        """
        if on_body or self._callback:
            await self._consume_by_callback(queue, tally, on_body)
        else:
            await self._consume_by_fetch(queue, tally)

    async def _consume_by_fetch(self, queue: str, tally: Tally) -> None:
        subscription = await self._stream.pull_subscribe(f"{queue}.m", durable="workers", stream=queue)
        while tally.count < tally.limit:
            try:
                messages = await subscription.fetch(self._batch, timeout=_FETCH_SECONDS)
            except TimeoutError:
                continue
            for message in messages:
                await message.ack()
            tally.count += len(messages)

    async def _consume_by_callback(self, queue: str, tally: Tally, on_body: OnBody | None) -> None:
        finished = asyncio.Event()

        async def receive(message: Msg) -> None:
            if on_body:
                on_body(message.data)
            await message.ack()
            tally.count += 1
            if tally.count >= tally.limit:
                finished.set()

        configuration = ConsumerConfig(max_ack_pending=_ACK_PENDING_MAX)
        await self._stream.subscribe(
            f"{queue}.m", durable="pushed", stream=queue, config=configuration, cb=receive, manual_ack=True
        )
        await finished.wait()
