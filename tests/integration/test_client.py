"""The client library on the real broker: what users read in the README, and what happens when things go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    Client,
    Message,
    PenstockError,
    PublishFailed,
    PublishRefused,
    QueueDeleted,
    QueueFull,
    QueueInfo,
    ReceivedMessage,
    SettingsDiffer,
    StaleDelivery,
    UnknownQueue,
    connect,
)

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it, with a queue ``jobs``."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url, name="tester") as client:
        await client.queue("jobs").declare(backoff=(0.5, 60), max_failures=3)
        yield client


async def bodies(client: Client, queue: str = "jobs") -> list[bytes]:
    return [message.body async for message in client.queue(queue).peek(count=100_000)]


async def take(client: Client, count: int) -> list[ReceivedMessage]:
    """Consume and acknowledge so many messages."""
    taken: list[ReceivedMessage] = []
    async with client.queue("jobs").consume() as messages:
        async for message in messages:
            await message.ack()
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_everything_a_message_carries_arrives(client: Client) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    sent = Message(
        b"body", key="k", headers={"h": [1, "x", b"y", None]}, message_id="m", content_type="t", correlation_id="c",
        reply_to="r", timestamp=at,
    )  # fmt: skip
    confirm = await client.queue("jobs").publish(sent)
    assert (confirm.offset, confirm.level, confirm.duplicate, confirm.queue) == (0, "synced", False, "jobs")
    (message,) = await take(client, 1)
    assert (message.body, message.key, message.headers) == (b"body", "k", {"h": [1, "x", b"y", None]})
    assert (message.message_id, message.content_type, message.correlation_id) == ("m", "t", "c")
    assert (message.reply_to, message.timestamp, message.offset, message.queue) == ("r", at, 0, "jobs")
    assert (message.attempt, message.failures, message.redelivered, message.dead) == (1, 0, False, None)


async def test_a_publisher_keeps_order_over_many_blocks(client: Client) -> None:
    sent = [b"%d" % number for number in range(3000)]
    async with client.queue("jobs").publisher() as publisher:
        for body in sent:
            await publisher.send(body)
    assert publisher.confirmed_count == 3000
    assert [message.body for message in await take(client, 3000)] == sent
    assert (await client.queue("jobs").info()).messages == 0


async def test_one_publisher_for_many_queues(client: Client) -> None:
    for number in range(20):
        await client.queue(f"q{number}").declare()
    async with client.publisher(durability="written") as publisher:
        for number in range(400):
            await publisher.send(f"q{number % 20}", b"%d" % number)
    infos = {info.name: info.ready for info in await client.queues(prefix="q")}
    assert infos == {f"q{number}": 20 for number in range(20)}


async def test_bodies_of_every_size_up_to_the_limit(client: Client) -> None:
    sizes = [0, 1, 100_000, 300_000, 1024 * 1024, 7, 131_072, 262_144]
    async with client.queue("jobs").publisher() as publisher:
        for size in sizes:
            await publisher.send(bytes(size))
        with pytest.raises(PublishRefused, match="body_bytes_max") as caught:
            await publisher.send(bytes(1024 * 1024 + 1))
    assert caught.value.code == "body-too-large"
    assert [len(message.body) for message in await take(client, len(sizes))] == sizes


async def test_a_failed_message_comes_again_after_its_backoff_and_dies_with_its_history(
    client: Client, test_broker: TestBroker
) -> None:
    jobs = client.queue("jobs")
    await jobs.publish(Message(b"poison", headers={"h": 1}))
    async with jobs.consume() as messages:
        for attempt in (1, 2, 3):
            message = await anext(messages)
            assert (message.attempt, message.failures, message.redelivered) == (attempt, attempt - 1, attempt > 1)
            with pytest.raises(ValueError, match="no good"):
                async with message:
                    raise ValueError("no good")
            await client.status()  # an answer comes after what was sent before it
            await until(client, lambda info: info.leased == 0)
            test_broker.clock.advance(120)
    (dead,) = [letter async for letter in client.queue("jobs.dead").peek()]
    assert (dead.body, dead.headers) == (b"poison", {"h": 1})
    assert dead.dead is not None
    assert (dead.dead.queue, dead.dead.offset, dead.dead.attempts) == ("jobs", 0, 3)
    assert all(failure.reason.startswith("ValueError: no good") for failure in dead.dead.failures)
    assert [failure.consumer for failure in dead.dead.failures] == ["tester"] * 3
    assert await jobs.redrive() == 1
    (again,) = await take(client, 1)
    assert (again.body, again.failures) == (b"poison", 0)


async def until(client: Client, condition: Callable[[QueueInfo], bool]) -> None:
    info = await client.queue("jobs").info()
    while not condition(info):
        info = await client.queue("jobs").info()


async def test_a_released_message_comes_back_at_once_without_a_failure(client: Client) -> None:
    await client.queue("jobs").publish(b"x")
    async with client.queue("jobs").consume() as messages:
        await (await anext(messages)).release()
        message = await anext(messages)
        assert (message.attempt, message.failures) == (2, 0)
        await message.ack()


async def test_a_delayed_nack_and_a_reject(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.publish_many([b"later", b"never"])
    async with jobs.consume() as messages:
        batch = await anext(messages.batches(max=2))
        await batch.nack([batch[0]], delay=3600, reason="not yet")
        await batch[1].reject(reason="broken")
        await until(client, lambda info: info.scheduled == 1 and info.dead == 1)
        test_broker.clock.advance(3600)
        again = await anext(messages)
        assert (again.body, again.failures) == (b"later", 1)
        await again.ack()


async def test_a_lease_that_ended_makes_a_confirmed_ack_stale(client: Client, test_broker: TestBroker) -> None:
    await client.queue("jobs").publish(b"x")
    async with client.queue("jobs").consume() as messages:
        message = await anext(messages)
        test_broker.clock.advance(31)
        with pytest.raises(StaleDelivery):
            await message.ack(confirm=True)
        test_broker.clock.advance(1)  # it may have counted as a failure, with its backoff
        again = await anext(messages)
        assert again.attempt == 2
        await again.ack(confirm=True)
    assert (await client.queue("jobs").info()).messages == 0


async def test_an_extended_lease_outlives_the_queue_s(client: Client, test_broker: TestBroker) -> None:
    await client.queue("jobs").publish(b"x")
    async with client.queue("jobs").consume() as messages:
        message = await anext(messages)
        await message.extend(3600)
        test_broker.clock.advance(1800)
        await message.ack(confirm=True)


async def test_publishing_goes_on_through_lost_connections_without_duplicates(
    client: Client, test_broker: TestBroker
) -> None:
    async with client.queue("jobs").publisher() as publisher:
        for number in range(6000):
            await publisher.send(b"%d" % number)
            if number % 1500 == 700:
                await asyncio.to_thread(test_broker.drop_connections)
    assert await bodies(client) == [b"%d" % number for number in range(6000)]


async def test_publishing_goes_on_through_a_restart(client: Client, test_broker: TestBroker) -> None:
    publishing = asyncio.create_task(client.queue("jobs").publish_many([b"%d" % number for number in range(20_000)]))
    await asyncio.to_thread(test_broker.restart)
    confirms = await publishing
    assert [confirm.offset for confirm in confirms if not confirm.duplicate] == sorted(
        confirm.offset for confirm in confirms if confirm.offset is not None and not confirm.duplicate
    )
    assert await bodies(client) == [b"%d" % number for number in range(20_000)]


async def test_consuming_goes_on_through_lost_connections_and_handles_everything(
    client: Client, test_broker: TestBroker
) -> None:
    await client.queue("jobs").publish_many([b"%d" % number for number in range(2000)])
    handled: set[bytes] = set()
    drop_at = [1500, 500]
    async with client.queue("jobs").consume(prefetch=100) as messages:
        async for message in messages:
            await message.ack()
            handled.add(message.body)
            if drop_at and len(handled) == drop_at[-1]:
                drop_at.pop()
                await asyncio.to_thread(test_broker.drop_connections)
            if len(handled) == 2000:
                break
    info = await client.queue("jobs").info()
    assert (info.leased, info.dead) == (0, 0)


async def test_a_deleted_queue_ends_its_consumers_and_refuses_publishes(client: Client) -> None:
    jobs = client.queue("jobs")
    async with jobs.consume() as messages:
        await jobs.publish(b"x")
        waiting = asyncio.ensure_future(anext(messages))
        await (await waiting).ack()
        waiting = asyncio.ensure_future(anext(messages))
        await jobs.delete()
        with pytest.raises(QueueDeleted, match="jobs"):
            await waiting
    with pytest.raises(UnknownQueue, match="jobs"):
        await jobs.publish(b"y")
    with pytest.raises(PublishFailed, match="jobs"):
        async with jobs.publisher() as publisher:
            await publisher.send(b"z")
    await jobs.declare()
    assert (await jobs.publish(b"new")).offset == 0


async def test_different_settings_are_refused_by_name(client: Client) -> None:
    with pytest.raises(SettingsDiffer, match="max_failures"):
        await client.queue("jobs").declare(backoff=(0.5, 60), max_failures=4)
    assert await client.queue("jobs").declare(backoff=(0.5, 60), max_failures=3) is False


async def test_a_queue_in_memory_says_so_in_its_confirms(client: Client) -> None:
    quick = client.queue("quick")
    await quick.declare(durable=False)
    assert (await quick.publish(b"x")).level == "memory"


async def test_draining_finishes_what_runs_and_hands_back_the_rest(test_broker: TestBroker) -> None:
    async with connect(test_broker.url) as other:
        jobs = other.queue("jobs")
        await jobs.declare()
        await jobs.publish_many([b"%d" % number for number in range(50)])
        client = await connect(test_broker.url)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def work() -> int:
            handled = 0
            async with client.queue("jobs").consume() as messages:
                async for message in messages:
                    async with message:
                        begun.set()
                        await go_on.wait()
                        handled += 1
            return handled

        working = asyncio.create_task(work())
        await begun.wait()
        draining = asyncio.create_task(client.drain())
        go_on.set()
        await draining
        assert await working == 1
        info = await jobs.info()
        assert (info.ready, info.leased, info.scheduled) == (49, 0, 0)
        rest = [message async for message in jobs.peek(count=100)]
        assert all(message.failures == 0 for message in rest)


async def test_a_second_client_gets_its_share(client: Client, test_broker: TestBroker) -> None:
    await client.queue("jobs").publish_many([b"%d" % number for number in range(300)])
    async with (
        connect(test_broker.url) as other,
        client.queue("jobs").consume(prefetch=100) as first,
        other.queue("jobs").consume() as second,
    ):
        mine, theirs = await anext(first), await anext(second)
        assert mine.body != theirs.body


async def test_purge_and_peek_and_list(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.publish_many([b"%d" % number for number in range(2500)])
    assert len(await bodies(client)) == 2500
    assert [message.body async for message in jobs.peek(start=2498, count=10)] == [b"2498", b"2499"]
    peeked = [message async for message in jobs.peek(count=1)]
    with pytest.raises(TypeError, match="peeked"):
        await peeked[0].ack()
    assert await jobs.purge() == 2500
    assert [info.name for info in await client.queues()] == ["jobs"]
    status = await client.status()
    assert status["queues"] == 1


async def test_a_broker_that_failed_confirms_nothing_and_every_publish_has_an_outcome(
    test_broker: TestBroker,
) -> None:
    async with connect(test_broker.url, reconnect_timeout=0.3) as client:
        await client.queue("jobs").declare()
        test_broker.fail_next_sync()
        with pytest.raises(PenstockError):
            await client.queue("jobs").publish(b"x")
        with pytest.raises(PenstockError):
            await client.queue("jobs").publish(b"y")


@pytest.mark.parametrize("turns", range(0, 40, 2))
async def test_cancelling_at_any_moment_leaves_the_client_whole(client: Client, turns: int) -> None:
    """T24, the client's half."""
    jobs = client.queue("jobs")

    async def everything() -> None:
        await jobs.publish(b"single")
        await jobs.publish_many([b"many"] * 10)
        async with jobs.publisher() as publisher:
            for _ in range(20):
                await publisher.send(b"pipelined")
                await publisher.flush()
        async with jobs.consume(prefetch=5) as messages:
            async for batch in messages.batches(max=3, wait=0.001):
                await batch.ack(confirm=True)

    running = asyncio.create_task(everything())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await jobs.publish(b"last")
    await client.producer.settled()
    assert client.producer.window.messages == 0
    seen = 0
    async with jobs.consume() as messages:
        while (await jobs.info()).messages:
            message = await anext(messages)
            await message.ack(confirm=True)
            seen += 1
    assert seen >= 1


