"""Queues that end by themselves, on the real broker and on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import BadSetting, Client, QueueDeleted, UnknownQueue, connect, sync

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


async def names(client: Client) -> list[str]:
    return [info.name for info in await client.queues()]


async def test_a_queue_that_nobody_uses_is_deleted_with_its_bindings(test_broker: TestBroker, client: Client) -> None:
    jobs, events = client.queue("jobs"), client.exchange("events", type="fanout")
    await jobs.declare(expires=60)
    await events.declare()
    await events.bind("jobs")
    await jobs.publish(b"x")
    test_broker.clock.advance(59)
    assert (await jobs.info()).expires == 60
    async with jobs.consume():
        test_broker.clock.advance(1000)
        assert await names(client) == ["jobs"]
    for _ in range(9):
        test_broker.clock.advance(7.5)
    assert await names(client) == []
    assert await events.bindings() == []


async def test_the_time_begins_anew_after_a_restart_and_when_it_is_altered(
    test_broker: TestBroker, client: Client
) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    assert await jobs.alter(expires=60) == {"expires_ms": (0, 60_000)}
    test_broker.clock.advance(59)
    await asyncio.to_thread(test_broker.restart)
    assert await names(client) == ["jobs"]
    test_broker.clock.advance(59)
    assert await names(client) == ["jobs"]
    test_broker.clock.advance(1)
    assert await names(client) == []


async def test_an_ephemeral_queue_ends_with_its_last_consumer(client: Client) -> None:
    temp = client.queue("temp")
    await temp.declare(ephemeral=True)
    info = await temp.info()
    assert (info.ephemeral, info.durable) == (True, False)
    async with temp.consume() as messages:
        await temp.publish(b"x")
        async for message in messages:
            await message.ack()
            break
    with pytest.raises(UnknownQueue):
        await temp.info()


async def test_without_a_consumer_it_ends_with_its_connection(test_broker: TestBroker, client: Client) -> None:
    async with connect(test_broker.url) as other:
        await other.queue("temp").declare(ephemeral=True)
        assert await names(client) == ["temp"]
    assert await names(client) == []


async def test_a_consumer_of_one_that_is_lost_with_the_connection_is_told(
    test_broker: TestBroker, client: Client
) -> None:
    temp = client.queue("temp")
    await temp.declare(ephemeral=True)
    async with temp.consume() as messages:
        test_broker.drop_connections()
        with pytest.raises((UnknownQueue, QueueDeleted)):
            await anext(aiter(messages))


async def test_what_makes_no_sense_is_refused(client: Client) -> None:
    with pytest.raises(BadSetting, match="cannot be durable"):
        await client.queue("temp").declare(ephemeral=True, durable=True)
    with pytest.raises(BadSetting, match="at least 1000"):
        await client.queue("temp").declare(expires=0.5)


def test_the_blocking_api_has_both(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        jobs, temp = client.queue("jobs"), client.queue("temp")
        jobs.declare(expires=60.0)
        temp.declare(ephemeral=True)
        assert jobs.alter(expires=30) == {"expires_ms": (60_000, 30_000)}
        assert [info.name for info in client.queues()] == ["jobs", "temp"]
    with sync.connect(test_broker.url) as client:
        assert [info.name for info in client.queues()] == ["jobs"]


def test_the_command_line_declares_shows_and_alters_an_expiry(broker: Broker, tmp_path: Path) -> None:
    assert broker.json("queue", "declare", "brief", "--expires", "600")["expires"] == 600
    assert b"600 s" in broker.run("queue", "show", "brief").stdout
    assert broker.json("queue", "alter", "brief", "--expires", "0")["changed"] == {"expires_ms": [600_000, 0]}
    broker.run("queue", "alter", "brief", "--expires", "60")
    with sync.connect(broker.url) as client:
        client.queue("temp").declare(ephemeral=True)
        exported = broker.run("definitions", "export").stdout.decode()
    assert "[queues.brief]\nexpires_ms = 60000" in exported
    assert "temp" not in exported
    file = tmp_path / "definitions.toml"
    file.write_text(exported)
    assert broker.run("definitions", "diff", file).exit_code == 0
