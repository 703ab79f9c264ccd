"""Single messages in an operator's hands: cancelled, edited, moved, copied, redriven by what they say (S16)."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.commands import Broker

from penstock.testing import TestBroker
from penstock_client import Client, Message, MessageLeased, PenstockError, UnknownMessage, connect, finding, sync

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        for name in ("jobs", "slow"):
            await client.queue(name).declare(backoff=(0, 0), max_failures=1)
        await client.queue("jobs").publish_many([Message(f"{n}".encode(), headers={"n": n}) for n in range(6)])
        yield client


async def bodies(client: Client, queue: str) -> list[bytes]:
    return [message.body async for message in client.queue(queue).peek(count=100)]


async def bury(client: Client) -> None:
    async with client.queue("jobs").consume(prefetch=10) as messages:
        for _ in range(6):
            await (await anext(messages)).reject(reason="unreadable")
    for _ in range(500):  # dead letters are written by and by
        if (await client.queue("jobs.dead").info()).messages == 6:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the dead letters do not arrive")


async def test_a_cancelled_message_is_gone_and_a_held_one_is_refused(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.cancel(3)
    with pytest.raises(UnknownMessage):
        await jobs.cancel(3)
    async with jobs.consume(prefetch=1) as messages:
        message = await anext(messages)
        with pytest.raises(MessageLeased) as error:
            await jobs.cancel(message.offset)
        assert "revoke its lease" in str(error.value)
    assert await bodies(client, "jobs") == [b"0", b"1", b"2", b"4", b"5"]


async def test_an_edited_message_goes_to_the_end_and_says_what_it_replaces(client: Client) -> None:
    jobs = client.queue("jobs")
    await jobs.replace(0, Message(b"mended", key="k"))
    *_, edited = [message async for message in jobs.peek(count=100)]
    assert (edited.body, edited.key) == (b"mended", "k")
    assert edited.properties["edited_from"] == {"queue": "jobs", "offset": 0}
    assert (await bodies(client, "jobs"))[0] == b"1"


async def test_a_dead_letter_is_edited_and_redriven(client: Client) -> None:
    jobs, dead = client.queue("jobs"), client.queue("jobs.dead")
    await bury(client)
    letter = await anext(aiter(jobs.find(state="dead")))
    await dead.replace(letter.offset, b"mended")
    *_, edited = [found async for found in jobs.find(state="dead")]
    assert (edited.body, edited.dead and edited.dead.reason) == (b"mended", letter.reason)
    await dead.redrive_one(edited.offset)
    *_, redriven = [message async for message in jobs.peek(count=100)]
    assert (redriven.body, redriven.redriven and redriven.redriven.queue) == (b"mended", "jobs")


async def test_a_held_message_s_dead_letter_is_not_edited(client: Client) -> None:
    """It would lose its place, which is what it is held for."""
    ordered = client.queue("ordered")
    await ordered.declare(max_failures=1)
    await ordered.group("one", mode="single", on_dead="hold").declare()
    await ordered.publish_many([b"0", b"1"])
    async with ordered.consume(group="one", prefetch=1) as messages:
        await (await anext(messages)).reject()
        for _ in range(500):
            if (await ordered.info()).held:
                break
            await asyncio.sleep(0.01)
    with pytest.raises(PenstockError, match="held in its place"):
        await client.queue("ordered.dead").replace(0, b"mended")
    assert (await ordered.info()).held == 1


async def test_a_message_is_not_replaced_by_one_for_later(client: Client) -> None:
    with pytest.raises(PenstockError, match="later"):
        await client.queue("jobs").replace(0, Message(b"x", delay=60))
    assert len(await bodies(client, "jobs")) == 6


async def test_what_is_moved_is_in_one_place_and_what_is_copied_in_two(client: Client) -> None:
    jobs = client.queue("jobs")
    counted = await jobs.move("slow", where="n < 2", dry_run=True)
    assert (counted.found, counted.done) == (2, 0)
    moved = await jobs.move("slow", where="n < 2")
    assert (moved.found, moved.done, moved.refused) == (2, 2, [])
    copied = await jobs.copy("slow", text="5", rate="1000/s")
    assert copied.done == 1
    assert await bodies(client, "slow") == [b"0", b"1", b"5"]
    assert await bodies(client, "jobs") == [b"2", b"3", b"4", b"5"]


async def test_copies_that_land_in_the_same_queue_are_not_copied_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_PAGE", 2)
    copied = await client.queue("jobs").copy("jobs", rate="10000/s")
    assert (copied.found, copied.done) == (6, 6)


async def test_dead_letters_go_back_by_what_they_say(client: Client) -> None:
    await bury(client)
    jobs = client.queue("jobs")
    assert await jobs.redrive(where="n >= 4", dry_run=True) == 2
    assert await bodies(client, "jobs") == []
    heard: list[int] = []
    assert await jobs.redrive(where="n >= 4", rate="1000/s", progress=heard.append) == 2
    assert await bodies(client, "jobs") == [b"4", b"5"]
    assert heard[-1] == 2
    await client.queue("jobs.dead").redrive_one(0)
    assert await bodies(client, "jobs") == [b"4", b"5", b"0"]
    with pytest.raises(PenstockError) as error:
        await jobs.redrive_one((await jobs.info()).next_offset - 1)
    assert error.value.code == "not-dead"


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "shred", "offsets": [1]},
        {"action": "cancel", "offsets": []},
        {"action": "cancel", "offsets": [-1]},
        {"action": "cancel", "offsets": list(range(1001))},
        {"action": "cancel", "offsets": [1], "target": "slow"},
        {"action": "move", "offsets": [1]},
        {"action": "move", "offsets": [1], "target": "jobs"},
        {"action": "replace", "offsets": [1]},
        {"action": "replace", "offsets": [1], "block": b"rubbish"},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(client: Client, arguments: dict[str, object]) -> None:
    from penstock_client.wire.frames import FrameType

    with pytest.raises(PenstockError):
        await client.call(FrameType.TRANSFER, {"queue": "jobs", "group": "", **arguments}, once=True)
    assert len(await bodies(client, "jobs")) == 6


async def test_what_was_transferred_is_so_after_a_restart(client: Client, test_broker: TestBroker) -> None:
    jobs = client.queue("jobs")
    await jobs.move("slow", where="n = 0")
    await jobs.replace(1, b"mended")
    await jobs.cancel(2)
    test_broker.restart()
    assert await bodies(client, "jobs") == [b"3", b"4", b"5", b"mended"]
    assert await bodies(client, "slow") == [b"0"]


def test_the_blocking_client_does_the_same(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        for name in ("jobs", "slow"):
            client.queue(name).declare()
        jobs = client.queue("jobs")
        jobs.publish_many([b"0", b"1", b"2"])
        jobs.cancel(0)
        jobs.replace(1, b"mended")
        assert jobs.copy("slow").done == 2
        assert jobs.move("slow", limit=1).done == 1
        assert jobs.redrive(dry_run=True) == 0
        with pytest.raises(UnknownMessage):
            client.queue("slow").redrive_one(99)


def test_the_commands_say_what_they_did(broker: Broker, queue: str) -> None:
    other = broker.declare(f"{queue}-other")
    broker.run("publish", queue, "--lines", "-", stdin=b"one\ntwo\nthree\nfour\n")
    assert b"message 0 cancelled" in broker.run("queue", "cancel", queue, "0").stdout
    assert b"message 1 replaced" in broker.run("queue", "edit", queue, "1", "--body", "mended").stdout
    dry = broker.run("queue", "move", queue, other, "--text", "three", "--dry-run")
    assert b"1" in dry.stdout
    assert broker.count(other) == 0
    assert broker.json("queue", "move", queue, other, "--text", "three", "--json")["done"] == 1
    assert broker.json("queue", "copy", queue, other, "--limit", "1", "--json")["done"] == 1
    assert [one["body"] for one in broker.lines("queue", "peek", other, "--json")] == ["three", "four"]
    gone = broker.run("queue", "cancel", queue, "0")
    assert (gone.exit_code, gone.stdout) == (66, b"")
    gone = broker.run("queue", "edit", queue, "0", "--body", "x")
    assert gone.exit_code == 66
    plain = broker.run("queue", "redrive", other, "--offset", "0")
    assert plain.exit_code != 0
    assert "no dead letter" in plain.stderr
    dry = broker.json("queue", "redrive", queue, "--dry-run", "--json")
    assert dry == {"queue": queue, "found": 0, "redriven": 0}
    assert broker.json("queue", "cancel", queue, "3", "--json") == {"queue": queue, "group": "", "cancelled": 3}
    assert broker.json("queue", "edit", other, "0", "--body", "x", "--json")["replaced"] == 0


def test_an_edit_keeps_what_the_message_asked_for(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "wrong", "--priority", "7", "--ttl", "3600", "--key", "k")
    broker.run("queue", "edit", queue, "0", "--body", "right")
    [edited] = broker.lines("queue", "peek", queue, "--json")
    assert (edited["body"], edited["key"], edited["priority"], edited["ttl"]) == ("right", "k", 7, 3600)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cancel", "jobs", "99999999999999999999"), "out of range"),
        (("cancel", "jobs", "--", "-1"), "OFFSET"),
        (("declare", "jobs", "--max-messages", "99999999999999999999"), "out of range"),
        (("declare", "jobs", "--lease", "inf"), "a duration is seconds, not inf"),
        (("declare", "jobs", "--lease", "nan"), "a duration is seconds, not nan"),
        (("find", "jobs", "--since", "99999999999999d"), "is not a time"),
        (("redrive", "jobs", "--rate", "-5/s"), "is no rate"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_in_a_line(
    broker: Broker, arguments: tuple[str, ...], said: str
) -> None:
    done = broker.run("queue", *arguments)
    assert (done.exit_code, done.stdout) == (64, b"")
    assert said in done.stderr
    assert "unexpected" not in done.stderr
