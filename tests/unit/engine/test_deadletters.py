from typing import Any

from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, HOLD_MS_MAX, NACK, REJECT
from penstock_client.wire import blocks


def dead_letters(bench: Bench, count: int = 3, queue: str = "jobs", **settings: Any) -> Peer:
    """A queue whose messages were all rejected."""
    bench.declare(queue, **settings)
    peer = bench.peer("worker").open(queue).consume(queue)
    peer.publish(1, *[b"%d" % number for number in range(count)])
    bench.work()
    peer.settle(REJECT, (1, count), reason="no good")
    bench.work()
    peer.ask("cancel", consumer=1)
    bench.work()
    return peer


def describe(bench: Bench, queue: str) -> dict[str, Any]:
    return bench.peer().call("queue_describe", queue=queue)


def provenance(bench: Bench, queue: str = "jobs.dead") -> list[dict[str, Any]]:
    """What the dead letters of a queue say of themselves."""
    peer = bench.peer()
    request = peer.ask("peek", queue=queue)
    bench.work()
    found = []
    for entry in peer.peeks[request]:
        columns = blocks.decode_block(entry.block)
        found += [(properties or {})["dead"] for properties in columns.properties or []]
    return found


def test_a_dead_letter_says_where_it_came_from_and_why(bench: Bench) -> None:
    bench.declare(max_failures=2, backoff_min_ms=0, backoff_max_ms=0)
    peer = bench.peer("worker").open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.work()
    peer.settle(NACK, (1, 1), reason="first")
    bench.work()
    bench.now_ms += 5
    peer.settle(NACK, (2, 2), reason="second")
    bench.work()
    [dead] = provenance(bench)
    assert (dead["queue"], dead["offset"], dead["attempts"], dead["reason"]) == ("jobs", 0, 2, "second")
    assert [(one["attempt"], one["consumer"], one["reason"]) for one in dead["failures"]] == [
        (1, "worker", "first"),
        (2, "worker", "second"),
    ]


def test_dead_letters_are_counted_on_both_sides(bench: Bench) -> None:
    """I12."""
    dead_letters(bench)
    info = describe(bench, "jobs")
    assert (info["messages"], info["dead"], info["dead_lettered"]) == (0, 3, 3)
    assert describe(bench, "jobs.dead")["messages"] == 3


def test_dead_letters_of_a_backlog_are_read_from_the_journal(bench: Bench) -> None:
    bench.declare()
    bench.peer().open("jobs").publish(1, b"one", b"two")
    bench.work()
    bench.start()
    peer = bench.peer().consume("jobs")
    bench.work()
    bench.empty_cache()
    peer.settle(REJECT, (1, 2))
    bench.work()
    assert describe(bench, "jobs.dead")["messages"] == 2


def test_what_was_dying_at_a_crash_is_buried_after_it(bench: Bench) -> None:
    """I14, I20."""
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.work()
    peer.settle(REJECT, (1, 1))
    bench.commit()  # the failure is durable, the copy was not made
    bench.start()
    assert "jobs.dead" not in bench.engine.broker.names
    bench.work()
    assert (describe(bench, "jobs")["messages"], describe(bench, "jobs.dead")["messages"]) == (0, 1)


