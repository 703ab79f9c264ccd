"""The two ends of the pipeline in the demo's own process: the producer of jobs and the collector of results."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.stdlib_index.extract import FileIndex
from examples.stdlib_index.library import Library
from examples.stdlib_index.worker import JOBS_QUEUE, RESULTS_QUEUE

from penstock_client import Client, Message, StaleDelivery


@dataclass(slots=True)
class Collected:
    """One record per file, and the count of everything that came beside the first: at least once, deduplicated here."""

    records: dict[str, FileIndex] = field(default_factory=dict)
    workers: dict[str, set[str]] = field(default_factory=dict)
    offsets: set[int] = field(default_factory=set)
    results: int = 0
    results_redelivered: int = 0
    jobs_repeated: int = 0
    jobs_redelivered: int = 0
    jobs_failed_before: int = 0
    contradictions: list[str] = field(default_factory=list)

    def add(self, offset: int, body: bytes, headers: Mapping[str, Any]) -> None:
        """Take in one delivery of the results queue."""
        self.results += 1
        if offset in self.offsets:
            self.results_redelivered += 1
            return
        self.offsets.add(offset)
        record = FileIndex.decode(body)
        self.workers.setdefault(record.file, set()).add(str(headers["worker"]))
        self.jobs_redelivered += headers["attempt"] > 1
        self.jobs_failed_before += headers["failures"] > 0
        first = self.records.setdefault(record.file, record)
        if first is not record:
            self.jobs_repeated += 1
            if first != record:
                self.contradictions.append(record.file)


async def declare(client: Client) -> None:
    """Declare the two queues. The lease is short: what a dead worker held should not wait longer than the demo runs."""
    await client.queue(JOBS_QUEUE).declare(lease=10, max_failures=5, backoff=(0.1, 1))
    await client.queue(RESULTS_QUEUE).declare(lease=10, max_failures=5, backoff=(0.1, 1))


async def produce(client: Client, library: Library) -> int:
    """Publish one job per file, its source as the body. Returns how many, all of them confirmed on disk."""
    async with client.queue(JOBS_QUEUE).publisher() as publisher:
        for name in library.names:
            source = await asyncio.to_thread((library.root / name).read_bytes)
            await publisher.send(Message(source, headers={"file": name}, message_id=name))
    return len(library.names)


async def collect(client: Client, collected: Collected) -> None:
    """Take in results until cancelled."""
    async with client.queue(RESULTS_QUEUE).consume(prefetch=500) as messages:
        async for batch in messages.batches(max=200, wait=0.02):
            for message in batch:
                collected.add(message.offset, message.body, message.headers)
            try:
                await batch.ack()
            except StaleDelivery:
                continue  # the broker was killed in between; they come again and are counted as such
