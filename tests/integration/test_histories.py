"""What became of a message, on the real broker: while it fails, when it is dead, and after a redrive."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from penstock.testing import TestBroker
from penstock_client import Client, ReceivedMessage, UnknownMessage, connect
from penstock_client import sync as blocking

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it, with a queue ``jobs``."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        await client.queue("jobs").declare()
        yield client


async def buried(client: Client) -> ReceivedMessage:
    """Return the dead letter of ``jobs``, when it is there."""
    while not (await client.queue("jobs").info()).dead:  # it is moved when its block is at hand
        pass
    (letter,) = [message async for message in client.queue("jobs.dead").peek()]
    return letter


async def test_a_message_s_history_tells_who_had_it_from_when_to_when(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    async with connect(test_broker.url, name="worker") as other, other.queue("jobs").consume() as messages:
        await jobs.publish(b"one")
        test_broker.clock.advance(1)
        message = await anext(messages)
        handed_out_at = message.published_at
        test_broker.clock.advance(2)
        await message.nack(delay=60, reason="ValueError: no stock\n\nTraceback")
    found = await jobs.history(0)
    assert (found.state, found.attempts, found.message.body) == ("scheduled", 1, b"one")
    (failure,) = found.failures
    assert (failure.attempt, failure.consumer) == (1, "worker")
    assert failure.reason == "ValueError: no stock\n\nTraceback"
    assert (failure.leased_at, failure.time - failure.leased_at) == (handed_out_at, timedelta(seconds=3))
    assert found.until == failure.time + timedelta(seconds=60)


async def test_a_dead_letter_and_a_redriven_message_keep_their_past(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.publish(b"one")
    async with jobs.consume() as messages:
        await (await anext(messages)).reject(reason="first life")
    letter = await buried(client)
    assert letter.dead is not None
    assert letter.dead.earlier is None
    assert [failure.reason for failure in letter.dead.failures] == ["first life"]
    assert await jobs.redrive() == 1
    async with jobs.consume() as messages:
        message = await anext(messages)
        assert message.redriven is not None
        assert message.redriven.reason == "first life"
        await message.reject(reason="second life")
    letter = await buried(client)
    assert letter.dead is not None
    assert letter.dead.earlier is not None
    assert (letter.dead.reason, letter.dead.earlier.reason) == ("second life", "first life")


async def test_the_history_of_what_is_done_is_refused(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.publish(b"one")
    async with jobs.consume() as messages:
        await (await anext(messages)).ack(confirm=True)
    with pytest.raises(UnknownMessage, match="has no message 0 that group '' is not done with"):
        await jobs.history(0)


def test_the_blocking_client_tells_it_too(test_broker: TestBroker) -> None:
    with blocking.connect(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare()
        jobs.publish(b"one")
        found = jobs.history(0)
    assert (found.state, found.attempts, found.failures, found.message.body) == ("ready", 0, [], b"one")
