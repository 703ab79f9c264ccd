"""Groups through the client library, on the real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    Client,
    ExclusiveConsumer,
    Group,
    GroupDeleted,
    Message,
    QueueNotEmpty,
    ReceivedMessage,
    SettingsDiffer,
    UnknownGroup,
    connect,
    sync,
)
from penstock_client.group import Start

HANG_GUARD_S = 20.0
Result = TypeVar("Result")


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url, name="tester") as client:
        await client.queue("events").declare(backoff=(0, 0), max_failures=1)
        yield client


async def until(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Ask until the answer is true; the test's guard ends what never is."""
    while True:
        answer = await ask()
        if answer:
            return answer
        await asyncio.sleep(0.01)


async def take(group: Group, count: int) -> list[bytes]:
    taken: list[bytes] = []
    async with group.consume() as messages:
        async for message in messages:
            await message.ack(confirm=True)
            taken.append(message.body)
            if len(taken) == count:
                break
    return taken


async def test_every_group_gets_every_message(client: Client) -> None:
    events = client.queue("events")
    billing, audit = events.group("billing"), events.group("audit", mode="single")
    assert await billing.declare()
    assert not await billing.declare()
    assert await audit.declare()
    await events.publish_many([b"1", b"2", b"3"])
    assert await take(billing, 3) == [b"1", b"2", b"3"]
    assert await take(audit, 2) == [b"1", b"2"]
    info = {group.name: group for group in await events.groups()}
    assert (info["billing"].ready, info["billing"].acked, info["billing"].mode) == (0, 3, "shared")
    assert (info["audit"].messages, info["audit"].acked, info["audit"].mode) == (1, 2, "single")
    assert (await events.info()).start_offset == 2, "kept for the slower one"
    assert (await events.info()).groups == 2


