"""Times to live and priorities through the engine: published, recovered, buried, redriven."""

from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, REFUSED, RELEASE, STORED
from penstock.engine.recovery import fingerprint
from penstock_client.wire import blocks


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.declare()
    return bench


def ask(peer: Peer, first: int, *asks: Any, route: int = 1) -> None:
    """Publish one block whose messages have these properties."""
    bodies = [b"m%d" % (first + index) for index in range(len(asks))]
    block = blocks.encode_block(bodies, properties=list(asks))
    peer.bench.engine.publish(peer.session, [(route, 0, first, len(asks), block)], [0])


def counters(bench: Bench, *names: str) -> list[int]:
    described = bench.peer().call("queue_describe", queue="jobs")
    return [described[name] for name in names]


def test_messages_that_ask_are_handed_out_by_priority_and_expire(bench: Bench) -> None:
    peer = bench.peer().open("jobs")
    ask(peer, 1, None, {"priority": 9}, {"ttl_ms": 500}, {"priority": 0, "ttl_ms": 9000})
    bench.work()
    assert [confirm[1] for confirm in peer.confirms] == [STORED]
    bench.pass_time(500)
    consumer = bench.peer().consume("jobs")
    bench.work()
    assert consumer.bodies() == [b"m2", b"m1", b"m4"]
    assert counters(bench, "expired") == [1]


def test_what_makes_no_sense_is_refused_and_nothing_is_stored(bench: Bench) -> None:
    peer = bench.peer().open("jobs")
    ask(peer, 1, {"priority": 256})
    ask(peer, 2, {"ttl_ms": 0})
    bench.work()
    assert [(confirm[1], confirm[3]) for confirm in peer.confirms] == [(REFUSED, "bad-setting")] * 2
    assert counters(bench, "messages") == [0]


def test_a_memory_queue_has_both_too(bench: Bench) -> None:
    bench.declare("fast", durable=False, ttl_ms=1000)
    peer = bench.peer().open("fast")
    ask(peer, 1, None, {"priority": 9}, {"ttl_ms": 500})
    bench.pass_time(500)
    consumer = bench.peer().consume("fast", prefetch=1)
    bench.work()
    assert consumer.bodies() == [b"m2"]
    bench.pass_time(500)
    assert bench.peer().call("queue_describe", queue="fast")["expired"] == 2


def test_a_queue_that_deduplicates_keeps_what_each_part_asks_for(bench: Bench) -> None:
    bench.declare("once", dedup_window_ms=60_000)
    peer = bench.peer().open("once")
    ask(peer, 1, {"message_id": "a", "priority": 9})
    ask(
        peer,
        2,
        {"message_id": "b", "priority": 5},
        {"message_id": "a", "priority": 0},
        {"message_id": "c", "priority": 8},
    )
    bench.work()
    consumer = bench.peer().consume("once")
    bench.work()
    assert consumer.bodies() == [b"m1", b"m4", b"m2"]


def test_every_queue_of_an_exchange_notes_what_its_messages_ask_for(bench: Bench) -> None:
    bench.declare("fast", durable=False)
    bench.declare("timed", ttl_ms=1000)
    peer = bench.peer()
    peer.call("exchange_declare", exchange="all", type="fanout")
    for name in ("jobs", "timed", "fast"):
        peer.call("exchange_bind", exchange="all", queue=name)
    peer.open()
    peer.call("route_open", route=1, exchange="all", routing_key="")
    ask(peer, 1, None, {"priority": 9}, {"ttl_ms": 500})
    bench.work()
    for name in ("jobs", "timed", "fast"):
        consumer = bench.peer().consume(name, prefetch=1)
        bench.work()
        assert consumer.bodies() == [b"m2"]
    bench.pass_time(1000)
    expired = [bench.peer().call("queue_describe", queue=name)["expired"] for name in ("jobs", "timed", "fast")]
    assert expired == [1, 2, 1]
    bench.start()
    assert list(fingerprint(bench.engine.broker))


