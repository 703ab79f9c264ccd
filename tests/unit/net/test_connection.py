import asyncio
from typing import Any

import pytest
from tests.unit.net.harness import HANG_GUARD_S, Peer, advance, running_broker

from penstock.app import Broker
from penstock.core.values import Refusal
from penstock.net.connection import LINGER_TICKS
from penstock.net.sink import REQUESTS_OPEN_MAX
from penstock.settings import LimitSettings, ServerSettings, Settings
from penstock_client.wire import control
from penstock_client.wire.blocks import BLOCK_HEADER_BYTES, encode_block
from penstock_client.wire.entries import (
    ConfirmStatus,
    Outcome,
    decode_confirm,
    decode_deliver,
    decode_stale,
    encode_publish_entry,
    encode_settle,
)
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import PREAMBLE, FrameType, encode_frame
from penstock_client.wire.replies import decode_replied, encode_reply_entry
from penstock_client.wire.transaction import encode_transaction

MIB = 1024 * 1024
CONSUME = {"consumer": 1, "queue": "jobs", "prefetch_messages": 10, "prefetch_bytes": 65_536, "name": "worker"}


async def consuming(broker: Broker) -> Peer:
    """A peer that published three messages and was delivered them under the tags 1 to 3."""
    peer = Peer(broker).ready()
    await peer.route()
    peer.publish(1, b"one", b"two", b"three")
    await peer.next(FrameType.CONFIRM)
    peer.send(FrameType.CONSUME, CONSUME, 9)
    received = [await peer.next(FrameType.DELIVER), await peer.next(FrameType.OK)]
    (delivery,) = decode_deliver(received[0].payload)
    assert (delivery.consumer, delivery.first_tag, delivery.count) == (1, 1, 3)
    return peer


# Requests


