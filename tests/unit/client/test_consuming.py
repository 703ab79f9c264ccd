"""Consuming: acknowledgements in ranges, marks of what was started, extended leases, and what goes back when."""

import asyncio

import pytest
from tests.unit.client.peer import PUBLISHED_AT_MS, ScriptedPeer, guarded

from penstock_client import PenstockError, QueueDeleted, StaleDelivery, UnknownQueue, connect
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import NO_DELAY, Outcome
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType


async def test_messages_arrive_in_order_with_what_they_carry(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver(
            [b"a", b"b"],
            offset=40,
            attempt=2,
            keys=[None, "k"],
            headers=[None, {"h": 1}],
            properties=[{"message_id": "m", "timestamp": 1000}, None],
        )
        first, second = await guarded(anext(messages)), await guarded(anext(messages))
    assert (first.body, first.key, first.headers, first.message_id) == (b"a", None, {}, "m")
    assert (second.body, second.key, second.headers, second.message_id) == (b"b", "k", {"h": 1}, None)
    assert (first.offset, second.offset, second.attempt, second.failures, second.redelivered) == (40, 41, 2, 1, True)
    assert first.queue == "jobs"
    assert first.published_at.timestamp() * 1000 == PUBLISHED_AT_MS
    assert first.published_at.utcoffset() is not None
    assert first.timestamp is not None
    assert first.timestamp.timestamp() == 1


async def test_acks_are_sent_as_ranges(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume(prefetch=1000) as messages:
        peer.last.deliver([b"x"] * 600)
        for _ in range(600):
            await (await guarded(anext(messages))).ack()
    assert sorted(peer.last.tags(Outcome.ACK)) == list(range(1, 601))
    acks = [settlement for settlement in peer.last.settlements if settlement.outcome == Outcome.ACK]
    assert len(acks) <= 6
    assert all(len(settlement.ranges) <= 2 for settlement in acks)


async def test_a_consumer_that_would_wait_sends_its_acks_first(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume(prefetch=1) as messages:
        for number in range(1, 6):
            peer.last.deliver([b"x"])
            await (await guarded(anext(messages))).ack()
            waiting = asyncio.ensure_future(anext(messages))
            await peer.until(lambda number=number: number in peer.last.tags(Outcome.ACK))  # type: ignore[misc]
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_acks_in_any_order_name_every_tag_once(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 40)
        taken = [await guarded(anext(messages)) for _ in range(40)]
        for message in [*taken[::3], *taken[1::3], *taken[2::3]]:
            await message.ack()
    assert sorted(peer.last.tags(Outcome.ACK)) == list(range(1, 41))


async def test_only_what_the_application_has_and_has_not_settled_is_marked_started(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 10)
        for _ in range(4):
            await (await guarded(anext(messages))).ack()
        kept = await guarded(anext(messages))
        await peer.until(lambda: peer.last.tags(Outcome.STARTED))
        assert peer.last.tags(Outcome.STARTED) == [5]
        await kept.ack()


async def test_what_was_not_handed_out_goes_back_when_the_block_is_left(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        async with client.queue("jobs").consume() as messages:
            peer.last.deliver([b"x"] * 10)
            await (await guarded(anext(messages))).ack()
        await peer.until(lambda: peer.last.count(FrameType.CANCEL))
        assert peer.last.arguments(FrameType.CANCEL)[0]["release"] is True
        assert peer.last.tags(Outcome.ACK) == [1]
        assert set(peer.last.tags(Outcome.RELEASE)) <= set(range(2, 11))


async def test_a_timeout_while_waiting_for_a_message_loses_none(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(messages), 0.01)
        peer.last.deliver([b"a", b"b"])
        assert [(await guarded(anext(messages))).body for _ in range(2)] == [b"a", b"b"]


async def test_a_timeout_while_waiting_for_a_batch_loses_none(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        batches = messages.batches(max=3, wait=30)
        peer.last.deliver([b"a", b"b"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(batches), 0.05)
        peer.last.deliver([b"c"], offset=2)
        assert [message.body for message in await guarded(anext(batches))] == [b"a", b"b", b"c"]


async def test_a_batch_is_what_came_within_its_wait(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        batches = messages.batches(max=500, wait=0.02)
        peer.last.deliver([b"a", b"b"])
        batch = await guarded(anext(batches))
        assert [message.body for message in batch] == [b"a", b"b"]
        await batch.ack()
    assert peer.last.tags(Outcome.ACK) == [1, 2]


async def test_part_of_a_batch_fails_and_the_rest_is_acknowledged(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 5)
        batch = await guarded(anext(messages.batches(max=5)))
        await batch.nack([batch[1], batch[3]], delay=2, reason="odd")
        await batch.ack()
    assert sorted(peer.last.tags(Outcome.NACK)) == [2, 4]
    assert sorted(peer.last.tags(Outcome.ACK)) == [1, 3, 5]
    nack = next(settlement for settlement in peer.last.settlements if settlement.outcome == Outcome.NACK)
    assert (nack.duration_ms, nack.reason) == (2000, "odd")


async def test_every_outcome_reaches_the_broker(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 5)
        taken = [await guarded(anext(messages)) for _ in range(5)]
        await taken[0].ack(confirm=True)
        await taken[1].nack(delay=0.5, reason="why")
        await taken[2].release()
        await taken[3].reject(reason="never")
        await taken[4].extend(60)
        await peer.until(lambda: 5 in peer.last.tags(Outcome.EXTEND))
        await taken[4].nack()
    outcomes = {Outcome.ACK: [1], Outcome.NACK: [2, 5], Outcome.RELEASE: [3], Outcome.REJECT: [4], Outcome.EXTEND: [5]}
    assert {outcome: peer.last.tags(outcome) for outcome in outcomes} == outcomes
    durations = {tags.ranges[0][0]: tags.duration_ms for tags in peer.last.settlements if tags.outcome == Outcome.NACK}
    assert durations == {2: 500, 5: NO_DELAY}


async def test_a_message_as_a_context_acks_on_success_and_nacks_with_the_exception_on_failure(
    peer: ScriptedPeer,
) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 3)
        async with await guarded(anext(messages)):
            pass
        with pytest.raises(KeyError):
            async with await guarded(anext(messages)):
                raise KeyError("the reason")
        async with await guarded(anext(messages)) as settled_inside:
            await settled_inside.release()
        await peer.until(lambda: peer.last.tags(Outcome.RELEASE))
    assert peer.last.tags(Outcome.ACK) == [1]
    nack = next(settlement for settlement in peer.last.settlements if settlement.outcome == Outcome.NACK)
    assert nack.ranges == [(2, 2)]
    assert "KeyError" in nack.reason
    assert "the reason" in nack.reason


async def test_a_cancelled_handler_gives_its_message_back_without_a_failure(peer: ScriptedPeer) -> None:
    entered = asyncio.Event()

    async def handle() -> None:
        async with await anext(messages):
            entered.set()
            await asyncio.Event().wait()

    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"])
        handling = asyncio.create_task(handle())
        await guarded(entered.wait())
        handling.cancel()
        await asyncio.wait([handling])
        await peer.until(lambda: peer.last.tags(Outcome.RELEASE) == [1])
    assert not peer.last.tags(Outcome.NACK)


async def test_a_refused_confirm_of_an_ack_raises_stale_delivery(peer: ScriptedPeer) -> None:
    peer.settle_answer = WireError(ErrorCode.STALE_DELIVERY, "1 of 1 deliveries is not held")
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"])
        message = await guarded(anext(messages))
        with pytest.raises(StaleDelivery):
            await guarded(message.ack(confirm=True))


async def test_leases_are_extended_for_what_is_held_and_for_nothing_else(peer: ScriptedPeer) -> None:
    peer.lease_ms = 300
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 5)
        taken = [await guarded(anext(messages)) for _ in range(3)]
        await taken[1].ack()
        await peer.until(lambda: len(peer.last.tags(Outcome.EXTEND)) >= 8)
        assert set(peer.last.tags(Outcome.EXTEND)) == {1, 3, 4, 5}


async def test_an_extension_asked_for_is_not_shortened_by_the_automatic_one(peer: ScriptedPeer) -> None:
    peer.lease_ms = 300
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"] * 2)
        message = await guarded(anext(messages))
        await message.extend(60)
        await peer.until(lambda: peer.last.tags(Outcome.EXTEND).count(2) >= 3)
        assert peer.last.tags(Outcome.EXTEND).count(1) == 1


async def test_a_consumer_of_a_deleted_queue_is_told(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        peer.last.cancel(
            next(iter(peer.last.consumers)), WireError(ErrorCode.QUEUE_DELETED, "queue 'jobs' was deleted")
        )
        with pytest.raises(QueueDeleted, match="jobs"):
            await guarded(waiting)


async def test_consuming_from_a_queue_that_does_not_exist_raises_at_once(peer: ScriptedPeer) -> None:
    peer.answers["consume"] = WireError(ErrorCode.UNKNOWN_QUEUE, "there is no queue 'jobs'")
    async with connect(peer.url) as client:
        with pytest.raises(UnknownQueue):
            async with client.queue("jobs").consume():
                pass


async def test_a_block_that_cannot_be_decoded_is_rejected_and_the_next_is_delivered(peer: ScriptedPeer) -> None:
    bad = bytearray(encode_block([b"abc"]))
    bad[-5:] = b"\xa4text"[:5]  # a str where a bin must be
    bad_block = bytes(bad)
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"bad"], block=bad_block)
        peer.last.deliver([b"good"], offset=1)
        assert (await guarded(anext(messages))).body == b"good"
        await peer.until(lambda: peer.last.tags(Outcome.REJECT) == [1])


async def test_draining_hands_back_the_rest_ends_the_iteration_and_closes(peer: ScriptedPeer) -> None:
    handled: list[bytes] = []
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def work() -> None:
        async with client.queue("jobs").consume() as messages:
            async for message in messages:
                async with message:
                    begun.set()
                    await go_on.wait()
                    handled.append(message.body)

    client = await connect(peer.url)
    working = asyncio.create_task(work())
    await peer.until(lambda: peer.last.consumers)
    peer.last.deliver([b"a", b"b", b"c"])
    await guarded(begun.wait())
    draining = asyncio.create_task(client.drain())
    await peer.until(lambda: peer.last.count(FrameType.FLOW))
    assert peer.last.arguments(FrameType.FLOW)[0]["prefetch_messages"] == 0
    go_on.set()
    await guarded(draining)
    await guarded(working)
    await peer.until(lambda: peer.last.closed)
    assert handled == [b"a"]
    assert peer.last.tags(Outcome.ACK) == [1]
    assert peer.last.count(FrameType.CLOSE) == 1


async def test_a_settled_message_cannot_be_settled_differently(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"x"])
        message = await guarded(anext(messages))
        await message.ack()
        try:
            await message.nack()
        except PenstockError:
            pass
    assert not peer.last.tags(Outcome.NACK)


async def test_several_tasks_may_iterate_over_one_consumer(peer: ScriptedPeer) -> None:
    taken: list[bytes] = []

    async def work() -> None:
        async for message in messages:
            await message.ack()
            taken.append(message.body)
            await asyncio.sleep(0)

    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        workers = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0)
        peer.last.deliver([b"%d" % number for number in range(5)])
        peer.last.deliver([b"%d" % number for number in range(5, 10)], offset=5)
        await peer.until(lambda: len(peer.last.tags(Outcome.ACK)) == 10)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    assert sorted(taken) == [b"%d" % number for number in range(10)]


async def test_a_session_says_that_it_marks_before_it_is_given_anything(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume():
        assert [(settlement.outcome, settlement.ranges) for settlement in peer.last.settlements] == [
            (Outcome.STARTED, [])
        ]


async def test_a_stopped_iteration_ends_and_what_was_handed_out_may_still_be_settled(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a", b"b", b"c"])
        first = await guarded(anext(messages))
        others = [asyncio.ensure_future(anext(messages)) for _ in range(4)]
        await asyncio.wait(others[:2])
        await guarded(messages.stop())
        outcomes = await guarded(asyncio.gather(*others, return_exceptions=True))
        assert [type(outcome).__name__ for outcome in outcomes[2:]] == ["StopAsyncIteration"] * 2
        assert peer.last.arguments(FrameType.FLOW)[0]["prefetch_messages"] == 0
        await first.ack()
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])
        assert not peer.last.tags(Outcome.RELEASE)


async def test_stopping_gives_back_what_was_not_handed_out_and_needs_no_connection(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.queue("jobs").consume() as messages:
        peer.last.deliver([b"a", b"b", b"c"])
        await guarded(anext(messages))
        await guarded(messages.stop())
        await peer.until(lambda: peer.last.tags(Outcome.RELEASE) == [2, 3])
        peer.last.cut()
        await guarded(messages.stop())
        await peer.until(lambda: len(peer.connections) == 2)
        assert not peer.last.consumers
