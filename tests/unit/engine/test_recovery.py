"""What comes back after a stop, from the journal alone and from a snapshot and the journal after it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.facts import Moved
from penstock.core.values import ACK, DUPLICATE, NACK, REFUSED, REJECT
from penstock.engine.housekeeping import AwaitDurable, Io, Pause
from penstock.engine.recovery import Recovery, fingerprint, snapshot_head, snapshot_queue
from penstock.storage.errors import Damaged, StorageFull


def state(bench: Bench) -> list[Any]:
    return list(fingerprint(bench.engine.broker))


def busy(bench: Bench) -> Peer:
    """A broker with something of everything."""
    bench.declare("jobs", max_failures=2, backoff_min_ms=1000, backoff_max_ms=1000)
    bench.declare("other")
    bench.declare("fast", durable=False)
    peer = bench.peer("worker").open("jobs", "other", "fast").consume("jobs", prefetch=6)
    peer.publish(1, *[b"%d" % number for number in range(9)])
    peer.publish(10, b"nine")
    peer.publish(1, b"elsewhere", route=2)
    peer.publish(1, b"forgotten", route=3)
    bench.work()
    peer.settle(ACK, (2, 3))
    peer.settle(NACK, (4, 4), duration_ms=1000, reason="later")
    peer.settle(REJECT, (5, 5), reason="never")
    bench.work()
    return peer


def test_everything_durable_comes_back(bench: Bench) -> None:
    """I18."""
    busy(bench)
    before = state(bench)
    bench.start()
    assert state(bench) == before
    bench.start()
    assert state(bench) == before, "recovery is idempotent"


def test_what_was_leased_is_ready_again_and_counts_no_failure(bench: Bench) -> None:
    """SEMANTICS 2: a restart is a release."""
    busy(bench)
    bench.start()
    peer = bench.peer().consume("jobs")
    bench.work()
    found = [(one.offset, one.attempt, one.failures) for one in peer.deliveries]
    assert found[:2] == [(0, 2, 0), (5, 2, 0)]
    bench.pass_time(1000)
    assert (peer.deliveries[-1].offset, peer.deliveries[-1].failures) == (3, 1)


def test_what_was_not_written_is_gone_whole(bench: Bench) -> None:
    """I5."""
    peer = busy(bench)
    before = state(bench)
    peer.publish(11, b"lost", b"lost too")
    peer.settle(ACK, (1, 1))
    bench.engine.turn()
    bench.start()
    assert state(bench) == before


def test_a_producer_resumes_after_a_restart(bench: Bench) -> None:
    """I9."""
    busy(bench)
    producer = next(iter(bench.engine.broker.producers))
    bench.start()
    peer = bench.peer().open("jobs", producer=producer)
    bench.work()
    peer.publish(10, b"nine")
    peer.publish(11, b"ten")
    bench.work()
    assert [(entry[1], entry[6]) for entry in peer.confirms] == [(DUPLICATE, 9), (0, 10)]


def test_the_journal_s_time_comes_back(bench: Bench) -> None:
    """I11: the broker's clock must not run behind it."""
    busy(bench)
    bench.start()
    assert bench.recovery.last_ms == bench.now_ms
    assert bench.recovery.record_count > 5


def test_a_deleted_queue_stays_deleted(bench: Bench) -> None:
    peer = busy(bench)
    peer.call("queue_delete", queue="jobs")
    before = state(bench)
    bench.start()
    assert state(bench) == before
    assert "jobs" not in bench.engine.broker.names


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_and_the_journal_after_it_give_the_same_state(bench: Bench) -> None:
    """I18."""
    peer = busy(bench)
    bench.keep_house()
    peer.publish(11, b"after")
    peer.settle(ACK, (1, 1))
    bench.work()
    before = state(bench)
    bench.start()
    assert state(bench) == before
    assert bench.recovery.record_count < 8, "what the snapshot holds is not replayed"


def test_refusals_are_remembered_over_a_snapshot(bench: Bench) -> None:
    """I1."""
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.engine.broker.storage_full = True
    peer.publish(1, b"refused")
    bench.engine.broker.storage_full = False
    peer.publish(2, b"stored")
    bench.work()
    bench.keep_house()
    bench.start()
    again = bench.peer().open("jobs", producer=1)
    again.publish(1, b"refused")
    again.publish(2, b"stored")
    bench.work()
    assert [entry[1] for entry in again.confirms] == [REFUSED, DUPLICATE]


def snapshot_with(bench: Bench, meanwhile: Any) -> None:
    """Take a snapshot queue by queue, doing something after the first part."""
    cycle = bench.housekeeping.cycle()
    result, pauses = None, 0
    try:
        while True:
            step = cycle.send(result)
            result = None
            if isinstance(step, Pause) and not pauses:
                pauses += 1
                meanwhile()
            elif isinstance(step, AwaitDurable):
                bench.work()
            elif isinstance(step, Io):
                result = step.call()
    except StopIteration:
        pass
    assert pauses, "the snapshot has parts"


@pytest.mark.parametrize("what", ["publish", "settle", "delete", "declare again", "purge", "bury", "expire"])
def test_a_snapshot_taken_while_the_broker_works_is_consistent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """I14, I18: each part knows up to where it has applied the facts."""
    monkeypatch.setattr("penstock.engine.housekeeping.SLICE_QUEUES", 1)
    peer = busy(bench)

    def meanwhile() -> None:
        match what:
            case "publish":
                peer.publish(11, b"during")
                peer.publish(2, b"during", route=2)
            case "settle":
                peer.settle(ACK, (1, 1))
            case "delete":
                peer.ask("queue_delete", queue="jobs")
            case "declare again":
                peer.ask("queue_delete", queue="jobs")
                peer.ask("queue_declare", queue="jobs")
                peer.publish(11, b"anew")
            case "purge":
                peer.ask("queue_purge", queue="other")
            case "bury":
                peer.settle(REJECT, (1, 1))
            case "expire":
                bench.engine.close_session(peer.session, lost=False)
                bench.now_ms += bench.engine.limits.producer_idle_ms + 1
                bench.engine.expire_idle_producers()
        bench.engine.turn()

    snapshot_with(bench, meanwhile)
    bench.work()
    before = state(bench)
    bench.start()
    assert state(bench) == before


