"""Groups that stop by themselves when nearly everything fails, on the real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import BadSetting, Client, Queue, connect
from penstock_client.sync import connect as connect_blocking
from penstock_client.worker import App

HANG_GUARD_S = 60.0
MESSAGES = 1_000


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


class Downstream:
    """Something that handlers need, and that may be gone."""

    def __init__(self) -> None:
        self.is_up = False
        self.attempts = 0
        self.done: set[bytes] = set()

    async def handle(self, body: bytes) -> None:
        """Fail while it is gone."""
        self.attempts += 1
        if not self.is_up:
            raise ConnectionError("the downstream is gone")
        self.done.add(body)


async def opened(queue: Queue) -> None:
    """Return when the breaker of its default group is open."""
    while [breaker.state for breaker in (await queue.info()).breakers] != ["open"]:
        pass


async def run_workers(broker: TestBroker, downstream: Downstream, stop: asyncio.Event) -> None:
    """Ten handlers that need the downstream, until ``stop``."""
    app = App()

    @app.worker("jobs", concurrency=10, prefetch=20)
    async def handle(body: bytes) -> None:
        await downstream.handle(body)

    await app.serve(stop, broker.url)


async def test_a_backlog_outlives_its_downstream_and_is_processed_when_that_is_back(
    test_broker: TestBroker, client: Client
) -> None:
    jobs, downstream, stop = client.queue("jobs"), Downstream(), asyncio.Event()
    await jobs.declare(max_failures=5, breaker_failures=20, breaker_wait=1)
    await jobs.publish_many([b"%d" % number for number in range(MESSAGES)])
    running = asyncio.create_task(run_workers(test_broker, downstream, stop))
    for _ in range(8):  # some minutes
        await opened(jobs)
        test_broker.clock.advance(60)
    info = await jobs.info()
    assert (info.messages, info.dead, info.dead_lettered) == (MESSAGES, 0, 0)
    assert downstream.attempts < MESSAGES // 5, "it tries one message, now and then"
    downstream.is_up = True
    while len(downstream.done) < MESSAGES:
        await client.status()
        test_broker.clock.advance(1)
    while (await jobs.info()).messages:
        pass
    info = await jobs.info()
    assert (info.dead, info.breakers) == (0, ())
    stop.set()
    await running


async def test_without_a_breaker_such_a_backlog_ends_in_the_dead_letters(
    test_broker: TestBroker, client: Client
) -> None:
    """So that the test above says something."""
    jobs, downstream, stop = client.queue("jobs"), Downstream(), asyncio.Event()
    await jobs.declare(max_failures=5)
    await jobs.publish_many([b"%d" % number for number in range(100)])
    running = asyncio.create_task(run_workers(test_broker, downstream, stop))
    while (await jobs.info()).dead < 100:
        test_broker.clock.advance(1)
    stop.set()
    await running


async def test_an_open_breaker_is_an_alarm_and_is_closed_by_hand(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    group = jobs.group("billing", breaker_failures=1, breaker_wait=30)
    await jobs.declare()
    await group.declare()
    await jobs.publish_many([b"x"] * 3)
    info = await group.info()
    assert info.breaker is not None
    assert (info.breaker.state, info.breaker_failures, info.breaker_wait) == ("closed", 1, 30)
    async with group.consume(prefetch=1) as messages:
        await (await anext(messages)).nack(reason="gone")
        while not (breakers := (await jobs.info()).breakers):
            pass
        assert (breakers[0].group, breakers[0].state) == ("billing", "open")
        assert breakers[0].since is not None
        assert breakers[0].until is not None
        assert round((breakers[0].until - breakers[0].since).total_seconds()) == 30
        [alarm] = await client.alarms()
        assert (alarm.queue, alarm.group, alarm.what, alarm.limit) == ("jobs", "billing", "breaker", 1)
        await group.resume()
        await (await anext(messages)).ack(confirm=True)
    assert await client.alarms() == []
    assert await group.alter(breaker_failures=0) == {"breaker_failures": (1, 0)}
    assert (await group.info()).breaker is None
    with pytest.raises(BadSetting, match="breaker_failures"):
        await group.alter(breaker_failures=-1)


def test_the_blocking_client_has_breakers_too(test_broker: TestBroker) -> None:
    with connect_blocking(test_broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare(breaker_failures=1)
        jobs.alter(breaker_wait=0.01)
        jobs.publish(b"x")
        with jobs.consume() as messages:
            next(iter(messages)).nack(reason="gone")
            while not jobs.info().breakers:
                pass
        assert jobs.info().breakers[0].state in ("open", "trial")
        jobs.resume()
        assert jobs.info().breakers == ()
        group = jobs.group("billing", breaker_failures=3)
        group.declare()
        assert group.info().breaker_failures == 3
