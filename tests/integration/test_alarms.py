"""Alarms, and dead-letter queues with bounds, on the real broker."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from penstock.testing import TestBroker
from penstock_client import Alarm, Queue, connect
from penstock_client.sync import connect as connect_blocking

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory whose dead-letter queues keep the latest two and tell of them."""
    settings = {"max_messages": 2, "overflow": "drop_oldest", "alarm_messages": 2}
    with TestBroker(settings={"dead_letters": settings}) as broker:
        yield broker


async def reject_all(queue: Queue) -> None:
    async with queue.consume() as messages:
        for _ in range((await queue.info()).messages):
            await (await anext(messages)).reject(reason="never works")
        while (await queue.info()).messages:  # they are moved when their blocks are at hand
            pass


async def test_the_dead_letter_queues_that_the_broker_makes_have_its_bounds_and_alarms(test_broker: TestBroker) -> None:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        jobs = client.queue("jobs")
        await jobs.declare()
        await jobs.publish_many([b"%d" % number for number in range(5)])
        assert await client.alarms() == []
        await reject_all(jobs)
        dead = client.queue("jobs.dead")
        assert [message.body async for message in dead.peek()] == [b"3", b"4"]
        info = await dead.info()
        assert (info.max_messages, info.overflow, info.dropped, info.alarm_messages) == (2, "drop_oldest", 3, 2)
        [alarm] = await client.alarms()
        assert alarm[:5] == ("jobs.dead", None, "messages", 2, 2)
        assert (await dead.info()).alarms == (alarm,)
        await asyncio.to_thread(test_broker.restart)
        assert [one.queue for one in await client.alarms()] == ["jobs.dead"]
        await dead.purge()
        assert await client.alarms() == []


async def test_a_declared_dead_letter_queue_has_its_own_settings(test_broker: TestBroker) -> None:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        await client.queue("jobs.dead").declare(dead_letter="jobs.dead", max_messages=1)
        jobs = client.queue("jobs")
        await jobs.declare()
        await jobs.publish_many([b"x"] * 3)
        await reject_all(jobs)
        assert (await jobs.info()).dead == 3, "nothing is lost that no one asked to lose"


def test_the_blocking_client_sets_alarms_and_lists_them(test_broker: TestBroker) -> None:
    with connect_blocking(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare(alarm_age=60)
        assert jobs.info().alarm_age == 60
        jobs.publish(b"x")
        test_broker.clock.advance(61)
        [alarm] = client.alarms()
        assert alarm == Alarm("jobs", None, "age_ms", 61_000, 60_000, alarm.since)
        assert alarm.since > datetime(2020, 1, 1, tzinfo=UTC)
        assert jobs.alter(alarm_age=0, alarm_messages=5) == {"alarm_messages": (0, 5), "alarm_age_ms": (60_000, 0)}
        assert client.alarms() == []
