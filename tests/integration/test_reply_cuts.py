"""T25 for request and reply: the asker's or the answerer's connection cut after byte n, either way.

Never a false success, never another request's answer, nothing answered twice on account of a cut; and the next request
is answered, whatever became of the one before.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.integration.test_client_cuts import CuttingProxy

from penstock.testing import TestBroker
from penstock_client import Client, ConnectionLost, PenstockError, ReplyOutcome, connect

HANG_GUARD_S = 20.0
STEP_BYTES = 10
EXCHANGE_BYTES_MAX = 1200
"""Each side's exchange takes some 800 to 1,000 bytes either way, more with every repetition."""


@pytest.fixture(scope="module")
def test_broker() -> Iterator[TestBroker]:
    """One broker for every cut: each uses a queue of its own."""
    with TestBroker() as broker:
        yield broker


class Answerer:
    """Answers every message with its body, and notes how often each was answered, as far as it knows."""

    def __init__(self, queue: str) -> None:
        self.delivered = Counter[bytes]()
        self._queue = queue

    async def serve(self, client: Client) -> None:
        async with client.queue(self._queue).consume() as messages:
            async for message in messages:
                async with message:
                    with suppress(ConnectionLost):  # nobody knows whether it arrived; the message comes again or not
                        if await message.reply(b"re: " + message.body) is ReplyOutcome.DELIVERED:
                            self.delivered[message.body] += 1


@asynccontextmanager
async def serving(answerer: Answerer, url: str) -> AsyncIterator[None]:
    async def serve() -> None:
        while True:
            with suppress(PenstockError):  # cut during the handshake: said at once
                async with connect(url) as client:
                    await answerer.serve(client)

    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask(client: Client, queue: str, body: bytes) -> bool:
    """Ask once; True when it was answered, and rightly, False when nobody knows what became of it."""
    try:
        reply = await client.request(queue, body, timeout=HANG_GUARD_S)
    except ConnectionLost:
        return False
    assert reply.body == b"re: " + body
    return True


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_an_asker_cut_at_any_byte_gets_its_answer_or_an_unknown_outcome(
    test_broker: TestBroker, direction: str
) -> None:
    for after_bytes in range(3, EXCHANGE_BYTES_MAX, STEP_BYTES):
        name = f"asker-{direction}-{after_bytes}"
        proxy, answerer = CuttingProxy(test_broker.port, direction, after_bytes), Answerer(name)
        async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as direct, proxy.listening() as url:
            await direct.queue(name).declare(backoff=(0.0, 0.0), max_failures=0)
            async with serving(answerer, test_broker.url):
                try:
                    client = await connect(url)
                except PenstockError:
                    continue
                async with client:
                    answered = [await ask(client, name, b"%d" % number) for number in range(3)]
                    assert answered.count(False) <= 1, "one cut, one unknown outcome at the most"
                    assert client.late_reply_count == 0
            assert all(count == 1 for count in answerer.delivered.values()), "an answer was delivered twice"


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_an_answerer_cut_at_any_byte_leaves_no_request_unanswered(
    test_broker: TestBroker, direction: str
) -> None:
    for after_bytes in range(5, EXCHANGE_BYTES_MAX, STEP_BYTES):
        name = f"answerer-{direction}-{after_bytes}"
        proxy, answerer = CuttingProxy(test_broker.port, direction, after_bytes), Answerer(name)
        async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client, proxy.listening() as url:
            await client.queue(name).declare(backoff=(0.0, 0.0), max_failures=0)
            async with serving(answerer, url):
                for number in range(3):
                    assert await ask(client, name, b"%d" % number)