async def test_every_request_is_answered_once_with_its_id(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.send(FrameType.QUEUE_DECLARE, {"queue": "jobs"}, 11)
    peer.send(FrameType.QUEUE_DESCRIBE, {"queue": "jobs"}, 12)
    answered = {(await peer.next(FrameType.OK)).request for _ in range(2)}
    assert answered == {11, 12}


async def test_a_refusal_names_code_label_and_reason(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.send(FrameType.QUEUE_DESCRIBE, {"queue": "nowhere"}, 5)
    refusal = await peer.next(FrameType.ERROR)
    answer = control.unpack(refusal.payload)
    assert refusal.request == 5
    assert (answer["code"], answer["error"]) == (ErrorCode.UNKNOWN_QUEUE, "unknown-queue")
    assert "nowhere" in answer["message"]


async def test_a_request_without_id_is_carried_out_in_silence(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.send(FrameType.QUEUE_DECLARE, {"queue": "jobs"})
    peer.send(FrameType.QUEUE_DESCRIBE, {"queue": "nowhere"})
    described = await peer.call(FrameType.QUEUE_DESCRIBE, queue="jobs")
    assert described["queue"] == "jobs"


async def test_status_has_the_shells_part_and_the_engines(broker: Broker) -> None:
    peer = Peer(broker).ready()
    status = await peer.call(FrameType.STATUS)
    assert status["connections"] == 1
    assert status["rss_bytes"] > 0
    assert status["uptime_ms"] >= 0
    assert status["version"]
    assert status["storage"] == "ok"


async def test_ping_is_echoed_by_pong(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.send(FrameType.PING, b"payload", 4)
    pong = await peer.next(FrameType.PONG)
    assert (pong.request, pong.payload) == (4, b"payload")


async def test_a_large_answer_is_given_before_the_next_request_is_taken(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    peer.receive(
        encode_frame(FrameType.QUEUE_LIST, control.pack({}), 1)
        + encode_frame(FrameType.QUEUE_LIST, control.pack({}), 2)
    )
    assert not peer.transport.reading
    assert [(await peer.next(FrameType.OK)).request for _ in range(2)] == [1, 2]
    await asyncio.sleep(0)
    assert peer.transport.reading


async def test_too_many_open_requests_stop_reading_until_some_are_answered(broker: Broker) -> None:
    peer = Peer(broker).ready()
    declare = control.pack({"queue": "jobs"})
    peer.receive(b"".join(encode_frame(FrameType.QUEUE_DECLARE, declare, 1 + i) for i in range(REQUESTS_OPEN_MAX + 5)))
    assert not peer.transport.reading
    answered = [(await peer.next(FrameType.OK)).request for _ in range(REQUESTS_OPEN_MAX + 5)]
    assert sorted(answered) == list(range(1, REQUESTS_OPEN_MAX + 6))
    await asyncio.sleep(0)
    assert peer.transport.reading


# Publishing and consuming


async def test_a_published_block_is_confirmed_once_durable(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    peer.publish(1, b"one", b"two")
    (confirm,) = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    assert (confirm.route, confirm.status, confirm.first_sequence, confirm.count) == (1, ConfirmStatus.STORED, 1, 2)


async def test_the_confirms_of_a_commit_leave_in_one_frame(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    for sequence in range(1, 4):
        peer.publish(sequence, b"x")
    confirms = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    assert [confirm.first_sequence for confirm in confirms] == [1, 2, 3]


async def test_a_block_refused_for_its_structure_keeps_its_place_among_the_confirms(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    bad = bytearray(encode_block([b"bad"]))
    bad[33:35] = b"\xc0\xc0"  # two nils where a bin is announced
    peer.publish(1, b"before")
    peer.send(FrameType.PUBLISH, encode_publish_entry(1, 0, 2) + bytes(bad))
    peer.publish(3, b"after")
    confirms = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    assert [(c.route, c.first_sequence, c.status, c.code) for c in confirms] == [
        (1, 1, ConfirmStatus.STORED, 0),
        (1, 2, ConfirmStatus.REFUSED, ErrorCode.BAD_BLOCK),
        (1, 3, ConfirmStatus.STORED, 0),
    ], "I9"


async def test_a_refused_block_waits_behind_the_confirms_of_its_full_queue_and_behind_no_others(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route(max_messages=1)
    await peer.call(FrameType.QUEUE_DECLARE, queue="other")
    await peer.call(FrameType.ROUTE_OPEN, route=2, exchange="", routing_key="other")
    bad = bytearray(encode_block([b"bad"]))
    bad[33:35] = b"\xc0\xc0"
    peer.publish(1, b"x", b"x")
    peer.send(FrameType.PUBLISH, encode_publish_entry(1, 0, 3) + bytes(bad))
    peer.send(FrameType.PUBLISH, encode_publish_entry(2, 0, 1) + encode_block([bytes(2_000_000)]))
    (confirm,) = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    assert (confirm.route, confirm.code) == (2, ErrorCode.BODY_TOO_LARGE)
    peer.send(FrameType.QUEUE_PURGE, {"queue": "jobs"}, 9)
    confirms = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    assert [(c.route, c.first_sequence, c.code) for c in confirms] == [(1, 1, 0), (1, 3, ErrorCode.BAD_BLOCK)], "I9"


async def test_a_body_above_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with running_broker(Settings(limits=LimitSettings(body_bytes_max=1024))) as broker:
        peer = Peer(broker).ready()
        await peer.route()
        peer.publish(1, bytes(1025))
        (refused,) = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
        assert refused.code == ErrorCode.BODY_TOO_LARGE
        peer.publish(2, bytes(1024))
        (stored,) = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
        assert stored.status == ConfirmStatus.STORED


async def test_an_ack_with_a_request_id_is_answered(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.SETTLE, encode_settle(Outcome.ACK, [(1, 3)]), 21)
    answer = await peer.next(FrameType.OK)
    assert (answer.request, control.unpack(answer.payload)) == (21, {"stale": 0})


async def test_a_stale_tag_is_told_by_stale_or_by_error(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.SETTLE, encode_settle(Outcome.ACK, [(1, 3)]))
    peer.send(FrameType.SETTLE, encode_settle(Outcome.ACK, [(2, 2)]))
    stale = await peer.next(FrameType.STALE)
    assert decode_stale(stale.payload) == (Outcome.ACK, [(2, 2)])
    peer.send(FrameType.SETTLE, encode_settle(Outcome.ACK, [(2, 2)]), 22)
    refused = control.unpack((await peer.next(FrameType.ERROR)).payload)
    assert refused["error"] == "stale-delivery"


async def test_peek_is_answered_by_peeked_with_nothing_taken(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    peer.publish(1, b"one", b"two")
    await peer.next(FrameType.CONFIRM)
    peer.send(FrameType.PEEK, {"queue": "jobs", "offset": 0}, 5)
    peeked = await peer.next(FrameType.PEEKED)
    assert peeked.request == 5
    assert sum(entry.count for entry in decode_deliver(peeked.payload)) == 2


async def test_a_selector_is_parsed_where_it_arrives(broker: Broker) -> None:
    peer = Peer(broker).ready()
    await peer.route()
    peer.publish(1, b"one", b"two")
    await peer.next(FrameType.CONFIRM)
    peer.send(FrameType.FIND, {"queue": "jobs", "where": "a IS NULL", "text": "tw"}, 5)
    reply = control.unpack((await peer.next(FrameType.OK)).payload)
    assert [entry["offset"] for entry in reply["found"]] == [1]
    peer.send(FrameType.FIND, {"queue": "jobs", "where": "a = = 1"}, 6)
    refused = control.unpack((await peer.next(FrameType.ERROR)).payload)
    assert refused["error"] == "bad-selector"
    assert refused["message"].endswith("\n  a = = 1\n      ^")
    peer.send(FrameType.FIND, {"queue": "jobs"}, 7)
    assert (await peer.next(FrameType.OK)).request == 7, "a refused search does not keep the connection waiting"


async def test_a_consumer_is_told_that_its_queue_was_deleted(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.QUEUE_DELETE, {"queue": "jobs"}, 30)
    cancelled = control.unpack((await peer.next(FrameType.CANCELLED)).payload)
    assert (cancelled["consumer"], cancelled["error"]) == (1, "queue-deleted")
    await peer.next(FrameType.OK)


async def test_the_effects_of_one_turn_are_written_at_once(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.transport.writes = 0
    for request in range(1, 6):
        peer.send(FrameType.PING, b"", request)
    assert len(peer.frames()) == 5
    assert peer.transport.writes == 1


# Bad input


@pytest.mark.parametrize(
    ("frame_type", "payload", "request_id", "error"),
    [
        (0x7F, b"", 1, "unexpected-frame"),
        (FrameType.WELCOME, b"\x80", 1, "unexpected-frame"),
        (FrameType.CONFIRM, b"", 0, "unexpected-frame"),
        (FrameType.HELLO, b"\x80", 1, "unexpected-frame"),
        (FrameType.STATUS, b"\xc1", 1, "malformed-frame"),
        (FrameType.STATUS, b"\x90", 1, "malformed-frame"),
        (FrameType.STATUS, b"\x81\xa1x\xc5\xff\xff" + bytes(65_535), 1, "frame-too-large"),
        (FrameType.PUBLISH, b"short", 0, "malformed-frame"),
        (FrameType.PUBLISH, b"", 6, "malformed-frame"),
        (FrameType.SETTLE, b"short", 0, "malformed-frame"),
        (FrameType.PING, bytes(65_537), 0, "frame-too-large"),
    ],
)
async def test_a_frame_that_breaks_the_protocol_ends_the_connection_with_its_code(
    frame_type: int, payload: bytes, request_id: int, error: str, broker: Broker
) -> None:
    peer = Peer(broker).ready()
    peer.send(frame_type, payload, request_id)
    assert peer.closed_with()["error"] == error
    assert not broker.engine.sinks


async def test_a_frame_above_the_limit_is_refused_by_its_header_alone(broker: Broker) -> None:
    peer = Peer(broker).ready()
    frame_bytes_max = broker.hub.options.frame_bytes_max
    peer.receive((frame_bytes_max + 1).to_bytes(4, "little") + bytes((FrameType.PUBLISH, 0, 0, 0, 0, 0, 0, 0)))
    assert peer.closed_with()["error"] == "frame-too-large"


async def test_what_came_before_a_bad_frame_is_carried_out(broker: Broker) -> None:
    peer = Peer(broker).ready()
    declare = encode_frame(FrameType.QUEUE_DECLARE, control.pack({"queue": "jobs"}), 1)
    peer.receive(declare + encode_frame(0x7F))
    peer.closed_with()
    assert "jobs" in broker.engine.broker.names


# Ending


async def test_close_is_answered_by_closed_and_releases_what_was_held(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.CLOSE, {}, 40)
    closed = await peer.next(FrameType.CLOSED)
    assert closed.request == 40
    assert broker.engine.broker.names["jobs"].group.leased_count == 0
    assert broker.engine.broker.names["jobs"].group.counters.redelivered == 0


@pytest.mark.parametrize("how", ["reset", "half-close"])
async def test_a_lost_connection_returns_its_leases_at_once(how: str, broker: Broker) -> None:
    peer = await consuming(broker)
    if how == "reset":
        peer.connection.connection_lost(ConnectionResetError())
    else:
        peer.connection.eof_received()
        peer.transport.close()
    assert broker.engine.broker.names["jobs"].group.leased_count == 0
    assert not broker.engine.sinks


async def test_after_close_what_still_arrives_is_dropped_and_the_connection_lingers_briefly(broker: Broker) -> None:
    peer = Peer(broker)
    peer.transport.lingers = True
    peer.receive(b"GET / HTTP/1.1\r\n")
    written = bytes(peer.transport.written)
    peer.receive(b"Host: localhost\r\n\r\n" * 100)
    assert peer.transport.written == written
    assert not peer.transport.closed
    advance(broker, LINGER_TICKS)
    assert peer.transport.aborted


async def test_the_engine_may_end_a_connection(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.connection.abort(Refusal("storage-failed", "the disk is gone"))
    assert peer.closed_with() == {"code": 10, "error": "storage-failed", "message": "the disk is gone"}


# Peers that do not read


async def test_a_peer_that_does_not_read_its_answers_is_not_read_either(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.transport.stuck = True
    while peer.transport.reading:
        peer.send(FrameType.PING, bytes(60_000), 1)
        broker.hub.flush()
        assert peer.transport.unsent_bytes < 8 * 1024 * 1024
    peer.transport.read_by_peer()
    await asyncio.sleep(0)
    assert peer.transport.reading


async def test_a_peer_that_lets_deliveries_pile_up_is_cut_off_as_slow(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.transport.stuck = True
    block = encode_block([bytes(512 * 1024)])
    sent_bytes = 0
    while not peer.transport.aborted:
        peer.connection._send(block)
        sent_bytes += len(block)
        broker.hub.flush()
        assert sent_bytes < 16 * 1024 * 1024
    assert not broker.engine.sinks
    assert broker.engine.broker.names["jobs"].group.leased_count == 0


async def test_a_peer_may_leave_unread_what_it_asked_for_even_before_that_is_answered(broker: Broker) -> None:
    producer = Peer(broker).ready()
    await producer.route()
    for sequence in range(1, 25):
        producer.publish(sequence, bytes(MIB - 100))
        await producer.next(FrameType.CONFIRM)
    peer = Peer(broker).ready()
    peer.transport.stuck = True
    consume = {"consumer": 1, "queue": "jobs", "group": "", "prefetch_messages": 100, "prefetch_bytes": 32 * MIB}
    peer.send(FrameType.CONSUME, consume)  # without a request id: it is never answered
    async with asyncio.timeout(HANG_GUARD_S):
        while peer.transport.unsent_bytes < 23 * MIB and not peer.transport.aborted:
            await asyncio.sleep(0)
            broker.hub.flush()
    assert not peer.transport.aborted


# Replies


async def reply_box(peer: Peer) -> str:
    address: str = (await peer.call(FrameType.REPLY_OPEN))["address"]
    return address


async def test_a_reply_goes_from_one_connection_to_the_other(broker: Broker) -> None:
    asker, answerer = Peer(broker).ready(), Peer(broker).ready()
    block = encode_block([b"yes"], properties=[{"correlation_id": "c"}])
    answerer.send(FrameType.REPLY, encode_reply_entry(await reply_box(asker)) + block, 8)
    assert control.unpack((await answerer.next(FrameType.OK)).payload) == {"outcomes": ["delivered"]}
    (replied,) = decode_replied((await asker.next(FrameType.REPLIED)).payload)
    assert replied.block == block
    assert replied.replied_at_ms > 0


async def test_a_reply_without_request_id_is_passed_on_in_silence(broker: Broker) -> None:
    asker, answerer = Peer(broker).ready(), Peer(broker).ready()
    answerer.send(FrameType.REPLY, encode_reply_entry(await reply_box(asker)) + encode_block([b"yes"]))
    await asker.next(FrameType.REPLIED)
    assert not answerer.frames()


async def test_a_reply_whose_block_is_bad_is_refused_and_the_others_are_not(broker: Broker) -> None:
    asker, answerer = Peer(broker).ready(), Peer(broker).ready()
    entry = encode_reply_entry(await reply_box(asker))
    good = encode_block([b"yes"])
    blocks = [good[:-4] + b"\xff" * 4, encode_block([bytes(1024 * 1024 + 1)]), good]
    answerer.send(FrameType.REPLY, b"".join(entry + block for block in blocks), 8)
    outcomes = control.unpack((await answerer.next(FrameType.OK)).payload)["outcomes"]
    assert outcomes == ["bad-block", "body-too-large", "delivered"]
    (replied,) = decode_replied((await asker.next(FrameType.REPLIED)).payload)
    assert replied.block == good


async def test_an_asker_that_does_not_read_gets_no_more_than_its_box_holds(broker: Broker) -> None:
    asker, answerer, other = Peer(broker).ready(), Peer(broker).ready(), Peer(broker).ready()
    entry = encode_reply_entry(await reply_box(asker)) + encode_block([bytes(512 * 1024)])
    asker.transport.stuck = True
    outcomes: list[str] = []
    while outcomes.count("full") < 5:
        answerer.send(FrameType.REPLY, entry, 8)
        outcomes += control.unpack((await answerer.next(FrameType.OK)).payload)["outcomes"]
        broker.hub.flush()
    assert len(outcomes) * 512 * 1024 <= broker.hub.options.reply_bytes_max + 5 * 512 * 1024
    assert asker.transport.unsent_bytes <= broker.hub.options.reply_bytes_max
    assert not asker.transport.aborted, "what it has not read is within what it may leave unread"
    asker.transport.read_by_peer()
    other.send(FrameType.REPLY, entry, 8)
    assert control.unpack((await other.next(FrameType.OK)).payload) == {"outcomes": ["delivered"]}


async def test_a_malformed_reply_ends_the_connection_of_its_sender(broker: Broker) -> None:
    peer = Peer(broker).ready()
    peer.send(FrameType.REPLY, b"\x01", 8)
    assert peer.closed_with()["error"] == "malformed-frame"


async def test_under_pressure_a_connection_is_read_no_further_until_relieved(broker: Broker) -> None:
    peer, quiet = Peer(broker).ready(), Peer(broker).ready()
    broker.hub.set_pressure(True)
    peer.send(FrameType.PING)
    assert not peer.transport.reading
    assert quiet.transport.reading
    broker.hub.set_pressure(False)
    await asyncio.sleep(0)
    assert peer.transport.reading


# How many


def limited(**server: Any) -> Settings:
    return Settings(server=ServerSettings(**server))


async def test_one_connection_too_many_is_told_so() -> None:
    async with running_broker(limited(connections_max=1)) as broker:
        first = Peer(broker, "10.0.0.1").ready()
        second = Peer(broker, "10.0.0.2")
        assert second.transport.written.startswith(PREAMBLE)
        assert second.closed_with()["error"] == "too-many-connections"
        first.connection.connection_lost(None)
        Peer(broker, "10.0.0.3").ready()


async def test_one_address_cannot_take_every_place() -> None:
    async with running_broker(limited(connections_per_address_max=2)) as broker:
        first = Peer(broker, "10.0.0.1").ready()
        Peer(broker, "10.0.0.1").ready()
        assert "10.0.0.1" in Peer(broker, "10.0.0.1").closed_with()["message"]
        Peer(broker, "10.0.0.2").ready()
        first.connection.connection_lost(None)
        Peer(broker, "10.0.0.1").ready()


async def test_refused_connections_that_do_not_go_away_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.net.hub.REFUSED_LINGERING_MAX", 0)
    async with running_broker(limited(connections_max=1)) as broker:
        Peer(broker).ready()
        refused = Peer(broker)
        assert refused.transport.aborted
        assert not refused.transport.written


async def test_connections_leave_nothing_behind(broker: Broker) -> None:
    for _ in range(3):
        peer = await consuming_once(broker)
        peer.transport.close()
        await asyncio.sleep(0)
    hub = broker.hub
    assert not hub.connections
    assert not hub._by_address
    assert not len(hub.wheel)
    assert hub.status()["connections"] == 0


async def consuming_once(broker: Broker) -> Peer:
    peer = Peer(broker).ready()
    await peer.call(FrameType.QUEUE_DECLARE, queue="jobs")
    return peer


# Transactions


async def test_a_transaction_is_answered_once_durable(broker: Broker) -> None:
    peer = await consuming(broker)
    blocks = [("", "jobs", encode_block([b"four"]))]
    peer.send(FrameType.TRANSACT, encode_transaction([(1, 2)], blocks, []), 21)
    received = {frame.type: frame for frame in [await peer.next(FrameType.OK), await peer.next(FrameType.DELIVER)]}
    assert control.unpack(received[FrameType.OK].payload) == {"placed": [[[3, 1, False]]]}
    peer.send(FrameType.TRANSACT, encode_transaction([(1, 1)], blocks, []), 22)
    refusal = await peer.next(FrameType.ERROR)
    assert (refusal.request, control.unpack(refusal.payload)["error"]) == (22, "transaction-stale")


async def test_a_block_that_cannot_be_is_refused_with_its_transaction(broker: Broker) -> None:
    peer = await consuming(broker)
    good, bad = encode_block([b"four"]), bytearray(encode_block([b"five", b"six"]))
    bad[BLOCK_HEADER_BYTES] = 0x91  # an array of one, where the header says two
    blocks = [("", "jobs", good), ("", "jobs", bytes(bad))]
    peer.send(FrameType.TRANSACT, encode_transaction([(1, 1)], blocks, []), 21)
    refusal = control.unpack((await peer.next(FrameType.ERROR)).payload)
    assert (refusal["error"], "nothing was done" in refusal["message"]) == ("bad-block", True)
    info = await peer.call(FrameType.QUEUE_DESCRIBE, queue="jobs")
    assert (info["leased"], info["published"]) == (3, 3)


async def test_a_transaction_nobody_wants_to_hear_of_is_carried_out(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.TRANSACT, encode_transaction([(1, 3)], [], []))
    assert (await peer.call(FrameType.QUEUE_DESCRIBE, queue="jobs"))["acked"] == 3


async def test_a_malformed_transaction_ends_the_connection(broker: Broker) -> None:
    peer = await consuming(broker)
    peer.send(FrameType.TRANSACT, b"short", 21)
    assert peer.closed_with()["error"] == "malformed-frame"
