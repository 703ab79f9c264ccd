"""Publishing: what is sent when, how much may be unconfirmed, and that every publish has an outcome."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.client.peer import ScriptedPeer, guarded

from penstock_client import (
    Client,
    Confirm,
    DiskFull,
    MemoryFull,
    Message,
    PenstockError,
    PublishFailed,
    PublishRefused,
    QueueFull,
    UnknownQueue,
    connect,
)
from penstock_client import sync as blocking
from penstock_client.wire.blocks import BlockChecker, decode_block, decode_bodies
from penstock_client.wire.entries import Level
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX


async def test_a_lone_publish_is_confirmed_with_offset_and_level(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        confirm = await guarded(client.queue("jobs").publish(b"one"))
    assert (confirm.offset, confirm.level, confirm.duplicate) == (1, "synced", False)


async def test_the_durability_asked_for_is_the_level_on_the_wire(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        confirm = await guarded(client.queue("jobs").publish(b"one", durability="written"))
    assert peer.last.publications[0].level == Level.WRITTEN
    assert confirm.level == "written"


async def test_publish_many_gives_one_confirm_each_in_order(peer: ScriptedPeer) -> None:
    bodies = [b"%d" % number for number in range(1234)]
    async with connect(peer.url) as client:
        confirms = await guarded(client.queue("jobs").publish_many(bodies))
    assert [confirm.offset for confirm in confirms] == list(range(1, 1235))
    assert [body for p in peer.last.publications for body in decode_bodies(p.block)] == bodies


async def test_everything_a_message_carries_is_on_the_wire(peer: ScriptedPeer) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    message = Message(
        b"x",
        key="k",
        headers={"h": 1},
        message_id="m",
        content_type="t",
        correlation_id="c",
        reply_to="r",
        timestamp=at,
    )
    async with connect(peer.url) as client, client.queue("jobs").publisher() as publisher:
        await publisher.send(b"plain")
        await publisher.send(message)
    columns = [decode_block(p.block) for p in peer.last.publications]
    bodies = [body for column in columns for body in column.bodies]
    assert bodies == [b"plain", b"x"]
    last = columns[-1]
    assert last.keys
    assert last.headers
    assert last.properties
    assert (last.keys[-1], last.headers[-1]) == ("k", {"h": 1})
    assert last.properties[-1] == {
        "message_id": "m",
        "content_type": "t",
        "correlation_id": "c",
        "reply_to": "r",
        "timestamp": int(at.timestamp() * 1000),
    }


async def test_messages_that_ask_for_terms_share_a_marked_block_with_others(peer: ScriptedPeer) -> None:
    messages: list[bytes | Message] = [
        b"plain",
        Message(b"x", ttl=1.5),
        Message(b"y", priority=0),
        Message(b"z", ttl=timedelta(minutes=1)),
    ]
    async with connect(peer.url) as client:
        await client.queue("jobs").publish_many(messages)
    [publication] = peer.last.publications
    columns = decode_block(publication.block)
    assert columns.properties == [None, {"ttl_ms": 1500}, {"priority": 0}, {"ttl_ms": 60_000}]
    assert BlockChecker(1000).check(publication.block), "it is marked"


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": -1}, {"priority": 256}, {"priority": -1}, {"priority": True}])
async def test_terms_that_make_no_sense_are_refused_where_they_are_published(
    peer: ScriptedPeer, wrong: dict[str, Any]
) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(ValueError, match=r"a ttl is|a priority is"):
            await client.queue("jobs").publish(Message(b"x", **wrong))


async def test_a_publisher_gathers_messages_into_blocks(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").publisher() as publisher:
        for number in range(2000):
            await publisher.send(b"%d" % number)
    publications = peer.last.publications
    assert sum(p.count for p in publications) == 2000
    assert len(publications) <= 8
    sequences = [(p.first_sequence, p.count) for p in publications]
    assert all(first + count == later for (first, count), (later, _) in pairwise(sequences))


async def test_no_block_of_several_messages_exceeds_the_limit(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").publisher() as publisher:
        for size in (1, 100_000, 200_000, 1, 260_000, 130_000, 130_000, 5):
            await publisher.send(bytes(size))
    assert sum(p.count for p in peer.last.publications) == 8
    assert all(p.count == 1 or len(p.block) <= BLOCK_BYTES_MULTI_MAX for p in peer.last.publications)


async def test_one_publisher_sends_to_many_queues_in_few_frames(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.publisher() as publisher:
        for number in range(2000):
            await publisher.send(f"q{number % 100}", b"%d" % number)
    assert peer.last.count(FrameType.PUBLISH) <= 12
    routes = peer.last.routes
    for p in peer.last.publications:
        queue = int(routes[p.route][1:])
        assert all(int(body) % 100 == queue for body in decode_bodies(p.block))


async def test_a_publisher_suspends_when_the_window_is_full_and_goes_on_with_the_confirms(peer: ScriptedPeer) -> None:
    peer.window_messages = 1000
    peer.holds_confirms = True
    sent = 0

    async def send() -> None:
        nonlocal sent
        async with client.queue("jobs").publisher() as publisher:
            for _ in range(10_000):
                await publisher.send(b"x")
                sent += 1

    async with connect(peer.url) as client:
        sending = asyncio.create_task(send())
        await peer.until(lambda: sum(p.count for p in peer.last.publications) >= 500)
        await settled(lambda: sent)
        received = sum(p.count for p in peer.last.publications)
        assert received == 500, "one queue may have half of the window"
        assert sent <= 2 * 1000 + 500
        peer.holds_confirms = False
        peer.last.confirm(*peer.last.publications)
        await guarded(sending)
    assert sum(p.count for p in peer.last.publications) == 10_000


async def settled(value: object) -> None:
    """Let everything that can run, run."""
    for _ in range(200):
        await asyncio.sleep(0)
    del value


async def test_a_refused_publish_raises_with_its_code(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.DISK_FULL)
        with pytest.raises(DiskFull) as caught:
            await guarded(publishing)
    assert isinstance(caught.value, PublishRefused)
    assert caught.value.code == "disk-full"


async def test_publishing_to_a_queue_that_does_not_exist_says_so(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    peer.answers["route_open"] = WireError(ErrorCode.UNKNOWN_QUEUE, "there is no queue 'jobs'")
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_ROUTE)
        with pytest.raises(UnknownQueue, match="jobs"):
            await guarded(publishing)


async def test_after_a_refusal_the_next_publish_finds_a_queue_declared_meanwhile(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    peer.answers["route_open"] = WireError(ErrorCode.UNKNOWN_QUEUE, "there is no queue 'jobs'")
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_ROUTE)
        with pytest.raises(PenstockError):
            await guarded(publishing)
        peer.holds_confirms = False
        del peer.answers["route_open"]
        assert (await guarded(client.queue("jobs").publish(b"y"))).offset == 2
    assert peer.last.count(FrameType.ROUTE_OPEN) == 2


async def test_leaving_a_publisher_raises_what_failed(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True

    async def send() -> None:
        async with client.queue("jobs").publisher() as publisher:
            await publisher.send(b"x")

    async with connect(peer.url) as client:
        sending = asyncio.create_task(send())
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.DISK_FULL)
        with pytest.raises(PublishFailed, match="disk"):
            await guarded(sending)


async def test_a_message_that_cannot_be_encoded_is_refused_where_it_is_sent_and_harms_no_other(
    peer: ScriptedPeer,
) -> None:
    async with connect(peer.url) as client, client.queue("jobs").publisher() as publisher:
        await publisher.send(b"before")
        with pytest.raises((TypeError, ValueError)):
            await publisher.send(Message(b"x", headers={"when": object()}))
        await publisher.send(b"after")
    assert [body for p in peer.last.publications for body in decode_bodies(p.block)] == [b"before", b"after"]


async def test_text_is_not_a_body(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(TypeError, match="encode"):
            await client.queue("jobs").publish("text")  # type: ignore[arg-type]


async def test_a_cancelled_publish_leaves_the_client_usable(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"cancelled"))
        await peer.until(lambda: peer.last.publications)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        peer.holds_confirms = False
        peer.last.confirm(*peer.last.publications)
        assert (await guarded(client.queue("jobs").publish(b"next"))).offset == 2


async def test_concurrent_publishes_share_blocks_and_each_gets_its_own_offset(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        queue = client.queue("jobs")
        confirms = await guarded(asyncio.gather(*(queue.publish(b"%d" % number) for number in range(300))))
    assert sorted(confirm.offset or 0 for confirm in confirms) == list(range(1, 301))
    assert len(peer.last.publications) <= 10


async def test_a_publisher_outside_its_block_says_so(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(RuntimeError, match="async with"):
            await client.queue("jobs").publisher().send(b"x")


async def publishing_three(peer: ScriptedPeer, client: Client) -> asyncio.Task[list[Confirm]]:
    """Publish three messages in one block, which arrived and is not confirmed."""
    peer.holds_confirms = True
    publishing = asyncio.create_task(client.queue("jobs").publish_many([b"a", b"b", b"c"]))
    await peer.until(lambda: peer.last.publications)
    assert [p.count for p in peer.last.publications] == [3]
    return publishing


async def test_a_block_may_be_confirmed_in_parts(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        publishing = await publishing_three(peer, client)
        (block,) = peer.last.publications
        peer.last.confirm(block._replace(count=1), duplicate=True)
        peer.last.confirm(block._replace(first_sequence=2, count=2))
        confirms = await guarded(publishing)
    assert [(one.offset, one.duplicate) for one in confirms] == [(1, True), (2, False), (3, False)]


async def test_a_part_that_is_refused_fails_its_messages_only(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        queue = client.queue("jobs")
        peer.holds_confirms = True
        publishing = [asyncio.create_task(queue.publish(b"%d" % number)) for number in range(3)]
        await peer.until(lambda: peer.last.publications)
        (block,) = peer.last.publications
        peer.last.confirm(block._replace(count=1))
        peer.last.confirm(block._replace(first_sequence=2, count=1), code=ErrorCode.DISK_FULL)
        peer.last.confirm(block._replace(first_sequence=3, count=1), duplicate=True)
        first, second, third = await guarded(asyncio.gather(*publishing, return_exceptions=True))
    assert isinstance(first, Confirm)
    assert isinstance(second, DiskFull)
    assert isinstance(third, Confirm)
    assert (third.offset, third.duplicate) == (3, True)


async def test_a_publisher_counts_parts_and_duplicates(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publisher = client.queue("jobs").publisher()

        async def send() -> None:
            async with publisher:
                for number in range(5):
                    await publisher.send(b"%d" % number)

        sending = asyncio.create_task(send())
        await peer.until(lambda: peer.last.publications)
        (block,) = peer.last.publications
        peer.last.confirm(block._replace(count=2), duplicate=True)
        peer.last.confirm(block._replace(first_sequence=3, count=2))
        peer.last.confirm(block._replace(first_sequence=5, count=1), code=ErrorCode.DISK_FULL)
        with pytest.raises(PublishFailed):
            await guarded(sending)
    assert (publisher.confirmed_count, publisher.duplicate_count, publisher.failed_count) == (4, 2, 1)


@pytest.mark.parametrize(("first", "count"), [(2, 1), (1, 4), (1, 0)])
async def test_a_part_that_is_not_the_next_is_a_violation(peer: ScriptedPeer, first: int, count: int) -> None:
    async with connect(peer.url) as client:
        publishing = await publishing_three(peer, client)
        (block,) = peer.last.publications
        peer.last.confirm(block._replace(first_sequence=first, count=count))
        await peer.until(lambda: len(peer.connections) > 1 and peer.last.publications)
        peer.last.confirm(*peer.last.publications)
        assert [one.offset for one in await guarded(publishing)] == [1, 2, 3]


async def test_each_message_is_told_of_once_though_its_block_is_sent_again(peer: ScriptedPeer) -> None:
    """The connection is lost between two parts: the whole block goes out again and is confirmed in other parts."""
    async with connect(peer.url) as client:
        peer.holds_confirms = True
        queue = client.queue("jobs")
        publishing = [asyncio.create_task(queue.publish(b"%d" % number)) for number in range(4)]
        await peer.until(lambda: peer.last.publications)
        (block,) = peer.last.publications
        peer.last.confirm(block._replace(count=2))
        await guarded(asyncio.wait(publishing[:2]))
        peer.last.cut()
        await peer.until(lambda: len(peer.connections) > 1 and peer.last.publications)
        (again,) = peer.last.publications
        assert again == block
        peer.last.confirm(again._replace(count=1), duplicate=True)
        peer.last.confirm(again._replace(first_sequence=2, count=3), duplicate=True)
        confirms = await guarded(asyncio.gather(*publishing))
    assert [(one.offset, one.duplicate) for one in confirms] == [(1, False), (2, False), (3, True), (4, True)]


async def test_a_queue_whose_confirms_stay_away_leaves_the_window_to_others(peer: ScriptedPeer) -> None:
    peer.window_messages = 10_000
    peer.full_queues = {"full-1", "full-2", "full-3"}
    async with connect(peer.url) as client:
        waiting = [
            asyncio.create_task(client.queue(name).publish_many([b"x"] * 9000)) for name in sorted(peer.full_queues)
        ]
        await peer.until(lambda: peer.last.held)
        async with client.queue("other").publisher() as other:
            for number in range(2000):
                await guarded(other.send(b"%d" % number))
        assert other.confirmed_count == 2000
        assert client.producer.window.messages < 10_000
        peer.full_queues.clear()
        peer.last.confirm(*peer.last.held)
        assert [len(confirms) for confirms in await guarded(asyncio.gather(*waiting))] == [9000] * 3


async def test_a_lone_publish_waits_for_no_timer_beside_a_queue_that_is_stuck(peer: ScriptedPeer) -> None:
    """Its frame leaves with the loop's next turn; the gathering timer is never set."""
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        stuck = asyncio.create_task(client.queue("stuck").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        lone = asyncio.create_task(client.queue("jobs").publish(b"y"))
        await asyncio.sleep(0)
        timer = client.gathering._timer
        assert timer is not None
        assert not isinstance(timer, asyncio.TimerHandle)
        await peer.until(lambda: len(peer.last.publications) == 2)
        peer.last.confirm(*peer.last.publications)
        await guarded(asyncio.gather(stuck, lone))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(ErrorCode.QUEUE_FULL, QueueFull), (ErrorCode.MEMORY_FULL, MemoryFull), (ErrorCode.DISK_FULL, DiskFull)],
)
async def test_what_is_full_is_told_apart(peer: ScriptedPeer, code: ErrorCode, kind: type[PublishRefused]) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=code)
        with pytest.raises(kind, match="jobs") as caught:
            await guarded(publishing)
    assert caught.value.code == code.label


