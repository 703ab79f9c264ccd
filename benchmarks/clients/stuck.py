"""Producers that wait: a queue at its bound that no one consumes from."""

import asyncio
import contextlib

from penstock_client import Client, connect

CONNECTIONS = 3
"""Waiting producers beside the one in the measured client."""
_MAX_MESSAGES = 1000
_BODY = b"x" * 100
_QUIET_SECONDS = 0.05
"""A producer whose count stood still for so long waits."""


class StuckProducers:
    """They publish to one queue, as fast as they may, until it is full; then they wait."""

    def __init__(self, url: str, client: Client, queue: str) -> None:
        self._url = url
        self._queue = client.queue(f"{queue}.stuck")
        self._clients = [client]
        self._sent = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def wait(self) -> None:
        """Return when all of them wait."""
        await self._queue.declare(max_messages=_MAX_MESSAGES)
        self._clients += [await connect(self._url) for _ in range(CONNECTIONS)]
        self._tasks = [asyncio.create_task(self._publish(client)) for client in self._clients]
        before = -1
        while before != self._sent:
            before = self._sent
            await asyncio.sleep(_QUIET_SECONDS)

    async def _publish(self, client: Client) -> None:
        async with client.queue(self._queue.name).publisher() as publisher:
            while True:
                await publisher.send(_BODY)
                self._sent += 1

    async def end(self) -> None:
        """Let them go: with the queue deleted nothing waits any more."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._queue.delete()
        for client in self._clients[1:]:
            await client.close()
