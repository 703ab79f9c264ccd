"""Recurring schedules through the client library and the command line, on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.integration.commands import Broker

from penstock.cli.exits import ExitCode
from penstock.testing import TestBroker
from penstock_client import BadSetting, Client, Message, SettingsDiffer, UnknownQueue, UnknownSchedule, connect, sync

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


async def test_a_message_comes_whenever_the_line_fires(client: Client, test_broker: TestBroker) -> None:
    tick = client.schedule("tick")
    assert await tick.add("* * * * *", "jobs", Message(b"tick", key="k", headers={"a": 1}))
    assert not await tick.add("* * * * *", "jobs", Message(b"tick", key="k", headers={"a": 1}))
    firings = []
    async with client.queue("jobs").consume() as messages:
        for _ in range(3):
            test_broker.clock.advance(60)
            message = await anext(messages)
            await message.ack(confirm=True)
            assert (message.body, message.key, message.headers) == (b"tick", "k", {"a": 1})
            firings.append(message.properties["schedule"]["at_ms"])
    assert [later - earlier for earlier, later in pairwise(firings)] == [60_000, 60_000]
    info = await tick.info()
    assert (info.fired, info.lost, info.body, info.queue) == (3, 0, b"tick", "jobs")
    assert info.last_at == datetime.fromtimestamp(firings[-1] / 1000, UTC)
    assert info.next_at == info.last_at + timedelta(minutes=1)


async def test_schedules_are_listed_paused_resumed_and_removed(client: Client) -> None:
    for name in ("b", "a"):
        await client.schedule(name).add("0 3 * * *", "jobs", b"x", time_zone="Asia/Tokyo", missed="skip")
    assert [one.name for one in await client.schedules()] == ["a", "b"]
    first = client.schedule("a")
    await first.pause()
    assert (await first.info()).next_at is None
    await first.resume()
    info = await first.info()
    assert info.next_at is not None
    assert (info.next_at.hour, info.time_zone, info.missed, info.paused) == (18, "Asia/Tokyo", "skip", False)
    await first.remove()
    for gone in (first.info, first.pause, first.resume, first.remove):
        with pytest.raises(UnknownSchedule):
            await gone()


async def test_what_is_wrong_is_refused_with_the_place_and_the_reason(client: Client) -> None:
    tick = client.schedule("tick")
    with pytest.raises(BadSetting, match="the hour of the cron line '0 24 \\* \\* \\*', characters 3 to 4, is '24'"):
        await tick.add("0 24 * * *", "jobs", b"x")
    with pytest.raises(BadSetting, match="no time zone 'Berlin'"):
        await tick.add("* * * * *", "jobs", b"x", time_zone="Berlin")
    with pytest.raises(BadSetting, match="later"):
        await tick.add("* * * * *", "jobs", Message(b"x", delay=5))
    with pytest.raises(UnknownQueue):
        await tick.add("* * * * *", "nowhere", b"x")
    await tick.add("* * * * *", "jobs", b"x")
    with pytest.raises(SettingsDiffer, match="another message"):
        await tick.add("* * * * *", "jobs", b"y")


def test_the_blocking_client_has_the_same(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        client.queue("jobs").declare()
        tick = client.schedule("tick")
        assert tick.add("* * * * *", "jobs", b"x")
        tick.pause()
        assert tick.info().paused
        tick.resume()
        assert [one.name for one in client.schedules("t")] == ["tick"]
        tick.remove()
        assert client.schedules() == []


def test_the_command_line_adds_shows_lists_pauses_resumes_and_removes(broker: Broker, queue: str) -> None:
    added = broker.json("schedule", "add", "nightly", "30 2 * * *", queue, "clean up", "--time-zone", "Europe/Berlin")
    assert (added["created"], added["body"], added["missed"]) == (True, "clean up", "once")
    again = ("schedule", "add", "nightly", "30 2 * * *", queue, "clean up", "--time-zone", "Europe/Berlin")
    assert broker.json(*again)["created"] is False
    assert broker.json("schedule", "show", "nightly")["next_at"] == added["next_at"]
    assert b"30 2 * * *" in broker.run("schedule", "list").stdout
    assert b"clean up" in broker.run("schedule", "show", "nightly").stdout
    assert broker.json("schedule", "pause", "nightly") == {"schedule": "nightly", "done": "paused"}
    listed = broker.json("schedule", "list", "--prefix", "nightly")
    assert listed["paused"] is True
    assert "raw" not in listed
    assert b"paused" in broker.run("schedule", "list").stdout
    assert b"raw" not in broker.run("schedule", "show", "nightly").stdout
    assert b"resumed" in broker.run("schedule", "resume", "nightly").stdout
    broker.json("schedule", "remove", "nightly")
    assert broker.lines("schedule", "list", "--prefix", "nightly", "--json") == []
    assert broker.run("schedule", "show", "nightly").exit_code == ExitCode.NO_INPUT


def test_the_command_line_points_at_what_is_wrong(broker: Broker, queue: str) -> None:
    done = broker.run("schedule", "add", "tick", "*/5 * 0 * *", queue, "x")
    assert done.exit_code == ExitCode.USAGE
    assert "the day-of-month of the cron line '*/5 * 0 * *', characters 7 to 7, is '0'" in done.stderr


def test_a_schedule_of_the_real_broker_fires(broker: Broker, queue: str) -> None:
    broker.json("schedule", "add", "tick", "* * * * * *", queue, "x")
    with broker.started("consume", queue, "--count", "2", "--format", "json") as consumer:
        output, _ = consumer.communicate(timeout=HANG_GUARD_S)
    broker.json("schedule", "remove", "tick")
    assert output.count(b'"body": "x"') == 2
