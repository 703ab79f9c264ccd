from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, DUPLICATE_SCHEDULED, REFUSED, SCHEDULED, STORED
from penstock.engine import scheduler as module
from penstock.engine.recovery import fingerprint
from penstock_client.wire import blocks


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.declare()
    return bench


def producer(bench: Bench) -> Peer:
    return bench.peer().open("jobs")


def ask(peer: Peer, first: int, *asks: Any, bodies: list[bytes] | None = None) -> None:
    """Publish one block whose messages have these properties."""
    bodies = bodies or [b"m%d" % (first + index) for index in range(len(asks))]
    block = blocks.encode_block(bodies, properties=list(asks))
    peer.bench.engine.publish(peer.session, [(1, 0, first, len(asks), block)], [0])


def outcomes(peer: Peer) -> list[tuple[int, str, int]]:
    """(status, code, offset) of each confirm since the last look."""
    confirms, peer.confirms = peer.confirms, []
    return [(confirm[1], confirm[3], confirm[6]) for confirm in confirms]


def scheduled(bench: Bench, **arguments: Any) -> list[tuple[int, int, list[bytes]]]:
    """What is shown: (id, due time, bodies)."""
    peer = bench.peer()
    request = peer.ask("scheduled_peek", queue="jobs", **arguments)
    bench.work()
    return [(e.offset, e.first_tag, blocks.decode_bodies(e.block)) for e in peer.peeks[request]]


def test_a_delayed_message_is_delivered_when_its_time_has_come_and_not_before(bench: Bench) -> None:
    peer = producer(bench)
    consumer = bench.peer().consume("jobs")
    ask(peer, 1, {"delay_ms": 500})
    bench.work()
    assert outcomes(peer) == [(SCHEDULED, "", 1)]
    assert bench.engine.next_due_ms() is not None
    bench.pass_time(499)
    assert consumer.bodies() == []
    bench.pass_time(1)
    assert consumer.bodies() == [b"m1"]


def test_what_became_due_is_visible_only_when_that_is_durable(bench: Bench) -> None:
    """I3."""
    peer = producer(bench)
    consumer = bench.peer().consume("jobs")
    ask(peer, 1, {"delay_ms": 5})
    bench.work()
    bench.now_ms += 5
    bench.engine.turn()
    assert consumer.bodies() == []
    assert bench.engine.urgent, "someone waits for it"
    bench.commit()
    assert consumer.bodies() == [b"m1"]


def test_a_confirm_of_a_scheduled_block_waits_for_the_disk(bench: Bench) -> None:
    """I2."""
    peer = producer(bench)
    bench.work()
    ask(peer, 1, {"delay_ms": 5})
    bench.engine.turn()
    assert peer.confirms == []
    bench.commit()
    assert outcomes(peer) == [(SCHEDULED, "", 1)]


def test_asking_and_plain_blocks_of_one_frame_are_confirmed_in_order(bench: Bench) -> None:
    peer = producer(bench)
    plain, later = blocks.encode_block([b"plain"]), blocks.encode_block([b"later"], properties=[{"delay_ms": 9}])
    entries = [(1, 0, 1, 1, plain), (1, 0, 2, 1, later), (1, 0, 3, 1, later), (1, 0, 4, 1, plain)]
    bench.engine.publish(peer.session, entries, [1, 2])
    bench.work()
    assert outcomes(peer) == [(STORED, "", 0), (SCHEDULED, "", 1), (SCHEDULED, "", 2), (STORED, "", 1)]


def test_what_is_due_already_is_stored_at_once(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 0}, {"deliver_at_ms": bench.now_ms - 10_000}, None)
    bench.work()
    assert outcomes(peer) == [(STORED, "", 0)]


def test_a_block_of_different_times_is_split_by_them(bench: Bench) -> None:
    peer = producer(bench)
    consumer = bench.peer().consume("jobs")
    ask(peer, 1, {"delay_ms": 700}, {"delay_ms": 700}, None, {"deliver_at_ms": bench.now_ms + 50})
    bench.work()
    assert outcomes(peer) == [(SCHEDULED, "", 1)]
    assert scheduled(bench) == [(1, 1_000_700, [b"m1", b"m2"]), (4, 1_000_050, [b"m4"])]
    assert consumer.bodies() == [b"m3"], "one that asks nothing is due at once"
    bench.pass_time(1000)
    assert consumer.bodies() == [b"m3", b"m4", b"m1", b"m2"]


