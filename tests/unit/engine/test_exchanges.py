"""Exchanges through the journal: stored once, needed until the last queue is done, there or not there as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.engine.harness import SEGMENT_BYTES, Bench, Peer

from penstock.core.values import ACK, DUPLICATE, MEMORY, OFFSET_UNKNOWN, STORED, WRITTEN
from penstock.engine import engine as engine_module
from penstock.engine import exchange_snapshots, housekeeping
from penstock.engine.recovery import fingerprint
from penstock_client.wire import blocks


def define(bench: Bench, *queues: str, kind: str = "fanout", **bindings: dict[str, Any]) -> Peer:
    """Queues and an exchange x to all of them; and a producer with the route 1 through it."""
    peer = bench.peer()
    peer.call("exchange_declare", exchange="x", type=kind)
    for name in queues:
        peer.call("queue_declare", queue=name, durable=not name.startswith("memory"))
        peer.call("exchange_bind", exchange="x", queue=name, **bindings.get(name, {}))
    return producer(bench)


def producer(bench: Bench, producer_id: int | None = None, *, mandatory: bool = True) -> Peer:
    peer = bench.peer()
    peer.call("producer_open", producer=producer_id)
    peer.call("route_open", route=1, exchange="x", routing_key="k", mandatory=mandatory)
    return peer


def outcomes(peer: Peer) -> list[tuple[int, int, int, int, int]]:
    """(status, level, first sequence, count, offset) of every confirm so far."""
    return [(entry[1], entry[2], entry[4], entry[5], entry[6]) for entry in peer.confirms]


def consumed(bench: Bench, queue: str, count: int = 100) -> list[bytes]:
    """Take and acknowledge what is ready."""
    peer = bench.peer().consume(queue, prefetch=count)
    bench.work()
    for one in peer.deliveries:
        peer.settle(ACK, (one.first_tag, one.first_tag + one.message_count - 1))
    bench.engine.close_session(peer.session, lost=False)
    bench.work()
    return peer.bodies()


def live_bytes(bench: Bench) -> int:
    """What queues need, each block once."""
    return sum(
        {
            block.position: block.size_bytes
            for queue in bench.engine.broker.queues.values()
            if queue.settings.durable
            for block in queue.log.all_blocks()
        }.values()
    )


def test_a_block_is_written_once_and_delivered_from_every_queue(bench: Bench) -> None:
    peer = define(bench, "a", "b", "c")
    before = bench.journal.total_bytes
    peer.publish(1, b"x" * 2000)
    bench.work()
    assert outcomes(peer) == [(STORED, 0, 1, 1, OFFSET_UNKNOWN)]
    assert 2000 < bench.journal.total_bytes - before < 2600
    bench.empty_cache()
    assert [consumed(bench, name) for name in "abc"] == [[b"x" * 2000]] * 3


def test_nothing_is_confirmed_or_visible_before_it_is_durable(bench: Bench) -> None:
    peer = define(bench, "a", "b")
    consumer = bench.peer().consume("a")
    bench.work()
    peer.publish(1, b"x")
    bench.engine.turn()
    assert (peer.confirms, consumer.deliveries) == ([], [])
    bench.work()
    assert (len(peer.confirms), consumer.bodies()) == (1, [b"x"])


def test_it_is_needed_until_the_last_queue_is_done_with_it(bench: Bench) -> None:
    peer = define(bench, "a", "b")
    peer.publish(1, b"x" * 500)
    bench.work()
    once = bench.engine.blocks.live_bytes
    assert once == live_bytes(bench)
    assert consumed(bench, "a") == [b"x" * 500]
    assert bench.engine.blocks.live_bytes == once
    assert consumed(bench, "b") == [b"x" * 500], "the cache has it still"
    assert (bench.engine.blocks.live_bytes, len(bench.engine.blocks.shared)) == (0, 0)


@pytest.mark.parametrize("snapshot", [False, True])
def test_everything_is_there_after_a_restart(bench: Bench, snapshot: bool) -> None:
    """I18: from the journal alone, and from a snapshot and the journal after it."""
    peer = define(bench, "a", "b", "memory")
    peer.call("exchange_declare", exchange="y", type="headers", alternate="x")
    peer.call("exchange_bind", exchange="y", to_exchange="x", arguments={"kind": "new"})
    peer.publish(1, b"1", b"2")
    bench.work()
    if snapshot:
        bench.keep_house()
    peer.publish(3, b"3")
    peer.call("exchange_unbind", exchange="x", queue="memory")
    peer.publish(4, b"4", level=WRITTEN)
    bench.work()
    assert consumed(bench, "a", 1) == [b"1"]
    producer_id = bench.engine.broker.sessions[peer.session].producer
    before = list(fingerprint(bench.engine.broker))
    needed = bench.engine.blocks.live_bytes
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    assert bench.engine.blocks.live_bytes == needed == live_bytes(bench)
    again = producer(bench, producer_id)
    again.publish(3, b"3", b"4")
    again.publish(5, b"5")
    bench.work()
    assert outcomes(again) == [
        (DUPLICATE, MEMORY, 3, 1, OFFSET_UNKNOWN),
        (DUPLICATE, 0, 4, 1, OFFSET_UNKNOWN),
        (STORED, 0, 5, 1, OFFSET_UNKNOWN),
    ]
    assert consumed(bench, "b") == [b"1", b"2", b"3", b"4", b"5"]
    assert consumed(bench, "a") == [b"2", b"3", b"4", b"5"]
    assert bench.engine.blocks.live_bytes == 0


def test_a_snapshot_is_taken_in_parts_while_things_change(bench: Bench) -> None:
    """What happens between two parts is in the journal behind the snapshot, and is applied once."""
    peer = define(bench, "a", "b", "c")
    peer.publish(1, b"1")
    bench.work()
    with patch.object(housekeeping, "SLICE_QUEUES", 1), patch.object(exchange_snapshots, "PART_ENTRIES", 1):
        cycle = bench.housekeeping.cycle()
        step = next(cycle)
        changes: list[Callable[[], object]] = [
            lambda: peer.publish(2, b"2"),
            lambda: peer.ask("queue_delete", queue="b"),
            lambda: peer.publish(3, b"3"),
            lambda: peer.ask("exchange_declare", exchange="y"),
            lambda: peer.ask("queue_declare", queue="d"),
            lambda: peer.ask("exchange_bind", exchange="x", queue="d"),
            lambda: peer.publish(4, b"4"),
        ]
        try:
            while True:
                if changes:
                    changes.pop(0)()
                    bench.engine.turn()
                result = step.call() if isinstance(step, housekeeping.Io) else None
                bench.commit()
                step = cycle.send(result)
        except StopIteration:
            assert changes == []
    bench.work()
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    assert bench.engine.blocks.live_bytes == live_bytes(bench)
    assert consumed(bench, "a") == consumed(bench, "c") == [b"1", b"2", b"3", b"4"]
    assert consumed(bench, "d") == [b"4"]


@pytest.mark.parametrize("done", ["", "a", "ab"])
def test_cleaning_moves_a_block_for_every_queue_that_needs_it(bench: Bench, done: str) -> None:
    """I1: and what one queue is done with meanwhile is not moved for it."""
    peer = define(bench, "a", "b", "c")
    peer.call("queue_declare", queue="busy")
    peer.publish(1, b"old" * 100)
    bench.work()
    for queue in done:
        consumed(bench, queue)
    position = bench.engine.broker.names["c"].log.block_at(0).position
    other = bench.peer().open("busy")
    for sequence in range(1, 60):
        other.publish(sequence, b"x" * (SEGMENT_BYTES // 4))
        bench.work()
    consumed(bench, "busy")
    for _ in range(3):
        bench.keep_house()
        bench.work()
    moved_to = bench.engine.broker.names["c"].log.block_at(0).position
    assert moved_to != position, "the segment it was in is cleaned"
    assert bench.engine.blocks.live_bytes == live_bytes(bench)
    assert bench.journal.segments[0].segment_id > 1
    bench.empty_cache()
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    for queue in sorted(set("abc") - set(done)):
        assert consumed(bench, queue) == [b"old" * 100]
    assert (bench.engine.blocks.live_bytes, len(bench.engine.blocks.shared)) == (0, 0)


def test_all_parts_of_a_block_are_in_one_batch(bench: Bench) -> None:
    """I5: a crash may come between two batches, not between two parts."""
    peer = define(bench, "a", "b", kind="headers", a={"arguments": {"k": 1}}, b={"arguments": {"k": 2}})
    with patch.object(engine_module, "BATCH_CLOSE_BYTES", 1):
        block = blocks.encode_block([b"1", b"2", b"3"], headers=[{"k": 1}, {"k": 2}, {"k": 1}])
        bench.engine.publish(peer.session, [(1, 0, 1, 3, block)])
        bench.engine.turn()
        bench.commit()
    assert [queue.log.next_offset for queue in bench.engine.broker.queues.values()] == [2, 1]
    bench.start()
    assert [queue.log.next_offset for queue in bench.engine.broker.queues.values()] == [2, 1]


def test_confirms_of_one_exchange_keep_their_order_whatever_their_level(bench: Bench) -> None:
    """I9: one that says memory waits for its durable copy, and one behind it for it."""
    peer = define(bench, "a", "memory")
    peer.publish(1, b"1", level=WRITTEN)
    peer.ask("exchange_unbind", exchange="x", queue="memory")
    peer.publish(2, b"2", level=WRITTEN)
    bench.engine.turn()
    commit = bench.begin()
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    assert peer.confirms == []
    bench.journal.sync()
    bench.engine.committed(commit)
    assert [(one[1], one[2]) for one in outcomes(peer)] == [(MEMORY, 1), (WRITTEN, 2)]


def test_a_dropped_message_is_counted_for_good(bench: Bench) -> None:
    define(bench, "a")
    bench.peer().call("exchange_unbind", exchange="x", queue="a")
    peer = producer(bench, mandatory=False)
    peer.publish(1, b"1", b"2")
    bench.work()
    bench.start()
    described = bench.peer().call("exchange_describe", exchange="x")
    assert (described["published"], described["unrouted"]) == (2, 2)
    assert bench.engine.blocks.live_bytes == 0


def test_a_dead_letter_keeps_the_way_its_message_came_by(bench: Bench) -> None:
    peer = define(bench, "a", "b")
    peer.publish(1, b"bad")
    bench.work()
    consumer = bench.peer().consume("a")
    bench.work()
    consumer.settle(4, (1, 1), reason="no")
    bench.work()
    taker = bench.peer().consume("a.dead")
    bench.work()
    (dead,) = taker.deliveries
    assert blocks.decode_routing(dead.block) == ("x", "k")
    assert consumed(bench, "b") == [b"bad"]
