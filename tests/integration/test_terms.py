"""Times to live and priorities, through the client library on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock.testing import TestBroker
from penstock_client import Client, Message, SettingsDiffer, connect, sync

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


async def counts(client: Client, *names: str) -> list[Any]:
    info = await client.queue("jobs").info()
    return [info.raw[name] for name in names]


async def test_a_message_that_nobody_was_handed_in_time_is_dropped_and_counted(
    client: Client, test_broker: TestBroker
) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    await jobs.publish_many([Message(b"short", ttl=60), Message(b"long", ttl=timedelta(hours=1)), b"for ever"])
    test_broker.clock.advance(61)
    async with jobs.consume() as messages:
        first = await anext(messages)
        assert (first.body, first.offset, first.ttl) == (b"long", 1, 3600.0)
        assert (await anext(messages)).body == b"for ever"
    assert await counts(client, "expired", "messages", "dead") == [1, 2, 0]


async def test_a_queue_may_limit_the_time_of_all_and_move_what_expires_to_the_dead_letters(
    client: Client, test_broker: TestBroker
) -> None:
    jobs = client.queue("jobs")
    await jobs.declare(ttl=5, on_expired="dead-letter")
    await jobs.publish(Message(b"late", key="k", ttl=60, priority=9))
    test_broker.clock.advance(6)
    async with client.queue("jobs.dead").consume() as messages:
        letter = await anext(messages)
        assert letter.dead is not None
        assert (letter.body, letter.key, letter.dead.reason) == (b"late", "k", "expired")
        assert (letter.dead.queue, letter.dead.attempts, letter.dead.failures) == ("jobs", 0, [])
        await letter.release()
    assert await counts(client, "expired", "dead_lettered", "messages") == [0, 1, 0]
    assert await jobs.redrive() == 1
    async with jobs.consume() as messages:
        again = await anext(messages)
        assert (again.body, again.priority) == (b"late", 9)
    info = await jobs.info()
    assert (info.ttl, info.on_expired, info.priority_max) == (5.0, "dead-letter", 9)


async def test_what_expired_is_found(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.declare(on_expired="dead-letter")
    await jobs.publish_many([Message(b"late", ttl=5), b"kept"])
    test_broker.clock.advance(6)
    async with client.queue("jobs.dead").consume() as messages:
        await (await anext(messages)).release()
    async with jobs.consume() as messages:
        await (await anext(messages)).reject(reason="no use")
    async with client.queue("jobs.dead").consume(prefetch=2) as messages:
        assert [(await anext(messages)).body for _ in range(2)] == [b"late", b"kept"]
    found = [(one.body, one.state, one.reason) async for one in jobs.find(state="expired")]
    assert found == [(b"late", "dead", "expired")]
    assert [one.body async for one in jobs.find(reason="no use")] == [b"kept"]
    assert [one.body async for one in jobs.find()] == [b"late", b"kept"]


async def test_each_group_lets_go_for_itself_and_never_while_it_holds(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    audit, billing = jobs.group("audit"), jobs.group("billing")
    await audit.declare()
    await billing.declare()
    async with billing.consume() as held:
        await jobs.publish(Message(b"seen", ttl=1))
        message = await anext(held)
        test_broker.clock.advance(2)
        assert [found.body async for found in jobs.peek(group="billing")] == [b"seen"]
        assert [found.body async for found in jobs.peek(group="audit")] == []
        assert (await billing.info()).raw["leased"] == 1
        await message.release()
    assert (await audit.info()).raw["expired"] == 1
    assert (await billing.info()).raw["expired"] == 1


async def test_higher_priorities_come_first_and_are_kept_when_given_back(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    await jobs.publish_many(
        [b"plain", Message(b"low", priority=0), Message(b"high", priority=9), Message(b"5", priority=5)]
    )
    async with jobs.consume(prefetch=1) as messages:
        message = await anext(messages)
        assert (message.body, message.priority) == (b"high", 9)
        await message.release()
        order = []
        async for message in messages:
            order.append((message.body, message.priority))
            await message.ack()
            if len(order) == 4:
                break
    assert order == [(b"high", 9), (b"5", 5), (b"plain", 4), (b"low", 0)]


async def test_a_delayed_message_has_its_priority_and_its_time_from_when_it_is_due(
    client: Client, test_broker: TestBroker
) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    await jobs.publish_many([Message(b"later", delay=10, ttl=10, priority=9), Message(b"gone", delay=10, ttl=1)])
    await jobs.publish(b"now")
    test_broker.clock.advance(12)
    async with jobs.consume() as messages:
        assert [(await anext(messages)).body for _ in range(2)] == [b"later", b"now"]
    assert await counts(client, "expired") == [1]


async def test_another_time_to_live_is_another_queue(client: Client) -> None:
    await client.queue("jobs").declare(ttl=5)
    with pytest.raises(SettingsDiffer, match="ttl_ms"):
        await client.queue("jobs").declare(ttl=6)


@pytest.mark.parametrize(
    "wrong", [{"ttl": 0}, {"ttl": -1}, {"ttl": float("inf")}, {"priority": 256}, {"priority": 1.5}]
)
async def test_what_makes_no_sense_is_refused_where_it_is_published(client: Client, wrong: dict[str, Any]) -> None:
    await client.queue("jobs").declare()
    with pytest.raises(ValueError, match=r"a ttl is|a priority is"):
        await client.queue("jobs").publish(Message(b"x", **wrong))


def test_the_blocking_api_has_both_too(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare(ttl=100, priority_max=255)
        jobs.publish_many([Message(b"low", priority=9), Message(b"high", priority=200)])
        with jobs.consume() as messages:
            message = next(iter(messages))
            assert (message.body, message.priority, message.ttl) == (b"high", 200, None)
