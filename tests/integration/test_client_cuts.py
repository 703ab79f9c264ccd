"""T25: the client through a proxy that cuts the connection after byte n of a whole exchange, either way.

Never a false success, no duplicate, and the consumer resumes: every message published is stored once, and what was
acknowledged with a confirm does not come again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from penstock.testing import TestBroker
from penstock_client import Client, Message, PenstockError, connect

HANG_GUARD_S = 20.0
BODIES = [b"%d" % number for number in range(12)]
STEP_BYTES = 10
"""1 in 10, from an offset of the test's own."""
EXCHANGE_BYTES_MAX = 2200
"""The whole exchange takes about 1,200 bytes up and 2,050 down; more with every repetition."""


class CuttingProxy:
    """Passes bytes on, and cuts its first connection after so many of them in one direction."""

    def __init__(self, port: int, direction: str, after_bytes: int) -> None:
        self.connections = 0
        self._port = port
        self._direction = direction
        self._after_bytes = after_bytes

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"penstock://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        whole = self.connections > 1
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = {"up": (reader, other_writer), "down": (other_reader, writer)}
        passing = [
            asyncio.create_task(self._pass(*ends, None if whole or way != self._direction else self._after_bytes))
            for way, ends in ways.items()
        ]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, other_writer):
            end.transport.abort()
        await asyncio.wait(passing)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left_bytes: int | None) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data if left_bytes is None else data[:left_bytes])
                await writer.drain()
                if left_bytes is not None:
                    left_bytes -= len(data)
                    if left_bytes <= 0:
                        return
        except ConnectionError:
            return


@pytest.fixture(scope="module")
def test_broker() -> Iterator[TestBroker]:
    """One broker for every cut: each uses a queue of its own."""
    with TestBroker() as broker:
        yield broker


async def exchange(client: Client, name: str) -> tuple[set[bytes], set[bytes]]:
    """Publish every way, then consume everything; return what was acknowledged for sure, and what perhaps."""
    queue = client.queue(name)
    await queue.declare(backoff=(0.0, 0.0), max_failures=0)
    await queue.publish(BODIES[0])
    await queue.publish_many([Message(body, headers={"n": 1}) for body in BODIES[1:6]])
    async with queue.publisher() as publisher:
        for body in BODIES[6:]:
            await publisher.send(body)
    done: set[bytes] = set()
    in_doubt: set[bytes] = set()
    async with queue.consume(prefetch=4) as messages:
        async for message in messages:
            assert message.body not in done, "what was acknowledged with a confirm came again"
            try:
                await message.ack(confirm=True)
                done.add(message.body)
            except PenstockError:
                in_doubt.add(message.body)
            if done | in_doubt == set(BODIES) and not (await queue.info()).messages:
                return done, in_doubt
    raise AssertionError("the iteration ended")


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_cut_at_any_byte_loses_and_doubles_nothing(test_broker: TestBroker, direction: str) -> None:
    async with connect(test_broker.url) as direct:
        for after_bytes in range(3, EXCHANGE_BYTES_MAX, STEP_BYTES):
            name = f"{direction}-{after_bytes}"
            proxy = CuttingProxy(test_broker.port, direction, after_bytes)
            async with asyncio.timeout(HANG_GUARD_S), proxy.listening() as url:
                try:
                    client = await connect(url)
                except PenstockError:
                    continue  # cut during the handshake: said at once
                async with client:
                    done, in_doubt = await exchange(client, name)
                assert done | in_doubt == set(BODIES), name
                info = await direct.queue(name).info()
                assert (info.published, info.messages, info.dead) == (len(BODIES), 0, 0), name
