"""Loads through a broker's Python client: each prepares, waits for "go", runs bounded in time, and reports."""

import asyncio
import contextlib
import random
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from benchmarks.clients import Client, open_client
from benchmarks.jobs import Goal, Job, Outcome, Tally

Ready = Callable[[], Awaitable[None]]
_Load = Callable[[Client, Job, Ready], Coroutine[Any, Any, Outcome]]

_STAMP: Final = struct.Struct("<q")
_WATCH_SECONDS: Final = 0.005
CREATE_PARALLEL: Final = 50
"""Queues created at the same time when a load needs many."""


def spread_order(queues: int, length: int = 100_000) -> list[int]:
    """Return the same random sequence of queue numbers for every broker."""
    chooser = random.Random(queues)
    return [chooser.randrange(queues) for _ in range(length)]


async def run(job: Job, ready: Ready) -> Outcome:
    """Do the job with a client of its own."""
    client = open_client(job)
    await client.open()
    try:
        await _declare(client, job)
        outcome = await _LOADS[job.action](client, job, ready)
    finally:
        await client.close()
    return outcome


async def _declare(client: Client, job: Job) -> None:
    if job.queues == 1:
        await client.declare(job.queue)
        return
    names = [f"{job.queue}.{index}" for index in range(job.queues)]
    await client.declare(names[0])
    if job.family == "nats":
        return
    for start in range(1, len(names), CREATE_PARALLEL):
        await asyncio.gather(*(client.declare(name) for name in names[start : start + CREATE_PARALLEL]))


async def _publish(client: Client, job: Job, ready: Ready) -> Outcome:
    body = b"x" * job.body_bytes
    tally = Tally()
    if job.count:
        tally.limit = job.count
    names = [job.queue] if job.queues == 1 else [f"{job.queue}.{index}" for index in spread_order(job.queues)]
    await ready()
    asyncio.get_running_loop().call_later(job.seconds, _stop, tally)
    start = time.perf_counter()
    if job.queues == 1:
        await client.publish_steadily(job.queue, body, tally)
    else:
        await client.publish_spread(names, body, tally)
    taken = time.perf_counter() - start
    if job.goal:
        Goal(job.goal).announce(tally.count)
    return Outcome(tally.count, taken)


def _stop(tally: Tally) -> None:
    tally.stopping = True


async def _create(client: Client, job: Job, ready: Ready) -> Outcome:
    """Nothing but creating the queues, which every job does before it is ready."""
    await ready()
    return Outcome(job.queues, 0.0)


async def _consume(client: Client, job: Job, ready: Ready) -> Outcome:
    tally = Tally()
    await ready()
    return await watch(client.consume(job.queue, tally), tally, job)


async def watch(load: Coroutine[Any, Any, None], tally: Tally, job: Job) -> Outcome:
    """Run a consumer until it has what its producer published, or its time is over.

    The clock stops when the count was last seen to change, checked every few milliseconds.
    """
    goal = Goal(job.goal) if job.goal else None
    if job.count:
        tally.limit = job.count
    start = changed_at = time.perf_counter()
    seen = 0
    task = asyncio.create_task(load)
    while not task.done() and time.perf_counter() - start < job.seconds:
        await asyncio.sleep(_WATCH_SECONDS)
        if tally.count != seen:
            seen, changed_at = tally.count, time.perf_counter()
        if goal:
            tally.limit = goal.limit() * job.copies
        if tally.count >= tally.limit:
            break
    if tally.count != seen:
        changed_at = time.perf_counter()
    count = tally.count
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return Outcome(count, changed_at - start)


async def _latency_publish(client: Client, job: Job, ready: Ready) -> Outcome:
    """Publish at a steady rate, each message stamped with its own time; confirms are awaited beside."""
    padding = b"x" * (job.body_bytes - _STAMP.size)
    await ready()
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    for index in range(job.count):
        due = start + index / job.rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(_publish_stamped(client, job.queue, padding))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return Outcome(job.count, time.perf_counter() - start)


async def _publish_stamped(client: Client, queue: str, padding: bytes) -> None:
    await client.publish_one(queue, _STAMP.pack(time.monotonic_ns()) + padding)


async def _latency_consume(client: Client, job: Job, ready: Ready) -> Outcome:
    """Receive stamped messages; the samples are publish-to-delivery seconds, the first tenth left out as warm-up."""
    samples: list[float] = []

    def take(body: bytes) -> None:
        samples.append((time.monotonic_ns() - _STAMP.unpack_from(body)[0]) / 1e9)

    tally = Tally()
    await ready()
    outcome = await watch(client.consume(job.queue, tally, take), tally, job)
    return Outcome(outcome.count, outcome.seconds, samples[len(samples) // 10 :])


async def _confirm_each(client: Client, job: Job, ready: Ready) -> Outcome:
    """One message at a time: the samples are the seconds until each confirm."""
    body = b"x" * job.body_bytes
    samples: list[float] = []
    await ready()
    start = time.perf_counter()
    while time.perf_counter() - start < job.seconds:
        sent = time.perf_counter()
        await client.publish_one(job.queue, body)
        samples.append(time.perf_counter() - sent)
    return Outcome(len(samples), time.perf_counter() - start, samples[len(samples) // 10 :])


_LOADS: Final[dict[str, _Load]] = {
    "publish": _publish,
    "consume": _consume,
    "create": _create,
    "latency_publish": _latency_publish,
    "latency_consume": _latency_consume,
    "confirm_each": _confirm_each,
}