async def test_a_message_id_is_stored_once_and_its_second_publish_says_so(test_broker: TestBroker) -> None:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        queue = client.queue("unique")
        await queue.declare(dedup_window=60, dedup_count_max=1000)
        first = await queue.publish(Message(b"one", message_id="m-1"))
        again = await queue.publish_many([Message(b"%d" % n, message_id=f"m-{n}") for n in range(4)])
        info = await queue.info()
        assert [(one.offset, one.duplicate) for one in (first, *again)] == [
            (0, False),
            (1, False),
            (0, True),
            (2, False),
            (3, False),
        ]
        assert (info.dedup_window, info.dedup_count_max, info.messages) == (60, 1000, 4)
        test_broker.clock.advance(60)
        assert not (await queue.publish(Message(b"later", message_id="m-1"))).duplicate


async def test_a_publisher_counts_duplicates(client: Client) -> None:
    await client.queue("unique").declare(dedup_window=60)
    async with client.queue("unique").publisher() as publisher:
        for number in range(2000):
            await publisher.send(Message(b"x", message_id=str(number % 1500)))
    assert (publisher.confirmed_count, publisher.duplicate_count) == (2000, 500)
    assert (await client.queue("unique").info()).messages == 1500


async def test_a_full_queue_lets_its_producers_wait_and_no_others(client: Client) -> None:
    full, other = client.queue("full"), client.queue("other")
    await full.declare(max_messages=2)
    await other.declare()
    waiting = asyncio.create_task(full.publish_many([b"%d" % number for number in range(5)]))
    confirms = await other.publish_many([b"x"] * 5000)
    assert len(confirms) == 5000
    assert not waiting.done()
    info = await full.info()
    assert (info.stalled_producers, info.messages, info.max_messages) == (1, 5, 2)
    async with full.consume(prefetch=1) as messages:
        async for message in messages:
            await message.ack(confirm=True)
            if message.offset == 2:
                break
    assert [one.offset for one in await waiting] == [0, 1, 2, 3, 4]


