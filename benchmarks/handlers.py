"""What the worker framework costs: its handlers beside a plain loop over the same queue, in the same run.

python -m benchmarks.handlers [--messages 200000] [--rounds 5]

Every handler does nothing, so that what is left is the framework. Rounds alternate; the ratio is of medians.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.systems.penstock import Penstock
from penstock_client import Client, connect
from penstock_client.loop import new_event_loop
from penstock_client.worker import App

CONCURRENCY = 100
BODY = b'{"id":"order-1","amount":5}'


async def _nothing(body: bytes) -> None:
    pass


async def plain_loop(client: Client, url: str, queue: str, count: int) -> None:
    """``async for message``, ``async with message``: what is written by hand."""
    done = 0
    async with client.queue(queue).consume(prefetch=CONCURRENCY + CONCURRENCY // 4) as messages:
        async for message in messages:
            async with message:
                await _nothing(message.body)
            done += 1
            if done == count:
                return


async def awaiting_loop(client: Client, url: str, queue: str, count: int) -> None:
    """The plain loop with a handler that gives way once, as one that waits for anything does: one at a time."""
    done = 0
    async with client.queue(queue).consume(prefetch=CONCURRENCY + CONCURRENCY // 4) as messages:
        async for message in messages:
            async with message:
                await asyncio.sleep(0)
            done += 1
            if done == count:
                return


def _handled(handler: Callable[["_Count"], Callable[..., object]]) -> Callable[..., Awaitable[None]]:
    async def run(client: Client, url: str, queue: str, count: int) -> None:
        app, counted = App(), _Count(count)
        app.worker(queue, concurrency=CONCURRENCY)(handler(counted))
        await app.serve(counted.complete, url)

    return run


class _Count:
    """Says when so many messages were handled."""

    def __init__(self, goal: int) -> None:
        self._left = goal
        self.complete = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if not self._left:
            self.complete.set()


def _async_handler(counted: _Count) -> Callable[..., object]:
    async def handle(body: bytes) -> None:
        counted.one()

    return handle


def _awaiting_handler(counted: _Count) -> Callable[..., object]:
    async def handle(body: bytes) -> None:
        await asyncio.sleep(0)
        counted.one()

    return handle


def _dict_handler(counted: _Count) -> Callable[..., object]:
    async def handle(body: dict[str, Any]) -> None:
        counted.one()

    return handle


def _model_handler(counted: _Count) -> Callable[..., object]:
    from pydantic import BaseModel

    class Order(BaseModel):
        id: str
        amount: int

    async def handle(order: Order) -> None:
        counted.one()

    return handle


def _blocking_handler(counted: _Count) -> Callable[..., object]:
    loop = asyncio.get_running_loop()

    def handle(body: bytes) -> None:
        loop.call_soon_threadsafe(counted.one)

    return handle


CASES: dict[str, Callable[..., Awaitable[None]]] = {
    "plain loop": plain_loop,
    "async handler, bytes": _handled(_async_handler),
    "async handler, dict": _handled(_dict_handler),
    "async handler, pydantic model": _handled(_model_handler),
    "plain loop that awaits once": awaiting_loop,
    "async handler that awaits once": _handled(_awaiting_handler),
    "blocking handler in a thread": _handled(_blocking_handler),
}


async def measure(url: str, count: int, rounds: int) -> dict[str, list[float]]:
    """Return messages a second of each case, one for each round."""
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    async with connect(url) as client:
        jobs = client.queue("jobs")
        await jobs.declare()
        for _ in range(rounds):
            for name, run in CASES.items():
                async with jobs.publisher() as publisher:
                    for _ in range(count):
                        await publisher.send(BODY)
                start_s = time.perf_counter()
                await run(client, url, "jobs", count)
                rates[name].append(count / (time.perf_counter() - start_s))
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        broker = Penstock().start(Path(directory))
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                rates = runner.run(measure(f"penstock://127.0.0.1:{broker.port}", options.messages, options.rounds))
        finally:
            broker.stop()
    plain = statistics.median(rates["plain loop"])
    for name, measured in rates.items():
        rate = statistics.median(measured)
        spread = f"{min(measured):,.0f} to {max(measured):,.0f}"
        print(f"  {name:<32} {rate:>10,.0f}/s  ({spread})  {rate / plain:5.2f} of the plain loop")


if __name__ == "__main__":
    main()
