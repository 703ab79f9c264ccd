"""Asking: requests that carry their reply box, replies that find who waits for them, and every way of getting none."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from tests.unit.client.peer import PUBLISHED_AT_MS, PeerConnection, ScriptedPeer, guarded

from penstock_client import (
    Client,
    ClientClosed,
    ConnectionLost,
    LimitReached,
    Message,
    NoReply,
    PenstockError,
    Reply,
    ReplyError,
    ReplyFailed,
    UnknownQueue,
    connect,
)
from penstock_client.asking import UNREAD_REPLIES_MAX
from penstock_client.wire.blocks import BLOCK_HEADER, BLOCK_HEADER_BYTES, COLUMN_BODIES
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.replies import REPLIED_ENTRY

LONG = 9.0
"""A timeout that is not met."""


def ask(client: Client, body: bytes | Message = b"?", timeout: float = LONG) -> "asyncio.Task[Reply]":
    """Begin a request."""
    return asyncio.ensure_future(client.request("prices", body, timeout=timeout))


async def asked(peer: ScriptedPeer, count: int = 1) -> list[str]:
    """Wait until so many requests came over the last connection; return their correlation ids."""
    await peer.until(lambda: len(peer.last.asked) >= count)
    return [properties["correlation_id"] for properties in peer.last.asked]


@pytest.mark.parametrize(
    ("ttl", "patience", "sent"),
    [(0.5, LONG, [500]), (timedelta(seconds=0.5), LONG, [500]), (60, 1e9, [60_000]), (None, 1e9, [None])],
)
async def test_a_request_expires_with_its_timeout_or_before(
    peer: ScriptedPeer, ttl: float | timedelta | None, patience: float, sent: list[int | None]
) -> None:
    async with connect(peer.url) as client:
        request = ask(client, Message(b"?", ttl=ttl), timeout=patience)
        (correlation_id,) = await asked(peer)
        assert [properties.get("ttl_ms") for properties in peer.last.asked] == sent
        peer.last.replied(correlation_id)
        await guarded(request)


async def test_a_request_carries_its_box_and_a_reply_is_everything_its_sender_made_it(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client, Message(b"?", key="k", headers={"h": 1}, message_id="m"))
        (correlation_id,) = await asked(peer)
        (properties,) = peer.last.asked
        assert 0 < properties.pop("ttl_ms") <= LONG * 1000, "its time to live is what is left of the timeout"
        assert properties == {"message_id": "m", "correlation_id": correlation_id, "reply_to": "$reply.1.1"}
        peer.last.replied(correlation_id, content_type="text/plain")
        reply = await guarded(request)
    assert (reply.body, reply.content_type, reply.correlation_id, reply.error) == (
        b"yes",
        "text/plain",
        correlation_id,
        None,
    )
    assert (reply.key, reply.headers, reply.message_id, reply.timestamp) == (None, {}, None, None)
    assert reply.replied_at.timestamp() * 1000 == PUBLISHED_AT_MS
    assert "yes" not in repr(reply)
    assert correlation_id in repr(reply)


async def test_replies_in_any_order_find_their_requests_over_one_box(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        requests = [ask(client, b"%d" % number) for number in range(3)]
        ids = await asked(peer, 3)
        assert len(set(ids)) == 3
        for index in (2, 0, 1):
            peer.last.replied(ids[index], body=b"answer %d" % index)
        assert [reply.body for reply in await guarded(asyncio.gather(*requests))] == [
            b"answer 0",
            b"answer 1",
            b"answer 2",
        ]
        again = ask(client)
        peer.last.replied((await asked(peer, 4))[3])
        await guarded(again)
        assert peer.last.count(FrameType.REPLY_OPEN) <= 3, "opened by those that found none, not by later ones"


async def test_no_two_clients_ask_with_the_same_correlation_id(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as one, connect(peer.url) as other:
        requests = [ask(one), ask(other)]
        await peer.until(lambda: all(connection.asked for connection in peer.connections))
        first, second = (connection.asked[0]["correlation_id"] for connection in peer.connections)
        assert first != second
        peer.connections[1].replied(first)
        peer.connections[1].replied(second)
        await guarded(requests[1])
        assert other.late_reply_count == 1, "what was meant for somebody else is nobody's here"
        requests[0].cancel()


async def test_a_reply_that_comes_too_late_is_counted(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(NoReply, match=r"no reply within 0\.05 s; the request may still be carried out") as caught:
            await client.request("prices", b"?", timeout=0.05)
        assert caught.value.code == "no-reply"
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id, correlation_id, None)
        await client.status()
        assert client.late_reply_count == 3


async def test_the_second_reply_to_one_request_is_late(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id, body=b"first")
        peer.last.replied(correlation_id, body=b"second")
        assert (await guarded(request)).body == b"first"
        peer.last.replied(correlation_id, body=b"third")
        await client.status()
        assert client.late_reply_count >= 1


async def test_a_failure_reply_raises_with_its_code_and_message(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id, body=b"details", error={"code": "no-such-item", "message": "item 9"})
        with pytest.raises(ReplyFailed, match=r"'prices': the request failed: item 9 \(no-such-item\)") as caught:
            await guarded(request)
    assert caught.value.error == ReplyError("no-such-item", "item 9")
    assert caught.value.reply.body == b"details"
    assert caught.value.code == "reply-failed"


async def test_an_error_property_of_another_kind_is_no_failure(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        peer.last.replied(*await asked(peer), error="a text")
        assert (await guarded(request)).error is None


async def test_asking_a_queue_that_does_not_exist_fails_at_once(peer: ScriptedPeer) -> None:
    peer.answers["route_open"] = WireError(ErrorCode.UNKNOWN_QUEUE, "no queue 'prices'")
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        request = ask(client)
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_ROUTE)
        with pytest.raises(UnknownQueue, match="prices"):
            await guarded(request)


async def test_a_refused_box_is_the_request_s_error(peer: ScriptedPeer) -> None:
    peer.answers["reply_open"] = WireError(ErrorCode.UNSUPPORTED, "not here")
    async with connect(peer.url) as client:
        with pytest.raises(PenstockError, match="not here") as caught:
            await guarded(ask(client))
    assert caught.value.code == "unsupported"
    assert not peer.last.publications


async def test_a_connection_lost_while_waiting_leaves_the_outcome_unknown_and_asks_nobody_again(
    peer: ScriptedPeer,
) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        first = peer.last
        await asked(peer)
        await peer.until(lambda: first.count(FrameType.PUBLISH))
        await client.status()  # the confirm has been taken
        first.cut()
        with pytest.raises(ConnectionLost, match="whether the request was carried out is not known"):
            await guarded(request)
        again = ask(client)
        await peer.until(lambda: peer.last is not first and peer.last.asked)
        (properties,) = peer.last.asked
        assert properties["reply_to"] == "$reply.1.2", "a new connection, a new box"
        peer.last.replied(properties["correlation_id"])
        assert (await guarded(again)).body == b"yes"


async def test_a_request_made_while_there_is_no_connection_waits_for_the_next(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        await peer.vanish()
        request = ask(client)
        with pytest.raises(NoReply, match="the request was not sent"):
            await client.request("prices", b"?", timeout=0.05)
        await peer.listen()
        await peer.until(lambda: not peer.last.closed and len(peer.last.asked) == 1)
        peer.last.replied(peer.last.asked[0]["correlation_id"])
        assert (await guarded(request)).body == b"yes"


async def test_a_cut_before_the_box_is_known_asks_over_the_next_connection(peer: ScriptedPeer) -> None:
    peer.answers["reply_open"] = None
    async with connect(peer.url) as client:
        request = ask(client)
        first = peer.last
        await peer.until(lambda: first.count(FrameType.REPLY_OPEN))
        del peer.answers["reply_open"]
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.asked)
        assert not first.publications
        peer.last.replied(peer.last.asked[0]["correlation_id"])
        await guarded(request)


async def test_a_cut_while_waiting_for_room_asks_over_the_next_connection(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    peer.window_messages = 1
    async with connect(peer.url) as client:
        jobs = client.queue("prices")
        publishing = [asyncio.ensure_future(jobs.publish(b"%d" % number)) for number in range(2)]
        first = peer.last
        await peer.until(lambda: first.publications)
        publishing.append(asyncio.ensure_future(jobs.publish(b"2")))
        await client.status()
        client.gathering.flush()
        assert not client.producer.route("prices").has_room
        request = ask(client)
        await peer.until(lambda: first.count(FrameType.REPLY_OPEN))
        await client.status()
        assert not first.asked
        peer.holds_confirms = False
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.asked)
        assert peer.last.asked[0]["reply_to"] == "$reply.1.2"
        peer.last.replied(peer.last.asked[0]["correlation_id"])
        await guarded(request)
        await guarded(asyncio.gather(*publishing))


async def test_closing_the_client_ends_what_waits(peer: ScriptedPeer) -> None:
    client = await connect(peer.url)
    request = ask(client)
    await asked(peer)
    await client.close()
    with pytest.raises(ClientClosed):
        await guarded(request)
    with pytest.raises(ClientClosed):
        await client.request("prices")


@pytest.mark.parametrize("message", [Message(b"?", reply_to="jobs"), Message(b"?", correlation_id="c")])
async def test_a_request_that_brings_its_own_address_is_refused(peer: ScriptedPeer, message: Message) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(ValueError, match="sets reply_to and correlation_id itself"):
            await client.request("prices", message)


async def test_what_cannot_be_a_body_is_an_error_here(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(TypeError, match="a body is bytes"):
            await client.request("prices", "text")  # type: ignore[arg-type]


async def test_a_reply_that_cannot_be_read_is_dropped_and_the_connection_goes_on(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id)
        not_bin = BLOCK_HEADER.pack(BLOCK_HEADER_BYTES + 3, 1, COLUMN_BODIES, 0, 3, 0, 0, 0, 0) + b"\x91\xa1x"
        peer.last.write(FrameType.REPLIED, REPLIED_ENTRY.pack(1) + not_bin)
        with caplog.at_level(logging.WARNING, "penstock_client"):
            assert (await guarded(request)).body == b"yes"
            await client.status()
    assert len(peer.connections) == 1
    assert "cannot be read" in caplog.text


async def test_a_malformed_frame_of_replies_ends_the_connection(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        await asked(peer)
        peer.last.write(FrameType.REPLIED, b"x")
        with pytest.raises(ConnectionLost, match="is not known"):
            await guarded(request)


# Scatter-gather


async def gather(replies: AsyncGenerator[Reply, None]) -> list[bytes]:
    return [reply.body async for reply in replies]


async def test_requests_yield_every_answer_until_the_deadline(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        answers = asyncio.ensure_future(gather(client.requests("prices", b"?", timeout=0.3)))
        (correlation_id,) = await asked(peer)
        for body in (b"a", b"b", b"c"):
            peer.last.replied(correlation_id, body=body)
        peer.last.replied(correlation_id, body=b"failed", error={"code": "x", "message": "y"})
        assert await guarded(answers) == [b"a", b"b", b"c", b"failed"], "a failure is one of the answers"
        peer.last.replied(correlation_id)
        await client.status()
        assert client.late_reply_count == 1


async def test_requests_end_when_there_were_enough_answers(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        answers = asyncio.ensure_future(gather(client.requests("prices", b"?", timeout=LONG, count=2)))
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id, correlation_id, correlation_id)
        assert await guarded(answers) == [b"yes", b"yes"]


async def test_requests_that_nobody_answers_yield_nothing(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        assert await gather(client.requests("prices", b"?", timeout=0.05)) == []


async def test_requests_that_could_not_be_sent_say_so(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        await peer.vanish()
        with pytest.raises(NoReply, match="was not sent"):
            await gather(client.requests("prices", b"?", timeout=0.05))


async def test_answers_that_arrived_before_a_cut_are_yielded_before_the_error(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        replies = client.requests("prices", b"?", timeout=LONG)
        first = asyncio.ensure_future(anext(replies))
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id, correlation_id, body=b"early")
        assert (await guarded(first)).body == b"early"
        await client.status()
        connection: PeerConnection = peer.last
        connection.cut()
        await peer.until(lambda: peer.last is not connection)
        assert (await guarded(anext(replies))).body == b"early"
        with pytest.raises(ConnectionLost, match="is not known"):
            await guarded(anext(replies))


async def test_who_falls_far_behind_the_answers_is_told(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        replies = client.requests("prices", b"?", timeout=LONG)
        first = asyncio.ensure_future(anext(replies))
        (correlation_id,) = await asked(peer)
        peer.last.replied(correlation_id)
        await guarded(first)
        for _ in range(UNREAD_REPLIES_MAX // 1000):
            peer.last.replied(*[correlation_id] * 1000)
        peer.last.replied(correlation_id)
        await client.status()
        for _ in range(UNREAD_REPLIES_MAX):
            await anext(replies)
        with pytest.raises(LimitReached, match="wait unread"):
            await anext(replies)


async def test_a_reply_whose_correlation_id_is_no_text_is_nobodys(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        request = ask(client)
        (correlation_id,) = await asked(peer)
        peer.last.replied(["of", "several"])  # type: ignore[arg-type]
        peer.last.replied(correlation_id, body=b"answer")
        assert (await guarded(request)).body == b"answer"
        assert client.late_reply_count == 1
    assert len(peer.connections) == 1
