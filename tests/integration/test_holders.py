"""Connections, consumers and leases, as an operator sees and ends them."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import Client, ConsumerClosed, NotLeased, PenstockError, connect, sync

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url, name="operator") as client:
        await client.queue("jobs").declare(backoff=(0, 0))
        yield client


async def test_who_is_connected_and_what_each_consumer_holds(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.publish_many([b"1", b"2", b"3"])
    async with connect(test_broker.url, name="worker") as worker, worker.queue("jobs").consume(prefetch=2) as messages:
        await anext(messages)
        names = {info.name.partition("/")[0]: info for info in await client.connections()}
        assert set(names) == {"operator", "worker"}
        assert names["worker"].leased == 2
        [consumer] = await jobs.consumers()
        assert (consumer.name, consumer.leased, consumer.prefetch, consumer.active) == ("worker", 2, 2, True)
        assert consumer.lease_ends_in is not None
        assert await client.consumers() == await jobs.consumers("")


async def test_a_stuck_message_goes_to_another_worker(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.publish(b"1")
    async with connect(test_broker.url, name="stuck") as stuck, stuck.queue("jobs").consume(prefetch=1) as held:
        message = await anext(held)
        async with jobs.consume() as messages:
            await stuck.queue("jobs").pause()
            assert await jobs.revoke(message.offset) == "stuck"
            with pytest.raises(NotLeased):
                await jobs.revoke(message.offset)
            [found] = [found async for found in jobs.find(state="ready")]
            assert found.failures == 0
            [consumer] = [one for one in await jobs.consumers() if one.name == "stuck"]
            await client.close_consumer(consumer.session, consumer.consumer)
            await jobs.resume()
            again = await anext(messages)
            assert (again.body, again.attempt) == (b"1", 2)
            await again.ack()


async def test_a_closed_consumer_hears_of_it(client: Client) -> None:
    jobs = client.queue("jobs")
    async with jobs.consume() as messages:
        waiting = asyncio.create_task(anext(messages))
        [consumer] = await jobs.consumers()
        assert await client.close_consumer(consumer.session, consumer.consumer) == 0
        with pytest.raises(ConsumerClosed):
            await waiting


async def test_a_closed_connection_comes_back_by_itself(client: Client, test_broker: TestBroker) -> None:
    async with connect(test_broker.url, name="worker") as worker:
        [info] = [info for info in await client.connections() if info.name.startswith("worker/")]
        await client.close_connection(info.session)
        assert (await worker.status())["queues"] == 1
        sessions = {one.session for one in await client.connections()}
        assert info.session not in sessions
        with pytest.raises(PenstockError) as error:
            await client.close_connection(info.session)
        assert error.value.code == "unknown-session"


def test_the_blocking_client_sees_the_same(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        client.queue("jobs").declare()
        assert len(client.connections()) == 1
        with client.queue("jobs").consume():
            [consumer] = client.consumers()
            assert client.queue("jobs").consumers() == [consumer]
            assert client.close_consumer(consumer.session, consumer.consumer) == 0
        with pytest.raises(NotLeased):
            client.queue("jobs").revoke(0)


def test_the_commands_show_and_end_them(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one")
    own = broker.lines("connection", "list", "--json")
    assert len(own) == 1
    assert broker.run("connection", "list").stdout.decode().split()[:2] == ["session", "name"]
    assert broker.lines("consumer", "list", queue, "--json") == []
    assert broker.run("consumer", "list").stdout.decode().split()[:2] == ["session", "consumer"]
    nobody = broker.run("connection", "close", "9999", "--yes")
    assert (nobody.exit_code, "penstock connection list" in nobody.stderr) == (66, True)
    nobody = broker.run("consumer", "close", "9999", "1", "--yes")
    assert nobody.exit_code == 66
    free = broker.run("queue", "revoke", queue, "0")
    assert (free.exit_code, "--state leased" in free.stderr) == (66, True)
    assert b"penstock connection list" in broker.run("connection").stdout
    assert b"penstock consumer list" in broker.run("consumer").stdout
