"""Finding messages on the real broker: the asyncio client, the blocking one, and `penstock queue find`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import BadSelector, BadSetting, Client, Message, UnknownQueue, connect
from penstock_client.sync import connect as connect_blocking

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it, with a queue ``jobs``: 0 scheduled, 1 dead, 2 leased, 3 to 5 ready."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        jobs = client.queue("jobs")
        await jobs.declare(backoff=(60, 60))
        await jobs.publish_many(
            [
                Message(b"order %d" % number, key=f"k{number % 2}", headers={"region": "eu", "amount": number})
                for number in range(6)
            ]
        )
        async with jobs.consume(prefetch=3, name="worker-1") as messages:
            taken = [await anext(messages) for _ in range(3)]
            await taken[0].nack(reason="TimeoutError: slow")
            await taken[1].reject(reason="ValueError: no such order")
            while not [one async for one in jobs.find(state="dead")]:
                pass
            yield client


async def test_what_no_consumer_can_read_is_found_and_peeked_at(client: Client) -> None:
    """Whoever looks for broken messages must not fail at the first of them."""
    broken = client.queue("broken")
    await broken.declare()
    extension = b"\x81\xa1x\xd6\x05abcd"
    nonsense = msgpack.packb({"dead": {"queue": "jobs"}, "timestamp": "x"})
    for properties in (extension, nonsense):
        await client.publish("broken", (b"body", msgpack.packb("k"), b"\xc0", properties), 0)
    found = [one async for one in broken.find()]
    peeked = [one async for one in broken.peek()]
    assert [(one.body, one.key, one.dead, one.timestamp) for one in found] == [(b"body", "k", None, None)] * 2
    assert [(one.body, one.key, one.dead, one.timestamp) for one in peeked] == [(b"body", "k", None, None)] * 2


async def test_all_of_a_queue_is_found_the_dead_last(client: Client) -> None:
    found = [(one.queue, one.offset, one.state) async for one in client.queue("jobs").find()]

    assert found[0] == ("jobs", 0, "scheduled")
    assert found[-1] == ("jobs.dead", 0, "dead")
    assert [state for _, _, state in found].count("dead") == 1


async def test_a_found_message_tells_who_has_it_when_it_comes_and_why_it_died(client: Client) -> None:
    jobs = client.queue("jobs")

    [scheduled] = [one async for one in jobs.find(state="scheduled")]
    assert scheduled.until is not None
    assert scheduled.until > datetime.now(UTC)
    assert (scheduled.reason, scheduled.consumer, scheduled.body) == ("TimeoutError: slow", "", b"order 0")
    [leased, *_] = [one async for one in jobs.find(state="leased", where="amount = 2")]
    assert leased.consumer == "worker-1"
    assert leased.until is not None
    [dead] = [one async for one in jobs.find(state="dead")]
    assert (dead.reason, dead.until, dead.body) == ("ValueError: no such order", None, b"order 1")
    assert dead.dead is not None
    assert (dead.dead.queue, dead.dead.offset) == ("jobs", 1)
    assert repr(dead) == "<dead message 0 of 'jobs.dead', 7 bytes>"


async def test_conditions_are_joined(client: Client) -> None:
    jobs = client.queue("jobs")
    soon = datetime.now(UTC) + timedelta(hours=1)

    async def bodies(**conditions: object) -> list[bytes]:
        return [one.body async for one in jobs.find(**conditions)]  # type: ignore[arg-type]

    assert await bodies(where="region = 'eu' AND amount > 3") == [b"order 4", b"order 5"]
    assert await bodies(text="der 4") == [b"order 4"]
    assert await bodies(text=b"order", key="k1") == [b"order 3", b"order 5", b"order 1"]
    assert await bodies(key="k1", limit=1) == [b"order 3"]
    assert await bodies(since=soon) == []
    assert len(await bodies(until=soon)) == 6
    assert await bodies(state="dead", where="amount <> 1") == []


async def test_a_peek_with_a_selector_shows_what_it_selects(client: Client) -> None:
    jobs = client.queue("jobs")

    assert [one.body async for one in jobs.peek(where="amount >= 4")] == [b"order 4", b"order 5"]
    assert [one.offset async for one in jobs.peek(3, 1, where="amount >= 0")] == [3]
    [first] = [one async for one in jobs.peek(count=1, where="amount >= 0")]
    with pytest.raises(TypeError, match="peeked"):
        await first.ack(confirm=True)


async def test_what_is_wrong_is_an_error_of_its_own(client: Client) -> None:
    jobs = client.queue("jobs")

    with pytest.raises(BadSelector, match=r"expected a name or a value"):
        [one async for one in jobs.find(where="amount >")]
    with pytest.raises(BadSelector):
        [one async for one in jobs.peek(where="amount = = 3")]
    with pytest.raises(BadSetting, match="state must be one of"):
        [one async for one in jobs.find(state="lost")]
    with pytest.raises(UnknownQueue):
        [one async for one in client.queue("nowhere").find()]


async def test_a_large_queue_is_read_through_in_many_requests(client: Client) -> None:
    many = client.queue("many")
    await many.declare()
    await many.publish_many([Message(b"x" * 900, headers={"number": number}) for number in range(12_000)])

    found = [one.offset async for one in many.find(where="number >= 11999 OR number = 0")]

    assert found == [0, 11_999]
    assert len([one async for one in many.find(text="x", limit=2_500)]) == 2_500


def test_the_blocking_client_finds_the_same() -> None:
    with TestBroker() as broker, connect_blocking(broker.url) as client:
        jobs = client.queue("jobs")
        jobs.declare()
        jobs.publish_many([Message(b"%d" % number, headers={"n": number}) for number in range(3)])

        assert [one.body for one in jobs.find(where="n > 0")] == [b"1", b"2"]
        assert [one.body for one in jobs.peek(where="n > 0", count=1)] == [b"1"]
        with pytest.raises(BadSelector):
            list(jobs.find(where="n >"))


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_shows_a_table_and_json(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one", "--header", "region=eu")
    broker.run("publish", queue, "two", "--header", "region=us", "--key", "acc-7")

    done = broker.run("queue", "find", queue, "--where", "region = 'us'", "--since", "1h")
    assert done.exit_code == 0, done.stderr
    head, row = done.stdout.decode().splitlines()
    assert head.split() == ["offset", "state", "what", "tries", "published", "key", "message"]
    assert row.split()[:2] == ["1", "ready"]
    assert row.split()[-2:] == ["acc-7", "two"]
    [found] = broker.lines("queue", "find", queue, "--text", "one", "--json")
    assert (found["offset"], found["state"], found["body"], found["attempts"]) == (0, "ready", "one", 0)
    [peeked] = broker.lines("queue", "peek", queue, "--where", "region = 'eu'", "--json")
    assert peeked["body"] == "one"


def test_the_command_tells_why_a_message_died(broker: Broker, queue: str) -> None:
    with connect_blocking(broker.url) as client, client.queue(queue).consume(name="worker-1") as messages:
        client.queue(queue).publish(b"bad")
        next(iter(messages)).reject(reason="ValueError: no such order")
    with connect_blocking(broker.url) as client:
        while client.queue(queue).info().dead != 1:
            pass

    [found] = broker.lines("queue", "find", queue, "--state", "dead", "--json")
    assert (found["state"], found["reason"]) == ("dead", "ValueError: no such order")
    assert found["dead"]["failures"][0]["consumer"] == "worker-1"
    row = broker.run("queue", "find", queue, "--text", "bad").stdout.decode().splitlines()[1]
    assert "ValueError: no such order" in row


def test_a_wrong_selector_is_pointed_at(broker: Broker, queue: str) -> None:
    done = broker.run("queue", "find", queue, "--where", "region = = 'eu'")

    assert done.exit_code == 64
    assert done.stdout == b""
    first, *pointer = done.stderr.splitlines()
    assert first.startswith("penstock: the selector is wrong")
    assert pointer == ["  region = = 'eu'", "           ^"]


def test_a_wrong_time_is_a_usage_error(broker: Broker, queue: str) -> None:
    done = broker.run("queue", "find", queue, "--since", "yesterday")

    assert done.exit_code == 64
    assert "yesterday" in done.stderr
