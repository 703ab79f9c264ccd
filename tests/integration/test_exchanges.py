"""Exchanges as users of the client library see them, on the real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    BadBinding,
    Client,
    Exchange,
    ExchangeInUse,
    Message,
    PenstockError,
    PublishFailed,
    ReceivedMessage,
    SettingsDiffer,
    UnknownExchange,
    Unroutable,
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
    """A client of it, with queues ``a``, ``b`` and ``c``."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url, name="tester") as client:
        for name in "abc":
            await client.queue(name).declare()
        yield client


async def bodies(client: Client, queue: str) -> list[bytes]:
    return [message.body async for message in client.queue(queue).peek(count=100_000)]


async def declared(client: Client, kind: str, name: str = "events") -> Exchange:
    exchange = client.exchange(name, kind)
    await exchange.declare()
    return exchange


async def take(client: Client, queue: str, count: int) -> list[ReceivedMessage]:
    """Consume and acknowledge so many messages."""
    taken: list[ReceivedMessage] = []
    async with client.queue(queue).consume() as messages:
        async for message in messages:
            await message.ack()
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_a_topic_leads_messages_to_the_queues_whose_pattern_matches(client: Client) -> None:
    events = await declared(client, "topic")
    assert await events.bind("a", "orders.*.new")
    assert not await events.bind("a", "orders.*.new")
    await events.bind("b", "orders.#")
    one = await events.publish("orders.eu.new", b"new")
    other = await events.publish("orders", b"all")
    assert (one.queue, one.offset, one.level) == ("", None, "synced")
    assert other.offset == 1
    assert await bodies(client, "a") == [b"new"]
    assert await bodies(client, "b") == [b"new", b"all"]


async def test_a_message_keeps_the_way_it_came_by(client: Client) -> None:
    events = await declared(client, "topic")
    await events.bind("a", "#")
    await events.publish("orders.eu", Message(b"x", key="k", headers={"h": 1}))
    await client.queue("a").publish(b"straight")
    first, second = await take(client, "a", 2)
    assert (first.exchange, first.routing_key, first.key, first.headers) == ("events", "orders.eu", "k", {"h": 1})
    assert (second.exchange, second.routing_key) == ("", "a")


async def test_what_no_queue_takes_is_an_error_unless_the_producer_says_otherwise(client: Client) -> None:
    events = await declared(client, "direct")
    await events.bind("a", "known")
    with pytest.raises(Unroutable, match="'events', routing key 'unknown'"):
        await events.publish("unknown", b"x")
    confirm = await events.publish("unknown", b"x", mandatory=False)
    assert confirm.offset is None
    info = await events.info()
    assert (info.published, info.unrouted, info.unroutable) == (1, 1, 1)
    await events.bind("b", "unknown")
    await events.publish("unknown", b"now it has a queue")
    assert await bodies(client, "b") == [b"now it has a queue"]