@pytest.mark.parametrize("properties", [{"delay_ms": -5}, {"delay_ms": "soon"}, {"delay_ms": 1, "deliver_at_ms": 2}])
def test_a_block_that_asks_what_makes_no_sense_is_refused_alone(bench: Bench, properties: Any) -> None:
    peer = producer(bench)
    ask(peer, 1, properties)
    ask(peer, 2, {"delay_ms": 5})
    bench.work()
    assert [outcome[:2] for outcome in outcomes(peer)] == [(REFUSED, "bad-setting"), (SCHEDULED, "")]


def test_a_block_whose_properties_cannot_be_decoded_is_refused(bench: Bench) -> None:
    peer = producer(bench)
    block = bytearray(blocks.encode_block([b"x"], properties=[{"delay_ms": 5}]))
    block[-10:] = b"\xc1" * 10
    bench.engine.publish(peer.session, [(1, 0, 1, 1, bytes(block))], [0])
    bench.work()
    assert outcomes(peer)[0][:2] == (REFUSED, "bad-block")


def test_everything_scheduled_survives_a_restart(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 500}, {"delay_ms": 500})
    ask(peer, 3, {"delay_ms": 100})
    bench.work()
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    again = bench.peer().open("jobs", producer=1)
    ask(again, 3, {"delay_ms": 100})
    bench.work()
    assert outcomes(again) == [(DUPLICATE_SCHEDULED, "", 3)]
    consumer = bench.peer().consume("jobs")
    bench.pass_time(1000)
    assert consumer.bodies() == [b"m3", b"m1", b"m2"]


def test_what_came_due_while_the_broker_was_down_is_released_once_at_the_start(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 900})
    ask(peer, 2, {"delay_ms": 300})
    bench.work()
    bench.now_ms += 5000
    bench.start()
    bench.work()
    bench.start()
    consumer = bench.peer().consume("jobs")
    bench.work()
    assert consumer.bodies() == [b"m2", b"m1"]


def test_a_snapshot_holds_what_is_scheduled(bench: Bench) -> None:
    peer = producer(bench)
    for first in range(1, 200):
        ask(peer, first, {"delay_ms": 1000 * first}, bodies=[b"x" * 100])
        bench.work()
    bench.pass_time(100_000)
    before = list(fingerprint(bench.engine.broker))
    bench.keep_house()
    bench.keep_house()
    bench.start()
    assert [part for part in fingerprint(bench.engine.broker) if part] == [part for part in before if part]
    assert bench.recovery.record_count < 100, "the snapshot spares most of the journal"
    assert len(scheduled(bench, count=1000)) == 99


def test_cleaning_moves_what_waits_and_what_was_released(bench: Bench) -> None:
    """A message scheduled for next year must not pin a segment for a year (SEMANTICS 29)."""
    peer = producer(bench)
    consumer = bench.peer().consume("jobs", prefetch=1000)
    ask(peer, 1, {"delay_ms": 10**9}, bodies=[b"next week"])
    ask(peer, 2, {"delay_ms": 5}, bodies=[b"soon"])
    bench.work()
    bench.pass_time(5)
    (held,) = consumer.deliveries
    assert blocks.decode_bodies(held.block) == [b"soon"]
    bench.declare("noise")
    noise, eater = bench.peer().open("noise"), bench.peer().consume("noise")
    for first in range(1, 300):
        noise.publish(first, b"y" * 300)
        bench.work()
        eater.settle(ACK, (first, first))
        bench.work()
    before = len(bench.journal.segments)
    for _ in range(4):
        bench.keep_house()
    assert len(bench.journal.segments) < before / 3
    for _ in range(2):
        bench.start()
        bench.empty_cache()
        assert [one[2] for one in scheduled(bench)] == [[b"next week"]]
        again = bench.peer().consume("jobs")
        bench.work()
        assert again.bodies() == [b"soon"]
        bench.engine.close_session(again.session, lost=False)


def test_one_of_several_messages_is_cancelled_when_its_block_was_read(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, *[{"delay_ms": 50}] * 3)
    bench.work()
    bench.empty_cache()
    assert bench.peer().call("scheduled_cancel", queue="jobs", id=2) == {"cancelled": 1}
    assert scheduled(bench) == [(1, 1_000_050, [b"m1"]), (3, 1_000_050, [b"m3"])]
    assert bench.peer().call("scheduled_cancel", queue="jobs", id=1) == {"cancelled": 1}
    bench.start()
    consumer = bench.peer().consume("jobs")
    bench.pass_time(50)
    assert consumer.bodies() == [b"m3"]


def test_the_first_the_last_and_the_only_message_are_cancelled(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, *[{"delay_ms": 50}] * 3)
    bench.work()
    for number in (1, 3, 2):
        assert bench.peer().call("scheduled_cancel", queue="jobs", id=number) == {"cancelled": 1}
    assert scheduled(bench) == []
    assert bench.engine.blocks.live_bytes == 0
    assert bench.peer().call("queue_describe", queue="jobs")["unscheduled"] == 3


