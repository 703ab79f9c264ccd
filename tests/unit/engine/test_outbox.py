"""Deliveries whose blocks are not in memory, and the order that they keep."""

from collections.abc import Callable

from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, RELEASE
from penstock.engine.interface import StoredBlock


def backlog(bench: Bench, *bodies: bytes) -> Peer:
    """A consumer's connection, and messages that are in the journal alone, one block each."""
    bench.declare()
    publisher = bench.peer().open("jobs")
    for sequence, body in enumerate(bodies, 1):
        publisher.publish(sequence, body)
    bench.work()
    bench.start()
    return bench.peer()


def test_a_backlog_is_read_from_the_journal(bench: Bench) -> None:
    peer = backlog(bench, b"one", b"two", b"three")
    peer.consume("jobs")
    bench.engine.turn()
    assert peer.deliveries == []
    assert len(bench.engine.loads) == 1, "read ahead: one load for all"
    bench.work()
    assert peer.bodies() == [b"one", b"two", b"three"]


def test_what_was_read_is_kept_for_the_next(bench: Bench) -> None:
    peer = backlog(bench, b"one", b"two")
    peer.consume("jobs", prefetch=1)
    bench.work()
    assert peer.bodies() == [b"one"]
    peer.settle(ACK, (1, 1))
    bench.engine.turn()
    assert bench.engine.loads == []
    assert peer.bodies() == [b"one", b"two"]


def test_later_deliveries_wait_behind_one_that_waits(bench: Bench) -> None:
    """I7."""
    peer = backlog(bench, b"old")
    peer.open("jobs").consume("jobs")
    peer.publish(1, b"new")
    bench.engine.turn()
    bench.commit()
    assert peer.deliveries == [], "new is in memory, and comes after old"
    bench.load()
    assert peer.bodies() == [b"old", b"new"]


def test_other_sessions_do_not_wait(bench: Bench) -> None:
    bench.declare("other")
    slow = backlog(bench, b"old")
    slow.consume("jobs")
    fast = bench.peer().open("other").consume("other")
    fast.publish(1, b"new")
    bench.engine.turn()
    bench.commit()
    assert fast.bodies() == [b"new"]
    assert slow.deliveries == []


def test_a_session_that_is_gone_gets_nothing(bench: Bench) -> None:
    peer = backlog(bench, b"one")
    peer.consume("jobs")
    bench.engine.turn()
    bench.engine.close_session(peer.session)
    bench.work()
    assert peer.deliveries == []
    assert bench.engine.outbox.waiting_positions() == []
    assert bench.engine.loading == {}


def test_a_block_is_asked_for_once(bench: Bench) -> None:
    one = backlog(bench, b"a", b"b")
    two = bench.peer()
    one.consume("jobs", prefetch=1)
    two.consume("jobs", prefetch=1)
    bench.engine.turn()
    assert sum(len(load.blocks) for load in bench.engine.loads) == 2
    bench.work()
    assert sorted(one.bodies() + two.bodies()) == [b"a", b"b"]


def test_a_part_of_a_block_is_cut_out(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs", prefetch=2)
    peer.publish(1, b"a", b"b", b"c")
    bench.work()
    assert [(one.offset, one.message_count) for one in peer.deliveries] == [(0, 2)]
    assert peer.bodies() == [b"a", b"b"]
    peer.settle(ACK, (1, 1))
    bench.work()
    assert peer.deliveries[-1].offset == 2
    assert peer.deliveries[-1].first_tag == 3


def test_a_cache_of_nothing_still_delivers_everything() -> None:
    """I13, I20: whatever is evicted is read again."""
    bench = Bench(cache_bytes=0)
    peer = backlog(bench, *[b"%d" % number for number in range(50)])
    other = bench.peer()
    peer.consume("jobs", prefetch=7)
    other.consume("jobs", prefetch=3)
    for _ in range(100):
        bench.work()
        for one in (peer, other):
            held = bench.engine.broker.sessions[one.session].leases
            one.settle(ACK, *[(lease.first_tag, lease.first_tag + lease.count - 1) for lease in held])
    assert sorted(map(int, peer.bodies() + other.bodies())) == list(range(50))
    assert bench.engine.blocks.cache_bytes == 0


def test_a_delivery_of_a_deleted_queue_still_arrives(bench: Bench) -> None:
    peer = backlog(bench, b"one")
    peer.consume("jobs")
    bench.engine.turn()
    bench.peer().ask("queue_delete", queue="jobs")
    bench.work()
    assert peer.bodies() == [b"one"]
    assert [number for number, _ in peer.cancels] == [1]
    peer.settle(ACK, (1, 1))
    assert peer.stales == [(ACK, [(1, 1)])]


def memory_behind_backlog(bench: Bench) -> tuple[Peer, Peer]:
    """A memory queue's message handed out behind one that waits for the journal."""
    slow = backlog(bench, b"old")
    slow.ask("queue_declare", queue="fast", durable=False)
    slow.open("fast").consume("jobs", number=1).consume("fast", number=2)
    bench.engine.turn()
    slow.publish(1, b"new")
    bench.engine.turn()
    assert slow.deliveries == []
    return slow, bench.peer()


def test_a_memory_message_that_waits_behind_a_load_survives_its_queue(bench: Bench) -> None:
    """Its block is gone from the store by then; the journal never had it (seed 48)."""
    slow, other = memory_behind_backlog(bench)
    other.ask("queue_delete", queue="fast")
    bench.work()
    assert slow.bodies() == [b"old", b"new"]


def test_a_memory_message_that_waits_is_not_kept_in_the_cache(bench: Bench) -> None:
    """I13."""
    slow, _ = memory_behind_backlog(bench)
    bench.work()
    slow.settle(RELEASE, (1, 1))
    assert slow.bodies() == [b"old", b"new"]
    assert all(position < 1 << 63 for position in bench.engine.blocks._cache)


def test_reads_pin_what_they_read(bench: Bench) -> None:
    """Storage rule 8: no segment goes while someone is about to read it."""
    peer = backlog(bench, b"one")
    peer.consume("jobs")
    bench.engine.turn()
    [load] = bench.engine.loads
    position = load.blocks[0].position
    bench.peer().ask("queue_delete", queue="jobs")
    bench.engine.turn()
    assert bench.engine.blocks.live_bytes == 0
    assert bench.engine.first_needed_position() == position
    bench.work()
    assert bench.engine.first_needed_position() is None


def test_a_load_is_done_once(bench: Bench) -> None:
    peer = backlog(bench, b"one")
    peer.consume("jobs")
    bench.engine.turn()
    [load] = bench.engine.loads
    done: Callable[[dict[int, StoredBlock]], None] = load.done
    bench.load()
    assert peer.bodies() == [b"one"]
    assert bench.engine.loading == {}
    assert done is load.done
