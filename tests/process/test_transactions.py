"""T28: consume, transform, produce, with kill -9 of the broker and of the workers at random: the outputs are exact.

``PENSTOCK_TRANSACTION_INPUTS`` and ``PENSTOCK_TRANSACTION_KILLS`` say how much; nightly is 100,000 inputs.
"""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from tests.process.broker import BrokerProcess, MakeBroker
from tests.process.transform import AUDIT, AUDITED_EVERY, INPUTS, OUTPUTS

from penstock_client import Client, connect

INPUTS_COUNT = int(os.environ.get("PENSTOCK_TRANSACTION_INPUTS", "400"))
KILLS = int(os.environ.get("PENSTOCK_TRANSACTION_KILLS", "4"))
WORKERS: Final = 2
BROKER_SHARE: Final = 0.5
"""The share of kills that hit the broker; the others hit a worker."""
ROOT: Final = Path(__file__).parents[2]
PUBLISHED_AT_ONCE: Final = 5_000


class Plant:
    """A broker and its workers; each is killed and replaced."""

    def __init__(self, broker: BrokerProcess, seed: int) -> None:
        self.broker = broker
        self.random = random.Random(f"{seed}/transactions")
        self.workers: list[Process] = []
        self.kills: Counter[str] = Counter()

    async def hire(self) -> None:
        """Start one more worker."""
        command = [sys.executable, "-m", "tests.process.transform", self.broker.url, str(self.random.random())]
        with (self.broker.log.parent / "workers.log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=DEVNULL, stdout=log, stderr=log)
        self.workers.append(worker)

    async def kill_one(self) -> None:
        """SIGKILL the broker or a worker, and start another one."""
        if self.random.random() < BROKER_SHARE:
            self.kills["broker"] += 1
            await self.broker.kill()
            await self.broker.start()
        else:
            self.kills["worker"] += 1
            await self._dismiss(self.workers.pop(self.random.randrange(len(self.workers))))
            await self.hire()

    async def close(self) -> None:
        """Kill the workers."""
        while self.workers:
            await self._dismiss(self.workers.pop())

    async def _dismiss(self, worker: Process) -> None:
        assert worker.returncode is None, (self.broker.log.parent / "workers.log").read_text()[-3000:]
        worker.send_signal(signal.SIGKILL)
        await worker.wait()


async def prepare(client: Client, count: int) -> None:
    for name in (INPUTS, OUTPUTS, AUDIT):
        await client.queue(name).declare(max_failures=0, backoff=(0.01, 0.05))
    for start in range(0, count, PUBLISHED_AT_ONCE):
        numbers = range(start, min(count, start + PUBLISHED_AT_ONCE))
        await client.queue(INPUTS).publish_many([b"%d" % number for number in numbers])


async def numbers_in(client: Client, name: str) -> list[int]:
    """Return what is in a queue, in order of size: read through a group that leaves no trace."""
    queue = client.queue(name)
    count = (await queue.info()).messages
    numbers: list[int] = []
    async with queue.group(ephemeral=True, start="earliest").consume(prefetch=1000) as messages:
        while len(numbers) < count:
            message = await anext(messages)
            numbers.append(int(message.body))
            await message.ack()
    return sorted(numbers)


async def run(broker: BrokerProcess, count: int, kills: int, guard_s: float) -> Plant:
    """Transform all inputs while things are killed; return when nothing is left to do."""
    plant = Plant(broker, seed=count)
    await broker.start()
    async with asyncio.timeout(guard_s), connect(broker.url) as client:
        await prepare(client, count)
        try:
            for _ in range(WORKERS):
                await plant.hire()
            for kill in range(kills):
                await _progress(client, count, count * (kill + plant.random.random()) / (kills + 1))
                await plant.kill_one()
            await _progress(client, count, count)
        finally:
            await plant.close()
    return plant


async def _progress(client: Client, count: int, wanted: float) -> None:
    """Return when so many inputs are done; kills spread over the work that way, and hit it busy."""
    while True:
        if (await client.queue(INPUTS).info()).messages <= count - wanted:
            return
        await asyncio.sleep(0.01)


async def check(broker: BrokerProcess, count: int) -> None:
    """After one more kill everything is there, once."""
    await broker.kill()
    await broker.start()
    numbers = list(range(count))
    async with connect(broker.url) as client:
        assert await numbers_in(client, INPUTS) == []
        assert await numbers_in(client, OUTPUTS) == numbers
        assert await numbers_in(client, AUDIT) == numbers[::AUDITED_EVERY]
        assert await client.queue(INPUTS).group().state() == {"count": count, "sum": sum(numbers)}


@pytest.mark.timeout(180)
async def test_each_input_has_its_effect_once_through_kills(make_broker: MakeBroker) -> None:
    broker = make_broker()
    plant = await run(broker, INPUTS_COUNT, KILLS, guard_s=120)
    await check(broker, INPUTS_COUNT)
    print(f"{INPUTS_COUNT} inputs, {dict(plant.kills)} killed")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_100_000_inputs_have_their_effects_once_through_kills(make_broker: MakeBroker) -> None:
    broker = make_broker()
    plant = await run(broker, 100_000, 200, guard_s=3000)
    await check(broker, 100_000)
    print(f"100,000 inputs, {dict(plant.kills)} killed, {len(broker.boot_seconds)} boots")
