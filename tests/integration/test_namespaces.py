"""Namespaces on the real broker: by URL, in both SDKs, on the command line and in a file."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import (
    Client,
    ConnectionLost,
    ConnectionRefused,
    Message,
    NamespaceFull,
    NamespaceInUse,
    SettingsDiffer,
    UnknownNamespace,
    UnknownQueue,
    connect,
    sync,
)
from penstock_client.url import Address, parse_url

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def root(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client in the root."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        yield client


@pytest.fixture
async def client(test_broker: TestBroker, root: Client) -> AsyncIterator[Client]:
    """A client in the namespace "billing"."""
    await root.namespace("billing").declare()
    async with connect(f"{test_broker.url}/billing") as client:
        yield client


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("penstock://h", Address("h", 7419, "")),
        ("penstock://h:1/", Address("h", 1, "")),
        ("penstock://h:1/billing", Address("h", 1, "billing")),
        ("penstock://h/b%20%C3%A9", Address("h", 7419, "b é")),
    ],
)
def test_a_url_has_a_namespace(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize("url", ["penstock://h/a/b", "penstock://h/a%2Fb", "penstock://h/a?x=1", "penstock://u@h/a"])
def test_a_url_with_more_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="penstock://"):
        parse_url(url)


async def test_names_are_those_of_the_namespace(root: Client, client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    await jobs.publish(b"inside")
    assert client.namespace_name == "billing"
    assert [info.name for info in await client.queues()] == ["jobs"]
    assert [info.name for info in await root.queues()] == ["billing/jobs"]
    with pytest.raises(UnknownQueue):
        await root.queue("jobs").info()
    async with root.queue("billing/jobs").consume() as messages:
        message = await anext(aiter(messages))
        assert message.body == b"inside"
        await message.reject(reason="no good")
    [letter] = [found async for found in jobs.find(state="dead")]
    assert letter.body == b"inside"
    assert await jobs.redrive() == 1


async def test_requests_exchanges_and_schedules_work_inside(client: Client) -> None:
    prices, events = client.queue("prices"), client.exchange("events", type="topic")
    await prices.declare()
    await events.declare()
    await events.bind("prices", "ask.#")

    async def answer() -> None:
        async with prices.consume() as messages:
            async for message in messages:
                assert message.exchange in ("", "events")
                await message.reply(b"42")
                await message.ack()

    answering = asyncio.create_task(answer())
    assert (await client.request("prices", b"?")).body == b"42"
    await events.publish("ask.more", b"x")
    await client.schedule("tick").add("0 0 1 1 *", "prices", b"happy new year")
    assert [one.name for one in await client.schedules()] == ["tick"]
    assert [binding.destination for binding in await events.bindings()] == ["prices"]
    answering.cancel()


async def test_a_transaction_works_inside(client: Client) -> None:
    source, target = client.queue("source"), client.queue("target")
    await source.declare()
    await target.declare()
    await source.publish(b"x")
    async with source.consume() as messages:
        message = await anext(aiter(messages))
        async with client.transaction() as tx:
            tx.publish("target", Message(b"y"))
            tx.ack(message)
    assert ((await source.info()).messages, (await target.info()).messages) == (0, 1)


async def test_a_namespace_that_there_is_not_is_refused_at_once(test_broker: TestBroker) -> None:
    with pytest.raises(ConnectionRefused, match="penstock namespace declare") as refused:
        await connect(f"{test_broker.url}/nope")
    assert refused.value.code == "unknown-namespace"


async def test_declaring_in_a_namespace_that_there_is_not_says_what_to_do(root: Client) -> None:
    with pytest.raises(UnknownNamespace, match="declare the namespace first"):
        await root.queue("nope/jobs").declare()


async def test_limits_are_held_and_told(test_broker: TestBroker, root: Client, client: Client) -> None:
    billing = root.namespace("billing")
    assert await billing.alter(max_queues=1, max_connections=1, max_bytes=200) == {
        "max_queues": (0, 1),
        "max_connections": (0, 1),
        "max_bytes": (0, 200),
    }
    jobs = client.queue("jobs")
    await jobs.declare()
    with pytest.raises(NamespaceFull, match="has 1 queues, max_queues is 1"):
        await client.queue("more").declare()
    with pytest.raises(ConnectionLost, match="has 1 connections, max_connections is 1"):
        await connect(f"{test_broker.url}/billing")
    await jobs.publish(b"x" * 300)
    test_broker.clock.advance(1)
    with pytest.raises(NamespaceFull, match="stores as much as it may"):
        await jobs.publish(b"y")
    info = await billing.info()
    assert (info.queues, info.connections, info.bytes > 300) == (1, 1, True)
    with pytest.raises(NamespaceInUse, match="1 queues, 1 connections"):
        await billing.delete()
    with pytest.raises(SettingsDiffer):
        await billing.declare(max_queues=7)
    async with jobs.consume() as messages:
        await (await anext(aiter(messages))).ack(confirm=True)
    test_broker.clock.advance(1)
    await jobs.publish(b"y")


async def test_a_client_inside_comes_back_inside(test_broker: TestBroker, client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.declare()
    await asyncio.to_thread(test_broker.restart)
    await jobs.publish(b"x")
    assert [info.name for info in await client.queues()] == ["jobs"]


async def test_connections_tell_their_namespace_to_the_root_alone(root: Client, client: Client) -> None:
    assert sorted(one.namespace for one in await root.connections()) == ["", "billing"]
    assert len(await client.connections()) == 1
    assert "data_dir" not in await client.status()
    assert "data_dir" in await root.status()


def test_the_blocking_api_has_all_of_it(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as root:
        billing = root.namespace("billing")
        assert billing.declare(max_queues=5)
        assert billing.alter(max_queues=6) == {"max_queues": (5, 6)}
        with sync.connect(f"{test_broker.url}/billing") as client:
            client.queue("jobs").declare()
            client.queue("jobs").publish(b"x")
            assert [(one.name, one.queues) for one in root.namespaces()] == [("billing", 1)]
            client.queue("jobs").delete()
        assert billing.info().max_queues == 6
        billing.delete()
        assert root.namespaces() == []


def test_the_command_line_administers_and_uses_namespaces(broker: Broker) -> None:
    assert broker.json("namespace", "declare", "cli", "--max-queues", "3", "--max-bytes", "1000000")["created"] is True
    assert broker.run("namespace", "declare", "cli", "--max-queues", "4").exit_code == 78
    inside = ("--url", f"{broker.url}/cli")
    assert broker.run("queue", "declare", "jobs", *inside).exit_code == 0
    assert broker.run("publish", "jobs", "one", *inside).exit_code == 0
    assert [info["name"] for info in broker.lines("queue", "list", "--json", *inside)] == ["jobs"]
    listed = broker.run("namespace", "list").stdout.decode()
    assert "1 of 3" in listed
    assert "of 1.0 MB" in broker.run("namespace", "show", "cli").stdout.decode()
    assert "namespace cli" in broker.run("status").stdout.decode()
    assert broker.json("status")["namespaces"][0]["max_queues"] == 3
    assert "max_queues" in broker.json("status", *inside)
    assert broker.json("namespace", "alter", "cli", "--max-queues", "0")["changed"] == {"max_queues": [3, 0]}
    refused = broker.run("namespace", "delete", "cli", "--yes")
    assert (refused.exit_code, "1 queues" in refused.stderr) == (75, True)
    broker.run("queue", "delete", "jobs", "--yes", *inside)
    assert broker.json("namespace", "delete", "cli", "--yes") == {"namespace": "cli", "deleted": True}
    unknown = broker.run("queue", "list", *inside)
    assert (unknown.exit_code, "no namespace 'cli'" in unknown.stderr) == (66, True)


def test_a_command_that_a_full_namespace_keeps_out_says_so(broker: Broker) -> None:
    broker.run("namespace", "declare", "narrow", "--max-connections", "1")
    inside = f"{broker.url}/narrow"
    with sync.connect(inside):
        kept_out = broker.run("queue", "list", "--url", inside)
    assert kept_out.exit_code == 75
    assert "max_connections is 1" in kept_out.stderr
    assert "no broker" not in kept_out.stderr
    assert broker.run("queue", "list", "--url", inside).exit_code == 0


def test_a_file_has_namespaces_with_their_limits(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "definitions.toml"
    file.write_text(
        '[namespaces.files]\nmax_queues = 5\n[queues."files/jobs"]\nlease_ms = 5000\n'
        '[exchanges."files/events"]\ntype = "fanout"\n[[exchanges."files/events".bindings]]\nqueue = "files/jobs"\n'
    )
    assert broker.run("definitions", "apply", file).exit_code == 0
    assert broker.run("definitions", "diff", file).exit_code == 0
    exported = broker.run("definitions", "export").stdout.decode()
    assert "[namespaces.files]\nmax_queues = 5" in exported
    inside = ("--url", f"{broker.url}/files")
    part = broker.run("definitions", "export", *inside).stdout.decode()
    assert "[queues.jobs]" in part
    assert "files" not in part
    own = tmp_path / "own.toml"
    own.write_text(part)
    assert broker.run("definitions", "diff", own, *inside).exit_code == 0
    file.write_text("[namespaces.files]\nmax_queues = 6\nmax_bytes = 7\n")
    changes = broker.run("definitions", "apply", file).stdout.decode()
    assert changes == "alter namespace 'files': max_queues 5 -> 6, max_bytes 0 -> 7\n"
