"""Queues at their bound: whose confirms wait, for what, and in which order they leave."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core import bounds
from penstock.core.values import ACK, DROPPED_NEWEST, DUPLICATE, REFUSED, STORED, SYNCED, WRITTEN


def bounded(bench: Bench, **settings: Any) -> Peer:
    """A producer for ``jobs``, which may hold two messages, and for ``other``."""
    bench.declare("jobs", **{"max_messages": 2, **settings})
    bench.declare("other")
    peer = bench.peer().open("jobs", "other")
    bench.work()
    return peer


def confirmed(peer: Peer, route: int = 1) -> list[int]:
    return [entry[4] for entry in peer.confirms if entry[0] == route]


def take(bench: Bench, count: int) -> None:
    """Another connection consumes and acknowledges."""
    worker = bench.peer().consume("jobs", prefetch=count)
    bench.work()
    worker.settle(ACK, (1, count))
    bench.work()
    bench.engine.close_session(worker.session)


def test_above_its_bound_a_queue_confirms_no_more_until_there_is_room(bench: Bench) -> None:
    """I13, I20."""
    peer = bounded(bench)
    for sequence in range(1, 6):
        peer.publish(sequence, b"x")
        bench.work()
    assert confirmed(peer) == [1, 2]
    take(bench, 2)
    assert confirmed(peer) == [1, 2], "three messages are above the bound"
    take(bench, 1)
    assert confirmed(peer) == [1, 2, 3, 4, 5]
    assert not bench.engine.backpressure.is_holding
    assert not bench.engine.broker.full_queues


def test_a_confirm_waits_for_both_its_level_and_room(bench: Bench) -> None:
    """I2: room that is there before the disk has it confirms nothing."""
    peer = bounded(bench, max_messages=1)
    peer.publish(1, b"x")
    peer.publish(2, b"x")
    bench.engine.turn()
    bench.peer().ask("queue_purge", queue="jobs")
    bench.engine.turn()
    assert confirmed(peer) == []
    bench.work()
    assert confirmed(peer) == [1, 2]


@pytest.mark.parametrize("level", [SYNCED, WRITTEN])
def test_a_full_queue_does_not_keep_the_confirms_of_another(bench: Bench, level: int) -> None:
    peer = bounded(bench)
    for sequence in range(1, 5):
        peer.publish(sequence, b"x", level=level)
        peer.publish(sequence, b"y", route=2, level=level)
        bench.work()
    assert (confirmed(peer), confirmed(peer, 2)) == ([1, 2], [1, 2, 3, 4])


def test_everything_of_a_stream_waits_behind_what_waits(bench: Bench) -> None:
    """I9: re-sends, and blocks refused for a full disk."""
    peer = bounded(bench)
    for sequence in (1, 2, 3):
        peer.publish(sequence, b"x")
        bench.work()
    peer.publish(2, b"x")
    bench.engine.broker.storage_full = True
    peer.publish(4, b"x")
    bench.engine.broker.storage_full = False
    bench.work()
    assert confirmed(peer) == [1, 2]
    take(bench, 1)
    assert [(entry[1], entry[4]) for entry in peer.confirms] == [
        (STORED, 1),
        (STORED, 2),
        (STORED, 3),
        (DUPLICATE, 2),
        (REFUSED, 4),
    ]


def test_a_block_refused_for_what_it_is_waits_in_its_stream(bench: Bench) -> None:
    """I9: it passes the engine under the complement of its route."""
    peer = bounded(bench, max_messages=1)
    peer.publish(1, b"x")
    peer.publish(2, b"x")
    peer.publish(3, b"", route=~1)
    peer.publish(1, b"", route=~2)
    bench.work()
    assert [(entry[0], entry[4]) for entry in peer.confirms] == [(~2, 1)]
    bench.peer().call("queue_purge", queue="jobs")
    assert [(entry[0], entry[4]) for entry in peer.confirms[1:]] == [(1, 1), (1, 2), (~1, 3)]


def test_a_refusal_waits_for_no_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "OVERRUN_MESSAGES", 0)
    peer = bounded(bench)
    peer.publish(1, b"x", b"x", b"x")
    bench.work()
    other = bench.peer().open("jobs")
    other.publish(1, b"x")
    bench.work()
    assert [(entry[1], entry[3]) for entry in other.confirms] == [(REFUSED, "queue-full")]


def test_a_deletion_lets_go_what_waits(bench: Bench) -> None:
    """I20."""
    peer = bounded(bench)
    peer.publish(1, b"x", b"x", b"x")
    bench.work()
    bench.peer().call("queue_delete", queue="jobs")
    assert confirmed(peer) == [1]
    assert not bench.engine.broker.full_queues


def test_a_queue_declared_again_holds_its_own_confirms(bench: Bench) -> None:
    """I13: those of the one that was deleted leave, and take none with them."""
    peer = bounded(bench, max_messages=1, durable=False)
    peer.publish(1, b"x", b"y")
    bench.work()
    bench.engine.request(peer.session, 90, "queue_delete", {"queue": "jobs"})
    bench.engine.request(peer.session, 91, "queue_declare", {"queue": "jobs", "max_messages": 1, "durable": False})
    peer.publish(3, b"x", b"y")
    bench.work()
    assert confirmed(peer) == [1]
    take(bench, 2)
    assert confirmed(peer) == [1, 3]
    assert not bench.engine.backpressure.is_holding


def test_a_lost_connection_has_nothing_wait(bench: Bench) -> None:
    peer, other = bounded(bench), bench.peer().open("jobs")
    peer.publish(1, b"x", b"x", b"x")
    other.publish(1, b"x")
    bench.work()
    queue = bench.engine.broker.names["jobs"]
    assert bench.engine.backpressure.stalled_count(queue) == 2
    bench.engine.close_session(peer.session)
    assert bench.engine.backpressure.stalled_count(queue) == 1
    bench.engine.close_session(other.session)
    assert not bench.engine.backpressure.is_holding


def test_after_a_restart_a_re_send_waits_again(bench: Bench) -> None:
    peer = bounded(bench)
    peer.publish(1, b"x", b"x", b"x")
    bench.work()
    producer = bench.engine.broker.sessions[peer.session].producer
    bench.start()
    again = bench.peer().open("jobs", producer=producer)
    again.publish(1, b"x", b"x", b"x")
    bench.work()
    assert confirmed(again) == []
    take(bench, 1)
    assert again.confirms == [(1, DUPLICATE, SYNCED, "", 1, 3, 0)]


def test_a_queue_tells_how_full_it_is_and_who_waits(bench: Bench) -> None:
    peer = bounded(bench, max_bytes=1 << 20)
    peer.publish(1, b"x", b"x", b"x")
    bench.work()
    info = bench.peer().call("queue_describe", queue="jobs")
    assert (info["max_messages"], info["max_bytes"], info["overflow"]) == (2, 1 << 20, "backpressure")
    assert (info["needed_messages"], info["stalled_producers"], info["dropped_newest"]) == (3, 1, 0)
    assert info["needed_bytes"] == info["bytes"]
    listed = bench.peer().call("queue_list")["queues"]
    assert {one["queue"]: one["stalled_producers"] for one in listed} == {"jobs": 1, "other": 0}


@pytest.mark.parametrize("snapshot", [False, True])
def test_what_was_dropped_is_known_after_a_restart(bench: Bench, snapshot: bool) -> None:
    """I9, I12, I18."""
    peer = bounded(bench, overflow="drop_newest", overflow_dead_letter=True)
    peer.publish(1, b"x", b"x", b"y")
    bench.work()
    if snapshot:
        bench.keep_house()
    bench.start()
    again = bench.peer().open("jobs", producer=1)
    bench.peer().call("queue_purge", queue="jobs")
    again.publish(1, b"x", b"x", b"y")
    bench.work()
    assert [(entry[1], entry[4], entry[5]) for entry in again.confirms] == [(DUPLICATE, 1, 2), (DROPPED_NEWEST, 3, 1)]
    info = bench.peer().call("queue_describe", queue="jobs")
    assert (info["dropped_newest"], info["dead"]) == (1, 1)


def test_what_was_dropped_is_redriven_like_any_dead_letter(bench: Bench) -> None:
    peer = bounded(bench, overflow="drop_newest", overflow_dead_letter=True)
    peer.publish(1, b"x", b"x", b"y")
    bench.work()
    assert bench.peer().call("queue_redrive", queue="jobs") == {"redriven": 1}
    worker = bench.peer().consume("jobs")
    bench.work()
    assert worker.bodies() == [b"x", b"x", b"y"], "a redrive is bound by nothing"


def test_what_expires_makes_room(bench: Bench) -> None:
    """I13, I20."""
    peer = bounded(bench, ttl_ms=1000)
    for sequence in range(1, 6):
        peer.publish(sequence, b"x")
        bench.work()
    assert confirmed(peer) == [1, 2]
    bench.pass_time(1000)
    bench.work()
    assert confirmed(peer) == [1, 2, 3, 4, 5]


def test_what_is_on_its_way_to_the_dead_letters_by_expiry_needs_room_until_it_is_there(bench: Bench) -> None:
    peer = bounded(bench, ttl_ms=1000, on_expired="dead-letter")
    for sequence in range(1, 4):
        peer.publish(sequence, b"x")
        bench.work()
    bench.empty_cache()
    bench.pass_time(1000)
    bench.work()
    assert confirmed(peer) == [1, 2, 3]
    assert len(bench.peer().call("find", queue="jobs", state="dead", reason="expired")["found"]) == 3


def test_a_queue_that_rejects_takes_more_when_something_expired(bench: Bench) -> None:
    peer = bounded(bench, ttl_ms=1000, overflow="reject")
    peer.publish(1, b"x", b"x", b"x")
    bench.work()
    bench.pass_time(1000)
    peer.publish(4, b"x")
    bench.work()
    assert [(entry[1], entry[4], entry[5]) for entry in peer.confirms] == [
        (STORED, 1, 2),
        (REFUSED, 3, 1),
        (STORED, 4, 1),
    ]
