"""Loads of request and reply, and of plain publishing beside them: so many in flight, each awaited (Penstock only)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from benchmarks.client_loads import Ready, watch
from benchmarks.jobs import Goal, Job, Outcome, Tally
from penstock_client import Client, ReceivedMessage, connect

_REPLY_SECONDS_GUARD: Final = 30.0


async def run(job: Job, ready: Ready) -> Outcome:
    """Do the job with a client of its own."""
    async with connect(f"penstock://127.0.0.1:{job.port}") as client:
        await client.queue(job.queue).declare(durable=job.durable)
        return await ACTIONS[job.action](client, job, ready)


async def _ask(client: Client, job: Job, ready: Ready) -> Outcome:
    """Request after request."""

    async def once(body: bytes) -> None:
        await client.request(job.queue, body, timeout=_REPLY_SECONDS_GUARD)

    return await _many(job, ready, once)


async def _publish_each(client: Client, job: Job, ready: Ready) -> Outcome:
    """Publish after publish, each confirmed."""
    queue = client.queue(job.queue)

    async def once(body: bytes) -> None:
        await queue.publish(body)

    return await _many(job, ready, once)


async def _many(job: Job, ready: Ready, once: Callable[[bytes], Awaitable[None]]) -> Outcome:
    """Keep ``job.connections`` in flight on one connection; the samples are seconds, the first tenth left out."""
    body = b"x" * job.body_bytes
    samples: list[float] = []
    await ready()
    start = time.perf_counter()

    async def one_after_the_other() -> None:
        while (sent := time.perf_counter()) - start < job.seconds:
            await once(body)
            samples.append(time.perf_counter() - sent)

    await asyncio.gather(*(one_after_the_other() for _ in range(job.connections)))
    taken = time.perf_counter() - start
    Goal(job.goal).announce(len(samples))
    return Outcome(len(samples), taken, samples[len(samples) // 10 :])


async def _answer(client: Client, job: Job, ready: Ready) -> Outcome:
    """Answer every message with its body, each in a task of its own."""

    async def answer(message: ReceivedMessage) -> None:
        await message.reply(message.body)
        await message.ack()

    return await _serve(client, job, ready, answer)


async def _acknowledge_each(client: Client, job: Job, ready: Ready) -> Outcome:
    """The same without a reply."""

    async def acknowledge(message: ReceivedMessage) -> None:
        await message.ack()

    return await _serve(client, job, ready, acknowledge)


async def _serve(
    client: Client, job: Job, ready: Ready, handle: Callable[[ReceivedMessage], Coroutine[Any, Any, None]]
) -> Outcome:
    tally, tasks = Tally(), set[asyncio.Task[None]]()

    def handled(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        tally.count += 1

    async def consume() -> None:
        async with client.queue(job.queue).consume(prefetch=1000) as messages:
            async for message in messages:
                task = asyncio.create_task(handle(message))
                tasks.add(task)
                task.add_done_callback(handled)

    await ready()
    return await watch(consume(), tally, job)


ACTIONS: Final[dict[str, Callable[[Client, Job, Ready], Coroutine[Any, Any, Outcome]]]] = {
    "ask": _ask,
    "publish_each": _publish_each,
    "answer": _answer,
    "acknowledge_each": _acknowledge_each,
}