async def test_groups_begin_at_an_offset_at_the_end_or_at_a_time(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    await events.group("all").declare()
    started = datetime.fromtimestamp((await events.info()).raw["created_at_ms"] / 1000, UTC)
    for body in (b"1", b"2", b"3"):
        test_broker.clock.advance(10)
        await events.publish(body)
    at: dict[str, Start] = {
        "latest": "latest",
        "offset": 1,
        "time": started + timedelta(seconds=15),
        "past": started - timedelta(days=1),
        "future": started + timedelta(days=1),
    }
    for name, start in at.items():
        await events.group(name, start=start).declare()
    begins = {group.name: group.next_offset for group in await events.groups()}
    assert begins == {"all": 0, "latest": 3, "offset": 1, "time": 1, "past": 0, "future": 3}


async def test_groups_and_their_places_survive_a_restart(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    billing = events.group("billing")
    await billing.declare()
    await events.publish_many([b"1", b"2", b"3"])
    assert await take(billing, 1) == [b"1"]
    await billing.pause()
    test_broker.restart()
    assert (await billing.info()).paused
    await billing.resume()
    assert await take(billing, 2) == [b"2", b"3"]


async def test_an_ephemeral_group_sees_what_comes_and_leaves_nothing(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    await events.publish(b"before")
    async with events.group(ephemeral=True).consume() as live:
        await events.publish(b"after")
        async with asyncio.timeout(HANG_GUARD_S):
            assert (await anext(live)).body == b"after"
            test_broker.restart()
            await until(events.groups)  # it is declared again when the connection is won back
            await events.publish(b"later")
            assert (await anext(live)).body == b"later"
    assert await events.groups() == []
    assert (await events.info()).messages == 3


async def test_dead_letters_go_back_to_the_group_in_which_they_died(client: Client) -> None:
    events = client.queue("events")
    billing, audit = events.group("billing"), events.group("audit")
    await billing.declare()
    await audit.declare()
    await events.publish(b"1")
    assert await take(audit, 1) == [b"1"]
    async with billing.consume() as messages:
        await (await anext(messages)).reject(reason="no")

        async def dead_letters() -> list[ReceivedMessage]:
            if not any(info.name == "events.dead" for info in await client.queues()):
                return []
            return [letter async for letter in client.queue("events.dead").peek()]

        dead = await until(dead_letters)
        assert dead[0].dead is not None
        assert dead[0].dead.group == "billing"
        assert await audit.redrive() == 0
        assert await events.redrive() == 1
        assert (await anext(messages)).body == b"1"
    assert (await audit.info()).messages == 0


async def test_a_message_goes_back_where_its_consumer_says(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    await events.publish_many([b"1", b"2", b"3"])
    seen: list[bytes] = []
    async with events.consume(prefetch=1) as messages:

        async def settle_next(then: str) -> None:
            message: ReceivedMessage = await anext(messages)
            seen.append(message.body)
            await (
                message.requeue() if then == "tail" else message.release(delay=5) if then == "wait" else message.ack()
            )

        for then in ("tail", "wait", "ack", "ack"):
            await settle_next(then)
        waiting = asyncio.create_task(settle_next("ack"))

        async def waits() -> bool:
            return (await events.info()).scheduled == 1

        await until(waits)
        test_broker.clock.advance(5)
        await waiting
    assert seen == [b"1", b"2", b"3", b"1", b"2"]


async def test_the_next_active_consumer_takes_over_when_the_connection_is_lost(
    client: Client, test_broker: TestBroker
) -> None:
    events = client.queue("events")
    group = events.group("audit", mode="single")
    await group.declare()
    other = await connect(test_broker.url, name="other")
    first = other.queue("events").group("audit").consume(prefetch=10)
    await first.__aenter__()
    await events.publish_many([b"1", b"2"])
    assert (await anext(first)).body == b"1"
    async with group.consume() as second:
        await other.close()
        taken = [await anext(second), await anext(second)]
        assert [message.body for message in taken] == [b"1", b"2"]
        for message in taken:
            await message.ack()


async def test_messages_of_one_key_come_one_at_a_time_whoever_works(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    group = events.group("orders", mode="keyed")
    await group.declare()
    await events.publish_many([Message(b"%d" % n, key=f"k{n % 3}") for n in range(300)])
    done: list[int] = []
    busy: set[str | None] = set()

    async def work(connection: Client) -> None:
        async with connection.queue("events").consume(group="orders", prefetch=2) as messages:
            async for message in messages:
                assert message.key not in busy
                busy.add(message.key)
                await asyncio.sleep(0)
                busy.remove(message.key)
                done.append(int(message.body))
                await message.ack()
                if len(done) == 150:
                    test_broker.drop_connections()
                if len(set(done)) == 300:
                    return

    async with connect(test_broker.url, name="other") as other:
        workers = [asyncio.create_task(work(connection)) for connection in (client, other, client)]
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    assert not any(worker.exception() for worker in workers if not worker.cancelled())
    for key in range(3):
        first_times = list(dict.fromkeys(n for n in done if n % 3 == key))
        assert first_times == list(range(key, 300, 3))


async def test_what_is_behind_a_dead_message_waits_for_its_redrive(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    group = events.group("orders", mode="keyed", on_dead="hold")
    await group.declare()
    await events.publish_many([Message(b"a1", key="a"), Message(b"a2", key="a"), Message(b"b1", key="b")])

    async def is_held() -> bool:
        return (await group.info()).held == 1

    async with group.consume() as messages:
        first, other = await anext(messages), await anext(messages)
        assert (first.body, other.body) == (b"a1", b"b1")
        await first.reject(reason="cannot")
        await other.ack()
        await until(is_held)
        assert [found.offset async for found in events.find(state="held", group="orders")] == [0]
    test_broker.restart()
    async with group.consume() as messages:
        assert await events.redrive() == 1
        for body in (b"a1", b"a2"):
            message = await anext(messages)
            assert message.body == body
            await message.ack(confirm=True)
    assert (await events.info()).messages == 0


async def test_removing_the_dead_letter_skips_the_held_message(client: Client) -> None:
    events = client.queue("events")
    group = events.group("orders", mode="single", on_dead="hold")
    await group.declare()
    await events.publish_many([b"1", b"2"])
    async with group.consume(prefetch=1) as messages:
        await (await anext(messages)).reject(reason="cannot")

        async def is_held() -> bool:
            return (await group.info()).held == 1

        await until(is_held)
        assert await client.queue("events.dead").purge() == 1
        assert (await anext(messages)).body == b"2"


async def test_a_living_queue_and_group_are_altered(client: Client, test_broker: TestBroker) -> None:
    events = client.queue("events")
    group = events.group("orders", mode="keyed", on_dead="hold")
    await group.declare()
    assert await events.alter(lease=7, backoff=(1, 2)) == {
        "lease_ms": (30_000, 7000),
        "backoff_min_ms": (0, 1000),
        "backoff_max_ms": (0, 2000),
    }
    assert await group.alter(on_dead="skip") == {"on_dead": ("hold", "skip")}
    assert await group.alter(rate="100/s") == {"rate_per_s": (None, 100.0)}
    assert await group.alter(rate=0) == {"rate_per_s": (100.0, None)}
    assert await events.alter(rate=50, rate_burst=2) == {"rate_per_s": (None, 50.0), "rate_burst": (None, 2)}
    assert await events.alter(ttl=60, on_expired="dead-letter", priority_max=255) == {
        "ttl_ms": (0, 60_000),
        "on_expired": ("drop", "dead-letter"),
        "priority_max": (9, 255),
    }
    test_broker.restart()
    assert (await events.info()).lease == 7
    assert (await events.info()).ttl == 60
    assert (await group.info()).on_dead == "skip"


async def test_exclusive_and_unknown_are_errors_of_their_own(client: Client) -> None:
    events = client.queue("events")
    async with events.consume(exclusive=True):
        with pytest.raises(ExclusiveConsumer):
            async with events.consume():
                pass
    with pytest.raises(UnknownGroup):
        async with events.consume(group="nobody"):
            pass
    await events.group("billing").declare()
    with pytest.raises(SettingsDiffer):
        await events.group("billing", mode="single").declare()


async def test_a_first_group_that_would_drop_messages_is_refused(client: Client) -> None:
    events = client.queue("events")
    await events.publish(b"1")
    with pytest.raises(QueueNotEmpty, match="purge"):
        await events.group("audit", start="latest").declare()


async def test_deleting_a_group_ends_its_consumers(client: Client) -> None:
    events = client.queue("events")
    group = events.group("billing")
    await group.declare()
    await events.publish(b"1")
    async with group.consume() as messages:
        await anext(messages)
        assert await group.delete() == 1
        with pytest.raises(GroupDeleted):
            await anext(messages)
    with pytest.raises(UnknownGroup):
        await group.info()


async def test_a_purge_is_for_one_group_or_for_all(client: Client) -> None:
    events = client.queue("events")
    billing, audit = events.group("billing"), events.group("audit")
    await billing.declare()
    await audit.declare()
    await events.publish_many([b"1", b"2"])
    assert await billing.purge() == 2
    assert (await audit.info()).ready == 2
    assert await events.purge() == 2
    assert (await events.info()).messages == 0


async def test_a_paused_queue_hands_out_nothing(client: Client) -> None:
    events = client.queue("events")
    await events.pause()
    await events.publish(b"1")
    async with events.consume() as messages:
        info = await events.info()
        assert (info.paused, info.ready, info.leased) == (True, 1, 0)
        await events.resume()
        assert (await anext(messages)).body == b"1"


def test_the_blocking_client_has_groups_too(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        events = client.queue("events")
        events.declare()
        billing = events.group("billing", mode="single")
        assert billing.declare()
        events.publish_many([b"1", b"2"])
        billing.pause()
        assert billing.info().paused
        billing.resume()
        with billing.consume() as messages:
            for message in messages:
                message.requeue() if message.attempt == 1 and message.body == b"1" else message.ack(confirm=True)
                if message.body == b"2":
                    break
        assert [group.name for group in events.groups()] == ["billing"]
        assert billing.purge() == 1
        assert billing.redrive() == 0
        events.pause()
        events.resume()
        assert billing.delete() == 0
