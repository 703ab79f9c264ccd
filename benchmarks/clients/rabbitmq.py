"""aio-pika: publisher confirms, persistent messages, a consumer callback with prefetch and one ack per message."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue, AbstractRobustConnection

from benchmarks.clients.base import OnBody
from benchmarks.jobs import Job, Tally

_PREFETCH = 500


class RabbitMQClient:
    """A durable queue of the job's flavour, ``quorum`` or ``classic``."""

    def __init__(self, job: Job) -> None:
        self._port = job.port
        self._flavour = job.flavour
        self._batch = job.batch
        self._connection: AbstractRobustConnection
        self._channel: AbstractChannel
        self._queues: dict[str, AbstractQueue] = {}

    async def open(self) -> None:
        """Connect and open a channel with confirms."""
        self._connection = await aio_pika.connect_robust(f"amqp://guest:guest@127.0.0.1:{self._port}/")
        self._channel = await self._connection.channel(publisher_confirms=True)
        await self._channel.set_qos(prefetch_count=_PREFETCH)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def declare(self, queue: str) -> None:
        """Declare the durable queue."""
        arguments = {"x-queue-type": self._flavour}
        self._queues[queue] = await self._channel.declare_queue(queue, durable=True, arguments=arguments)

    async def publish_one(self, queue: str, body: bytes) -> None:
        """Publish and wait for the confirm."""
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._channel.default_exchange.publish(message, queue)

    async def publish_steadily(self, queue: str, body: bytes, tally: Tally) -> None:
        """Publish with many confirms outstanding."""
        await self.publish_spread([queue], body, tally)

    async def publish_spread(self, queues: list[str], body: bytes, tally: Tally) -> None:
        """Publish over many queues with many confirms outstanding."""
        while not tally.stopping and tally.count < tally.limit:
            indices = range(tally.count, tally.count + self._batch)
            await asyncio.gather(*(self.publish_one(queues[index % len(queues)], body) for index in indices))
            tally.count += self._batch

    async def consume(self, queue: str, tally: Tally, on_body: OnBody | None = None) -> None:
        """Receive by callback; ack each message."""
        finished = asyncio.Event()

        async def receive(message: AbstractIncomingMessage) -> None:
            if on_body:
                on_body(message.body)
            await message.ack()
            tally.count += 1
            if tally.count >= tally.limit:
                finished.set()

        await self._queues[queue].consume(receive)
        await finished.wait()
