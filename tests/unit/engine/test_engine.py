"""The order of things: what waits for what."""

import pytest
from tests.unit.engine.harness import Bench

from penstock.core.values import ACK, DUPLICATE, NACK, REFUSED, STORED, SYNCED, WRITTEN
from penstock.engine import engine as engine_module
from penstock.storage.errors import StorageFailed


def test_a_synced_confirm_leaves_after_the_sync_and_not_before(bench: Bench) -> None:
    """I2."""
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    peer.publish(1, b"one", b"two")
    bench.engine.turn()
    commit = bench.begin()
    assert peer.confirms == []
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    assert peer.confirms == []
    bench.journal.sync()
    bench.engine.committed(commit)
    assert peer.confirms == [(1, STORED, SYNCED, "", 1, 2, 0)]


def test_a_written_confirm_leaves_after_the_write(bench: Bench) -> None:
    """I2."""
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    peer.publish(1, b"one", level=WRITTEN)
    bench.engine.turn()
    commit = bench.begin()
    assert commit.pending.has_written
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    assert [entry[2] for entry in peer.confirms] == [WRITTEN]
    bench.journal.sync()
    bench.engine.committed(commit)
    assert len(peer.confirms) == 1


def test_a_written_confirm_does_not_overtake_a_synced_one_of_its_connection(bench: Bench) -> None:
    """I9."""
    bench.declare()
    one, other = bench.peer().open("jobs"), bench.peer().open("jobs")
    bench.work()
    one.publish(1, b"synced")
    one.publish(2, b"written", level=WRITTEN)
    other.publish(1, b"written", level=WRITTEN)
    bench.engine.turn()
    commit = bench.begin()
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    assert (len(one.confirms), len(other.confirms)) == (0, 1)
    bench.journal.sync()
    bench.engine.committed(commit)
    assert [entry[4] for entry in one.confirms] == [1, 2]


def test_messages_are_delivered_once_they_are_durable(bench: Bench) -> None:
    """I3."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    bench.work()
    peer.publish(1, b"one")
    bench.engine.turn()
    commit = bench.begin()
    bench.journal.write(commit.batch)
    bench.engine.turn()
    assert peer.deliveries == []
    bench.journal.sync()
    bench.engine.committed(commit)
    assert peer.bodies() == [b"one"]


def test_what_comes_during_a_commit_waits_for_the_next(bench: Bench) -> None:
    """I2."""
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    peer.publish(1, b"one")
    bench.engine.turn()
    first = bench.begin()
    peer.publish(2, b"two")
    peer.publish(1, b"one")
    bench.engine.turn()
    assert bench.engine.begin() is None, "one commit at a time"
    bench.journal.write(first.batch)
    bench.journal.sync()
    bench.engine.committed(first)
    assert [entry[4] for entry in peer.confirms] == [1]
    assert bench.engine.urgent
    bench.commit()
    assert [entry[1] for entry in peer.confirms] == [STORED, STORED, DUPLICATE]


def test_a_reply_waits_for_the_facts_of_its_request(bench: Bench) -> None:
    """I4."""
    peer = bench.peer()
    request = peer.ask("queue_declare", queue="jobs")
    bench.engine.turn()
    assert peer.replies == {}
    bench.commit()
    assert peer.replies[request]["created"] is True


def test_an_answer_that_needs_no_disk_comes_at_once(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer()
    request = peer.ask("queue_describe", queue="jobs")
    bench.engine.turn()
    assert peer.replies[request]["queue"] == "jobs"


def test_an_acknowledgement_is_confirmed_when_it_is_durable(bench: Bench) -> None:
    """I4."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one", b"two")
    bench.work()
    peer.settle(ACK, (1, 2), request=77)
    bench.engine.turn()
    assert 77 not in peer.replies
    bench.commit()
    assert peer.replies[77] == {"stale": 0}


def test_stale_tags_are_answered_as_asked(bench: Bench) -> None:
    """I10."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.work()
    peer.settle(ACK, (1, 1), (5, 9), request=77)
    bench.work()
    assert peer.refusals[77].code == "stale-delivery"
    assert "1 of 2" in peer.refusals[77].message
    peer.settle(NACK, (1, 1))
    assert peer.stales == [(NACK, [(1, 1)])]


def test_a_refusal_of_level_written_does_not_overtake_the_confirm_of_a_memory_queue(bench: Bench) -> None:
    """I9: once one was refused without reaching a queue, a memory queue's confirms wait for a commit too."""
    bench.declare("memory", durable=False)
    peer = bench.peer().open("memory")
    bench.work()
    peer.publish(1, b"x", route=9, level=WRITTEN)
    peer.publish(1, b"x")
    peer.ask("queue_delete", queue="memory")
    peer.publish(2, b"x", level=WRITTEN)
    bench.engine.turn()
    commit = bench.begin()
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    bench.journal.sync()
    bench.engine.committed(commit)
    assert [(entry[0], entry[3], entry[4]) for entry in peer.confirms] == [
        (9, "unknown-route", 1),
        (1, "", 1),
        (1, "unknown-queue", 2),
    ]


