"""What a client does when its connection goes: resume, re-send, or say what became of what was asked (T25)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.client.peer import Answer, ScriptedPeer, guarded

from penstock_client import (
    BadSetting,
    Client,
    ClientClosed,
    ConnectionLost,
    PenstockError,
    StaleDelivery,
    UnknownQueue,
    connect,
)
from penstock_client.wire.entries import Outcome
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import CONTROL_BYTES_MAX


async def test_unconfirmed_blocks_are_sent_again_unchanged_and_in_order(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True

    async def send() -> None:
        async with client.publisher() as publisher:
            for number in range(1500):
                await publisher.send("ab"[number % 2], b"%d" % number)

    async with connect(peer.url) as client:
        sending = asyncio.create_task(send())
        first = peer.last
        await peer.until(lambda: sum(p.count for p in first.publications) == 1500)
        peer.holds_confirms = False
        first.cut()
        await guarded(sending)
        second = peer.last
    assert second is not first
    assert [(first.routes[p.route], *p[1:]) for p in first.publications if first.routes[p.route] == "a"] == [
        (second.routes[p.route], *p[1:]) for p in second.publications if second.routes[p.route] == "a"
    ]
    assert sorted((first.routes[p.route], p.first_sequence) for p in first.publications) == sorted(
        (second.routes[p.route], p.first_sequence) for p in second.publications
    )
    opened = [connection.arguments(FrameType.PRODUCER_OPEN)[0]["producer"] for connection in (first, second)]
    assert opened == [None, 7]


async def test_a_connection_lost_with_the_answer_to_the_producers_opening_is_not_published_over(
    peer: ScriptedPeer,
) -> None:
    def answer(arguments: dict[str, Any]) -> Answer:
        if len(peer.connections) > 1:
            return {}
        peer.last.answer_and_close({"producer": 7}, WireError(ErrorCode.SERVER_STOPPING, "the broker stops"))
        return None

    peer.answers["producer_open"] = answer
    async with connect(peer.url) as client:
        await guarded(client.queue("jobs").publish(b"x"))
        assert [p.first_sequence for p in peer.last.publications] == [1]
    assert len(peer.connections) == 2


async def test_what_was_confirmed_is_not_sent_again(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        await guarded(client.queue("jobs").publish(b"one"))
        peer.last.cut()
        await guarded(client.queue("jobs").publish(b"two"))
        assert [p.first_sequence for p in peer.last.publications] == [2]
    assert len(peer.connections) == 2


async def test_a_duplicate_is_reported_as_one(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        first = peer.last
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.publications)
        peer.last.confirm(*peer.last.publications, duplicate=True)
        confirm = await guarded(publishing)
    assert confirm.duplicate
    assert confirm.offset == 1


async def test_an_expired_producer_leaves_the_unconfirmed_unknown_and_publishing_goes_on(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        publishing = asyncio.create_task(client.queue("jobs").publish(b"x"))
        await peer.until(lambda: peer.last.publications)
        peer.answers["producer_open"] = lambda arguments: (
            {}
            if arguments.get("producer") is None
            else WireError(ErrorCode.PRODUCER_EXPIRED, "producer 7 is not known")
        )
        peer.last.cut()
        with pytest.raises(PenstockError):
            await guarded(publishing)
        peer.holds_confirms = False
        await guarded(client.queue("jobs").publish(b"y"))
    assert len(peer.last.publications) == 1


async def test_a_consumer_resumes_after_a_cut(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume(prefetch=50) as messages:
        first = peer.last
        first.deliver([b"a", b"b", b"c"])
        taken = await guarded(anext(messages))
        assert taken.body == b"a"
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.consumers)
        assert peer.last.arguments(FrameType.CONSUME)[0]["prefetch_messages"] == 50
        peer.last.deliver([b"again"])
        assert (await guarded(anext(messages))).body == b"again"


async def test_an_ack_of_a_lost_session_names_no_tag_of_the_next(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        first = peer.last
        first.deliver([b"a", b"b", b"c"])
        old = [await guarded(anext(messages)) for _ in range(3)]
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.consumers)
        second = peer.last
        second.deliver([b"p", b"q", b"r"])
        new = await guarded(anext(messages))
        with caplog.at_level(logging.WARNING, "penstock_client"):
            await old[0].ack()
            await old[1].ack()
            with pytest.raises(StaleDelivery):
                await guarded(old[2].ack(confirm=True))
            await new.ack()
            await peer.until(lambda: second.tags(Outcome.ACK))
    assert second.tags(Outcome.ACK) == [1]
    assert set(second.tags(Outcome.STARTED)) <= {1}


async def test_outcomes_of_a_lost_session_are_not_sent_to_the_next(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        first = peer.last
        first.deliver([b"a", b"b", b"c", b"d"])
        old = [await guarded(anext(messages)) for _ in range(4)]
        first.cut()
        await peer.until(lambda: peer.last is not first and peer.last.consumers)
        second = peer.last
        second.deliver([b"w", b"x", b"y", b"z"])
        await guarded(anext(messages))
        for settling in (old[0].nack(), old[1].release(), old[2].reject(), old[3].extend(5)):
            try:
                await guarded(settling)
            except StaleDelivery:
                pass
    assert not [s for s in second.settlements if s.outcome in (Outcome.NACK, Outcome.REJECT, Outcome.EXTEND)]
    assert 1 not in second.tags(Outcome.RELEASE)


async def test_an_ack_whose_confirm_was_cut_off_is_never_ok(peer: ScriptedPeer) -> None:
    peer.settle_answer = None
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"])
        message = await guarded(anext(messages))
        acking = asyncio.create_task(message.ack(confirm=True))
        first = peer.last
        await peer.until(lambda: first.settle_requests)
        first.cut()
        with pytest.raises((StaleDelivery, ConnectionLost)):
            await guarded(acking)


async def test_a_consumer_whose_queue_is_gone_after_a_cut_raises(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        peer.answers["consume"] = WireError(ErrorCode.UNKNOWN_QUEUE, "there is no queue 'jobs'")
        peer.last.cut()
        with pytest.raises((UnknownQueue, PenstockError)):
            await guarded(waiting)


async def test_a_broker_that_stays_away_ends_every_wait(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    client = await connect(peer.url, reconnect_timeout=0.2)
    async with client.queue("jobs").consume() as messages:
        publishing = asyncio.ensure_future(client.queue("jobs").publish(b"x"))
        consuming = asyncio.ensure_future(anext(messages))
        await peer.until(lambda: peer.last.publications)
        await peer.vanish()
        describing = asyncio.ensure_future(client.queue("jobs").info())
        for waiting in (publishing, consuming, describing):
            with pytest.raises(PenstockError):
                await guarded(waiting)
    with pytest.raises(PenstockError):
        await guarded(client.queue("jobs").publish(b"y"))
    await guarded(client.close())


async def test_a_broker_that_comes_back_within_the_time_is_found_again(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        await guarded(client.queue("jobs").publish(b"x"))
        await peer.vanish()
        publishing = asyncio.ensure_future(client.queue("jobs").publish(b"y"))
        await peer.listen()
        assert (await guarded(publishing)).offset == 2


async def test_a_request_that_may_be_repeated_survives_a_cut(peer: ScriptedPeer) -> None:
    peer.answers["queue_declare"] = None
    async with connect(peer.url) as client:
        declaring = asyncio.ensure_future(client.queue("jobs").declare())
        await peer.until(lambda: peer.last.count(FrameType.QUEUE_DECLARE))
        del peer.answers["queue_declare"]
        peer.last.cut()
        assert await guarded(declaring) is True


async def test_a_request_that_may_not_be_repeated_reports_that_its_outcome_is_unknown(peer: ScriptedPeer) -> None:
    peer.answers["queue_purge"] = None
    async with connect(peer.url) as client:
        purging = asyncio.ensure_future(client.queue("jobs").purge())
        await peer.until(lambda: peer.last.count(FrameType.QUEUE_PURGE))
        peer.last.cut()
        with pytest.raises(ConnectionLost):
            await guarded(purging)
    assert sum(connection.count(FrameType.QUEUE_PURGE) for connection in peer.connections) == 1


async def test_a_silent_broker_is_left_for_a_new_connection(peer: ScriptedPeer) -> None:
    peer.heartbeat_ms = 500
    async with connect(peer.url) as client:
        peer.mute = True
        await peer.until(lambda: peer.connections[0].closed)
        peer.mute = False
        await guarded(client.queue("jobs").publish(b"x"))


async def test_an_idle_client_is_heard_every_heartbeat(peer: ScriptedPeer) -> None:
    peer.heartbeat_ms = 500
    async with connect(peer.url):
        await peer.until(lambda: peer.last.count(FrameType.PING) >= 2)


async def test_connecting_to_nobody_raises_at_once(peer: ScriptedPeer) -> None:
    url = peer.url
    await peer.vanish()
    with pytest.raises(PenstockError, match=r"127\.0\.0\.1"):
        await guarded(connect(url))


async def test_a_broker_that_never_answers_the_handshake_is_given_up(peer: ScriptedPeer) -> None:
    peer.mute = True
    with pytest.raises(PenstockError):
        await guarded(connect(peer.url, connect_timeout=0.1))


async def test_a_broker_that_wants_a_user_is_an_error_that_says_so(peer: ScriptedPeer) -> None:
    peer.mechanisms = ["SCRAM"]
    with pytest.raises(PenstockError):
        await guarded(connect(peer.url))


async def test_closing_ends_what_waits(peer: ScriptedPeer) -> None:
    peer.answers["queue_describe"] = None
    client = await connect(peer.url)
    describing = asyncio.ensure_future(client.queue("jobs").info())
    await peer.until(lambda: peer.last.count(FrameType.QUEUE_DESCRIBE))
    await guarded(client.close())
    with pytest.raises(PenstockError):
        await guarded(describing)
    await peer.until(lambda: peer.last.closed)


async def test_no_task_and_no_socket_is_left_behind(peer: ScriptedPeer) -> None:
    before = asyncio.all_tasks()
    client = await connect(peer.url)
    await guarded(client.queue("jobs").publish(b"x"))
    async with client.queue("jobs").consume():
        pass
    await guarded(client.close())
    await peer.until(lambda: peer.last.closed)
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("silent", ["cancel", "close"])
async def test_a_closing_that_is_given_up_leaves_no_connection_behind(peer: ScriptedPeer, silent: str) -> None:
    peer.silent.add(silent)
    client = await connect(peer.url)
    await client.queue("jobs").consume().__aenter__()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.close()
    await peer.until(lambda: peer.last.closed)
    with pytest.raises(ClientClosed):
        await client.status()
    await guarded(client.close())
    assert len(peer.connections) == 1


async def test_a_consumer_that_ends_while_its_group_is_declared_again_is_not_begun_again(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        async with client.queue("jobs").group("mine", ephemeral=True).consume():
            peer.answers["group_declare"] = None
            first = peer.last
            first.cut()
            await peer.until(lambda: peer.last is not first and peer.last.count(FrameType.GROUP_DECLARE))
        declared = next(frame for frame in peer.last.frames if frame.type == FrameType.GROUP_DECLARE)
        peer.last.reply(declared.request, {"created": True})
        await guarded(client.status())
        assert peer.last.count(FrameType.CONSUME) == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.schedule("s").add("* * * * *", "jobs", bytes(CONTROL_BYTES_MAX)),
        lambda client: client.queue("jobs").consume(where="x" * CONTROL_BYTES_MAX).__aenter__(),
        lambda client: client.queue("jobs").cancel_scheduled(1 << 64),
        lambda client: client.queue("caf\udce9").info(),
        lambda client: client.queue("caf\udce9").publish(b"x"),
        lambda client: client.exchange("caf\udce9").publish("key", b"x"),
    ],
)
async def test_what_no_request_can_carry_is_refused_here_and_leaves_the_connection_alone(
    peer: ScriptedPeer, ask: Callable[[Client], Awaitable[object]]
) -> None:
    async with connect(peer.url) as client:
        with pytest.raises(BadSetting):
            await guarded(ask(client))
        await guarded(client.queue("jobs").publish(b"after"))
    assert len(peer.connections) == 1