@pytest.mark.parametrize("snapshot", [False, True])
def test_all_of_it_survives_a_restart(bench: Bench, snapshot: bool) -> None:
    """I18: from the journal alone, and from a snapshot."""
    bench.declare("timed", ttl_ms=3000)
    peer = bench.peer().open("jobs", "timed")
    ask(peer, 1, None, {"priority": 9}, {"ttl_ms": 1000}, {"priority": 7, "ttl_ms": 5000})
    ask(peer, 5, {"delay_ms": 2000, "priority": 8, "ttl_ms": 800}, {"delay_ms": 2000})
    ask(peer, 1, {"priority": 1}, None, route=2)
    bench.work()
    if snapshot:
        bench.keep_house()
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    consumer = bench.peer().consume("jobs", prefetch=1)
    bench.work()
    assert consumer.bodies() == [b"m2"]
    bench.pass_time(2000)
    for tag in (1, 2, 3, 4):
        consumer.settle(ACK, (tag, tag))
        bench.work()
    assert consumer.bodies() == [b"m2", b"m5", b"m4", b"m1", b"m6"]
    assert counters(bench, "expired") == [1]
    bench.pass_time(1000)
    assert bench.peer().call("queue_describe", queue="timed")["expired"] == 2


def test_what_became_due_while_the_broker_was_down_is_over(bench: Bench) -> None:
    peer = bench.peer().open("jobs")
    ask(peer, 1, {"ttl_ms": 1000}, None)
    bench.work()
    bench.now_ms += 1000
    bench.start()
    consumer = bench.peer().consume("jobs")
    bench.work()
    assert consumer.bodies() == [b"m2"]


def test_a_scheduled_message_has_its_time_from_when_it_was_due(bench: Bench) -> None:
    peer = bench.peer().open("jobs")
    ask(peer, 1, {"delay_ms": 1000, "ttl_ms": 500})
    bench.pass_time(1000)
    assert counters(bench, "ready", "expired") == [1, 0]
    bench.pass_time(500)
    assert counters(bench, "ready", "expired") == [0, 1]


def test_what_expires_moves_to_the_dead_letters_with_the_reason_and_back_with_its_priority(bench: Bench) -> None:
    bench.declare("strict", on_expired="dead-letter")
    peer = bench.peer().open("strict")
    ask(peer, 1, {"ttl_ms": 1000, "priority": 9}, {"ttl_ms": 1000}, None)
    bench.work()
    holder = bench.peer().consume("strict", prefetch=2)
    bench.work()
    bench.pass_time(1000)
    holder.settle(RELEASE, (1, 2))
    bench.work()
    dead = bench.peer()
    request = dead.ask("peek", queue="strict.dead", offset=0)
    bench.work()
    letters = [(blocks.decode_properties(one.block) or [None])[0] for one in dead.peeks[request]]
    assert [(one["dead"]["reason"], one["dead"]["attempts"]) for one in letters if one] == [("expired", 1)] * 2
    assert bench.peer().call("queue_redrive", queue="strict") == {"redriven": 2}
    bench.work()
    assert holder.bodies() == [b"m1", b"m2", b"m3", b"m1"], "it has credit for one"
    bench.pass_time(1000)
    assert bench.peer().call("queue_describe", queue="strict")["dead_lettered"] == 3, "the other's time began anew"


def test_dead_letters_are_buried_after_a_restart_too(bench: Bench) -> None:
    """I14."""
    bench.declare("strict", ttl_ms=1000, on_expired="dead-letter")
    bench.peer().open("strict").publish(1, b"one", b"two")
    bench.work()
    bench.now_ms += 1000
    bench.engine.turn()
    bench.commit()
    bench.start()
    bench.work()
    described = bench.peer().call("queue_describe", queue="strict")
    assert (described["dead_lettered"], described["messages"], described["dead"]) == (2, 0, 2)


def test_a_message_that_says_nonsense_without_the_mark_can_be_redriven_all_the_same(bench: Bench) -> None:
    bench.declare("strict", max_failures=1)
    peer = bench.peer().open("strict")
    block = blocks.encode_block([b"one"], properties=[{"priority": "high"}])
    bench.engine.publish(peer.session, [(1, 0, 1, 1, block)], [])
    consumer = bench.peer().consume("strict")
    bench.work()
    consumer.settle(4, (1, 1), reason="no")
    bench.work()
    assert bench.peer().call("queue_redrive", queue="strict") == {"redriven": 1}


def test_the_time_of_the_next_expiry_wakes_the_broker(bench: Bench) -> None:
    ask(bench.peer().open("jobs"), 1, {"ttl_ms": 60_000})
    bench.work()
    due_ms = bench.engine.next_due_ms()
    assert due_ms is not None
    assert due_ms <= bench.now_ms + 60_000
