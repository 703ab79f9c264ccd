"""The age of the oldest message, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import Client, connect
from penstock_client.sync import connect as connect_blocking

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        yield client


async def test_queues_and_groups_tell_the_age_of_their_oldest_message_after_a_restart_too(
    test_broker: TestBroker, client: Client
) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    group = jobs.group("billing")
    await group.declare()
    assert (await jobs.info()).oldest_age is None
    await jobs.publish(b"one")
    test_broker.clock.advance(5)
    await jobs.publish(b"two")
    assert ((await jobs.info()).oldest_age, (await group.info()).oldest_age) == (5, 5)
    async with group.consume() as messages:
        async for message in messages:
            await message.ack(confirm=True)
            break
    assert ((await jobs.info()).oldest_age, (await group.info()).oldest_age) == (0, 0)
    await asyncio.to_thread(test_broker.restart)
    test_broker.clock.advance(3)
    [listed] = await client.queues()
    [billing] = await jobs.groups()
    assert (listed.oldest_age, billing.oldest_age) == (3, 3)


def test_the_blocking_client_tells_it_as_well(test_broker: TestBroker) -> None:
    with connect_blocking(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare()
        jobs.publish(b"one")
        test_broker.clock.advance(2)
        assert jobs.info().oldest_age == 2
