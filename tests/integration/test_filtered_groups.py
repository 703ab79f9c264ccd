"""Groups with a selector, on the real broker: the asyncio client, the blocking one, the command, and a restart."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import BadSelector, Client, Group, Message, SettingsDiffer, connect, sync

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        await client.queue("orders").declare()
        yield client


async def take(group: Group, count: int) -> list[bytes]:
    taken: list[bytes] = []
    async with group.consume() as messages:
        async for message in messages:
            await message.ack(confirm=True)
            taken.append(message.body)
            if len(taken) == count:
                break
    return taken


def orders(count: int) -> list[Message]:
    return [Message(b"%d" % n, headers={"region": ("eu", "us", "asia")[n % 3], "amount": n}) for n in range(count)]


async def test_each_group_gets_what_it_selects_in_order(client: Client) -> None:
    queue = client.queue("orders")
    europe = queue.group("europe", where="region = 'eu' AND amount > 2")
    large = queue.group("large", where="amount >= 9998")
    for group in (europe, large):
        assert await group.declare()
    await queue.publish_many(orders(10_000))

    assert await take(europe, 3333) == [b"%d" % n for n in range(3, 10_000, 3)]
    assert await take(large, 2) == [b"9998", b"9999"]
    told = await europe.info()
    assert (told.where, told.filtered, told.acked, told.messages) == ("region = 'eu' AND amount > 2", 6667, 3333, 0)
    assert (await queue.info()).messages == 0


async def test_an_ephemeral_group_may_be_filtered(client: Client) -> None:
    queue = client.queue("orders")
    async with queue.group(ephemeral=True, where="region = 'us'").consume() as live:
        await queue.publish_many(orders(6))
        assert [(await anext(live)).body for _ in range(2)] == [b"1", b"4"]


async def test_a_wrong_selector_and_another_selector_are_refused(client: Client) -> None:
    queue = client.queue("orders")
    with pytest.raises(BadSelector, match="expected a name or a value"):
        await queue.group("europe", where="region = ").declare()
    assert await queue.group("europe", where="region = 'eu'").declare()
    with pytest.raises(SettingsDiffer, match="where"):
        await queue.group("europe", where="region = 'us'").declare()


def test_the_blocking_client_filters_too(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        queue = client.queue("orders")
        queue.declare()
        group = queue.group("europe", where="region = 'eu'")
        assert group.declare()
        queue.publish_many(orders(6))
        with group.consume() as messages:
            assert [next(iter(messages)).body for _ in range(2)] == [b"0", b"3"]


def test_the_command_declares_and_shows_the_selector(broker: Broker, queue: str) -> None:
    made = broker.json("group", "declare", queue, "europe", "--where", "region = 'eu'")
    assert (made["created"], made["where"]) == (True, "region = 'eu'")
    broker.run("publish", queue, "one", "--header", "region=eu")
    broker.run("publish", queue, "two", "--header", "region=us")
    [found] = broker.lines("queue", "find", queue, "--group", "europe", "--json")
    assert found["body"] == "one"
    wrong = broker.run("group", "declare", queue, "asia", "--where", "region == 'asia'")
    assert wrong.exit_code == 64
    assert wrong.stderr.splitlines()[1:] == ["  region == 'asia'", "          ^"]


async def test_consumers_of_one_group_may_select(client: Client) -> None:
    queue = client.queue("orders")
    await queue.publish_many(orders(9))
    async with (
        queue.consume(where="region = 'eu'") as europe,
        queue.group().consume(where="region = 'us' AND amount > 1") as america,
    ):
        assert [(await anext(europe)).body for _ in range(3)] == [b"0", b"3", b"6"]
        assert [(await anext(america)).body for _ in range(2)] == [b"4", b"7"]
        info = await queue.info()
        assert (info.leased, info.ready) == (5, 4)
    with pytest.raises(BadSelector):
        async with queue.consume(where="region ="):
            pass


def test_the_command_consumes_what_is_selected(broker: Broker, queue: str) -> None:
    for region in ("eu", "us", "eu"):
        broker.run("publish", queue, region, "--header", f"region={region}")

    taken = broker.lines("consume", queue, "--where", "region = 'eu'", "--count", "2", "--json")
    assert [message["body"] for message in taken] == ["eu", "eu"]
    assert broker.count(queue, "ready") == 1


def test_a_definitions_file_keeps_the_selector_and_points_into_a_wrong_one(
    broker: Broker, queue: str, tmp_path: Path
) -> None:
    broker.run("group", "declare", queue, "europe", "--where", "region = 'eu'")
    exported = broker.run("definitions", "export").stdout.decode()
    assert "where = \"region = 'eu'\"" in exported
    file = tmp_path / "broker.toml"
    file.write_text(exported)
    assert broker.run("definitions", "diff", file).exit_code == 0
    file.write_text(exported.replace("region = 'eu'", "region = = 'eu'"))
    wrong = broker.run("definitions", "diff", file)
    assert wrong.exit_code == 65
    assert "expected a name or a value" in wrong.stderr