def test_a_queue_deleted_meanwhile_buries_nothing(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.work()
    bench.empty_cache()
    peer.settle(REJECT, (1, 1))
    bench.engine.turn()
    assert len(bench.engine.loads) == 1
    peer.ask("queue_delete", queue="jobs")
    bench.work()
    assert list(bench.engine.broker.names) == []


def test_a_redrive_brings_them_back_as_they_were(bench: Bench) -> None:
    """SEMANTICS 4: failures begin again, attempts and history go on."""
    peer = dead_letters(bench, max_failures=1)
    assert peer.call("queue_redrive", queue="jobs") == {"redriven": 3}
    assert describe(bench, "jobs.dead")["messages"] == 0
    peer.deliveries.clear()
    peer.consume("jobs", number=2)
    bench.work()
    assert peer.bodies() == [b"0", b"1", b"2"]
    assert {one.failures for one in peer.deliveries} == {0}
    last = peer.deliveries[-1].first_tag
    peer.settle(REJECT, (last - 2, last), reason="again")
    bench.work()
    [first, *_] = provenance(bench)
    assert first["reason"] == "again"
    assert first["earlier"]["reason"] == "no good"


def test_a_redrive_may_be_limited(bench: Bench) -> None:
    peer = dead_letters(bench, count=5)
    assert peer.call("queue_redrive", queue="jobs", limit=2) == {"redriven": 2}
    assert describe(bench, "jobs.dead")["messages"] == 3
    assert peer.call("queue_redrive", queue="jobs") == {"redriven": 3}


def test_a_redrive_takes_only_what_came_from_its_queue(bench: Bench) -> None:
    """SEMANTICS 11."""
    dead_letters(bench, count=2, queue="a", dead_letter="graveyard")
    dead_letters(bench, count=3, queue="b", dead_letter="graveyard")
    bench.peer().open("graveyard").publish(1, b"no dead letter")
    bench.work()
    assert bench.peer().call("queue_redrive", queue="b") == {"redriven": 3}
    info = describe(bench, "graveyard")
    assert (info["messages"], info["ready"], info["leased"]) == (3, 3, 0)
    assert describe(bench, "graveyard")["consumers"] == 0


def test_a_redrive_without_dead_letters_moves_nothing(bench: Bench) -> None:
    bench.declare()
    assert bench.peer().call("queue_redrive", queue="jobs") == {"redriven": 0}
    dead_letters(bench, count=1, queue="other")
    assert bench.peer().call("queue_redrive", queue="other") == {"redriven": 1}
    assert bench.peer().call("queue_redrive", queue="other") == {"redriven": 0}


def test_a_dead_letter_queue_is_not_redriven_into_itself(bench: Bench) -> None:
    dead_letters(bench)
    assert bench.peer().refusal("queue_redrive", queue="jobs.dead").code == "unsupported"


def test_a_redrive_whose_lease_was_lost_copies_nothing(bench: Bench) -> None:
    """I14: the journal was slow, the lease expired, and someone else was given the message."""
    peer = dead_letters(bench, count=1, lease_ms=1000)
    bench.empty_cache()
    request = peer.ask("queue_redrive", queue="jobs")
    bench.engine.turn()
    [load] = bench.engine.loads
    bench.engine.loads.clear()
    thief = bench.peer()
    bench.now_ms += 1000
    thief.consume("jobs.dead")
    bench.engine.turn()
    bench.engine.loads.append(load)
    bench.work()
    counts = (describe(bench, "jobs")["messages"], describe(bench, "jobs.dead")["messages"])
    assert counts in {(1, 0), (0, 1)}
    assert request in peer.replies


def test_a_redrive_ends_though_what_it_keeps_outlives_its_lease(bench: Bench) -> None:
    """I20: it used to count what it had kept twice, and never ended (seed 222)."""
    dead_letters(bench, count=1, queue="a", dead_letter="graveyard", lease_ms=1000)
    dead_letters(bench, count=2, queue="b", dead_letter="graveyard", lease_ms=1000)
    bench.empty_cache()
    peer = bench.peer()
    request = peer.ask("queue_redrive", queue="b")
    for _ in range(20):
        bench.engine.turn()
        bench.load()
        bench.now_ms += 2000
    bench.work()
    assert peer.replies[request] == {"redriven": 2}
    assert describe(bench, "graveyard")["messages"] == 1


def test_a_redrive_of_a_deleted_dead_letter_queue_ends(bench: Bench) -> None:
    peer = dead_letters(bench)
    bench.empty_cache()
    request = peer.ask("queue_redrive", queue="jobs")
    bench.engine.turn()
    peer.ask("queue_delete", queue="jobs.dead")
    bench.work()
    assert peer.replies[request] == {"redriven": 0}
    assert bench.engine.jobs == []


def test_a_redrive_into_a_deleted_queue_ends_and_loses_nothing(bench: Bench) -> None:
    peer = dead_letters(bench)
    bench.empty_cache()
    request = peer.ask("queue_redrive", queue="jobs")
    bench.engine.turn()
    peer.ask("queue_delete", queue="jobs")
    bench.work()
    assert peer.replies[request] == {"redriven": 0}
    assert describe(bench, "jobs.dead")["ready"] == 3


def test_a_failure_of_storage_ends_redrives_with_everyone_else(bench: Bench) -> None:
    peer = dead_letters(bench)
    bench.empty_cache()
    peer.ask("queue_redrive", queue="jobs")
    bench.engine.turn()
    bench.engine.failed(OSError("gone"), "storage-failed")
    assert len(peer.aborts) == 1


def test_dead_letters_are_consumed_like_messages(bench: Bench) -> None:
    dead_letters(bench, max_failures=1, backoff_min_ms=0, backoff_max_ms=0)
    peer = bench.peer().consume("jobs.dead")
    bench.work()
    assert peer.bodies() == [b"0", b"1", b"2"]
    peer.settle(REJECT, (1, 1))
    bench.work()
    assert describe(bench, "jobs.dead")["messages"] == 3, "they do not die again"
    peer.settle(ACK, (2, 4))
    bench.work()
    assert describe(bench, "jobs.dead")["messages"] == 0


def test_a_redrive_ends_though_what_it_keeps_outlives_its_longest_hold(bench: Bench) -> None:
    """I20: it waited for messages that it had kept and lost (seed 60339)."""
    dead_letters(bench, count=1, queue="a", dead_letter="graveyard")
    dead_letters(bench, count=2, queue="b", dead_letter="graveyard")
    for block in bench.engine.broker.names["graveyard"].log.all_blocks()[1:]:
        del bench.engine.blocks._cache[block.position]
    peer = bench.peer()
    request = peer.ask("queue_redrive", queue="b")
    bench.engine.turn()
    assert len(bench.engine.loads) == 1, "the first was looked at and kept, the others are read"
    bench.now_ms += HOLD_MS_MAX
    bench.work()
    assert peer.replies[request] == {"redriven": 2}
    assert describe(bench, "graveyard")["messages"] == 1
