"""What transactions of ten operations cost beside plain publishes and acknowledgements, in the same run.

python -m benchmarks.transactions [--operations 200000] [--rounds 5]

Each unit takes messages of one queue and publishes into another: 5 acknowledgements and 5 publishes, or 1 and 9. Many
units are under way at once. Three ways: in a transaction; plain, with both awaited until they are on disk (what a
transaction promises, without its atomicity); plain and pipelined, nothing awaited. Rounds alternate; medians count.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.systems.penstock import Penstock
from penstock_client import Client, ReceivedMessage, connect
from penstock_client.loop import new_event_loop

IN_FLIGHT: Final = 50
"""Units under way at once, over one connection."""
BODY: Final = b"x" * 100
UNIT: Final = 10
"""Operations of a unit."""

Unit = Callable[[Client, Sequence[ReceivedMessage]], Awaitable[None]]


async def transacted(client: Client, messages: Sequence[ReceivedMessage]) -> None:
    """One transaction."""
    async with client.transaction() as tx:
        for _ in range(UNIT - len(messages)):
            tx.publish("out", BODY)
        tx.ack(*messages)


async def awaited(client: Client, messages: Sequence[ReceivedMessage]) -> None:
    """Publish, wait, acknowledge, wait: at least once."""
    await client.queue("out").publish_many([BODY] * (UNIT - len(messages)))
    await asyncio.gather(*(message.ack(confirm=True) for message in messages))


async def pipelined(client: Client, count: int, acks: int) -> None:
    """Nothing is awaited but room."""
    left = count * acks
    async with client.queue("in").consume(prefetch=2000) as messages, client.queue("out").publisher() as publisher:
        async for message in messages:
            for _ in range((UNIT - acks) // acks):
                await publisher.send(BODY)
            await message.ack()
            left -= 1
            if not left:
                return


async def in_flight(client: Client, count: int, acks: int, unit: Unit) -> None:
    """Keep so many units under way."""
    left = count
    async with client.queue("in").consume(prefetch=2 * IN_FLIGHT * acks) as messages:

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await unit(client, [await anext(messages) for _ in range(acks)])

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def measure(url: str, operations: int, rounds: int) -> dict[str, list[float]]:
    """Return operations a second of each way, one for each round."""
    count = operations // UNIT
    rates: dict[str, list[float]] = {}
    async with connect(url) as client:
        for name in ("in", "out"):
            await client.queue(name).declare()
        for _ in range(rounds):
            for acks in (5, 1):
                label = f"{acks} + {UNIT - acks}"
                cases: dict[str, Callable[[], Awaitable[None]]] = {
                    f"{label} pipelined": lambda acks=acks: pipelined(client, count, acks),  # type: ignore[misc]
                    f"{label} awaited": lambda acks=acks: in_flight(client, count, acks, awaited),  # type: ignore[misc]
                    f"{label} transaction": lambda acks=acks: in_flight(client, count, acks, transacted),  # type: ignore[misc]
                }
                for name, run in cases.items():
                    rates.setdefault(name, []).append(await _rate(client, count, acks, run))
    return rates


async def _rate(client: Client, count: int, acks: int, run: Callable[[], Awaitable[None]]) -> float:
    async with client.queue("in").publisher() as publisher:
        for _ in range(count * acks):
            await publisher.send(BODY)
    await client.queue("out").purge()
    start_s = time.perf_counter()
    await run()
    return count * UNIT / (time.perf_counter() - start_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        broker = Penstock().start(Path(directory))
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                url = f"penstock://127.0.0.1:{broker.port}"
                rates = runner.run(measure(url, options.operations, options.rounds))
        finally:
            broker.stop()
    for name, measured in rates.items():
        rate = statistics.median(measured)
        plain = statistics.median(rates[f"{name.rpartition(' ')[0]} pipelined"])
        spread = f"{min(measured):,.0f} to {max(measured):,.0f}"
        print(f"  {name:<20} {rate:>10,.0f} operations/s  ({spread})  {rate / plain:5.2f} of pipelined")


if __name__ == "__main__":
    main()
