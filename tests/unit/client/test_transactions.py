"""Transactions of the client: one frame, when the block is left; what its messages are until the outcome is known."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.client.peer import ScriptedPeer, guarded

from penstock_client import (
    Client,
    ProtocolViolation,
    ReceivedMessage,
    RequestTimeout,
    TransactionConflict,
    TransactionStale,
    TransactionTooLarge,
    TransactionUnknown,
    connect,
)
from penstock_client.wire.blocks import decode_bodies
from penstock_client.wire.entries import Outcome
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import PUBLISH_ENTRIES_MAX
from penstock_client.wire.transaction import VERSION_ANY, StateWrite, Transaction, decode_transaction


def sent(peer: ScriptedPeer) -> list[Transaction]:
    """Every transaction so far."""
    return [decode_transaction(f.payload) for c in peer.connections for f in c.frames if f.type == FrameType.TRANSACT]


async def commit(client: Client, messages: Sequence[ReceivedMessage] = (), queue: str = "out") -> None:
    async with client.transaction() as tx:
        tx.publish(queue, b"result")
        tx.ack(*messages)


async def test_one_frame_says_everything_when_the_block_is_left(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = {"placed": [[[5, 2, False]], [[9, 1, True]]]}
    async with connect(peer.url) as client, client.queue("jobs").consume(group="billing") as messages:
        peer.last.deliver([b"a", b"b", b"c"])
        first, _, third = [await guarded(anext(messages)) for _ in range(3)]
        async with client.transaction() as tx:
            tx.publish("out", b"1")
            tx.publish("audit", b"2")
            tx.publish("out", b"3")
            tx.ack(third, first)
            tx.state["seen"] = 7
            del tx.state["old"]
            await client.status()
            assert sent(peer) == []
        [transaction] = sent(peer)
    assert transaction.acks == [(1, 1), (3, 3)]
    assert [(block.routing_key, decode_bodies(block.block)) for block in transaction.blocks] == [
        ("out", [b"1", b"3"]),
        ("audit", [b"2"]),
    ]
    assert transaction.writes == [
        StateWrite("jobs", "billing", "seen", VERSION_ANY, b"\x07"),
        StateWrite("jobs", "billing", "old", VERSION_ANY, b""),
    ]
    assert [(confirm.queue, confirm.offset, confirm.duplicate) for confirm in tx.confirms] == [
        ("out", 5, False),
        ("audit", 9, True),
        ("out", 6, False),
    ]


async def test_an_empty_one_sends_nothing(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.transaction() as tx:
        assert tx.confirms == []
    assert sent(peer) == []


async def test_state_that_was_read_is_compared_by_its_version(peer: ScriptedPeer) -> None:
    peer.answers["group_state"] = {"id": 1, "state": {"seen": [41, b"\x07"], "name": [42, b"\xa1x"]}}
    peer.answers["transact"] = {"placed": []}
    async with connect(peer.url) as client:
        group = client.queue("jobs").group("billing")
        async with client.transaction(group=group) as tx:
            assert dict(tx.state) == {"seen": 7, "name": "x"}
            tx.state["seen"] += 1
            tx.state["new"] = [1, {"a": None}]
            del tx.state["name"]
            assert dict(tx.state) == {"seen": 8, "new": [1, {"a": None}]}
            assert len(tx.state) == 2
            with pytest.raises(KeyError):
                tx.state["name"]
            with pytest.raises(KeyError):
                del tx.state["name"]
            assert "2 changes" not in repr(tx.state)
    assert [(write.key, write.version, write.value) for write in sent(peer)[0].writes] == [
        ("seen", 41, b"\x08"),
        ("new", 0, b"\x92\x01\x81\xa1a\xc0"),
        ("name", 42, b""),
    ]


async def test_a_state_that_cannot_be_read_is_a_violation(peer: ScriptedPeer) -> None:
    peer.answers["group_state"] = {"id": 1, "state": {"seen": [41, b"\xc1"]}}
    async with connect(peer.url) as client:
        with pytest.raises(ProtocolViolation):
            await client.queue("jobs").group().state()


async def test_a_refusal_leaves_its_messages_open(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = WireError(ErrorCode.TRANSACTION_CONFLICT, "'seen' has another version")
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a"])
        message = await guarded(anext(messages))
        with pytest.raises(TransactionConflict, match="seen"):
            await commit(client, [message])
        await message.nack(reason="again")
        await peer.until(lambda: peer.last.tags(Outcome.NACK) == [1])


async def test_a_message_that_was_handed_back_by_a_rollback_is_marked_as_started(peer: ScriptedPeer) -> None:
    """SEMANTICS 2: it was with the application when its connection was lost."""
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a"])
        message = await guarded(anext(messages))
        async with client.transaction() as tx:
            tx.ack(message)
            client._consumers[1].flush()
            assert peer.last.tags(Outcome.STARTED) == []
            tx.rollback()
        await peer.until(lambda: peer.last.tags(Outcome.STARTED) == [1])


async def test_a_lost_answer_is_unknown_and_the_message_is_not_settled_again(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = None
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a"])
        message = await guarded(anext(messages))
        committing = asyncio.create_task(commit(client, [message]))
        await peer.until(lambda: sent(peer))
        peer.last.cut()
        with pytest.raises(TransactionUnknown, match="not known"):
            await guarded(committing)
        await message.nack()
        await client.status()
        assert client.stale_count == 0
    assert len(sent(peer)) == 1
    assert peer.last.tags(Outcome.NACK) == []


async def test_no_answer_in_time_is_unknown(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = None
    async with (
        connect(peer.url, request_timeout=0.05) as client,
        client.queue("jobs").consume() as messages,
    ):
        peer.last.deliver([b"a"])
        message = await guarded(anext(messages))
        with pytest.raises(TransactionUnknown, match="in time"):
            await commit(client, [message])
        await message.ack()
    assert peer.last.tags(Outcome.ACK) == []


async def test_a_commit_that_is_cancelled_is_with_the_broker(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = None
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a"])
        message = await guarded(anext(messages))
        committing = asyncio.create_task(commit(client, [message]))
        await peer.until(lambda: sent(peer))
        committing.cancel()
        await asyncio.wait([committing])
        assert committing.cancelled()
        await message.release()
    assert peer.last.tags(Outcome.RELEASE) == []


async def test_messages_of_a_lost_connection_are_stale_before_anything_is_sent(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a", b"b"])
        held, late = await guarded(anext(messages)), await guarded(anext(messages))

        async def cut_between() -> None:
            async with client.transaction() as tx:
                tx.ack(held)
                peer.last.cut()
                await peer.until(lambda: len(peer.connections) == 2)
                await client.status()

        with pytest.raises(TransactionStale):
            await cut_between()
        with pytest.raises(TransactionStale):
            await commit(client, [late])
    assert sent(peer) == []


async def test_without_a_connection_it_is_not_sent(peer: ScriptedPeer) -> None:
    async with connect(peer.url, request_timeout=0.1, reconnect_timeout=5) as client:
        await peer.vanish()
        with pytest.raises(RequestTimeout):
            await client.status()
        with pytest.raises(RequestTimeout, match="was not sent"):
            await commit(client)
        await peer.listen()


async def test_an_answer_that_says_nothing_is_a_violation(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(ProtocolViolation):
            await commit(client)


async def test_many_messages_make_several_blocks(peer: ScriptedPeer) -> None:
    peer.answers["transact"] = {"placed": [[[0, 500, False]], [[500, 100, False]], [[600, 1, False]]]}
    async with connect(peer.url) as client, client.transaction() as tx:
        for number in range(600):
            tx.publish("out", b"%d" % number)
        tx.publish("other", b"x" * 300_000)
    assert [block.count for block in sent(peer)[0].blocks] == [500, 100, 1]
    assert [confirm.offset for confirm in tx.confirms] == list(range(601))


async def test_more_than_a_frame_carries_is_refused_here_and_leaves_the_connection_alone(peer: ScriptedPeer) -> None:
    async def publish_to(count: int) -> None:
        async with client.transaction() as tx:
            for number in range(count):
                tx.publish(f"queue-{number}", b"x")

    async with connect(peer.url) as client:
        with pytest.raises(TransactionTooLarge, match=f"{PUBLISH_ENTRIES_MAX + 1} blocks"):
            await publish_to(PUBLISH_ENTRIES_MAX + 1)
    assert sent(peer) == []


@pytest.mark.parametrize("waits", [True, False])
async def test_an_answer_that_nobody_waits_for_any_more_gives_back_what_was_refused(
    peer: ScriptedPeer, waits: bool
) -> None:
    peer.answers["transact"] = None
    timeout_s = 0.05 if waits else 10
    async with connect(peer.url, request_timeout=timeout_s) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a", b"b"])
        first, second = await guarded(anext(messages)), await guarded(anext(messages))
        committing = [asyncio.create_task(commit(client, [message])) for message in (first, second)]
        await peer.until(lambda: len(sent(peer)) == 2)
        if not waits:
            for task in committing:
                task.cancel()
        await guarded(asyncio.gather(*committing, return_exceptions=True))
        refused, committed = (frame.request for frame in peer.last.frames if frame.type == FrameType.TRANSACT)
        peer.last.reply(refused, WireError(ErrorCode.DISK_FULL, "the disk is full"))
        peer.last.reply(committed, {"placed": []})
        await peer.until(lambda: peer.last.tags(Outcome.RELEASE))
        assert peer.last.tags(Outcome.RELEASE) == [1]
        await first.ack()
        await second.ack()
    assert peer.last.tags(Outcome.ACK) == []
