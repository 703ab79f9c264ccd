"""Messages that are to be delivered later, through the client library on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    Client,
    Message,
    NotScheduled,
    PublishRefused,
    ScheduledMessage,
    connect,
    sync,
)
from penstock_client.message import Publishable

HANG_GUARD_S = 20.0
LATER_S = 3600


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


async def scheduled(client: Client) -> list[ScheduledMessage]:
    return [message async for message in client.queue("jobs").scheduled()]


async def test_a_delayed_message_arrives_after_its_delay(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    confirm = await jobs.publish(b"later", delay=5)
    assert (confirm.offset, confirm.scheduled_id, confirm.level) == (None, 1, "synced")
    test_broker.clock.advance(4.9)
    await jobs.publish(b"now")
    async with jobs.consume() as messages:
        assert (await anext(messages)).body == b"now"
        test_broker.clock.advance(0.1)
        later = await anext(messages)
        assert (later.body, later.offset, later.attempt) == (b"later", 1, 1)


async def test_a_time_may_be_given_instead_and_a_past_one_is_now(client: Client) -> None:
    jobs = client.queue("jobs")
    noon = datetime.now(UTC) + timedelta(seconds=LATER_S)
    await jobs.publish(Message(b"noon", key="k", headers={"a": 1}, message_id="m", at=noon))
    past = await jobs.publish(b"past", at=datetime(2020, 1, 1, tzinfo=UTC))
    assert (past.offset, past.scheduled_id) == (0, None)
    (one,) = await scheduled(client)
    assert (one.id, one.body, one.key, one.headers, one.message_id) == (1, b"noon", "k", {"a": 1}, "m")
    assert abs(one.due_at - noon) < timedelta(milliseconds=1)
    assert one.published_at < one.due_at


async def test_messages_published_together_have_their_own_times_and_ids(client: Client) -> None:
    jobs = client.queue("jobs")
    messages: list[Publishable] = [
        Message(b"a", delay=LATER_S),
        b"b",
        Message(b"c", delay=LATER_S),
        Message(b"d", delay=timedelta(hours=2)),
        Message(b"e", delay=timedelta(hours=2), key="k"),
    ]
    confirms = await jobs.publish_many(messages)
    assert [(confirm.offset, confirm.scheduled_id) for confirm in confirms] == [
        (None, 1),
        (0, None),
        (None, 2),
        (None, 3),
        (None, 4),
    ]
    assert [one.body for one in await scheduled(client)] == [b"a", b"c", b"d", b"e"]
    info = await jobs.info()
    assert (info.upcoming, info.ready, info.messages) == (4, 1, 1)


async def test_a_publisher_schedules_a_stream(client: Client) -> None:
    jobs = client.queue("jobs")
    async with jobs.publisher() as publisher:
        for number in range(1200):
            await publisher.send(Message(b"%d" % number, delay=LATER_S))
    assert publisher.confirmed_count == 1200
    found = await scheduled(client)
    assert [one.id for one in found] == list(range(1, 1201))
    assert [one.body for one in found] == [b"%d" % number for number in range(1200)]


async def test_one_is_taken_back_and_the_others_stay(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.publish_many([Message(b"%d" % number, delay=LATER_S) for number in range(5)])
    await jobs.cancel_scheduled(3)
    assert [(one.id, one.body) for one in await scheduled(client)] == [(1, b"0"), (2, b"1"), (4, b"3"), (5, b"4")]
    with pytest.raises(NotScheduled, match="no scheduled message 3"):
        await jobs.cancel_scheduled(3)
    assert await jobs.purge() == 0
    assert await jobs.purge(scheduled=True) == 4


async def test_what_makes_no_sense_is_refused_before_it_is_sent(client: Client) -> None:
    jobs = client.queue("jobs")
    for wrong in (
        Message(b"", delay=1, at=datetime.now(UTC)),
        Message(b"", delay=-1),
        Message(b"", delay=float("inf")),
    ):
        with pytest.raises(ValueError, match="delay"):
            await jobs.publish(wrong)
    with pytest.raises(PublishRefused, match="10 years") as refused:
        await jobs.publish(b"", delay=timedelta(days=5000))
    assert refused.value.code == "bad-setting"
    assert (await jobs.publish(b"fine")).offset == 0


async def test_a_queue_in_memory_takes_none(client: Client) -> None:
    memory = client.queue("memory")
    await memory.declare(durable=False)
    with pytest.raises(PublishRefused, match="for queues on disk") as refused:
        await memory.publish(b"", delay=5)
    assert refused.value.code == "unsupported"


def test_the_blocking_client_schedules_looks_and_cancels(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare()
        assert jobs.publish(b"a", delay=LATER_S).scheduled_id == 1
        assert jobs.publish(Message(b"b", delay=LATER_S)).scheduled_id == 2
        assert [one.body for one in jobs.scheduled()] == [b"a", b"b"]
        jobs.cancel_scheduled(1)
        assert [one.id for one in jobs.scheduled()] == [2]
        assert jobs.purge(scheduled=True) == 1