async def test_what_the_broker_dropped_is_confirmed_as_dropped(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publisher = client.queue("jobs").publisher()
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm_dropped(*peer.last.publications)
        confirm = await guarded(publishing)
        assert (confirm.dropped, confirm.duplicate, confirm.offset) == (True, False, None)

        async def send() -> None:
            async with publisher:
                await publisher.send(b"y")

        sending = asyncio.create_task(send())
        await peer.until(lambda: len(peer.last.publications) == 2)
        peer.last.confirm_dropped(peer.last.publications[-1])
        await guarded(sending)
    assert (publisher.confirmed_count, publisher.dropped_count) == (0, 1)


async def test_who_sends_now_and_then_learns_of_a_failure_at_the_next_message(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publisher = client.queue("jobs").publisher()
        await publisher.__aenter__()
        await publisher.send(b"one")
        await peer.until(lambda: peer.last.held)
        peer.last.confirm(*peer.last.held, code=ErrorCode.DISK_FULL)
        await guarded(client.status())
        with pytest.raises(PublishFailed, match="disk is full"):
            await publisher.send(b"two")
        with pytest.raises(PublishFailed, match="1 message"):
            await publisher.__aexit__(None, None, None)
        assert peer.last.count(FrameType.PUBLISH) == 1


async def test_a_publisher_whose_block_was_left_takes_no_messages(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        async with client.queue("jobs").publisher() as publisher:
            await publisher.send(b"one")
        with pytest.raises(RuntimeError, match="inside"):
            await publisher.send(b"two")


async def test_the_blocking_publisher_takes_messages_in_its_block_alone_and_tells_of_failures_soon(
    peer: ScriptedPeer,
) -> None:
    peer.holds_confirms = True

    def send() -> None:
        with blocking.connect(peer.url) as client:
            publisher = client.queue("jobs").publisher()
            with pytest.raises(RuntimeError, match="inside"):
                publisher.send(b"lost")
            with pytest.raises(PublishFailed, match="disk is full"):  # noqa: PT012, SIM117  the second may be sent
                with publisher:
                    publisher.send(b"one")
                    refused.wait(10)
                    client.status()
                    publisher.send(b"two")
            with pytest.raises(RuntimeError, match="inside"):
                publisher.send(b"late")

    refused = threading.Event()
    sending = asyncio.ensure_future(asyncio.to_thread(send))
    await peer.until(lambda: peer.connections and peer.last.held)
    peer.last.confirm(*peer.last.held, code=ErrorCode.DISK_FULL)
    refused.set()
    await guarded(sending)
    assert sum(p.count for p in peer.last.publications) == 1


@pytest.mark.parametrize("body", [5, "text", None])
@pytest.mark.parametrize("how", [{}, {"delay": 1}])
async def test_what_is_no_body_is_refused_delayed_or_not(peer: ScriptedPeer, body: object, how: dict[str, int]) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(TypeError, match="a body is bytes"):
            await guarded(client.queue("jobs").publish(body, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": 5},
        {"key": b"bytes"},
        {"headers": ["kind"]},
        {"headers": "kind=a"},
        {"message_id": 7},
        {"content_type": b"text/plain"},
        {"correlation_id": 1.5},
        {"reply_to": ["me"]},
    ],
)
async def test_what_no_reader_could_read_is_refused_and_its_neighbours_are_published(
    peer: ScriptedPeer, wrong: dict[str, Any]
) -> None:
    async with connect(peer.url) as client, client.queue("jobs").publisher() as publisher:
        await publisher.send(Message(b"one", key="k", headers={"kind": "a"}))
        with pytest.raises(TypeError, match="that cannot be published: "):
            await publisher.send(Message(b"two", **wrong))
        await publisher.send(Message(b"three"))
        await publisher.flush()
    [published] = peer.last.publications
    assert decode_block(published.block).keys == ["k", None]
