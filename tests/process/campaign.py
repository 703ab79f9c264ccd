"""A load on a real broker that is stopped again and again at random moments; it ends drained, and judged.

One life of the broker after the other: 4 producers and 4 competing consumers keep working through all of them on the
client library's own reconnection. At the end the producers stop, the consumers empty the queue acknowledging everything
with confirms, the broker is killed once more, and what it then recovers must still be an empty queue.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.process.broker import BrokerProcess
from tests.process.checker import check
from tests.process.history import AckConfirmed, Confirmed, Delivered, History, Published, Unknown
from tests.process.load import QUEUE, Consumer, Producer

from penstock_client import connect

PRODUCERS: Final = 4
CONSUMERS: Final = 4
UNDER_LOAD: Final = 0.85
"""The share of lives that are ended only once messages flow again; the others end while clients still reconnect."""
SETTLED_BEFORE_KILL_MAX: Final = 300
LIFE_SECONDS_MAX: Final = 0.6
"""The longest time from there to the next kill."""
KILLED_AT_BOOT: Final = 0.15
"""The share of lives that are ended while the broker may still be recovering."""
OUTCOME_SECONDS_GUARD: Final = 60.0
"""Against hanging: every publish must have its outcome, and the queue be empty, long before."""


class Campaign:
    """One seed's run. ``violations`` and the figures are there after ``run``."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.history = History()
        self.broker = BrokerProcess(directory)
        self.violations: list[str] = []
        self.exit_codes: list[int] = []
        self._random = random.Random(f"{seed}/kills")
        self._stopping = asyncio.Event()
        self._producers = [Producer(number, seed, self.history) for number in range(PRODUCERS)]
        self._consumers = [Consumer(number, seed, self.history) for number in range(CONSUMERS)]

    async def run(self, stops: int, *, kill: bool) -> None:
        """Run through ``stops`` ends of the broker, by SIGKILL or by SIGTERM, drain, and judge."""
        try:
            await self.broker.start()
            async with connect(self.broker.url) as client:
                await client.queue(QUEUE).declare(lease=30, max_failures=0, backoff=(0.01, 0.05))
            async with self._load() as (producing, consuming):
                for _ in range(stops):
                    await self._one_life(kill=kill)
                await self._finish_publishing(producing)
                await self._drain(consuming)
            await self._recover_empty()
        finally:
            await self.broker.kill()
        self.violations += check(self.history.events)

    def figures(self) -> str:
        """Return the run in one line."""
        count = self.history.count
        boots = self.broker.boot_seconds
        return (
            f"{count(Published)} published, {count(Confirmed)} confirmed, {count(Unknown)} unknown, "
            f"{count(Delivered)} delivered, {count(AckConfirmed)} acknowledgements confirmed, "
            f"{len(boots)} boots, slowest {max(boots):.2f} s"
        )

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[tuple[list[asyncio.Task[None]], list[asyncio.Task[None]]]]:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(self.broker.url)) for _ in self._producers]
            pairs = zip(self._producers, clients, strict=True)
            producing = [asyncio.create_task(producer.run(client, self._stopping)) for producer, client in pairs]
            consuming = [asyncio.create_task(consumer.run(self.broker.url)) for consumer in self._consumers]
            try:
                yield producing, consuming
            finally:
                for task in (*producing, *consuming):
                    task.cancel()
                ended = await asyncio.gather(*producing, *consuming, return_exceptions=True)
        failures = [repr(error) for error in ended if isinstance(error, Exception)]
        self.violations += [f"outcome: a part of the load failed: {failure}" for failure in failures]

    async def _one_life(self, *, kill: bool) -> None:
        if self._random.random() < UNDER_LOAD:
            await self._reach_load()
        await asyncio.sleep(self._random.uniform(0.0, LIFE_SECONDS_MAX))
        await self._stop(kill=kill)
        await self._next_life()
        if kill and self._random.random() < KILLED_AT_BOOT:
            await self.broker.spawn()
            await asyncio.sleep(self._random.uniform(0.0, 0.5))
            await self._stop(kill=True)
            await self._next_life()
        await self.broker.start()

    async def _reach_load(self) -> None:
        """Wait until the clients are back and messages go through: a kill of an idle broker shows little."""
        enough = self.history.settled + self._random.randint(1, SETTLED_BEFORE_KILL_MAX)
        until = asyncio.get_running_loop().time() + OUTCOME_SECONDS_GUARD
        while self.history.settled < enough:
            if asyncio.get_running_loop().time() > until:
                self.violations.append("I20: the clients are not back at work")
                return
            await asyncio.sleep(0.01)

    async def _stop(self, *, kill: bool) -> None:
        if kill:
            await self.broker.kill()
        else:
            self.exit_codes.append(await self.broker.terminate())

    async def _next_life(self) -> None:
        """Let every connection notice its end, so that no delivery of the old life is counted to the new one."""
        await asyncio.sleep(0.02)
        self.history.life += 1

    async def _finish_publishing(self, producing: list[asyncio.Task[None]]) -> None:
        self._stopping.set()
        _, waiting = await asyncio.wait(producing, timeout=OUTCOME_SECONDS_GUARD)
        if waiting:
            self.violations.append(f"outcome: {len(waiting)} producers wait for an outcome that does not come")

    async def _drain(self, consuming: list[asyncio.Task[None]]) -> None:
        """Have everything acknowledged; I20: once faults stop, every message reaches a consumer."""
        for consumer in self._consumers:
            consumer.draining = True
        async with connect(self.broker.url) as client:
            queue = client.queue(QUEUE)
            until = asyncio.get_running_loop().time() + OUTCOME_SECONDS_GUARD
            while (info := await queue.info()).messages or any(each.busy for each in self._consumers):
                for task in consuming:
                    if task.done():
                        await task  # raises what ended it
                if asyncio.get_running_loop().time() > until:
                    busy = [each.busy for each in self._consumers]
                    self.violations.append(f"I20: the queue is not emptied: {info}; acknowledgements awaited: {busy}")
                    return
                await asyncio.sleep(0.02)

    async def _recover_empty(self) -> None:
        """Kill the broker once more: what is acknowledged and confirmed stays acknowledged."""
        await self.broker.kill()
        await self._next_life()
        await self.broker.start()
        async with connect(self.broker.url) as client:
            info = await client.queue(QUEUE).info()
        if info.messages:
            self.violations.append(f"I4: {info.messages} messages came back after the queue was empty")
        self.exit_codes.append(await self.broker.terminate())
