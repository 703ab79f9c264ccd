"""``penstock bench``: how fast a running broker is from here, in a few seconds, on a queue of its own."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli import output
from penstock.cli.options import DEFAULT_URL, Json, Url
from penstock.cli.publish import Durability
from penstock.cli.session import run_with_client

if TYPE_CHECKING:
    from penstock_client import Client, Queue

QUEUE_PREFIX: Final = "penstock-bench-"
PREFETCH_MESSAGES: Final = 2000
LATENCY_MESSAGES: Final = 500
"""Published one at a time: enough for a 99th percentile."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was measured. Rates are messages per second, latencies milliseconds."""

    messages: int
    body_bytes: int
    durability: str
    publish_per_second: float
    consume_per_second: float
    confirm_p50_ms: float
    confirm_p99_ms: float
    delivery_p50_ms: float
    delivery_p99_ms: float


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock bench --messages 200000 --size 1024 --json")(bench)


def bench(
    messages: Annotated[int, typer.Option(min=1, max=10_000_000, help="Messages to publish and consume.")] = 100_000,
    size: Annotated[int, typer.Option(min=8, help="Bytes in a body.")] = 100,
    durability: Annotated[Durability, typer.Option(help="What a confirm waits for.")] = Durability.SYNCED,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Measure publishing, consuming and latency against a running broker. Its queue is deleted afterwards.

    One producer and one consumer in one process, every message confirmed and acknowledged.
    """

    async def go(client: "Client") -> BenchResult:
        queue = client.queue(QUEUE_PREFIX + secrets.token_hex(4))
        await queue.declare()
        try:
            return await _measure(queue, messages, size, durability)
        finally:
            await queue.delete()

    result = run_with_client(url, go)
    if json:
        output.print_json(asdict(result))
    else:
        _print_result(result)


def _print_result(result: BenchResult) -> None:
    output.print_table(
        ("measured", "result", ""),
        [
            ("publish", result.publish_per_second, "messages/s, confirmed"),
            ("consume", result.consume_per_second, "messages/s, acknowledged"),
            ("publish to confirm, p50", result.confirm_p50_ms, "ms, one at a time"),
            ("publish to confirm, p99", result.confirm_p99_ms, "ms"),
            ("publish to delivery, p50", result.delivery_p50_ms, "ms, one at a time"),
            ("publish to delivery, p99", result.delivery_p99_ms, "ms"),
        ],
    )
    output.print_text(f"{result.messages:,} messages of {result.body_bytes:,} bytes, {result.durability}")


async def _measure(queue: "Queue", count: int, size: int, durability: Durability) -> BenchResult:
    body = bytes(size)
    publishing = await _stage("publish", count, lambda meter: _publish(queue, body, count, durability, meter))
    consuming = await _stage("consume", count, lambda meter: _consume(queue, count, meter))
    confirm_ms, delivery_ms = await _latency(queue, size, durability)
    return BenchResult(
        messages=count,
        body_bytes=size,
        durability=durability.value,
        publish_per_second=round(count / publishing, 1),
        consume_per_second=round(count / consuming, 1),
        confirm_p50_ms=_percentile(confirm_ms, 50),
        confirm_p99_ms=_percentile(confirm_ms, 99),
        delivery_p50_ms=_percentile(delivery_ms, 50),
        delivery_p99_ms=_percentile(delivery_ms, 99),
    )


async def _stage(name: str, count: int, work: Callable[[output.Meter], Awaitable[None]]) -> float:
    """Run one stage under a progress bar; return how many seconds it took."""
    with output.make_progress(name, count) as meter:
        started = time.perf_counter()
        await work(meter)
        return time.perf_counter() - started


async def _publish(queue: "Queue", body: bytes, count: int, durability: Durability, meter: output.Meter) -> None:
    async with queue.publisher(durability=durability.value) as publisher:
        for sent in range(count):
            await publisher.send(body)
            if sent % 10_000 == 0:
                meter.update(sent)


async def _consume(queue: "Queue", count: int, meter: output.Meter) -> None:
    received = 0
    async with queue.consume(prefetch=PREFETCH_MESSAGES) as messages:
        async for message in messages:
            await message.ack()
            received += 1
            if received % 10_000 == 0:
                meter.update(received)
            if received == count:
                return


async def _latency(queue: "Queue", size: int, durability: Durability) -> tuple[list[float], list[float]]:
    """Publish one at a time; return the milliseconds to each confirm and to each delivery."""
    confirm_ms: list[float] = []
    delivery_ms: list[float] = []

    async def receive() -> None:
        async with queue.consume(prefetch=PREFETCH_MESSAGES) as messages:
            async for message in messages:
                sent_ns = int.from_bytes(message.body[:8], "little")
                delivery_ms.append((time.perf_counter_ns() - sent_ns) / 1e6)
                await message.ack()
                if len(delivery_ms) == LATENCY_MESSAGES:
                    return

    async with asyncio.TaskGroup() as group:
        group.create_task(receive())
        for _ in range(LATENCY_MESSAGES):
            started_ns = time.perf_counter_ns()
            await queue.publish(started_ns.to_bytes(8, "little").ljust(size, b"\0"), durability=durability.value)
            confirm_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
    return confirm_ms, delivery_ms


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 3)