def test_a_batch_is_closed_by_its_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BATCH_CLOSE_BYTES", 500)
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    for sequence in range(1, 5):
        peer.publish(sequence, b"x" * 400)
    bench.engine.turn()
    assert bench.engine.gathered_bytes > 1600
    commits = bench.engine.commits
    bench.work()
    assert bench.engine.commits - commits >= 2
    assert [entry[4] for entry in peer.confirms] == [1, 2, 3, 4]
    assert bench.engine.gathered_bytes == 0


def test_a_dead_letter_and_its_original_share_a_batch_however_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14."""
    monkeypatch.setattr(engine_module, "BATCH_CLOSE_BYTES", 1)
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, *[b"x" * 100] * 5)
    bench.work()
    peer.settle(4, (1, 5))
    for _ in range(50):
        bench.engine.turn()
        bench.load()
        if bench.commit():
            bench.start()  # a crash after every single commit
        names = bench.engine.broker.names
        dead = names["jobs.dead"].log.next_offset if "jobs.dead" in names else 0
        assert names["jobs"].group.counters.dead == dead
    assert bench.engine.broker.names["jobs.dead"].log.next_offset == 5


def test_after_a_failure_nothing_is_confirmed_and_everyone_is_told(bench: Bench) -> None:
    """I2."""
    bench.declare()
    peer, silent = bench.peer().open("jobs"), bench.peer()
    bench.work()
    peer.publish(1, b"one")
    bench.engine.turn()
    bench.engine.failed(StorageFailed("the disk is gone"), "storage-failed")
    bench.engine.turn()
    assert peer.confirms == []
    assert [refusal.code for refusal in peer.aborts + silent.aborts] == ["storage-failed", "storage-failed"]
    assert bench.engine.failure is not None


def test_a_producer_far_beyond_its_window_is_refused(bench: Bench) -> None:
    """I13."""
    bench = Bench(window_messages=2)
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    peer.publish(1, *[b"x"] * 5)
    peer.publish(6, b"x")
    bench.work()
    assert [(entry[1], entry[3]) for entry in peer.confirms] == [(STORED, ""), (REFUSED, "window-exceeded")]
    peer.publish(7, b"x")
    bench.work()
    assert peer.confirms[-1][1] == STORED, "what was confirmed counts no longer"


def test_nothing_reaches_a_closed_session(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    bench.work()
    peer.publish(1, b"one")
    peer.ask("queue_describe", queue="jobs")
    replies = len(peer.replies)
    bench.engine.close_session(peer.session)
    bench.engine.close_session(peer.session)
    bench.work()
    assert (peer.confirms, peer.deliveries, len(peer.replies)) == ([], [], replies)


def test_the_engine_says_when_time_alone_makes_something_happen(bench: Bench) -> None:
    """I20."""
    bench.declare(lease_ms=1000, backoff_min_ms=400, backoff_max_ms=400)
    assert bench.engine.next_due_ms() is None
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one", b"two")
    bench.work()
    assert bench.engine.next_due_ms() == bench.now_ms + 1000
    peer.settle(NACK, (1, 1), duration_ms=300)
    assert bench.engine.next_due_ms() == bench.now_ms + 300
    bench.pass_time(300)
    assert [one.attempt for one in peer.deliveries] == [1, 2]


def test_every_command_asks_for_a_turn(bench: Bench) -> None:
    """I20."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    bench.work()
    for command in (
        lambda: peer.publish(1, b"one"),
        lambda: peer.settle(ACK, (1, 1)),
        lambda: peer.ask("queue_purge", queue="jobs"),
        lambda: bench.engine.close_session(peer.session),
    ):
        before = bench.wakes
        command()
        assert bench.wakes > before


def test_idle_producers_expire(bench: Bench) -> None:
    """SEMANTICS 7."""
    bench = Bench(producer_idle_ms=1000)
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    bench.engine.close_session(peer.session)
    bench.now_ms += 1001
    bench.engine.expire_idle_producers()
    bench.work()
    assert bench.peer().refusal("producer_open", producer=1).code == "producer-expired"