def test_a_message_that_became_due_while_its_block_was_read_is_not_cancelled(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, *[{"delay_ms": 50}] * 3)
    bench.work()
    bench.empty_cache()
    asker = bench.peer()
    request = asker.ask("scheduled_cancel", queue="jobs", id=2)
    bench.now_ms += 50
    bench.engine.turn()
    bench.work()
    assert asker.refusals[request].code == "not-scheduled"


def test_a_block_that_was_cut_while_another_cancel_read_it_is_read_again(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, *[{"delay_ms": 50}] * 5)
    bench.work()
    bench.empty_cache()
    asker = bench.peer()
    requests = [asker.ask("scheduled_cancel", queue="jobs", id=number) for number in (2, 4, 2)]
    bench.work()
    assert [asker.replies.get(request) for request in requests] == [{"cancelled": 1}, {"cancelled": 1}, None]
    assert asker.refusals[requests[2]].code == "not-scheduled"
    assert [one[0] for one in scheduled(bench)] == [1, 3, 5]


@pytest.mark.parametrize("number", [0, 7])
def test_cancelling_what_does_not_wait_is_refused(bench: Bench, number: int) -> None:
    assert bench.peer().refusal("scheduled_cancel", queue="jobs", id=number).code == "not-scheduled"


def test_scheduled_messages_are_shown_by_id_in_pages(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, *[{"delay_ms": 50}] * 5)
    ask(peer, 6, {"delay_ms": 20})
    bench.work()
    bench.empty_cache()
    assert scheduled(bench, first=3, count=2) == [(3, 1_000_050, [b"m3", b"m4"])]
    assert scheduled(bench, first=5) == [(5, 1_000_050, [b"m5"]), (6, 1_000_020, [b"m6"])]
    assert scheduled(bench, bytes_max=1) == [(1, 1_000_050, [b"m1", b"m2", b"m3", b"m4", b"m5"])]
    assert scheduled(bench, first=7) == []
    with patch.object(module, "LOOK_ENTRIES_MAX", 1):
        assert len(scheduled(bench)) == 1


def test_nothing_is_shown_to_who_left(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 50})
    bench.work()
    bench.empty_cache()
    asker = bench.peer()
    request = asker.ask("scheduled_peek", queue="jobs")
    bench.engine.close_session(asker.session)
    bench.work()
    assert request not in asker.peeks


def test_a_queue_without_a_schedule_shows_nothing(bench: Bench) -> None:
    assert scheduled(bench) == []


def test_a_purge_takes_what_is_scheduled_only_when_told_to(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 50}, {"delay_ms": 60})
    peer.publish(3, b"ready")
    bench.work()
    assert bench.peer().call("queue_purge", queue="jobs") == {"purged": 1, "cancelled": 0}
    assert bench.peer().call("queue_purge", queue="jobs", scheduled=True) == {"purged": 0, "cancelled": 2}
    bench.start()
    consumer = bench.peer().consume("jobs")
    bench.pass_time(100)
    assert consumer.bodies() == []
    assert bench.engine.blocks.live_bytes == 0


def test_a_deleted_queue_with_scheduled_messages_leaves_nothing(bench: Bench) -> None:
    peer = producer(bench)
    ask(peer, 1, {"delay_ms": 50}, {"delay_ms": 60})
    bench.work()
    assert bench.peer().call("queue_delete", queue="jobs") == {"deleted": 2}
    bench.pass_time(100)
    assert bench.engine.blocks.live_bytes == 0
    bench.start()
    assert bench.engine.blocks.live_bytes == 0


def test_what_was_taken_back_before_a_restart_is_counted_off_nobody_after_it(bench: Bench) -> None:
    """I12: a segment that is taken for emptier than it is would be deleted too early."""
    for number, queue in enumerate(("jobs", "more", "most"), 1):
        bench.declare(queue)
        peer = bench.peer().open(queue)
        ask(peer, 1, {"delay_ms": 50})
        peer.publish(2, b"needed %d" % number)
    bench.work()
    for queue in ("jobs", "more", "most"):
        assert bench.peer().call("queue_purge", queue=queue, scheduled=True)["cancelled"] == 1
    peer.publish(3, b"needed")
    bench.work()
    bench.start()
    bench.work()
    queues = bench.engine.broker.queues.values()
    assert bench.engine.blocks.live_bytes == sum(queue.log.live_bytes for queue in queues) > 0