async def test_a_queue_that_rejects_says_that_it_is_full(client: Client) -> None:
    queue = client.queue("full")
    await queue.declare(max_messages=2, overflow="reject")
    with pytest.raises(QueueFull):
        await queue.publish_many([b"0", b"1", b"2"])
    assert await bodies(client, "full") == [b"0", b"1"]


async def test_what_a_full_queue_drops_is_in_its_dead_letters(client: Client) -> None:
    queue = client.queue("full")
    await queue.declare(max_messages=1, overflow="drop_newest", overflow_dead_letter=True)
    confirms = await queue.publish_many([b"0", b"1"])
    assert [(one.offset, one.dropped) for one in confirms] == [(0, False), (None, True)]
    [dead] = [message.dead async for message in client.queue("full.dead").peek()]
    assert dead is not None
    assert (dead.queue, dead.offset, dead.reason) == ("full", None, "dropped: the queue was full")
    assert (await queue.info()).dropped_newest == 1


async def test_a_queue_that_drops_the_oldest_keeps_what_is_new(client: Client) -> None:
    queue = client.queue("latest")
    await queue.declare(max_messages=3, overflow="drop_oldest", max_age=3600)
    await queue.publish_many([b"%d" % number for number in range(10)])
    assert await bodies(client, "latest") == [b"7", b"8", b"9"]
    info = await queue.info()
    assert (info.dropped, info.max_age, info.messages) == (7, 3600, 3)


async def test_what_nobody_takes_in_time_is_dropped(client: Client, test_broker: TestBroker) -> None:
    queue = client.queue("fresh")
    await queue.declare(max_age=60, overflow_dead_letter=True)
    await queue.publish(b"old")
    test_broker.clock.advance(61)
    assert (await queue.info()).messages == 0
    [dead] = [message.dead async for message in client.queue("fresh.dead").peek()]
    assert dead is not None
    assert (dead.offset, dead.reason) == (0, "dropped: too old")
