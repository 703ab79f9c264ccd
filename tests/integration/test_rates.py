"""Rates on the real broker: held over all consumers, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import BadSetting, Client, Queue, connect
from penstock_client.worker import App

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


async def leased(queue: Queue) -> int:
    return (await queue.info()).leased


async def test_consumers_of_several_connections_share_the_rate(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.declare(rate="100/s", rate_burst=10)
    await jobs.publish_many([b"x"] * 100)
    async with connect(test_broker.url) as other, jobs.consume(), other.queue("jobs").consume():
        assert await leased(jobs) == 0
        test_broker.clock.advance(0.05)
        assert await leased(jobs) == 5
        test_broker.clock.advance(20)
        assert await leased(jobs) == 15
        test_broker.clock.advance(0.02)
        assert await leased(jobs) == 17


async def test_a_restart_leaves_the_rate_and_empties_the_bucket(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.declare(rate=10, rate_burst=5)
    group = jobs.group("billing", rate="600/min")
    await group.declare()
    await jobs.publish_many([b"x"] * 20)
    test_broker.clock.advance(60)
    await asyncio.to_thread(test_broker.restart)
    info, group_info = await jobs.info(), await group.info()
    assert (info.rate, info.rate_burst, group_info.rate, group_info.rate_burst) == (10, 5, 10, None)
    async with jobs.consume():
        assert await leased(jobs) == 0
        test_broker.clock.advance(0.1)
        assert await leased(jobs) == 1


async def test_a_worker_asks_for_its_rate(test_broker: TestBroker, client: Client) -> None:
    app = App()
    begun: list[bytes] = []
    go_on = asyncio.Event()

    @app.worker("jobs", concurrency=50, rate="100/s", rate_burst=4)
    async def handle(body: bytes) -> None:
        begun.append(body)
        await go_on.wait()

    @app.worker("jobs", group="slow", rate="1/s")
    async def slow(body: bytes) -> None: ...

    started, stop = asyncio.Event(), asyncio.Event()
    app.on_startup(started.set)
    running = asyncio.create_task(app.serve(stop, test_broker.url))
    await started.wait()
    jobs = client.queue("jobs")
    while (await client.status())["consumers"] < 2:
        pass
    await jobs.publish_many([b"x"] * 30)
    test_broker.clock.advance(10)
    while len(begun) < 4:
        await client.status()
    assert len(begun) == 4
    groups = {group.name: group for group in await jobs.groups()}
    assert (groups["slow"].rate, (await jobs.info()).rate) == (1, 100)
    stop.set()
    go_on.set()
    await running


async def test_a_rate_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="'fast' is no rate"):
        await client.queue("jobs").declare(rate="fast")
    with pytest.raises(BadSetting, match="rate_per_s must be messages a second"):
        await client.queue("jobs").declare(rate=0)
    with pytest.raises(ValueError, match="is no rate"):
        App().worker("jobs", rate="100 per second")