# -- housekeeping ------------------------------------------------------------------------------------------------------


def churn(bench: Bench, peer: Peer, rounds: int, first: int = 1) -> None:
    """Publish and acknowledge."""
    for number in range(rounds):
        peer.publish(first + number, b"x" * 1000)
        bench.work()
        held = bench.engine.broker.sessions[peer.session].leases
        peer.settle(ACK, *[(lease.first_tag, lease.first_tag + lease.count - 1) for lease in held])
        bench.work()


def test_housekeeping_is_due_after_enough_was_recorded() -> None:
    bench = Bench(snapshot_bytes=5000)
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    assert not bench.housekeeping.is_due()
    churn(bench, peer, 6)
    assert bench.housekeeping.is_due()
    bench.keep_house()
    assert not bench.housekeeping.is_due()
    bench.engine.broker.storage_full = True
    churn(bench, peer, 1, first=7)
    bench.engine.broker.storage_full = False
    peer.publish(8, b"x" * 50)
    bench.work()
    bench.engine.broker.storage_full = True
    assert bench.housekeeping.is_due(), "a full disk is looked after much earlier"


def test_what_no_one_needs_is_deleted_after_two_snapshots(bench: Bench) -> None:
    """Storage rule 8, SEMANTICS 30."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    churn(bench, peer, 30)
    full = bench.journal.total_bytes
    bench.keep_house()
    churn(bench, peer, 1, first=31)
    bench.keep_house()
    assert bench.journal.total_bytes < full / 2
    before = state(bench)
    bench.start()
    assert state(bench) == before


def test_a_needed_block_moves_out_of_an_old_segment(bench: Bench) -> None:
    """I1, I6: at its new place it is the same message."""
    bench.declare()
    bench.declare("pinned")
    pinned = bench.peer().open("pinned")
    pinned.publish(1, b"pinned")
    peer = bench.peer().open("jobs").consume("jobs")
    churn(bench, peer, 60)
    oldest = bench.journal.segments[0].segment_id
    for turn in range(3):
        bench.keep_house()
        churn(bench, peer, 5, first=61 + 5 * turn)
    assert bench.journal.segments[0].segment_id > oldest
    before = state(bench)
    bench.start()
    assert state(bench) == before
    reader = bench.peer().consume("pinned")
    bench.work()
    assert reader.bodies() == [b"pinned"]


def test_nothing_is_discarded_before_what_made_it_unneeded_is_durable(bench: Bench) -> None:
    """I1: storage rule 8."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"precious" * 600)
    bench.work()
    bench.keep_house()
    publisher = bench.peer().open("jobs")
    for number in range(1, 12):
        publisher.publish(number, b"x" * 1000)
        bench.work()
    publisher.call("queue_declare", queue="more")
    cycle = bench.housekeeping.cycle()
    step, result = cycle.send(None), None
    while not (isinstance(step, Io) and result is not None):
        if isinstance(step, Io):
            step.call()  # the snapshot
            result = True
            peer.settle(ACK, (1, 1))  # acknowledged, and not durable yet
            step = cycle.send(None)
        else:
            bench.work()
            step = cycle.send(None)
        if isinstance(step, AwaitDurable) and result:
            assert step.position >= bench.journal.next_position, "the discard waits for the acknowledgement"
            return
    raise AssertionError("the discard did not wait")


def test_a_full_disk_leaves_the_older_snapshot_in_place(bench: Bench) -> None:
    busy(bench)
    bench.keep_house()
    peer = bench.peer().open("other")
    peer.publish(1, b"more")
    bench.work()
    before = state(bench)

    def full(operation: Any) -> None:
        if operation.kind == "create" and "snapshot" in operation.path:
            raise StorageFull("no room", path=operation.path)

    bench.fs.hook = full
    with pytest.raises(StorageFull):
        bench.keep_house()
    bench.fs.hook = None
    bench.start()
    assert state(bench) == before


def test_a_moved_block_of_a_deleted_queue_is_skipped(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs")
    peer.publish(1, b"one")
    bench.work()
    number = bench.engine.broker.names["jobs"].number
    peer.call("queue_delete", queue="jobs")
    bench.engine.record(Moved(number, 0, 1, 1, 1, 0, 0, b"block"))
    bench.work()
    before = state(bench)
    bench.start()
    assert state(bench) == before


@pytest.mark.parametrize(("end", "refused"), [(99, True), (100, False), (101, False)])
def test_a_journal_that_ends_before_what_the_snapshot_knows_is_refused(bench: Bench, end: int, refused: bool) -> None:
    """I19: found by the simulator, where one bit of the last segment's header flipped after a snapshot."""
    bench.declare("jobs")
    [queue] = bench.engine.broker.queues.values()
    parts = [snapshot_head(bench.engine.broker, 1_000, 0), b"", b"".join(snapshot_queue(queue, 100))]
    del bench.engine.broker.queues[queue.number], bench.engine.broker.names["jobs"]
    recovery = Recovery(bench.engine)
    recovery.restore(parts)
    with pytest.raises(Damaged, match="journal") if refused else contextlib.nullcontext():
        recovery.check_end(end, "journal")
