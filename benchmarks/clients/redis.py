"""redis-py, asyncio: pipelined XADD, XREADGROUP with a consumer group, XACK."""

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from benchmarks.clients.base import OnBody
from benchmarks.jobs import Job, Tally

_GROUP = "workers"
_BLOCK_MS = 200


class RedisClient:
    """A Redis stream used as a durable work queue."""

    def __init__(self, job: Job) -> None:
        self._redis: Redis = Redis(host="127.0.0.1", port=job.port)
        self._batch = job.batch

    async def open(self) -> None:
        """Connect."""
        await self._redis.ping()

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def declare(self, queue: str) -> None:
        """Create the stream with its consumer group."""
        try:
            await self._redis.xgroup_create(queue, _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def publish_one(self, queue: str, body: bytes) -> None:
        """One XADD."""
        await self._redis.xadd(queue, {b"b": body})

    async def publish_steadily(self, queue: str, body: bytes, tally: Tally) -> None:
        """XADD in pipelines."""
        await self.publish_spread([queue], body, tally)

    async def publish_spread(self, queues: list[str], body: bytes, tally: Tally) -> None:
        """XADD in pipelines, over many streams."""
        fields = {b"b": body}
        while not tally.stopping and tally.count < tally.limit:
            pipeline = self._redis.pipeline(transaction=False)
            for index in range(tally.count, tally.count + self._batch):
                pipeline.xadd(queues[index % len(queues)], fields)
            await pipeline.execute()
            tally.count += self._batch

    async def consume(self, queue: str, tally: Tally, on_body: OnBody | None = None) -> None:
        """XREADGROUP and one XACK for what it returned."""
        while tally.count < tally.limit:
            replies = await self._redis.xreadgroup(_GROUP, "one", {queue: ">"}, count=self._batch, block=_BLOCK_MS)
            if not replies:
                continue
            messages = replies[0][1] if isinstance(replies, list) else next(iter(replies.values()))[0]
            if on_body:
                for _, fields in messages:
                    on_body(fields[b"b"])
            await self._redis.xack(queue, _GROUP, *[message_id for message_id, _ in messages])
            tally.count += len(messages)