async def test_an_unroutable_message_does_not_take_its_neighbours_with_it(client: Client) -> None:
    events = await declared(client, "headers")
    await events.bind("a", headers={"kind": "a", "urgent": True})
    await events.bind("b", headers={"kind": "b", "size": None}, match="any")
    messages = [
        Message(b"1", headers={"kind": "a", "urgent": True}),
        Message(b"2", headers={"kind": "c"}),
        Message(b"3", headers={"kind": "b"}),
        Message(b"4", headers={"size": 3, "kind": "a", "urgent": 1}),
    ]
    outcomes = await asyncio.gather(*(events.publish("", one) for one in messages), return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Confirm", "Unroutable", "Confirm", "Confirm"]
    assert await bodies(client, "a") == [b"1"]
    assert await bodies(client, "b") == [b"3", b"4"]


async def test_a_fanout_reaches_exchanges_and_a_queue_gets_a_message_once(client: Client) -> None:
    everyone = await declared(client, "fanout", "everyone")
    inner = await declared(client, "fanout", "inner")
    await everyone.bind("a")
    await everyone.bind(exchange="inner")
    await inner.bind("a")
    await inner.bind("b")
    await inner.bind(exchange="everyone")
    await everyone.publish("", b"once")
    assert [await bodies(client, name) for name in "abc"] == [[b"once"], [b"once"], []]
    assert (await everyone.info()).cycles_broken == 1
    bound = await everyone.bindings()
    assert [(one.kind, one.destination) for one in bound] == [("queue", "a"), ("exchange", "inner")]


async def test_the_alternate_exchange_gets_what_no_binding_takes(client: Client) -> None:
    events = client.exchange("events", "direct")
    await events.declare(alternate="strays")
    strays = await declared(client, "fanout", "strays")
    await strays.bind("c")
    await events.bind("a", "known")
    await events.publish("known", b"1")
    await events.publish("unknown", b"2")
    assert await bodies(client, "a") == [b"1"]
    assert await bodies(client, "c") == [b"2"]


async def test_a_consistent_hash_gives_each_key_one_queue(client: Client) -> None:
    shards = client.exchange("shards", "consistent-hash")
    await shards.declare(hash_by="key")
    for name in "abc":
        await shards.bind(name, weight=1)
    async with shards.publisher() as publisher:
        for number in range(300):
            await publisher.send("", Message(b"%d" % number, key=f"key-{number % 30}"))
    places: dict[int, set[str]] = {}
    for name in "abc":
        found = await bodies(client, name)
        assert found == sorted(found, key=int), "one producer's messages keep their order"
        for body in found:
            places.setdefault(int(body) % 30, set()).add(name)
    assert len(places) == 30
    assert all(len(names) == 1 for names in places.values())
    assert len(set.union(*places.values())) == 3


async def test_a_publisher_sends_under_many_routing_keys(client: Client) -> None:
    events = await declared(client, "topic")
    await events.bind("a", "#.even")
    await events.bind("b", "#")
    async with events.publisher() as publisher:
        for number in range(2000):
            await publisher.send(f"n{number % 50}.{'odd' if number % 2 else 'even'}", b"%d" % number)
    assert publisher.confirmed_count == 2000
    assert sorted(map(int, await bodies(client, "a"))) == list(range(0, 2000, 2))
    assert sorted(map(int, await bodies(client, "b"))) == list(range(2000))


async def test_a_publisher_names_what_was_unroutable(client: Client) -> None:
    events = await declared(client, "direct")
    await events.bind("a", "known")

    async def send_both() -> None:
        async with events.publisher() as publisher:
            await publisher.send("known", b"1")
            await publisher.send("unknown", b"2")

    with pytest.raises(PublishFailed) as failed:
        await send_both()
    assert failed.value.count == 1
    assert isinstance(failed.value.errors[0], Unroutable)
    async with events.publisher(mandatory=False) as publisher:
        await publisher.send("unknown", b"2")
    assert publisher.confirmed_count == 1


async def test_a_memory_queue_takes_part_and_the_confirm_says_so(client: Client) -> None:
    await client.queue("tap").declare(durable=False)
    everyone = await declared(client, "fanout")
    await everyone.bind("a")
    assert (await everyone.publish("", b"1")).level == "synced"
    await everyone.bind("tap")
    assert (await everyone.publish("", b"2")).level == "memory"
    assert await bodies(client, "tap") == [b"2"]
    assert await bodies(client, "a") == [b"1", b"2"]


async def test_dead_letters_keep_the_way_their_message_came_by(client: Client) -> None:
    events = await declared(client, "topic")
    await events.bind("a", "#")
    await events.publish("orders.eu", b"bad")
    async with client.queue("a").consume() as messages:
        async for message in messages:
            await message.reject(reason="no")
            break
    (dead,) = await take(client, "a.dead", 1)
    assert (dead.exchange, dead.routing_key) == ("events", "orders.eu")
    await client.queue("b").publish(b"plain")
    async with client.queue("b").consume() as messages:
        async for message in messages:
            await message.reject(reason="no")
            break
    (dead,) = await take(client, "b.dead", 1)
    assert (dead.exchange, dead.routing_key) == ("", "b")


async def test_a_deleted_queue_loses_its_bindings_and_a_new_one_of_its_name_has_none(client: Client) -> None:
    events = await declared(client, "fanout")
    await events.bind("a")
    await events.bind("b")
    await client.queue("a").delete()
    await client.queue("a").declare()
    await events.publish("", b"x")
    assert await bodies(client, "a") == []
    assert [one.destination for one in await events.bindings()] == ["b"]


async def test_wrong_bindings_are_refused_with_the_place_and_the_reason(client: Client) -> None:
    topic = await declared(client, "topic")
    with pytest.raises(BadBinding, match=r"word 2 \('n\*'\): '\*' stands for whole words"):
        await topic.bind("a", "orders.n*.x")
    hashing = await declared(client, "consistent-hash", "shards")
    with pytest.raises(BadBinding, match="weight"):
        await hashing.bind("a", "heavy")
    by_headers = await declared(client, "headers", "by-headers")
    with pytest.raises(BadBinding, match="argument 'deep'"):
        await by_headers.bind("a", headers={"deep": {"er": 1}})
    with pytest.raises(BadBinding, match="either a queue or an exchange"):
        await topic.bind(routing_key="x")
    with pytest.raises(BadBinding, match="at most 255 are allowed"):
        await topic.publish("x" * 256, b"x")


async def test_declaring_and_deleting(client: Client) -> None:
    events = client.exchange("events", "topic")
    with pytest.raises(UnknownExchange):
        await events.info()
    assert await events.declare()
    assert not await events.declare()
    with pytest.raises(SettingsDiffer, match="type is 'fanout', not 'topic'"):
        await client.exchange("events", "fanout").declare()
    await events.declare(passive=True)
    await events.bind("a", "#")
    with pytest.raises(ExchangeInUse):
        await events.delete(if_unused=True)
    assert await events.unbind("a", "#")
    assert not await events.unbind("a", "#")
    await events.bind("a", "#")
    assert [info.name for info in await client.exchanges()] == ["events"]
    assert await events.delete() == 1
    with pytest.raises(UnknownExchange):
        await events.publish("x", b"x")
    with pytest.raises(PenstockError, match="reserved"):
        await client.exchange("amq.topic", "topic").declare()
    with pytest.raises(PenstockError, match="default exchange"):
        await client.exchange("", "direct").bind("a", "a")


async def test_a_deleted_exchange_refuses_and_a_new_one_takes_over(client: Client) -> None:
    events = await declared(client, "fanout")
    await events.bind("a")
    await events.publish("", b"1")
    await events.delete()
    with pytest.raises(UnknownExchange):
        await events.publish("", b"2")
    await events.declare()
    await events.bind("b")
    await events.publish("", b"3")
    assert [await bodies(client, name) for name in "ab"] == [[b"1"], [b"3"]]


async def test_exchanges_bindings_and_what_was_routed_survive_a_restart(
    test_broker: TestBroker, client: Client
) -> None:
    events = await declared(client, "topic")
    await events.bind("a", "x.#")
    await events.bind("b", "*")
    await events.publish("x", b"1")
    before = await events.info()
    await asyncio.to_thread(test_broker.restart)
    await events.publish("x.y", b"2")
    after = await events.info()
    assert (after.id, after.bindings, after.published) == (before.id, 2, 2)
    assert [await bodies(client, name) for name in "ab"] == [[b"1", b"2"], [b"1"]]


async def test_a_queue_that_deduplicates_does_so_through_an_exchange_and_a_restart(
    client: Client, test_broker: TestBroker
) -> None:
    events = client.exchange("events", type="fanout")
    await events.declare()
    once, all_of_them = client.queue("once"), client.queue("all")
    await once.declare(dedup_window=60)
    await all_of_them.declare()
    for queue in (once, all_of_them):
        await events.bind(queue.name)
    message = Message(b"invoice 7", message_id="invoice-7")
    await events.publish("", message)
    test_broker.restart()
    assert not (await events.publish("", message)).duplicate, "one of its queues stored it"
    assert (await once.publish(message)).duplicate
    assert ((await once.info()).ready, (await all_of_them.info()).ready) == (1, 2)
    await events.unbind("all")
    assert (await events.publish("", message)).duplicate
