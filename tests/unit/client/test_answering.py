"""Answering: where a reply goes, what it carries, and the outcome of each."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.client.peer import HANG_GUARD_S, ScriptedPeer, guarded

from penstock_client import (
    BodyTooLarge,
    ClientClosed,
    ConnectionLost,
    Message,
    Messages,
    NotARequest,
    PenstockError,
    ProtocolViolation,
    ReceivedMessage,
    ReplyError,
    ReplyOutcome,
    RequestTimeout,
    UnknownQueue,
    connect,
)
from penstock_client.wire.blocks import Columns, decode_block
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import REPLY_ENTRIES_MAX

ASKED = {"reply_to": "$reply.1.7", "correlation_id": "c"}


@pytest.fixture
async def messages(peer: ScriptedPeer) -> AsyncIterator[Messages]:
    """A consumer of ``jobs``."""
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        yield messages


async def received(peer: ScriptedPeer, messages: Messages, **properties: Any) -> ReceivedMessage:
    """A request that was handed to the application."""
    peer.last.deliver([b"?"], properties=[properties or None])
    return await guarded(anext(messages))


def sent(peer: ScriptedPeer) -> list[tuple[str, Columns]]:
    """Every block of replies that was sent, with its address."""
    return [
        (reply.address, decode_block(reply.block)) for connection in peer.connections for reply in connection.replies
    ]


async def test_a_reply_goes_to_the_address_of_its_request_and_answers_its_id(
    peer: ScriptedPeer, messages: Messages
) -> None:
    message = await received(peer, messages, **ASKED)
    assert await guarded(message.reply(b"yes")) is ReplyOutcome.DELIVERED
    assert sent(peer) == [("$reply.1.7", Columns([b"yes"], properties=[{"correlation_id": "c"}]))]
    assert not peer.last.tags(1), "a reply settles nothing"  # type: ignore[arg-type]


async def test_a_reply_may_be_a_whole_message(peer: ScriptedPeer, messages: Messages) -> None:
    message = await received(peer, messages, **ASKED)
    await guarded(message.reply(Message(b"yes", key="k", headers={"h": 1}, content_type="t", correlation_id="other")))
    ((_, columns),) = sent(peer)
    assert (columns.bodies, columns.keys, columns.headers) == ([b"yes"], ["k"], [{"h": 1}])
    assert columns.properties == [{"correlation_id": "c", "content_type": "t"}], "it answers what was asked"


async def test_a_request_without_correlation_id_is_answered_by_its_message_id(
    peer: ScriptedPeer, messages: Messages
) -> None:
    message = await received(peer, messages, reply_to="$reply.1.7", message_id="m")
    await guarded(message.reply())
    assert sent(peer)[0][1].properties == [{"correlation_id": "m"}]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ReplyError("no-such-item", "item 9"), {"code": "no-such-item", "message": "item 9"}),
        (ValueError("no good"), {"code": "ValueError", "message": "no good"}),
    ],
)
async def test_a_failure_is_told_in_the_reply(
    peer: ScriptedPeer, messages: Messages, error: Any, told: dict[str, str]
) -> None:
    message = await received(peer, messages, **ASKED)
    await guarded(message.reply(b"details", error=error))
    assert sent(peer)[0][1] == Columns([b"details"], properties=[{"correlation_id": "c", "error": told}])
    await guarded(message.reply(Message(b"m"), error=error))
    assert sent(peer)[1][1].properties == [{"correlation_id": "c", "error": told}]


@pytest.mark.parametrize("outcome", ["delivered", "gone", "full"])
async def test_the_outcome_is_what_the_broker_says(peer: ScriptedPeer, messages: Messages, outcome: str) -> None:
    peer.reply_answer = lambda _: {"outcomes": [outcome]}
    message = await received(peer, messages, **ASKED)
    assert await guarded(message.reply(b"yes")) == outcome


@pytest.mark.parametrize(("outcome", "kind"), [("body-too-large", BodyTooLarge), ("bad-block", PenstockError)])
async def test_a_refused_reply_raises(
    peer: ScriptedPeer, messages: Messages, outcome: str, kind: type[PenstockError]
) -> None:
    peer.reply_answer = lambda _: {"outcomes": [outcome]}
    message = await received(peer, messages, **ASKED)
    with pytest.raises(kind, match=outcome) as caught:
        await guarded(message.reply(b"yes"))
    assert caught.value.code == outcome


async def test_a_body_beyond_the_limit_is_not_sent(peer: ScriptedPeer, messages: Messages) -> None:
    message = await received(peer, messages, **ASKED)
    with pytest.raises(BodyTooLarge, match="body_bytes_max"):
        await guarded(message.reply(bytes(1024 * 1024 + 1)))
    assert not sent(peer)


async def test_a_message_that_asks_for_nothing_cannot_be_answered(peer: ScriptedPeer, messages: Messages) -> None:
    message = await received(peer, messages, correlation_id="c")
    with pytest.raises(NotARequest, match="names no reply_to"):
        await message.reply(b"yes")


async def test_a_reply_to_a_queue_is_published_there(peer: ScriptedPeer, messages: Messages) -> None:
    message = await received(peer, messages, reply_to="answers", correlation_id="c")
    assert await guarded(message.reply(b"yes", error=ReplyError("x", "y"))) is ReplyOutcome.STORED
    (publication,) = peer.last.publications
    assert peer.last.routes[publication.route] == "answers"
    error = {"code": "x", "message": "y"}
    assert decode_block(publication.block) == Columns([b"yes"], properties=[{"correlation_id": "c", "error": error}])
    assert not sent(peer)


async def test_a_reply_to_a_queue_that_does_not_exist_raises(peer: ScriptedPeer, messages: Messages) -> None:
    peer.answers["route_open"] = WireError(ErrorCode.UNKNOWN_QUEUE, "no queue 'answers'")
    peer.holds_confirms = True
    message = await received(peer, messages, reply_to="answers")
    replying = asyncio.ensure_future(message.reply(b"yes"))
    await peer.until(lambda: peer.last.publications)
    peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_ROUTE)
    with pytest.raises(UnknownQueue, match="answers"):
        await guarded(replying)


async def test_replies_of_one_moment_leave_in_one_frame_each_with_its_outcome(
    peer: ScriptedPeer, messages: Messages
) -> None:
    peer.reply_answer = lambda entries: {"outcomes": ["gone" if e.address == "$reply.1.8" else "full" for e in entries]}
    asked = [("$reply.1.7", "a"), ("$reply.1.8", "b"), ("$reply.1.7", "c")]
    requests = [await received(peer, messages, reply_to=to, correlation_id=one) for to, one in asked]
    outcomes = await guarded(asyncio.gather(*(request.reply(b"r") for request in requests)))
    assert outcomes == ["full", "gone", "full"]
    assert peer.last.count(FrameType.REPLY) == 1
    assert [
        (address, [p and p["correlation_id"] for p in columns.properties or ()]) for address, columns in sent(peer)
    ] == [
        ("$reply.1.7", ["a", "c"]),
        ("$reply.1.8", ["b"]),
    ]


async def test_very_many_replies_are_spread_over_frames(peer: ScriptedPeer, messages: Messages) -> None:
    count = REPLY_ENTRIES_MAX + 1
    peer.last.deliver([b"?"] * count, properties=[{"reply_to": f"$reply.1.{number}"} for number in range(count)])
    requests = [await guarded(anext(messages)) for _ in range(count)]
    outcomes = await guarded(asyncio.gather(*(request.reply(b"r") for request in requests)))
    assert outcomes == ["delivered"] * count
    large = await guarded(asyncio.gather(*(request.reply(bytes(200_000)) for request in requests[:3])))
    assert large == ["delivered"] * 3
    assert peer.last.count(FrameType.REPLY) == 2 + 3


async def test_a_connection_lost_before_the_outcome_leaves_it_unknown_and_nothing_is_sent_again(
    peer: ScriptedPeer, messages: Messages
) -> None:
    peer.reply_answer = lambda _: None
    message = await received(peer, messages, **ASKED)
    first = peer.last
    replying = asyncio.ensure_future(message.reply(b"yes"))
    await peer.until(lambda: first.replies)
    first.cut()
    with pytest.raises(ConnectionLost, match="whether the reply was delivered is not known"):
        await guarded(replying)
    await peer.until(lambda: peer.last is not first and peer.last.consumers)
    assert not peer.last.replies


async def test_a_reply_after_the_connection_was_lost_goes_over_the_next(peer: ScriptedPeer, messages: Messages) -> None:
    message = await received(peer, messages, **ASKED)
    first = peer.last
    first.cut()
    await peer.until(lambda: peer.last is not first and peer.last.consumers)
    assert await guarded(message.reply(b"yes")) is ReplyOutcome.DELIVERED
    assert not first.replies
    assert len(peer.last.replies) == 1


async def test_an_outcome_that_does_not_come_is_a_timeout(peer: ScriptedPeer) -> None:
    peer.reply_answer = lambda _: None
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        message = await received(peer, messages, **ASKED)
        client.request_timeout_s = 0.05
        with pytest.raises(RequestTimeout, match=r"no outcome of a reply within 0\.05 s"):
            await guarded(message.reply(b"yes"))
        client.request_timeout_s = HANG_GUARD_S


@pytest.mark.parametrize("answer", [{}, {"outcomes": []}, {"outcomes": "delivered"}])
async def test_outcomes_that_do_not_fit_the_replies_are_a_violation(
    peer: ScriptedPeer, messages: Messages, answer: dict[str, Any]
) -> None:
    peer.reply_answer = lambda _: answer
    message = await received(peer, messages, **ASKED)
    with pytest.raises(ProtocolViolation, match="outcomes"):
        await guarded(message.reply(b"yes"))


async def test_a_given_up_reply_does_not_disturb_the_others(peer: ScriptedPeer, messages: Messages) -> None:
    requests = [await received(peer, messages, **ASKED) for _ in range(2)]
    replies = [asyncio.ensure_future(request.reply(b"yes")) for request in requests]
    await asyncio.sleep(0)
    replies[0].cancel()
    assert await guarded(replies[1]) is ReplyOutcome.DELIVERED


async def test_after_the_client_was_closed_there_is_no_answering(peer: ScriptedPeer) -> None:
    client = await connect(peer.url)
    async with client.queue("jobs").consume() as messages:
        message = await received(peer, messages, **ASKED)
        await client.close()
        with pytest.raises(ClientClosed):
            await message.reply(b"yes")
