"""A disk that fills up under a real broker: publishes are refused, what is there is kept, and space brings it back."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.process.broker import MakeBroker

from penstock_client import Client, PublishRefused, connect

MIB = 1024 * 1024
DISK_BYTES = 48 * MIB
SETTINGS = {
    "PENSTOCK_STORAGE__SEGMENT_BYTES": str(4 * MIB),
    "PENSTOCK_STORAGE__DISK_RESERVE_BYTES": str(8 * MIB),
    "PENSTOCK_STORAGE__DISK_FREE_BYTES_MIN": "0",  # to the very end
}
BODY_BYTES = 256 * 1024


async def fill(client: Client, offsets: list[int | None]) -> str:
    """Publish until refused; note the offsets of what was confirmed. Returns the refusal's code."""
    for _ in range(2 * DISK_BYTES // BODY_BYTES):
        try:
            confirm = await client.queue("jobs").publish(b"\x5a" * BODY_BYTES)
        except PublishRefused as refused:
            return refused.code
        offsets.append(confirm.offset)
    raise AssertionError("the disk never filled up")


@pytest.mark.timeout(60)
async def test_a_full_disk_refuses_publishes_takes_acks_and_resumes_when_there_is_space(
    make_broker: MakeBroker, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(DISK_BYTES)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * (16 * MIB))
    broker = make_broker(disk, settings=SETTINGS)
    await broker.start()
    confirmed: list[int | None] = []
    async with connect(broker.url) as client:
        await client.queue("jobs").declare()
        assert await fill(client, confirmed) == "disk-full"
        acked = await take_one(client)
        ballast.unlink()
        confirmed.append(await publish_when_there_is_room(client))
    await broker.kill()
    await broker.start()
    async with connect(broker.url) as client:
        found = [message.offset async for message in client.queue("jobs").peek(start=0, count=len(confirmed) + 10)]
        info = await client.queue("jobs").info()
    assert set(confirmed) - {acked} <= set(found)
    assert info.messages == len(confirmed) - 1


async def take_one(client: Client) -> int:
    async with client.queue("jobs").consume(prefetch=1) as messages:
        async for message in messages:
            await message.ack(confirm=True)
            return message.offset
    raise AssertionError("nothing came")


async def publish_when_there_is_room(client: Client) -> int | None:
    """Publish again until it is taken: the broker looks for room once a second."""
    async with asyncio.timeout(30):
        while True:
            try:
                return (await client.queue("jobs").publish(b"there is space again")).offset
            except PublishRefused:
                await asyncio.sleep(0.05)
